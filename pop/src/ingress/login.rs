//! Who a client is: from the shard's memory where it knows, else from the control thread.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use titan_proto::{
    control::{ReplyMode, UserName, UserRecord},
    credentials::Credentials,
    reason::Reason,
    username::{self, ParamError, Params},
};

use crate::{
    limits::PENDING_LOGINS,
    mesh::{LoginRequest, Report, Ticket},
    metrics::{ClientClose, LoginOutcome},
    net::Notify,
    tunnel::Core,
    users::{Accounts, Cache, LoginAnswer, LoginDigest, LoginKey, Lookup, Moment, Seat},
};

/// A client that is let in.
#[derive(Debug)]
pub(super) struct Login {
    /// The user's base name.
    pub(super) user: UserName,
    /// The client's place among the user's connections.
    pub(super) seat: Arc<Seat>,
    /// When the client is told that it is connected.
    pub(super) reply_mode: ReplyMode,
}

/// Why a client is not let in.
#[derive(Debug)]
pub(super) enum Denied {
    /// It did not say who it is.
    NoCredentials,
    /// User name or password is wrong.
    Credentials,
    /// The user may not connect at this time, from there, or once more.
    NotNow(Reason),
    /// The user name asks for something that does not exist.
    Parameter(ParamError),
    /// Nobody could say, or what the client relays could not be counted.
    Unavailable,
}

impl Denied {
    /// What to count the closed connection as.
    pub(super) fn close(&self) -> ClientClose {
        match self {
            Self::Parameter(_) => ClientClose::UserParameter,
            _ => ClientClose::LoginRefused,
        }
    }

    fn outcome(&self) -> LoginOutcome {
        match self {
            Self::NotNow(reason) => match reason {
                Reason::UserDisabled => LoginOutcome::Disabled,
                Reason::PackageExpired => LoginOutcome::PackageExpired,
                Reason::PackageNotStarted => LoginOutcome::PackageNotStarted,
                Reason::QuotaExhausted => LoginOutcome::QuotaExhausted,
                Reason::ClientAddressDenied => LoginOutcome::ClientAddressDenied,
                Reason::TooManyConnections => LoginOutcome::TooManyConnections,
                _ => LoginOutcome::Refused,
            },
            Self::NoCredentials | Self::Credentials | Self::Parameter(_) => LoginOutcome::Refused,
            Self::Unavailable => LoginOutcome::Unavailable,
        }
    }
}

/// Where a login comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    /// The client's address.
    pub(super) client: IpAddr,
    /// The seat of its last login, if it had one on the same connection.
    pub(super) seat: Option<&'a Arc<Seat>>,
}

/// The logins of one shard.
#[derive(Debug)]
pub(super) struct Logins {
    core: Rc<Core>,
    key: LoginKey,
    accounts: Arc<Accounts>,
    pub(super) cache: RefCell<Cache>,
    /// Questions under way. Clients that ask the same wait for one answer.
    asked: RefCell<HashMap<LoginDigest, Rc<Question>>>,
    tickets: RefCell<HashMap<Ticket, LoginDigest>>,
    last_ticket: Cell<u64>,
    waiting: Cell<usize>,
}

impl Logins {
    pub(super) fn new(core: Rc<Core>, key: LoginKey, accounts: Arc<Accounts>) -> Self {
        Self {
            core,
            key,
            accounts,
            cache: RefCell::default(),
            asked: RefCell::default(),
            tickets: RefCell::default(),
            last_ticket: Cell::new(0),
            waiting: Cell::new(0),
        }
    }

    /// Lets a client in or says why not.
    pub(super) async fn check(
        &self,
        credentials: &Credentials,
        origin: Origin<'_>,
    ) -> Result<Login, Denied> {
        let result = self.decide(credentials, origin).await;
        self.core.metrics.logins.inc(match &result {
            Ok(_) => LoginOutcome::Accepted,
            Err(denied) => denied.outcome(),
        });
        result
    }

    /// Takes in the control thread's answer and lets everybody go on who waits for it.
    pub(super) fn answered(&self, ticket: Ticket, answer: &LoginAnswer) {
        let Some(digest) = self.tickets.borrow_mut().remove(&ticket) else {
            return;
        };
        let Some(question) = self.asked.borrow_mut().remove(&digest) else {
            return;
        };
        self.cache
            .borrow_mut()
            .learn(&question.name, digest, answer, Instant::now());
        question.answer.replace(Some(answer.clone()));
        question
            .waiters
            .borrow()
            .iter()
            .for_each(|waiter| waiter.notify());
    }

