//! A manager under test and those who talk to it. Every answer is compared with the OpenAPI
//! document that the manager itself serves.

use std::{path::PathBuf, sync::Once};

use ed25519_dalek::{Signer, SigningKey};
use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;
use titan_manager::{Bootstrap, Config, Server, StoreUrl};
use titan_proto::control::{NodeId, assignment_message, enrolment_message};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::document::Document;

/// A running manager. Its files live as long as `folder`.
pub(crate) struct Manager {
    pub(crate) url: String,
    pub(crate) admin_token: String,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) folder: TempDir,
    client: Client,
    document: Document,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Manager {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder")).await
    }

    pub(crate) async fn start_in(folder: TempDir) -> Self {
        Self::start_with(folder, |_| ()).await
    }

    pub(crate) async fn start_with(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(&folder);
        change(&mut config);
        let server = Server::bind(config).await.expect("a manager");
        let url = format!("http://{}", server.local_addr());
        let token_file = folder.path().join("admin-token");
        let admin_token = std::fs::read_to_string(token_file).expect("the admin token");
        let (stop, stopped) = oneshot::channel();
        let bootstrap = server.bootstrap();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let client = client();
        let document = Document::fetch(&client, &url).await;
        let admin_token = admin_token.trim().into();
        Self {
            url,
            admin_token,
            bootstrap,
            folder,
            client,
            document,
            stop,
            running,
        }
    }

    /// Stops the manager and waits until it has.
    pub(crate) async fn stop(self) -> TempDir {
        let Self {
            folder,
            client,
            bootstrap,
            stop,
            running,
            ..
        } = self;
        drop((client, bootstrap));
        stop.send(()).expect("running");
        running.await.expect("a clean end");
        folder
    }

    /// A request without any credential.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> Call<'_> {
        let request = self
            .client
            .request(method.clone(), format!("{}{path}", self.url));
        Call {
            manager: self,
            method,
            path: path.into(),
            request,
        }
    }

    pub(crate) fn admin(&self, method: Method, path: &str) -> Call<'_> {
        self.anonymous(method, path).bearer(&self.admin_token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.admin(Method::GET, path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.admin(Method::POST, path).json(&body).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.admin(Method::DELETE, path).send().await
    }

    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    /// Registers a PoP and lets it send its first heartbeat.
    pub(crate) async fn pop(&self, id: &str) -> Pop<'_> {
        let created = self
            .post("/api/v1/pops", json!({"id": id}))
            .await
            .expect(201);
        let credential = text(&created, "credential");
        let pop = Pop {
            manager: self,
            id: id.into(),
            credential,
        };
        pop.beat(1, json!({"full": true})).await.expect(200);
        pop
    }

    pub(crate) async fn enrolment_key(&self, region: Option<&str>) -> String {
        let created = self
            .post("/api/v1/enrolment-keys", json!({"region": region}))
            .await;
        text(&created.expect(201), "secret")
    }

    /// An edge that has enrolled; its key pair follows from `seed`.
    pub(crate) async fn edge(&self, seed: u8) -> Edge<'_> {
        let edge = Edge::new(self, seed);
        let key = self.enrolment_key(None).await;
        edge.enrol(&key).await.expect(200);
        edge
    }
}

pub(crate) fn config(folder: &TempDir) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        store: StoreUrl::Embedded(store_file(folder)),
        admin_token_file: folder.path().join("admin-token"),
        ..Config::default()
    }
}

pub(crate) fn store_file(folder: &TempDir) -> PathBuf {
    folder.path().join("manager.redb")
}

pub(crate) fn client() -> Client {
    static PROVIDER: Once = Once::new();
    // reqwest is built without a provider of its own and asks for one even where nothing is
    // encrypted.
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy().build().expect("a client")
}

/// A request on its way.
pub(crate) struct Call<'a> {
    manager: &'a Manager,
    method: Method,
    path: String,
    request: RequestBuilder,
}

