//! What `titan up` says when it is ready.

use std::{io::Write, net::SocketAddr, path::PathBuf};

use serde::Serialize;
use titan_proto::{addr::WHOAMI_HOST, control::NodeId};

use super::network::{DEMO_USER, Network, reachable};

/// The `--json` object.
#[derive(Serialize)]
struct Ready {
    proxy: SocketAddr,
    user: &'static str,
    /// Absent when an operator has changed or removed the user.
    password: Option<String>,
    curl_socks5: String,
    curl_http: String,
    manager: String,
    admin_token_file: PathBuf,
    pop_admin: SocketAddr,
    nodes: Vec<NodeId>,
}

impl Ready {
    fn new(network: &Network) -> Self {
        let proxy = reachable(network.pop.proxy_addr());
        // Without the password the lines still show what to type.
        let password = network.password.as_deref().unwrap_or("PASSWORD");
        let curl = |scheme: &str| {
            format!("curl -x {scheme}://{DEMO_USER}:{password}@{proxy} http://{WHOAMI_HOST}/")
        };
        Self {
            proxy,
            user: DEMO_USER,
            password: network.password.clone(),
            curl_socks5: curl("socks5h"),
            curl_http: curl("http"),
            manager: format!("http://{}", reachable(network.manager)),
            admin_token_file: network.admin_token_file.clone(),
            pop_admin: network.pop.admin_addr(),
            nodes: network.nodes().collect(),
        }
    }
}

/// Prints the addresses, the curl lines and where the secrets lie.
pub(super) fn print(network: &Network, json: bool) -> anyhow::Result<()> {
    let ready = Ready::new(network);
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &ready)?;
        writeln!(out)?;
    } else {
        write_text(&mut out, &ready)?;
    }
    Ok(out.flush()?)
}

fn write_text(out: &mut impl Write, ready: &Ready) -> std::io::Result<()> {
    let edges = ready.nodes.len();
    let password = ready
        .password
        .as_deref()
        .unwrap_or("(changed since the first start)");
    writeln!(
        out,
        "Titan is ready: {edges} edge{}.",
        if edges == 1 { "" } else { "s" }
    )?;
    writeln!(out)?;
    writeln!(out, "  proxy     {} (SOCKS5 and HTTP)", ready.proxy)?;
    writeln!(out, "  user      {}", ready.user)?;
    writeln!(out, "  password  {password}")?;
    writeln!(out, "  manager   {}", ready.manager)?;
    writeln!(out, "  token     in {}", ready.admin_token_file.display())?;
    writeln!(out, "  metrics   http://{}/metrics", ready.pop_admin)?;
    writeln!(out)?;
    writeln!(out, "Try it:")?;
    writeln!(out)?;
    writeln!(out, "  {}", ready.curl_socks5)?;
    writeln!(out, "  {}", ready.curl_http)?;
    writeln!(out)?;
    writeln!(out, "Ctrl-C stops it.")
}
