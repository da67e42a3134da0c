//! The OpenAPI document: that it describes every route, and every answer the other tests get.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Client, Method};
use serde_json::Value;

use crate::harness::Manager;

/// The routes of the API, as agreed with those who call it.
const ROUTES: &[&str] = &[
    "GET /healthz",
    "GET /api/v1/openapi.json",
    "GET /api/v1/users",
    "POST /api/v1/users",
    "GET /api/v1/users/{name}",
    "PATCH /api/v1/users/{name}",
    "DELETE /api/v1/users/{name}",
    "POST /api/v1/users/{name}/package",
    "DELETE /api/v1/users/{name}/package",
    "POST /api/v1/users/{name}/package/reset",
    "GET /api/v1/users/{name}/usage",
    "GET /api/v1/users/{name}/usage/series",
    "GET /api/v1/usage/top",
    "GET /api/v1/nodes",
    "GET /api/v1/nodes/{id}",
    "DELETE /api/v1/nodes/{id}",
    "POST /api/v1/nodes/{id}/kick",
    "GET /api/v1/pops",
    "POST /api/v1/pops",
    "GET /api/v1/pops/{id}",
    "DELETE /api/v1/pops/{id}",
    "GET /api/v1/enrolment-keys",
    "POST /api/v1/enrolment-keys",
    "DELETE /api/v1/enrolment-keys/{id}",
    "GET /api/v1/blocks",
    "POST /api/v1/blocks",
    "DELETE /api/v1/blocks/{id}",
    "GET /api/v1/admin-tokens",
    "POST /api/v1/admin-tokens",
    "DELETE /api/v1/admin-tokens/{id}",
    "POST /api/v1/nodes/enrol",
    "POST /api/v1/nodes/{id}/challenge",
    "POST /api/v1/nodes/{id}/assignment",
    "POST /api/v1/pop/heartbeat",
    "POST /api/v1/pop/usage",
    "GET /api/v1/pop/users/{name}",
    "GET /api/v1/pop/events",
];

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PATCH,
    Method::DELETE,
    Method::PUT,
];

#[tokio::test]
async fn the_document_holds_the_agreed_routes_and_no_others() {
    let manager = Manager::start().await;
    let agreed: BTreeSet<String> = ROUTES.iter().map(|&route| route.into()).collect();
    assert_eq!(manager.document().routes(), agreed);
}

