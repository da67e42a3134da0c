//! Flame graphs of PoP and edge under each kind of load.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::{
    load::{self, Plan, Work},
    subject::{Running, tools},
};

/// Samples a second: no divisor of the timers' frequencies, so that nothing periodic hides.
const FREQUENCY: &str = "997";

/// Sessions of the load.
const SESSIONS: usize = 16;

/// Draws PoP and edge under `work` into `directory` and gives the files.
///
/// # Errors
/// `perf` or inferno is missing, or the load fails.
pub async fn draw(
    running: &Running,
    work: Work,
    duration: Duration,
    directory: &Path,
) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let name = format!("{work:?}").to_lowercase();
    let mut recorders = Vec::new();
    for role in ["pop", "edge"] {
        let data = directory.join(format!("{name}-{role}.data"));
        recorders.push((role, record(running, role, duration, &data)?, data));
    }
    let warm_up = Duration::from_millis(300);
    let plan = Plan {
        work,
        sessions: SESSIONS,
        warm_up,
        duration: duration + warm_up,
    };
    load::run(&plan, running.route(), running.roles()).await?;
    let mut files = Vec::new();
    for (role, mut recorder, data) in recorders {
        let status = recorder.wait().await?;
        ensure!(status.success(), "perf record of the {role}: {status}");
        let file = directory.join(format!("flame-{role}-{name}.svg"));
        fold(&data, &file, &format!("{role} under {name}")).await?;
        std::fs::remove_file(&data)?;
        files.push(file);
    }
    Ok(files)
}

fn record(
    running: &Running,
    role: &str,
    duration: Duration,
    data: &Path,
) -> Result<tokio::process::Child> {
    let pids: Vec<_> = running
        .roles()
        .pids(role)
        .iter()
        .map(u32::to_string)
        .collect();
    if pids.is_empty() {
        bail!("there is no {role}");
    }
    // The events of a virtual machine's counters are not to be had; its clock is.
    Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY])
        .args(["--call-graph", "dwarf,16384", "-p", &pids.join(",")])
        .arg("-o")
        .arg(data)
        .args(["--", "sleep", &duration.as_secs_f64().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting perf (Debian: linux-perf)")
}

/// `perf script | inferno-collapse-perf | inferno-flamegraph`, by files.
async fn fold(data: &Path, svg: &Path, title: &str) -> Result<()> {
    let (script, folded) = (data.with_extension("script"), data.with_extension("folded"));
    // --no-inline: resolving inlined functions takes minutes, and the lines say little more.
    let mut perf = Command::new("perf");
    perf.args(["script", "--no-inline", "-i"]).arg(data);
    write_to(perf, &script).await?;
    let mut collapse = Command::new(tools().join("inferno-collapse-perf"));
    collapse.arg(&script);
    write_to(collapse, &folded).await?;
    let mut draw = Command::new(tools().join("inferno-flamegraph"));
    draw.args(["--title", title]).arg(&folded);
    write_to(draw, svg).await?;
    std::fs::remove_file(script)?;
    std::fs::remove_file(folded)?;
    Ok(())
}

async fn write_to(mut command: Command, path: &Path) -> Result<()> {
    let output = File::create(path)?;
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let done = command
        .stdout(output)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    let status = done.with_context(|| format!("starting {program}; see perf/install.sh"))?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}
