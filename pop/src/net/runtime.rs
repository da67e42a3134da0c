//! Which driver a core waits with, found out once before any core starts.
//!
//! Flags measured on a plain relay (ARCHITECTURE.md, "Living with monoio"): COOP_TASKRUN saves an eighth of the CPU against
//! no flags; SINGLE_ISSUER adds nothing; DEFER_TASKRUN makes it worse with this runtime.

use std::{future::Future, io, sync::Arc};

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::io::Errno;

use super::{
    task::{Stats, set_stats},
    timer,
};
use crate::{config::IoChoice, error::StartError};

/// What a core waits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring that interrupts a running task only where it enters the kernel anyway (5.19+).
    CooperativeRing,
    /// io_uring without flags.
    PlainRing,
    /// epoll.
    Epoll,
}

/// Finds the best driver that `choice` and the kernel allow, trying each for real.
///
/// # Errors
/// [`StartError::IoUring`] when `choice` insists on io_uring and the kernel refuses it.
pub fn probe(choice: IoChoice) -> Result<Driver, StartError> {
    if choice == IoChoice::Epoll {
        return Ok(Driver::Epoll);
    }
    match (ring(), choice) {
        (Ok(driver), _) => Ok(driver),
        (Err(error), IoChoice::Uring) => Err(StartError::IoUring(error)),
        (Err(error), _) => {
            tracing::warn!(
                %error,
                "io_uring is NOT AVAILABLE, using epoll: small exchanges cost up to half more CPU. \
                 Containers and kernel.io_uring_disabled forbid it; a locked-memory limit below \
                 1 MiB does on kernels before 5.12"
            );
            Ok(Driver::Epoll)
        }
    }
}

/// Runs `future` and what it spawns on the calling thread until `future` is done.
///
/// # Errors
/// When the kernel refuses a ring, an epoll instance or a timer.
pub fn run<F: Future>(driver: Driver, stats: Arc<Stats>, future: F) -> io::Result<F::Output> {
    set_stats(stats);
    let future = async {
        timer::start()?;
        let output = future.await;
        timer::stop();
        Ok(output)
    };
    match driver {
        Driver::CooperativeRing => cooperative().build()?.block_on(future),
        Driver::PlainRing => RuntimeBuilder::<IoUringDriver>::new()
            .build()?
            .block_on(future),
        Driver::Epoll => RuntimeBuilder::<LegacyDriver>::new()
            .build()?
            .block_on(future),
    }
}

fn ring() -> io::Result<Driver> {
    match cooperative().build() {
        Ok(_) => Ok(Driver::CooperativeRing),
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            RuntimeBuilder::<IoUringDriver>::new()
                .build()
                .map(|_| Driver::PlainRing)
        }
        Err(error) => Err(error),
    }
}

fn cooperative() -> RuntimeBuilder<IoUringDriver> {
    let mut ring = io_uring::IoUring::builder();
    ring.setup_coop_taskrun();
    RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring)
}