impl Call<'_> {
    pub(crate) fn bearer(self, token: &str) -> Self {
        Self {
            request: self.request.bearer_auth(token),
            ..self
        }
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self {
            request: self.request.header(name, value),
            ..self
        }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self {
            request: self.request.json(body),
            ..self
        }
    }

    /// A body as it is, declared as JSON.
    pub(crate) fn body(self, body: impl Into<reqwest::Body>) -> Self {
        let request = self
            .request
            .header("Content-Type", "application/json")
            .body(body);
        Self { request, ..self }
    }

    /// Sends the request and checks the answer against the document.
    pub(crate) async fn send(self) -> Answer {
        let Self {
            manager,
            method,
            path,
            request,
        } = self;
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.expect("the whole answer");
        let body = if body.is_empty() {
            Value::Null
        } else if headers
            .get("content-type")
            .is_some_and(|kind| kind == "text/csv")
        {
            String::from_utf8(body.to_vec()).expect("text").into()
        } else {
            parse(&body)
        };
        let what = format!("{method} {path}: {status} {body:.500}");
        assert_eq!(
            headers.get("cache-control").expect("Cache-Control"),
            "no-store",
            "{what}"
        );
        let media_type = headers
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        manager
            .document
            .check(&method, &path, status, media_type, &body, &what);
        Answer {
            status,
            headers,
            body,
            what,
        }
    }
}

/// An answer that the document allows.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    what: String,
}

impl Answer {
    /// The body, if the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.what);
        self.body
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {}", self.what));
        value.to_str().expect("text")
    }
}

/// A PoP that has a credential.
pub(crate) struct Pop<'a> {
    manager: &'a Manager,
    pub(crate) id: String,
    pub(crate) credential: String,
}

impl Pop<'_> {
    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        self.manager
            .anonymous(method, path)
            .bearer(&self.credential)
    }

    /// Sends heartbeat `sequence` of the first run, with `changes` to what is usual.
    pub(crate) async fn beat(&self, sequence: u64, changes: Value) -> Answer {
        let mut body = json!({
            "boot_id": "b00f", "sequence": sequence, "version": "0.1.0",
            "tunnel_url": format!("ws://{}.example:8081/tunnel", self.id),
            "proxy_addr": "192.0.2.1:1080",
            "tunnels": 0, "sessions": 0, "accepting": true,
            "full": false, "connected": [], "disconnected": [],
        });
        for (key, value) in changes.as_object().expect("an object") {
            body[key] = value.clone();
        }
        self.call(Method::POST, "/api/v1/pop/heartbeat")
            .json(&body)
            .send()
            .await
    }
}

/// An edge with a key pair.
pub(crate) struct Edge<'a> {
    manager: &'a Manager,
    key: SigningKey,
    pub(crate) id: NodeId,
}

impl<'a> Edge<'a> {
    pub(crate) fn new(manager: &'a Manager, seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let id = NodeId::from_public_key(key.verifying_key().as_bytes());
        Self { manager, key, id }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.key.sign(message).to_bytes())
    }

    pub(crate) fn public_key(&self) -> String {
        hex::encode(self.key.verifying_key().as_bytes())
    }

    pub(crate) fn enrolment(&self, key: &str) -> Value {
        json!({
            "enrolment_key": key, "public_key": self.public_key(), "version": "0.1.0",
            "signature": self.sign(&enrolment_message(key)),
        })
    }

    pub(crate) async fn enrol(&self, key: &str) -> Answer {
        self.enrol_as(&self.enrolment(key)).await
    }

    pub(crate) async fn enrol_as(&self, request: &Value) -> Answer {
        let call = self.manager.anonymous(Method::POST, "/api/v1/nodes/enrol");
        call.json(request).send().await
    }

    pub(crate) async fn challenge(&self) -> String {
        text(&self.try_challenge().await.expect(200), "challenge")
    }

    /// The same where it may be refused.
    pub(crate) async fn try_challenge(&self) -> Answer {
        let path = format!("/api/v1/nodes/{}/challenge", self.id);
        self.manager.anonymous(Method::POST, &path).send().await
    }

    pub(crate) fn answer(&self, challenge: &str) -> Value {
        let signature = self.sign(&assignment_message(self.id, challenge));
        json!({"challenge": challenge, "signature": signature, "version": "0.2.0"})
    }

    pub(crate) async fn ask(&self, request: &Value) -> Answer {
        let path = format!("/api/v1/nodes/{}/assignment", self.id);
        self.manager
            .anonymous(Method::POST, &path)
            .json(request)
            .send()
            .await
    }

    /// The whole way to an assignment.
    pub(crate) async fn assignment(&self, avoid: Option<&str>) -> Answer {
        let mut request = self.answer(&self.challenge().await);
        if let Some(avoid) = avoid {
            request["avoid"] = avoid.into();
        }
        self.ask(&request).await
    }
}

/// The text in `field`.
#[track_caller]
pub(crate) fn text(body: &Value, field: &str) -> String {
    body[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {body}"))
        .to_owned()
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error} in {body:?}"))
}
