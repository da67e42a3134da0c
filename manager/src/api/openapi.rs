//! The description of the API, generated from the handlers and served by the API itself.

use std::sync::Arc;

use axum::{Extension, http::header, response::IntoResponse};
use titan_proto::control::Problem;
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::problem::PROBLEM_JSON;
use crate::limits;

/// What the document says beside the routes.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let bearer = |text: &str| {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(text));
        SecurityScheme::Http(scheme.build())
    };
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("admin", bearer("An operator's token, `titan_admin_…`."));
    components.add_security_scheme("pop", bearer("A PoP's credential, `titan_pop_<id>_…`."));
    document
}

/// Adds what follows from the shape of an operation and is therefore not said at each: the errors
/// it can answer with, and that every error is a problem.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    for path in document.paths.paths.values_mut() {
        if let Some(post) = path.post.as_mut().filter(|post| !scopes(post).is_empty()) {
            add_idempotency_key(post);
        }
        let operations = [
            &mut path.get,
            &mut path.post,
            &mut path.patch,
            &mut path.delete,
        ];
        for operation in operations.into_iter().flatten() {
            add_common_errors(operation);
            describe_errors(operation);
        }
    }
    let table = scope_table(document);
    document
        .info
        .description
        .get_or_insert_default()
        .push_str(&table);
}

/// The finished document as JSON.
#[derive(Clone)]
pub(super) struct DocumentText(Arc<str>);

impl DocumentText {
    pub(super) fn new(document: &utoipa::openapi::OpenApi) -> Self {
        // The document holds nothing that serde_json could refuse.
        Self(serde_json::to_string(document).unwrap_or_default().into())
    }
}

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "service",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json"))
)]
pub(super) async fn openapi_json(
    Extension(DocumentText(text)): Extension<DocumentText>,
) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        text.to_string(),
    )
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Titan manager",
        description = "The control plane of Titan IP Overlay. Every error is an RFC 9457 problem. \
                       Lists are in the order of the ids; `next` of a page is the `cursor` of the \
                       following one. Times are seconds since the Unix epoch.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem)),
    tags(
        (name = "users", description = "Who may use the proxies (admin token)."),
        (name = "usage", description = "What users have relayed (admin token)."),
        (name = "nodes", description = "Edges as the operator sees them (admin token)."),
        (name = "pops", description = "PoPs as the operator sees them (admin token)."),
        (name = "enrolment keys", description = "With which edges make themselves known (admin token)."),
        (name = "blocks", description = "Who is turned away (admin token)."),
        (name = "admin tokens", description = "What operators are let in with (admin token)."),
        (name = "edge", description = "What edges ask; they prove their key in the body."),
        (name = "pop", description = "What PoPs ask (PoP credential)."),
        (name = "service", description = "About the manager itself (public)."),
    )
)]
struct Document;

fn add_common_errors(operation: &mut Operation) {
    let mut errors = vec![
        ("500", "The manager failed."),
        (
            "503",
            "The manager is busy or stopping, or cannot serve this now; see Retry-After.",
        ),
    ];
    if operation
        .parameters
        .as_ref()
        .is_some_and(|parameters| !parameters.is_empty())
    {
        errors.push(("400", "A parameter is not valid."));
    }
    if has_content(operation) {
        errors.push(("406", "Accept excludes what this answers in."));
    }
    if operation.security.is_some() {
        errors.push(("401", "The Authorization header is missing or not valid."));
        errors.push((
            "429",
            "The token is used too often, or wrong ones came too often; see Retry-After.",
        ));
    }
    if !scopes(operation).is_empty() {
        errors.push(("403", "The token lacks the scope."));
    }
    if operation.request_body.is_some() {
        errors.extend([
            ("400", "The body is not JSON, or a parameter is not valid."),
            ("413", "The body is too large."),
            ("415", "The body is not declared as JSON."),
            ("422", "A value in the body is not valid."),
        ]);
    }
    for (status, text) in errors {
        let response = || ResponseBuilder::new().description(text).build().into();
        operation
            .responses
            .responses
            .entry(status.into())
            .or_insert_with(response);
    }
}

/// Whether the operation, when it succeeds, has something to tell; all but the health check mind what
/// the caller accepts.
fn has_content(operation: &Operation) -> bool {
    let is_health = operation.operation_id.as_deref() == Some("healthz");
    let mut successes = operation.responses.responses.iter();
    !is_health
        && successes.any(|(status, response)| {
            let has_content =
                matches!(response, RefOr::T(response) if !response.content.is_empty());
            status.starts_with('2') && has_content
        })
}

/// See `api::idempotency`.
fn add_idempotency_key(operation: &mut Operation) {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(limits::MAX_IDEMPOTENCY_KEY_LEN))
        .pattern(Some(r#"^[!#-\[\]-~]+$"#));
    let parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The same key with the same request gives the same answer for 24 hours.",
        ))
        .schema(Some(text));
    operation
        .parameters
        .get_or_insert_default()
        .push(parameter.build().into());
    let conflict = "A request with this key is in progress, or was cut off.";
    let mismatch = "The key came with another request before.";
    for (status, text) in [("409", conflict), ("422", mismatch)] {
        let response = || ResponseBuilder::new().description(text).build().into();
        let responses = &mut operation.responses.responses;
        match responses.entry(status.into()).or_insert_with(response) {
            RefOr::T(response) if response.description != text => {
                response.description = format!("{} {text}", response.description);
            }
            _ => {}
        }
    }
}

/// Which scope each route demands, as a table for readers.
fn scope_table(document: &utoipa::openapi::OpenApi) -> String {
    let mut table = "\n\nAn admin token opens a route if it has one of its scopes:\n\n\
                     | route | scopes |\n| --- | --- |\n"
        .to_owned();
    for (path, item) in &document.paths.paths {
        let operations = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        for (method, operation) in operations {
            let scopes = operation.as_ref().map(scopes).unwrap_or_default();
            if !scopes.is_empty() {
                let scopes = scopes.join("`, `");
                table.push_str(&format!("| `{method} {path}` | `{scopes}` |\n"));
            }
        }
    }
    table
}

/// The scopes of which an operator's token needs one; none where it is no operator who calls.
fn scopes(operation: &Operation) -> Vec<String> {
    let demands = operation.security.iter().flatten();
    // The fields of a requirement are private; its JSON is the document's.
    let scopes = demands.filter_map(|demand| {
        let demand = serde_json::to_value(demand).ok()?;
        serde_json::from_value::<Vec<String>>(demand.get("admin")?.clone()).ok()
    });
    scopes.flatten().collect()
}

fn describe_errors(operation: &mut Operation) {
    let is_error = |status: &str| status.starts_with('4') || status.starts_with('5');
    for (status, response) in &mut operation.responses.responses {
        if let (true, RefOr::T(response)) = (is_error(status), response) {
            let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response.content.insert(PROBLEM_JSON.into(), content.into());
        }
    }
}
