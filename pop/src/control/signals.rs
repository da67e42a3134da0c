//! SIGTERM and SIGINT: the first drains, the second ends the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::mesh::{Mesh, Report};

/// Watches from now on.
pub(super) fn watch(mesh: Mesh) {
    match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => {
            tokio::spawn(act(terminate, interrupt, mesh));
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals cannot be watched; they end the process at once");
        }
    }
}

async fn act(mut terminate: Signal, mut interrupt: Signal, mesh: Mesh) {
    either(&mut terminate, &mut interrupt).await;
    mesh.report(Report::Drain);
    either(&mut terminate, &mut interrupt).await;
    tracing::warn!("second signal: ending at once");
    std::process::exit(EXIT_IMPATIENT);
}

async fn either(first: &mut Signal, second: &mut Signal) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

/// As a shell reports a process that SIGINT ended.
const EXIT_IMPATIENT: i32 = 130;
