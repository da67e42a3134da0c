//! The operator's side of the manager's API.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, bail};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use titan_proto::control::{API_PREFIX, Page, Problem};

/// Where the manager is and how to be let in.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// The manager's URL.
    #[arg(
        long,
        global = true,
        env = "TITAN_MANAGER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    manager: String,
    /// File with the admin token.
    #[arg(
        long,
        global = true,
        env = "TITAN_TOKEN_FILE",
        value_name = "FILE",
        default_value = "titan-data/admin-token"
    )]
    token_file: PathBuf,
    /// The admin token itself. Better in the environment than on the command line, which other users
    /// of this machine can see.
    #[arg(
        long,
        global = true,
        env = "TITAN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

/// Asks the manager, as an operator.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
    page: usize,
}

/// Time for a connection: the manager is near, or it is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer: longer than the manager gives itself for one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Items asked for at once: the most the manager gives.
const PAGE: usize = 1000;

impl Client {
    /// A client for `connection`.
    pub(crate) fn new(connection: &Connection) -> anyhow::Result<Self> {
        // An error means that somebody installed one before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            // The admin token must not take a way that http_proxy names, least of all through the
            // very proxies it manages.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        let base = connection.manager.trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            base,
            token: connection.token()?,
            page: PAGE,
        })
    }

    /// What is at `path`, below `/api/v1`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(self.request(Method::GET, path)).await
    }

    /// What is at `path`, as text.
    pub(crate) async fn get_text(&self, path: &str) -> anyhow::Result<String> {
        let response = self.send(self.request(Method::GET, path)).await?;
        Ok(response.text().await?)
    }

    /// Every item of the list at `path`, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        self.list_where(path, &[]).await
    }

    /// Every item of the list at `path` that `filter` lets through, page by page.
    pub(crate) async fn list_where<T: DeserializeOwned>(
        &self,
        path: &str,
        filter: &[(&str, String)],
    ) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let request = self
                .request(Method::GET, path)
                .query(filter)
                .query(&[("limit", self.page)]);
            let page: Page<T> = self.answer(request.query(&[("cursor", &cursor)])).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// Creates something at `path`.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.answer(self.request(Method::POST, path).json(body))
            .await
    }

    /// Does at `path` what must not be done twice, under `key` or a new one.
    pub(crate) async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        key: Option<String>,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let key = key.unwrap_or_else(new_key);
        let request = self.request(Method::POST, path).json(body);
        self.answer(request.header("Idempotency-Key", format!("\"{key}\"")))
            .await
    }

    /// What is at `path` in another form than JSON, a piece at a time.
    pub(crate) async fn export(
        &self,
        path: &str,
        filter: &[(&str, String)],
        media_type: &str,
    ) -> anyhow::Result<Response> {
        let request = self.request(Method::GET, path).query(filter);
        self.send(request.header("Accept", media_type)).await
    }

    /// Has something done that needs no words and has no answer.
    pub(crate) async fn post_empty(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.request(Method::POST, path))
            .await
            .map(|_| ())
    }

    /// Changes what is at `path`.
    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.answer(self.request(Method::PATCH, path).json(body))
            .await
    }

    /// Removes what is at `path`.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.request(Method::DELETE, path))
            .await
            .map(|_| ())
    }

    /// Removes the item `id`, which an operator typed, of the list at `path`.
    pub(crate) async fn delete_item(&self, path: &str, id: &str) -> anyhow::Result<()> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if id.is_empty() || !id.chars().all(is_plain) {
            bail!("{id:?} is no id");
        }
        self.delete(&format!("{path}/{id}")).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{API_PREFIX}{path}", self.base);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let response = self.send(request).await?;
        let what = || format!("{} did not answer as a manager does", self.base);
        response.json().await.with_context(what)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await;
        let response =
            response.with_context(|| format!("cannot reach a manager at {}", self.base))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(explain(response).await)
    }
}

impl Connection {
    fn token(&self) -> anyhow::Result<String> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => fs::read_to_string(&self.token_file).with_context(|| {
                let file = self.token_file.display();
                format!("cannot read the admin token from {file} (see --token-file)")
            })?,
        };
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("what was given as admin token is none");
        }
        Ok(token.to_owned())
    }
}

/// A text that no two commands share.
fn new_key() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos();
    format!("titan-{now}-{}", std::process::id())
}

/// The error that a response stands for: the manager's own words where it has some.
async fn explain(response: Response) -> anyhow::Error {
    let status = response.status();
    let problem = response.json::<Problem>().await;
    let detail = problem.ok().and_then(|problem| problem.detail);
    let error = detail.map_or_else(
        || anyhow!("the manager answered {status}"),
        anyhow::Error::msg,
    );
    if status == StatusCode::UNAUTHORIZED {
        return error.context("the manager does not accept the token");
    }
    error
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
