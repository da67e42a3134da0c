//! Other programs, started by a script each; `perf/peers/README.md` says what a script owes us.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Parts, Stage, Started};
use crate::{
    limits::START_TIMEOUT,
    load::Route,
    process::{free_address, until_ok},
    sample::Roles,
    target::{Endpoints, Service},
    via::Via,
};

/// A program beside which this project is measured.
#[derive(Debug, Clone)]
pub struct Peer {
    name: String,
    script: PathBuf,
    kind: Kind,
}

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One program that connects clients to targets: the least that any proxy must do.
    Relay,
    /// Two sides with a tunnel between them, as PoP and edge.
    Tunnel,
}

/// What a script says on its first line of output.
#[derive(Deserialize)]
struct Announcement {
    roles: HashMap<String, Vec<u32>>,
    via: Via,
    /// Where a relay is called for each service; absent where the targets themselves are asked for.
    endpoints: Option<Endpoints>,
}

impl Peer {
    /// Every peer in `directory`, by name.
    ///
    /// # Errors
    /// The directory cannot be read, or a script does not say its kind.
    pub fn all(directory: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
        let mut peers = Vec::new();
        for entry in entries {
            let script = entry?.path();
            if script
                .extension()
                .is_some_and(|extension| extension == "sh")
            {
                peers.push(Self::at(script)?);
            }
        }
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(peers)
    }

    fn at(script: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&script)?;
        let kind = text
            .lines()
            .find_map(|line| line.strip_prefix("# kind: "))
            .map(str::trim);
        let kind = match kind {
            Some("relay") => Kind::Relay,
            Some("tunnel") => Kind::Tunnel,
            _ => bail!("{} has no line \"# kind: relay|tunnel\"", script.display()),
        };
        let name = script
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self { name, script, kind })
    }

    /// Its name: the script's, without `.sh`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) async fn start(&self, parts: &mut Parts, stage: &Stage) -> Result<Started> {
        let (listen, targets) = (free_address()?, self.targets(parts, stage).await?);
        let dial = match (&stage.link, self.kind) {
            (Some(link), Kind::Tunnel) => parts.delay(link, &[listen]).await?[0],
            _ => listen,
        };
        let mut env = environment(parts, &targets, stage)?;
        env.push(("TITAN_PERF_TUNNEL_LISTEN", listen.to_string()));
        env.push(("TITAN_PERF_TUNNEL_DIAL", dial.to_string()));
        let process = parts.spawn(&self.script, &[], &env)?;
        let line = process.line(START_TIMEOUT).await?;
        process.ignore_output();
        let said: Announcement = serde_json::from_str(&line).context(line)?;
        let mut roles = Roles::default();
        for (role, pids) in &said.roles {
            pids.iter().for_each(|&pid| roles.add(role, pid));
        }
        let route = Route {
            via: said.via,
            endpoints: said.endpoints.unwrap_or(targets),
        };
        let probe = || async { route.via.dial(route.endpoints.echo, None).await };
        until_ok("a connection through it", probe).await?;
        Ok(Started {
            fresh: roles.resident()?,
            roles,
            route,
            control: None,
        })
    }

    /// The targets; behind the link where there is no tunnel for it to stand in.
    async fn targets(&self, parts: &mut Parts, stage: &Stage) -> Result<Endpoints> {
        let (Some(link), Kind::Relay) = (&stage.link, self.kind) else {
            return Ok(stage.endpoints);
        };
        let targets = Service::ALL.map(|service| stage.endpoints.of(service));
        let delayed = parts.delay(link, &targets).await?;
        let delayed: HashMap<_, _> = Service::ALL.into_iter().zip(delayed).collect();
        Endpoints::try_from_fn(|service| Ok(delayed[&service]))
    }
}

fn environment(
    parts: &Parts,
    targets: &Endpoints,
    stage: &Stage,
) -> Result<Vec<(&'static str, String)>> {
    let ports = (0..PORTS)
        .map(|_| free_address())
        .collect::<Result<Vec<SocketAddr>>>()?;
    let ports: Vec<String> = ports
        .iter()
        .map(|address| address.port().to_string())
        .collect();
    Ok(vec![
        ("TITAN_PERF_DIR", parts.path("").display().to_string()),
        ("TITAN_PERF_TOOLS", tools().display().to_string()),
        ("TITAN_PERF_PORTS", ports.join(" ")),
        ("TITAN_PERF_TUNNELS", stage.tunnels.to_string()),
        ("TITAN_PERF_SOURCE", targets.source.to_string()),
        ("TITAN_PERF_SINK", targets.sink.to_string()),
        ("TITAN_PERF_ECHO", targets.echo.to_string()),
        ("TITAN_PERF_ANSWER", targets.answer.to_string()),
    ])
}

/// Where `perf/install.sh` puts what it builds.
pub fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("out/tools/bin")
}

/// Free ports that a script is given.
const PORTS: usize = 8;
