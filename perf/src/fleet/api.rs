//! The manager's API as edges and operators call it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use titan_proto::control::{
    API_PREFIX, EnrolmentKeyCreate, EnrolmentKeyCreated, LimitsUpdate, PopCreate, PopCreated,
    Problem, UserCreate, UserCreated,
};

use crate::{limits::CONNECT_TIMEOUT, via::Login};

/// A client of one manager.
#[derive(Debug, Clone)]
pub struct Manager {
    http: Client,
    base: String,
}

impl Manager {
    /// A client for the manager at `url`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new(url: &str) -> Result<Self> {
        // Fails where a provider is installed already, which is then the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .no_proxy()
            .timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            base: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Fails unless the manager says that it is well.
    ///
    /// # Errors
    /// It does not answer, or is not.
    pub async fn health(&self) -> Result<()> {
        let answer = self
            .http
            .get(format!("{}/healthz", self.base))
            .send()
            .await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// Posts `body` to `path` (below `/api/v1`) and reads the answer.
    ///
    /// # Errors
    /// No connection, or the manager refuses.
    pub(crate) async fn post<B: Serialize, R: DeserializeOwned>(
        &self,
        path: &str,
        bearer: Option<&str>,
        body: &B,
    ) -> Result<R> {
        let mut request = self
            .http
            .post(format!("{}{API_PREFIX}{path}", self.base))
            .json(body);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("POST {path}"))?;
        read(answer).await.with_context(|| format!("POST {path}"))
    }
}

/// A manager and the right to administer it.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The manager.
    pub manager: Manager,
    /// Its admin token.
    pub token: String,
}

impl Admin {
    /// Makes a user.
    ///
    /// # Errors
    /// The manager refuses.
    pub async fn create_user(&self, login: &Login) -> Result<()> {
        let user = UserCreate {
            name: login.user.parse()?,
            password: Some(login.password.clone()),
            enabled: true,
            reply_mode: None,
            limits: LimitsUpdate::default(),
            labels: BTreeMap::new(),
            package: None,
        };
        let _: UserCreated = self.post("/users", &user).await?;
        Ok(())
    }

    /// Registers a PoP and gives its credential.
    ///
    /// # Errors
    /// The manager refuses.
    pub async fn create_pop(&self, id: &str) -> Result<String> {
        let pop = PopCreate {
            id: id.parse()?,
            region: None,
        };
        let created: PopCreated = self.post("/pops", &pop).await?;
        Ok(created.credential)
    }

    /// Makes an enrolment key.
    ///
    /// # Errors
    /// The manager refuses.
    pub async fn create_enrolment_key(&self) -> Result<String> {
        let created: EnrolmentKeyCreated = self
            .post("/enrolment-keys", &EnrolmentKeyCreate::default())
            .await?;
        Ok(created.secret)
    }

    async fn post<B: Serialize, R: DeserializeOwned>(&self, path: &str, body: &B) -> Result<R> {
        self.manager.post(path, Some(&self.token), body).await
    }
}

async fn read<R: DeserializeOwned>(answer: Response) -> Result<R> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer.json().await?);
    }
    let detail = answer
        .json::<Problem>()
        .await
        .ok()
        .and_then(|problem| problem.detail);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        bail!("the manager is busy");
    }
    bail!(
        "the manager answers {status}: {}",
        detail.unwrap_or_default()
    )
}
