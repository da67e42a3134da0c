//! What a session's user may do and has done: asked before bytes move, told after they have.

use std::{pin::pin, rc::Rc, sync::Arc};

use titan_proto::reason::Reason;

use super::link::{Broken, client_gone};
use crate::{
    mesh::Report,
    net::{Either, Socket, race},
    tunnel::Core,
    users::{Lane, Member, Metered, Package, Seat},
};

/// A session's place among those of its user.
#[derive(Debug)]
pub(super) struct Meter {
    core: Rc<Core>,
    member: Member,
    /// What is paid for.
    metered: Metered,
}

impl Meter {
    pub(super) fn new(core: &Rc<Core>, seat: Arc<Seat>) -> Self {
        Self {
            core: Rc::clone(core),
            metered: core.meters.hold(&seat.account().record().name),
            member: core.shares.join(seat),
        }
    }

    /// A session has begun.
    pub(super) fn count_session(&self) {
        self.metered.count_session();
    }

    /// Client to target.
    pub(super) fn up(&self) -> &Lane {
        self.member.up()
    }

    /// Target to client.
    pub(super) fn down(&self) -> &Lane {
        self.member.down()
    }

    /// Waits for a turn to read from the client, who may go meanwhile.
    pub(super) async fn turn_up(&self, client: &Socket) -> Result<(), Broken> {
        if self.up().quantum().is_none() {
            return Ok(());
        }
        match race(pin!(self.up().turn()), pin!(client_gone(client))).await {
            Either::First(()) => Ok(()),
            Either::Second(broken) => Err(broken),
        }
    }

    /// Bytes were read from the client and go into the tunnel.
    pub(super) fn moved_up(&self, bytes: usize) {
        self.core.metrics.bytes_up.add(bytes as u64);
        self.metered.count_up(bytes as u64);
        self.tell(self.member.moved(self.up(), bytes));
    }

    /// The client's socket has taken bytes.
    pub(super) fn moved_down(&self, bytes: usize) {
        self.core.metrics.bytes_down.add(bytes as u64);
        self.metered.count_down(bytes as u64);
        self.tell(self.member.moved(self.down(), bytes));
    }

    /// Ends a direction that would go on without waiting for anything: a package is used up at once.
    pub(super) fn check(&self) -> Result<(), Broken> {
        self.member
            .used_up()
            .map_or(Ok(()), |reason| Err(Broken::User(reason)))
    }

    /// Waits until the session must end for what its user may not do any more.
    pub(super) async fn ended(&self) -> Reason {
        self.member.ended().await
    }

    /// The sessions of this shard know already.
    fn tell(&self, package: Package) {
        if package == Package::UsedUp {
            let account = Arc::clone(self.member.account());
            self.core.mesh.report(Report::PackageUsedUp(account));
        }
    }
}
