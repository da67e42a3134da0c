//! Client of the manager's API: enrolment and the question which PoP to dial.

use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::{Serialize, de::DeserializeOwned};
use titan_proto::control::{
    API_PREFIX, Assignment, AssignmentRequest, Challenge, EnrolRequest, EnrolResponse, PopId,
    Problem,
};

use crate::{
    config::Secret,
    error::ManagerError,
    identity::Identity,
    limits::{MANAGER_CONNECT_TIMEOUT, MANAGER_TIMEOUT, MAX_MANAGER_ANSWER, MAX_PROBLEM_DETAIL},
};

/// The manager as one node sees it.
pub(crate) struct Manager {
    http: Client,
    base: String,
    enrolment_key: Option<Secret>,
}

impl Manager {
    /// Prepares the client; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The system's certificates cannot be used.
    pub(crate) fn new(base: &Url, enrolment_key: Option<Secret>) -> Result<Self, ManagerError> {
        // Fails where a provider is installed already, which is then the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy from the environment would carry this node's token through a stranger, and a
        // redirect would send it to one.
        let http = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(MANAGER_CONNECT_TIMEOUT)
            .timeout(MANAGER_TIMEOUT)
            .pool_idle_timeout(MANAGER_TIMEOUT)
            .user_agent(concat!("titan-edge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| unreachable(&error))?;
        let base = format!("{}{API_PREFIX}/nodes", base.as_str().trim_end_matches('/'));
        Ok(Self {
            http,
            base,
            enrolment_key,
        })
    }

    /// Asks which PoP to dial, if possible another than `avoid`. A node that the manager does not
    /// know enrols first.
    ///
    /// # Errors
    ///
    /// The manager cannot be reached, refuses, or does not know the node and there is no key.
    pub(crate) async fn assignment(
        &self,
        identity: &Identity,
        avoid: Option<&PopId>,
    ) -> Result<Assignment, ManagerError> {
        match self.ask_assignment(identity, avoid).await {
            Err(ManagerError::Refused {
                status: NOT_FOUND, ..
            }) => {
                self.enrol(identity).await?;
                self.ask_assignment(identity, avoid).await
            }
            answer => answer,
        }
    }

    async fn enrol(&self, identity: &Identity) -> Result<(), ManagerError> {
        let key = self
            .enrolment_key
            .as_ref()
            .ok_or(ManagerError::NotEnrolled)?;
        let request = EnrolRequest {
            enrolment_key: key.expose().to_owned(),
            public_key: identity.public_key(),
            signature: identity.sign_enrolment(key.expose()),
            version: VERSION.to_owned(),
        };
        let answer: EnrolResponse = self.post("enrol", Some(&request)).await?;
        if answer.node_id != identity.node_id() {
            let text = format!("enrolled as {} instead", answer.node_id);
            return Err(ManagerError::Malformed(text));
        }
        let region = answer.region.map(|region| region.to_string());
        tracing::info!(node = %answer.node_id, region, "enrolled");
        Ok(())
    }

    async fn ask_assignment(
        &self,
        identity: &Identity,
        avoid: Option<&PopId>,
    ) -> Result<Assignment, ManagerError> {
        let node = identity.node_id();
        let Challenge { challenge } = self.post(&format!("{node}/challenge"), None::<&()>).await?;
        let request = AssignmentRequest {
            signature: identity.sign_assignment(&challenge),
            challenge,
            version: VERSION.to_owned(),
            avoid: avoid.cloned(),
        };
        self.post(&format!("{node}/assignment"), Some(&request))
            .await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ManagerError> {
        let url = format!("{}/{path}", self.base);
        let mut request = self.http.post(url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = read_body(response).await?;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| ManagerError::Malformed(error.to_string()))
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, ManagerError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&error))?
    {
        if body.len() + chunk.len() > MAX_MANAGER_ANSWER {
            return Err(ManagerError::Malformed("longer than any answer".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refusal(status: StatusCode, body: &[u8]) -> ManagerError {
    let problem = serde_json::from_slice::<Problem>(body).ok();
    let detail = problem.map(|problem| problem.detail.unwrap_or(problem.title));
    let detail = detail.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_owned());
    let detail = detail
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_PROBLEM_DETAIL)
        .collect();
    ManagerError::Refused {
        status: status.as_u16(),
        detail,
    }
}

/// reqwest's own text stops at "error sending request"; the cause below it is what helps.
fn unreachable(error: &reqwest::Error) -> ManagerError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    ManagerError::Unreachable(cause.to_string())
}

/// What this program says its version is.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

const NOT_FOUND: u16 = StatusCode::NOT_FOUND.as_u16();
