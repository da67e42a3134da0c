//! The client of the manager's API, as far as a PoP uses it.

use std::{fmt, sync::Arc};

use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use titan_proto::control::{
    API_PREFIX, EventsPage, PopHeartbeat, PopHeartbeatReply, Problem, UsageReply, UsageReport,
    UserName, UserRecord,
};

use crate::{
    config::Secret,
    error::StartError,
    limits::{EVENTS_TIMEOUT, MANAGER_ANSWER, MANAGER_CONNECT_TIMEOUT, MANAGER_TIMEOUT},
};

/// The manager. Cloned freely: all clones share their connections.
#[derive(Clone)]
pub struct Manager {
    http: Client,
    base: Arc<str>,
    credential: Secret,
}

/// Why the manager gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// It could not be reached, or did not answer in time.
    #[error("cannot reach the manager: {0}")]
    Unreachable(String),
    /// It does not accept this PoP's credential.
    #[error("the manager refuses this PoP's credential (status {0})")]
    Credential(StatusCode),
    /// It answered with another status.
    #[error("the manager answered with status {0}")]
    Status(StatusCode),
    /// Its answer makes no sense.
    #[error("the manager's answer makes no sense: {0}")]
    Malformed(String),
}

/// Why a usage report was not counted as a whole.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A batch does not follow what the manager has counted; this sequence does.
    #[error("the manager expects sequence {0}")]
    OutOfOrder(u64),
    /// There is no good answer; the report may have been counted all the same.
    #[error(transparent)]
    Manager(#[from] ManagerError),
}

impl Manager {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// When the system's certificates cannot be used.
    pub fn new(base: &str, credential: Secret) -> Result<Self, StartError> {
        // Fails where a provider is installed already, which is then the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy from the environment would carry the credential through a stranger, and a
        // redirect would send it to one.
        let http = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(MANAGER_CONNECT_TIMEOUT)
            .timeout(MANAGER_TIMEOUT)
            .user_agent(concat!("titan-pop/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| StartError::ManagerClient(with_causes(&error)))?;
        let base = format!("{}{API_PREFIX}/pop", base.trim_end_matches('/')).into();
        Ok(Self {
            http,
            base,
            credential,
        })
    }

    /// Sends a heartbeat.
    ///
    /// # Errors
    /// When there is no good answer; the heartbeat may have been heard all the same.
    pub async fn heartbeat(
        &self,
        heartbeat: &PopHeartbeat,
    ) -> Result<PopHeartbeatReply, ManagerError> {
        let request = self
            .http
            .post(format!("{}/heartbeat", self.base))
            .json(heartbeat);
        read(self.send(request).await?).await
    }

    /// Reports usage.
    ///
    /// # Errors
    /// See [`UsageError`].
    pub async fn report_usage(&self, report: &UsageReport) -> Result<UsageReply, UsageError> {
        let request = self.http.post(format!("{}/usage", self.base)).json(report);
        let response = self.dispatch(request).await?;
        if response.status() == StatusCode::CONFLICT {
            let problem: Problem = read(response).await?;
            return Err(match problem.expected {
                Some(expected) => UsageError::OutOfOrder(expected),
                None => ManagerError::Status(StatusCode::CONFLICT).into(),
            });
        }
        Ok(read(accepted(response)?).await?)
    }

    /// A user's record; `None` where there is no such user.
    ///
    /// # Errors
    /// When there is no good answer.
    pub async fn user(&self, name: &UserName) -> Result<Option<UserRecord>, ManagerError> {
        // A name holds no character that means something in a path: `ids.rs` of `proto` sees to it.
        let request = self.http.get(format!("{}/users/{name}", self.base));
        match self.send(request).await {
            Ok(response) => read(response).await.map(Some),
            Err(ManagerError::Status(StatusCode::NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What has happened behind a cursor, or where the event stream is now. Takes as long as nothing
    /// happens, within bounds.
    ///
    /// # Errors
    /// When there is no good answer.
    pub async fn events(&self, after: Option<u64>) -> Result<EventsPage, ManagerError> {
        let query = after.map_or(String::new(), |cursor| format!("?after={cursor}"));
        let request = self
            .http
            .get(format!("{}/events{query}", self.base))
            .timeout(EVENTS_TIMEOUT);
        read(self.send(request).await?).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ManagerError> {
        accepted(self.dispatch(request).await?)
    }

    async fn dispatch(&self, request: RequestBuilder) -> Result<Response, ManagerError> {
        let request = request.bearer_auth(self.credential.reveal());
        request.send().await.map_err(|error| unreachable(&error))
    }
}

fn accepted(response: Response) -> Result<Response, ManagerError> {
    match response.status() {
        status if status.is_success() => Ok(response),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(ManagerError::Credential(status))
        }
        status => Err(ManagerError::Status(status)),
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Reads a bounded JSON answer.
async fn read<T: DeserializeOwned>(mut response: Response) -> Result<T, ManagerError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&error))?
    {
        if body.len() + chunk.len() > MANAGER_ANSWER {
            return Err(ManagerError::Malformed("it is too long".into()));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| ManagerError::Malformed(error.to_string()))
}

fn unreachable(error: &reqwest::Error) -> ManagerError {
    ManagerError::Unreachable(with_causes(error))
}

/// reqwest keeps what went wrong in the chain of sources.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
