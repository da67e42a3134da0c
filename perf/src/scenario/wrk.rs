//! wrk against nginx through the HTTP proxy port, and against the manager's API.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;

use super::Bench;
use crate::{
    process::{Process, free_address, until_ok},
    report::{Metric, WHOLE},
    sample::{Cpu, used},
    subject::{Running, Subject},
    via::Via,
};

/// Connections of wrk.
const CONNECTIONS: usize = 32;

/// The PoP's counter of proxy clients.
const ACCEPTED: &str = "titan_pop_clients_total";

/// What the Lua scripts print at the end.
#[derive(Debug, Deserialize)]
struct Summary {
    requests: u64,
    failed: u64,
    microseconds: u64,
}

/// Both measurements, on this project's programs.
///
/// # Errors
/// wrk or nginx is missing, or a program fails.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let stage = bench.stage();
    let nginx = Nginx::start().await?;
    for subject in bench.subjects.clone() {
        let Subject::Titan(_) = &subject else {
            continue;
        };
        let running = subject.start(&stage).await?;
        let measured = both(bench, &running, nginx.address).await;
        running.stop().await;
        measured?;
    }
    nginx.process.stop().await;
    Ok(())
}

async fn both(bench: &mut Bench, running: &Running, nginx: SocketAddr) -> Result<()> {
    let control = running.control().context("no control plane")?;
    let Via::Socks5 { proxy, .. } = &running.route().via else {
        bail!("no proxy")
    };
    let login = format!("{}:{}", control.login.user, control.login.password);
    let env = [
        ("TITAN_PERF_URL", format!("http://{nginx}/")),
        (
            "TITAN_PERF_AUTHORIZATION",
            format!("Basic {}", BASE64.encode(login)),
        ),
    ];
    let pop = control.pop.as_ref().context("the PoP has no admin port")?;
    let before = pop.page().await?.get(ACCEPTED)?;
    let mut through = measure(bench, running, "proxy", &format!("http://{proxy}"), &env).await?;
    let accepted = pop.page().await?.get(ACCEPTED)? - before;
    // One for each of wrk's connections, unless the PoP does not keep them alive.
    let (metric, name) = (Metric::WrkProxyConnections, &running.name);
    bench.report.add(metric, name, WHOLE, accepted);
    bench.say(&format!(
        "{accepted} connections for {CONNECTIONS} of wrk's"
    ));
    through.1.remove("manager");
    use Metric::{WrkApiCpu, WrkApiFailed, WrkApiRate};
    use Metric::{WrkProxyCpu, WrkProxyFailed, WrkProxyRate};
    note(
        bench,
        &running.name,
        [WrkProxyRate, WrkProxyCpu, WrkProxyFailed],
        through,
    );
    let token = format!("Bearer {}", control.admin.token);
    let env = [("TITAN_PERF_AUTHORIZATION", token)];
    let (api, mut cpu) = measure(bench, running, "api", &control.url, &env).await?;
    cpu.retain(|role, _| role == "manager");
    note(
        bench,
        &running.name,
        [WrkApiRate, WrkApiCpu, WrkApiFailed],
        (api, cpu),
    );
    Ok(())
}

async fn measure(
    bench: &Bench,
    running: &Running,
    script: &str,
    url: &str,
    env: &[(&str, String)],
) -> Result<(Summary, Cpu)> {
    let script = format!("{}/wrk/{script}.lua", env!("CARGO_MANIFEST_DIR"));
    let seconds = bench.lengths.wrk.as_secs().max(1);
    let before = running.roles().cpu()?;
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "-s",
            &script,
            url,
        ])
        .envs(env.iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true)
        .output()
        .await
        .context("starting wrk")?;
    let cpu = used(&before, &running.roles().cpu()?);
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("wrk says: {text}"))?;
    Ok((serde_json::from_str(line)?, cpu))
}

fn note(
    bench: &mut Bench,
    name: &str,
    [rate, each, failed]: [Metric; 3],
    (summary, cpu): (Summary, Cpu),
) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (requests, wrong, seconds) = (
        summary.requests as f64,
        summary.failed as f64,
        summary.microseconds as f64 / 1e6,
    );
    bench.report.add(rate, name, WHOLE, requests / seconds);
    bench.report.add(failed, name, WHOLE, wrong);
    let mut line = format!(
        "{}: {:.0}/s, {wrong} failed",
        rate.title(),
        requests / seconds
    );
    for (role, cpu) in cpu {
        let micros = cpu.as_secs_f64() * 1e6 / requests;
        bench.report.add(each, name, &role, micros);
        line += &format!(", {role} {micros:.1} µs");
    }
    bench.say(&line);
}

/// nginx with one worker that answers three bytes.
struct Nginx {
    process: Process,
    address: SocketAddr,
    _files: TempDir,
}

impl Nginx {
    async fn start() -> Result<Self> {
        let (address, files) = (free_address()?, tempfile::tempdir()?);
        let directory = files.path().to_str().context("the path is no UTF-8")?;
        let config = format!(
            "daemon off; worker_processes 1; pid {directory}/pid; error_log stderr error;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n    access_log off; keepalive_requests 1000000;\n\
             client_body_temp_path {directory}; proxy_temp_path {directory};\n\
             fastcgi_temp_path {directory}; uwsgi_temp_path {directory};\n\
             scgi_temp_path {directory};\n\
             server {{ listen {address}; location / {{ return 200 \"ok\\n\"; }} }}\n}}\n"
        );
        let path = files.path().join("nginx.conf");
        std::fs::write(&path, config)?;
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"];
        let program = program.iter().map(Path::new).find(|path| path.is_file());
        let program = program.context("nginx is not installed")?;
        let config = path.to_str().context("the path is no UTF-8")?;
        let args = ["-e", "stderr", "-p", directory, "-c", config];
        let process = Process::start(program, &args, &[], &files.path().join("log"))?;
        until_ok("nginx", || Via::Direct.dial(address, None)).await?;
        Ok(Self {
            process,
            address,
            _files: files,
        })
    }
}