/// The router answers 405 for a method that a path lacks: so what it has can be told from outside,
/// and must be what the document says, no more and no less.
#[tokio::test]
async fn the_router_and_the_document_agree() {
    let manager = Manager::start().await;
    let documented = manager.document().routes();
    for path in documented
        .iter()
        .filter_map(|route| route.split(' ').nth(1))
    {
        // Both names make sense as a user, a PoP and a key; a node id is longer.
        let real = path.replace("{name}", "x").replace("{id}", "x");
        for method in METHODS {
            let answer = manager.anonymous(method.clone(), &real).send().await;
            let has_route = documented.contains(&format!("{method} {path}"));
            assert_eq!(
                answer.status != 405,
                has_route,
                "{method} {path}: {}",
                answer.status
            );
        }
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let manager = Manager::start().await;
    let document = manager.document();
    let mut found = 0;
    visit(&document.0, &mut |value| {
        if let Some(reference) = value["$ref"].as_str() {
            document.resolve(reference);
            found += 1;
        }
    });
    assert!(found > 50, "only {found} references");
}

#[tokio::test]
async fn every_operation_says_who_may_call_it() {
    let manager = Manager::start().await;
    for route in ROUTES {
        let (method, path) = route.split_once(' ').expect("method and path");
        let operation = &manager.document().0["paths"][path][method.to_lowercase()];
        let scheme = operation["security"][0]
            .as_object()
            .and_then(|scheme| scheme.keys().next());
        let expected = match operation["tags"][0].as_str().expect("a tag") {
            "service" | "edge" => None,
            "pop" => Some("pop"),
            _ => Some("admin"),
        };
        assert_eq!(scheme.map(String::as_str), expected, "{route}");
        let known = &manager.document().0["components"]["securitySchemes"];
        assert!(
            expected.is_none_or(|name| known[name]["scheme"] == "bearer"),
            "{route}"
        );
    }
}

/// The document a manager serves.
pub(crate) struct Document(pub(crate) Value);

impl Document {
    pub(crate) async fn fetch(client: &Client, url: &str) -> Self {
        let response = client
            .get(format!("{url}/api/v1/openapi.json"))
            .send()
            .await;
        let document: Value = response
            .expect("an answer")
            .json()
            .await
            .expect("a document");
        assert_eq!(document["openapi"], "3.1.0");
        Self(document)
    }

    fn routes(&self) -> BTreeSet<String> {
        let paths = self.0["paths"].as_object().expect("paths");
        let of_path = |(path, operations): (&String, &Value)| {
            let methods = operations.as_object().expect("operations").keys();
            methods
                .map(|method| format!("{} {path}", method.to_uppercase()))
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    /// Checks that an answer is one that the document announces.
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        status: u16,
        media_type: Option<&str>,
        body: &Value,
        what: &str,
    ) {
        let content = match self.operation(method, path) {
            Some(operation) => {
                let response = &operation["responses"][status.to_string()];
                assert!(
                    response.is_object(),
                    "the document lacks this status: {what}"
                );
                &response["content"]
            }
            // What has no route is a problem all the same.
            None => {
                assert!(matches!(status, 404 | 405 | 503), "{what}");
                &Value::Null
            }
        };
        if status >= 400 {
            assert_eq!(media_type, Some("application/problem+json"), "{what}");
            assert_eq!(body["status"], status, "{what}");
            assert!(
                body["title"].is_string() && body["detail"].is_string(),
                "{what}"
            );
        }
        let Some(media_type) = media_type else {
            assert!(
                content.is_null() && body.is_null(),
                "a body is missing: {what}"
            );
            return;
        };
        if content.is_object() {
            assert!(
                content[media_type].is_object(),
                "the document lacks {media_type}: {what}"
            );
            self.check_schema(&content[media_type]["schema"], body, what);
        }
    }

    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap_or_default();
        let fits = |template: &str| {
            let (mut ours, mut theirs) = (path.split('/'), template.split('/'));
            let same = |(a, b): (&str, &str)| a == b || b.starts_with('{');
            path.split('/').count() == template.split('/').count()
                && ours.by_ref().zip(theirs.by_ref()).all(same)
        };
        let paths = self.0["paths"].as_object().expect("paths");
        // As in the router, a path without variables goes before one with.
        let by_template = || {
            paths
                .iter()
                .find(|(template, _)| fits(template))
                .map(|(_, item)| item)
        };
        paths
            .get(path)
            .or_else(by_template)?
            .get(method.as_str().to_lowercase())
    }

    fn resolve(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        self.0
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// A small part of JSON Schema, all that this document uses for answers. Properties that the
    /// schema does not name are an error here: an answer holds nothing undocumented.
    fn check_schema(&self, schema: &Value, value: &Value, what: &str) {
        if schema.is_null() {
            return; // The document does not describe itself.
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return self.check_schema(self.resolve(reference), value, what);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let null_is_fine = choices.iter().any(|choice| choice["type"] == "null");
            // Of several objects the one is meant whose properties are there.
            let has_all = |choice: &Value| {
                let required = choice["required"].as_array().into_iter().flatten();
                let mut required = required.filter_map(Value::as_str);
                required.all(|name| value.get(name).is_some())
            };
            let mut others = choices.iter().filter(|choice| choice["type"] != "null");
            let other = others.find(|choice| is_of_kind(choice, value) && has_all(choice));
            return match other {
                Some(choice) if !(value.is_null() && null_is_fine) => {
                    self.check_schema(choice, value, what);
                }
                _ => assert!(value.is_null(), "{value} should be null: {what}"),
            };
        }
        self.check_type(&schema["type"], value, what);
        if let Some(items) = value.as_array() {
            items
                .iter()
                .for_each(|item| self.check_schema(&schema["items"], item, what));
        }
        if let Some(object) = value.as_object() {
            let (known, required) = self.properties(schema);
            for name in required {
                assert!(object.contains_key(name), "{name} is missing: {what}");
            }
            for (name, value) in object {
                let others = &schema["additionalProperties"];
                let others = others.is_object().then_some(others);
                let schema = known.get(name.as_str()).copied().or(others);
                let schema = schema.unwrap_or_else(|| panic!("{name} is not documented: {what}"));
                self.check_schema(schema, value, what);
            }
        }
    }

    fn check_type(&self, kinds: &Value, value: &Value, what: &str) {
        let is = |kind: &Value| match kind.as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            Some("null") => value.is_null(),
            _ => value.is_object(),
        };
        let fits = kinds
            .as_array()
            .map_or_else(|| is(kinds), |kinds| kinds.iter().any(is));
        assert!(fits, "{value} is no {kinds}: {what}");
    }

    /// The properties of an object's schema and the names of those required, `allOf` included.
    fn properties<'a>(&'a self, schema: &'a Value) -> (BTreeMap<&'a str, &'a Value>, Vec<&'a str>) {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.properties(self.resolve(reference));
        }
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let (parts, more): (Vec<_>, Vec<_>) = parts.map(|part| self.properties(part)).unzip();
        let known = schema["properties"].as_object().into_iter().flatten();
        let known = known.map(|(name, schema)| (name.as_str(), schema));
        let required = schema["required"].as_array().into_iter().flatten();
        let required = required.filter_map(Value::as_str);
        (
            known.chain(parts.into_iter().flatten()).collect(),
            required.chain(more.into_iter().flatten()).collect(),
        )
    }
}

/// Whether a choice that fixes some properties, as those of a tagged enum do, fixes them as they are.
fn is_of_kind(choice: &Value, value: &Value) -> bool {
    let properties = choice["properties"].as_object().into_iter().flatten();
    properties
        .filter_map(|(name, schema)| Some((name, schema["enum"].as_array()?)))
        .all(|(name, allowed)| allowed.contains(&value[name]))
}

fn visit(value: &Value, each: &mut impl FnMut(&Value)) {
    each(value);
    match value {
        Value::Object(object) => object.values().for_each(|value| visit(value, each)),
        Value::Array(array) => array.iter().for_each(|value| visit(value, each)),
        _ => {}
    }
}
