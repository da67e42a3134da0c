//! A manager as a process of its own, and its API.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Once,
};

use reqwest::{Client, Method};
use serde_json::Value;
use tempfile::TempDir;

/// A running manager; it ends with this value.
pub(crate) struct Manager {
    child: Child,
    client: Client,
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    /// Log lines up to the one that names the address.
    pub(crate) log: Vec<Value>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Manager {
    /// A manager on `store`, with a folder of its own.
    pub(crate) fn start(store: &str) -> Self {
        Self::start_with(store, &[])
    }

    pub(crate) fn start_with(store: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = program(folder.path(), store);
        let mut child = command
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut log = Vec::new();
        for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
            let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
            let address = line["fields"]["address"].as_str().map(str::to_owned);
            log.push(line);
            if let Some(address) = address {
                return Self {
                    child,
                    client: client(),
                    url: format!("http://{address}"),
                    folder,
                    log,
                };
            }
        }
        panic!("it ended: {:?} {log:?}", child.wait());
    }

    /// The token it made, if it did.
    pub(crate) fn made_token(&self) -> Option<String> {
        let file = self.folder.path().join("admin-token");
        let token = std::fs::read_to_string(file).ok()?;
        Some(token.trim().to_owned())
    }

    /// Status and body of the answer to a request.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self
            .client
            .request(method, format!("{}/api/v1/{path}", self.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        self.call(Method::GET, path, token, None).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, token, Some(body)).await
    }
}

/// The program with its files in `folder`.
pub(crate) fn program(folder: &Path, store: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_titan-manager"));
    command.env_clear().env("TITAN_MANAGER_STORE", store);
    command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
    command
        .arg("--admin-token-file")
        .arg(folder.join("admin-token"));
    command
}

/// Exit status, standard output and standard error.
pub(crate) fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn client() -> Client {
    static PROVIDER: Once = Once::new();
    // reqwest asks for a provider even where nothing is encrypted.
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy().build().expect("a client")
}
