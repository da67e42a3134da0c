//! The runtime of an edge's thread, with whichever driver the system gives.

use std::{future::Future, io};

use rustix::io::Errno;
use tokio::{runtime, task::LocalSet};

use super::Backend;
use crate::{
    config::IoChoice,
    error::StartError,
    limits::{RING_COMPLETIONS, RING_ENTRIES},
};

/// A single-threaded runtime with timers, tokio's own sockets and, perhaps, a ring.
pub(crate) enum Runtime {
    Uring(tokio_uring::Runtime),
    Epoll(runtime::Runtime, LocalSet),
}

impl Runtime {
    /// Makes the runtime for the current thread.
    ///
    /// # Errors
    ///
    /// io_uring was asked for and is not available, or the process has no descriptors left.
    pub(crate) fn new(choice: IoChoice) -> Result<Self, StartError> {
        match choice {
            IoChoice::Epoll => Self::epoll(),
            IoChoice::Uring => uring()
                .map(Self::Uring)
                .map_err(StartError::UringUnavailable),
            IoChoice::Auto => uring().map(Self::Uring).or_else(|error| {
                tracing::warn!(%error, "io_uring is NOT AVAILABLE here, falling back to epoll");
                Self::epoll()
            }),
        }
    }

    /// Which driver this is.
    pub(crate) fn backend(&self) -> Backend {
        match self {
            Self::Uring(_) => Backend::Uring,
            Self::Epoll(..) => Backend::Epoll,
        }
    }

    /// Runs `future`, and the tasks it spawns on this thread, until it ends.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Self::Uring(runtime) => runtime.block_on(future),
            Self::Epoll(runtime, tasks) => tasks.block_on(runtime, future),
        }
    }

    fn epoll() -> Result<Self, StartError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self::Epoll(
            runtime.map_err(StartError::Runtime)?,
            LocalSet::new(),
        ))
    }
}

/// Makes a ring with cooperative task running, which spares a busy thread the interrupts that tell
/// it of completions. Kernels before 5.19 do not know it and say EINVAL.
fn uring() -> io::Result<tokio_uring::Runtime> {
    match ring(true) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => ring(false),
        result => result,
    }
}

fn ring(cooperative: bool) -> io::Result<tokio_uring::Runtime> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(RING_COMPLETIONS);
    if cooperative {
        ring.setup_coop_taskrun();
    }
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&ring);
    tokio_uring::Runtime::new(&builder)
}