    async fn decide(&self, credentials: &Credentials, origin: Origin<'_>) -> Result<Login, Denied> {
        if !self.core.is_metering.get() {
            return Err(Denied::Unavailable);
        }
        let (name, params) = username::parse(&credentials.username).map_err(Denied::Parameter)?;
        let digest = self.key.digest(&name, &credentials.password);
        let known = self
            .cache
            .borrow_mut()
            .look_up(&name, &digest, Instant::now());
        match known {
            Lookup::Known { record, refresh } => {
                if refresh {
                    self.core.mesh.report(Report::RefreshUser(name));
                }
                self.admit(&record, params, origin)
            }
            Lookup::Refused => Err(Denied::Credentials),
            Lookup::Ask(last_known) => {
                match (
                    self.ask(name, digest, &credentials.password).await,
                    last_known,
                ) {
                    (LoginAnswer::Verified(record), _) => self.admit(&record, params, origin),
                    // The manager is away: who was known goes on.
                    (LoginAnswer::Unavailable, Some(record)) => self.admit(&record, params, origin),
                    (LoginAnswer::Unavailable, None) => Err(Denied::Unavailable),
                    _ => Err(Denied::Credentials),
                }
            }
        }
    }

    fn admit(
        &self,
        record: &Arc<UserRecord>,
        params: Params,
        origin: Origin<'_>,
    ) -> Result<Login, Denied> {
        let seat = match origin.seat.filter(|seat| seat.serves(record)) {
            Some(seat) => Arc::clone(seat),
            None => self.seat(record, origin.client)?,
        };
        // What the connection asks for goes before what the user has set, and that before what
        // the operator has.
        let reply_mode = params
            .reply_mode
            .or(record.reply_mode)
            .unwrap_or(self.core.config.reply_mode);
        Ok(Login {
            user: record.name.clone(),
            seat,
            reply_mode,
        })
    }

    fn seat(&self, record: &Arc<UserRecord>, client: IpAddr) -> Result<Arc<Seat>, Denied> {
        let admitted = self.accounts.admit(record, client, Moment::now());
        admitted.map_err(|reason| match reason {
            Reason::AuthenticationFailed => Denied::Credentials,
            reason => Denied::NotNow(reason),
        })
    }

    /// Asks the control thread, or waits with those who have asked the same.
    async fn ask(&self, name: UserName, digest: LoginDigest, password: &str) -> LoginAnswer {
        let Some(_place) = Place::take(&self.waiting) else {
            return LoginAnswer::Unavailable;
        };
        let question = self.question(name, digest, password);
        let waiter = Rc::<Notify>::default();
        question.waiters.borrow_mut().push(Rc::clone(&waiter));
        loop {
            if let Some(answer) = &*question.answer.borrow() {
                return answer.clone();
            }
            waiter.notified().await;
        }
    }

    fn question(&self, name: UserName, digest: LoginDigest, password: &str) -> Rc<Question> {
        if let Some(question) = self.asked.borrow().get(&digest) {
            return Rc::clone(question);
        }
        let ticket = Ticket(self.last_ticket.get() + 1);
        self.last_ticket.set(ticket.0);
        let question = Rc::new(Question::new(name.clone()));
        self.asked.borrow_mut().insert(digest, Rc::clone(&question));
        self.tickets.borrow_mut().insert(ticket, digest);
        let (shard, password) = (self.core.shard, password.to_owned());
        self.core.mesh.report(Report::Login(LoginRequest {
            shard,
            ticket,
            name,
            password,
        }));
        question
    }
}

/// A question to the control thread.
#[derive(Debug)]
struct Question {
    name: UserName,
    answer: RefCell<Option<LoginAnswer>>,
    waiters: RefCell<Vec<Rc<Notify>>>,
}

impl Question {
    fn new(name: UserName) -> Self {
        Self {
            name,
            answer: RefCell::default(),
            waiters: RefCell::default(),
        }
    }
}

/// One of a bounded number of places in the waiting room.
struct Place<'a>(&'a Cell<usize>);

impl<'a> Place<'a> {
    fn take(waiting: &'a Cell<usize>) -> Option<Self> {
        (waiting.get() < PENDING_LOGINS).then(|| {
            waiting.set(waiting.get() + 1);
            Self(waiting)
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
