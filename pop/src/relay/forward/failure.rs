//! Why an exchange of request and response failed, and whose doing it is.

use std::{borrow::Cow, io};

use titan_proto::{
    http::{ChunkError, ResponseError},
    mux::Reset,
    reason::Reason,
};

use crate::relay::link::Broken;

/// Why an exchange ended before its response was complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The client's connection broke, or ended within its request.
    #[error("the client's connection broke: {0}")]
    Client(#[from] io::Error),
    /// The client's content is malformed.
    #[error("the request is malformed: {0}")]
    Request(ChunkError),
    /// The edge or its tunnel ended the session.
    #[error("the session was reset: {}", .0.reason)]
    Session(Reset),
    /// The origin server ended its connection.
    #[error("the target closed the connection before its response was complete")]
    Cut,
    /// The origin server's response is malformed.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// The user may not go on.
    #[error("{0}")]
    User(Reason),
    /// The client had ended its direction, and nothing moved.
    #[error("nothing moved after the client had ended its direction")]
    Idle,
}

impl From<Reset> for Failure {
    fn from(reset: Reset) -> Self {
        Self::Session(reset)
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Client(error) => Self::Client(error),
            Broken::Session(reset) => Self::Session(reset),
            Broken::User(reason) => Self::User(reason),
            Broken::Idle => Self::Idle,
        }
    }
}

impl Failure {
    /// What to count it as and to tell the client.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Client(_) => Reason::ClientGone,
            Self::Request(_) => Reason::BadRequest,
            Self::Session(reset) => reset.reason,
            Self::Cut => Reason::TargetReset,
            Self::Response(_) => Reason::BadResponse,
            Self::User(reason) => *reason,
            Self::Idle => Reason::Idle,
        }
    }

    /// What to tell the client beyond the reason; may be empty.
    pub(super) fn detail(&self) -> Cow<'_, str> {
        match self {
            Self::Session(reset) => Cow::Borrowed(&reset.text),
            Self::User(_) => Cow::Borrowed(""),
            other => Cow::Owned(other.to_string()),
        }
    }

    /// Whether the session had ended, for whatever reason: nothing is wrong with the request.
    pub(super) fn is_end_of_session(&self) -> bool {
        matches!(self, Self::Session(_) | Self::Cut)
    }

    /// Whether somebody is there to hear the answer.
    pub(super) fn can_be_answered(&self) -> bool {
        !matches!(self, Self::Client(_) | Self::Idle)
    }
}
