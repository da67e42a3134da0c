//! One core's thread: its listeners, its mailbox, and how it ends.

mod drain;
mod mail;

use std::{
    io,
    os::fd::OwnedFd,
    pin::pin,
    rc::Rc,
    sync::{Arc, mpsc},
    time::Instant,
};

use self::{drain::drain, mail::Mail};
use crate::{
    config::Config,
    directory::ShardId,
    ingress::Ingress,
    limits::ACCEPT_PAUSE,
    mesh::{Mailbox, Mesh, Report},
    metrics::ShardMetrics,
    net::{
        Accepted, Driver, Either, Listener, Notify, race, run as run_core, sleep, sleep_until,
        spawn_guarded,
    },
    tunnel::{self, Core},
    users::{Accounts, LoginKey},
};

/// What a shard starts with.
#[derive(Debug)]
pub struct Setup {
    /// Which shard it is.
    pub id: ShardId,
    /// What it waits with.
    pub driver: Driver,
    /// The settings.
    pub config: Arc<Config>,
    /// The way to the other threads.
    pub mesh: Mesh,
    /// What it receives.
    pub mailbox: Mailbox,
    /// Its counters.
    pub metrics: Arc<ShardMetrics>,
    /// The key of login digests.
    pub login_key: LoginKey,
    /// The users of the whole PoP.
    pub accounts: Arc<Accounts>,
    /// Its listener for proxy clients.
    pub proxy: OwnedFd,
    /// Its listener for edges.
    pub tunnel: OwnedFd,
}

/// Runs a shard on the calling thread until it has drained. Tells `ready` once whether it came up.
pub fn run(setup: Setup, ready: &mpsc::Sender<io::Result<()>>) {
    let _ended = Ended(setup.id, setup.mesh.clone());
    let (driver, stats) = (setup.driver, Arc::clone(&setup.metrics.net));
    let came_up = ready.clone();
    let result = run_core(driver, stats, async move {
        let shard = Shard::start(setup);
        match shard {
            Ok(shard) => {
                let _ = came_up.send(Ok(()));
                shard.run().await;
            }
            Err(error) => {
                let _ = came_up.send(Err(error));
            }
        }
    });
    if let Err(error) = result {
        let _ = ready.send(Err(error));
    }
}

/// Says that a shard has ended, even if by a panic: the control thread waits for all of them.
struct Ended(ShardId, Mesh);

impl Drop for Ended {
    fn drop(&mut self) {
        self.1.report(Report::ShardEnded(self.0));
    }
}

struct Shard {
    core: Rc<Core>,
    mail: Rc<Mail>,
    stop: Rc<[Notify; 2]>,
}

impl Shard {
    fn start(setup: Setup) -> io::Result<Self> {
        let core = Core::new(setup.id, setup.config, setup.mesh, setup.metrics);
        let ingress = Rc::new(Ingress::new(
            Rc::clone(&core),
            setup.login_key,
            setup.accounts,
        ));
        let mail = Rc::new(Mail::new(Rc::clone(&core), Rc::clone(&ingress)));
        let stop = Rc::<[Notify; 2]>::default();
        let proxy = Listener::adopt(setup.proxy)?;
        let edges = Listener::adopt(setup.tunnel)?;
        let mailbox = setup.mailbox.open()?;
        spawn_guarded("mail", Rc::clone(&mail).read(mailbox));
        spawn_guarded("usage", report_usage(Rc::clone(&core)));
        let clients = move |accepted| {
            spawn_guarded("client", Rc::clone(&ingress).serve(accepted));
        };
        spawn_guarded(
            "proxy listener",
            accept(proxy, Rc::clone(&stop), 0, clients),
        );
        let owner = Rc::clone(&core);
        let tunnels = move |accepted| {
            spawn_guarded(
                "tunnel upgrade",
                tunnel::accept(Rc::clone(&owner), accepted),
            );
        };
        spawn_guarded(
            "tunnel listener",
            accept(edges, Rc::clone(&stop), 1, tunnels),
        );
        Ok(Self { core, mail, stop })
    }

    async fn run(self) {
        let deadline = self.mail.drain_ordered().await;
        self.stop.iter().for_each(Notify::notify);
        drain(&self.core, deadline).await;
        // Behind this nothing of the shard runs any more.
        self.core.report_usage();
    }
}

/// Hands over at every beat what has been relayed; a shard that relays nothing sleeps.
async fn report_usage(core: Rc<Core>) {
    loop {
        core.meters.changed().await;
        sleep_until(core.mesh.next_report(Instant::now())).await;
        core.report_usage();
    }
}

/// Accepts until told to stop; then the listener closes, and the kernel gives what connects to
/// those that are left.
async fn accept(
    listener: Listener,
    stop: Rc<[Notify; 2]>,
    which: usize,
    mut take: impl FnMut(Accepted),
) {
    let Some(stop) = stop.get(which) else { return };
    loop {
        let connections = pin!(listener.accept_some(&mut take));
        match race(stop.notified(), connections).await {
            Either::First(()) => return,
            Either::Second(Ok(())) => {}
            Either::Second(Err(error)) => {
                tracing::error!(%error, "a listener is broken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
