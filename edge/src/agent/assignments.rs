//! Where to dial and with which token: what the manager said last, shared by all tunnels.
//!
//! An answer serves several dials. A tunnel asks for a new one only where it has used the last one
//! itself and that has brought it no lasting tunnel: so the tunnels of an edge that lost its PoP
//! follow the first of them that has asked, and the manager hears one question and not sixteen.

use std::time::Duration;

use titan_proto::control::{Assignment, PopId};
use tokio::{sync::Mutex, time::Instant};

use crate::{error::ManagerError, identity::Identity, limits::TOKEN_MARGIN, manager::Manager};

/// The manager's word.
pub(super) struct Assignments {
    identity: Identity,
    manager: Manager,
    /// Held while the manager is asked: whoever comes then waits for the same answer.
    last: Mutex<Last>,
}

/// Counts answers, so that a tunnel can tell whether there is one that it has not used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Serial(u64);

#[derive(Default)]
struct Last {
    serial: Serial,
    held: Option<Held>,
}

/// An assignment, for as long as its token opens tunnels.
struct Held {
    assignment: Assignment,
    expires: Instant,
}

impl Assignments {
    pub(super) fn new(identity: Identity, manager: Manager) -> Self {
        Self {
            identity,
            manager,
            last: Mutex::default(),
        }
    }

    /// Who we are.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The last answer, where it is newer than `used` and does not lead to the PoP to avoid; else
    /// the manager's next. While that is away, the last answer serves as long as its token does.
    ///
    /// # Errors
    ///
    /// The manager gives none, and there is no older one to go on with.
    pub(super) async fn get(
        &self,
        used: Serial,
        avoid: Option<&PopId>,
    ) -> Result<(Serial, Assignment), ManagerError> {
        let mut last = self.last.lock().await;
        last.held.take_if(|held| held.expires <= Instant::now());
        if let Some(held) = &last.held
            && last.serial > used
            && Some(&held.assignment.pop) != avoid
        {
            return Ok((last.serial, held.assignment.clone()));
        }
        match self.manager.assignment(&self.identity, avoid).await {
            Ok(assignment) => Ok(last.learn(assignment)),
            Err(error) if is_absence(&error) => last.go_on(error),
            Err(error) => Err(error),
        }
    }

    /// A PoP did not take to the answer of that number; it may be its token.
    pub(super) async fn distrust(&self, used: Serial) {
        let mut last = self.last.lock().await;
        if last.serial == used {
            last.held = None;
        }
    }
}

impl Last {
    fn learn(&mut self, assignment: Assignment) -> (Serial, Assignment) {
        let lifetime = Duration::from_secs(assignment.expires_in_s);
        self.held = Some(Held {
            assignment: assignment.clone(),
            expires: Instant::now() + lifetime.saturating_sub(TOKEN_MARGIN),
        });
        (self.next_serial(), assignment)
    }

    /// The manager is away: what it said before holds for everybody who would ask it now.
    fn go_on(&mut self, error: ManagerError) -> Result<(Serial, Assignment), ManagerError> {
        self.held.take_if(|held| held.expires <= Instant::now());
        let Some(held) = &self.held else {
            return Err(error);
        };
        let assignment = held.assignment.clone();
        let pop = &assignment.pop;
        tracing::warn!("{error}; dialling PoP {pop} with the token at hand");
        Ok((self.next_serial(), assignment))
    }

    fn next_serial(&mut self) -> Serial {
        self.serial.0 += 1;
        self.serial
    }
}

/// Whether the manager said nothing at all, or only that something is wrong with itself.
fn is_absence(error: &ManagerError) -> bool {
    match error {
        ManagerError::Unreachable(_) => true,
        ManagerError::Refused { status, .. } => *status >= 500,
        ManagerError::Malformed(_) | ManagerError::NotEnrolled => false,
    }
}
