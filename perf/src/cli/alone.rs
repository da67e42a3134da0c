//! Parts that work alone, against processes that run already.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use crate::{
    delay::{self, Link},
    hold::{self, Unit},
    load::{self, Plan, Route, Work},
    narrow::{self, Direction},
    sample::Roles,
    scenario::seconds,
    stall, storm,
    target::{self, Endpoints},
    udp,
    via::{Login, Via},
};

#[derive(Args)]
pub(super) struct TargetArgs {
    /// Address to serve on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// First of five ports, in the order source, sink, echo, answer, and the echo of datagrams;
    /// without it, free ones
    #[arg(long)]
    port: Option<u16>,
    /// Bytes of the send buffer of each connection; without it, as the kernel sees fit
    #[arg(long)]
    send_buffer: Option<u32>,
}

/// Where load goes.
#[derive(Args)]
struct RouteArgs {
    /// Go through this SOCKS5 proxy
    #[arg(long, value_name = "ADDR", conflicts_with = "connect")]
    socks5: Option<SocketAddr>,
    /// Go through this proxy by HTTP CONNECT
    #[arg(long, value_name = "ADDR")]
    connect: Option<SocketAddr>,
    /// Log in with this
    #[arg(long, value_name = "USER:PASSWORD")]
    login: Option<Login>,
    /// What `titan-perf target` has printed
    #[arg(long, value_name = "JSON", value_parser = endpoints)]
    target: Endpoints,
    /// Processes to charge
    #[arg(long, value_name = "ROLE=PID,…", default_value = "")]
    watch: Roles,
}

#[derive(Args)]
pub(super) struct LoadArgs {
    /// What the clients do
    work: Work,
    #[command(flatten)]
    route: RouteArgs,
    /// Clients at a time
    #[arg(long, default_value_t = 16)]
    sessions: usize,
    /// Time of the measurement
    #[arg(long = "seconds", value_parser = seconds, default_value = "5")]
    duration: Duration,
    /// Load before the measurement
    #[arg(long = "warm-up-seconds", value_parser = seconds, default_value = "0.5")]
    warm_up: Duration,
}

#[derive(Args)]
pub(super) struct IdleArgs {
    #[command(subcommand)]
    unit: IdleUnit,
}

#[derive(Subcommand)]
enum IdleUnit {
    /// Sessions to the echo service
    Sessions {
        #[command(flatten)]
        route: Box<RouteArgs>,
        #[command(flatten)]
        idle: IdleLengths,
    },
    /// Tunnels of simulated edges
    Tunnels {
        #[command(flatten)]
        control: ControlArgs,
        /// Processes to charge
        #[arg(long, value_name = "ROLE=PID,…", default_value = "")]
        watch: Roles,
        #[command(flatten)]
        idle: IdleLengths,
    },
}

#[derive(Args)]
struct IdleLengths {
    /// How many
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// How many while the CPU clocks are watched; as many as before without it
    #[arg(long)]
    watched: Option<usize>,
    /// Time for which they are held and the CPU clocks are watched
    #[arg(long = "seconds", value_parser = seconds, default_value = "15")]
    duration: Duration,
}

/// A manager, and the right to enrol edges there.
#[derive(Args)]
struct ControlArgs {
    /// URL of the manager
    #[arg(long, value_name = "URL")]
    manager: String,
    /// Key that the edges enrol with
    #[arg(long, value_name = "KEY")]
    enrolment_key: String,
}

#[derive(Args)]
pub(super) struct StallArgs {
    #[command(flatten)]
    route: RouteArgs,
    /// Sessions that are never read
    #[arg(long, default_value_t = 50)]
    stalled: usize,
    /// Time of each of three measurements
    #[arg(long = "seconds", value_parser = seconds, default_value = "3")]
    duration: Duration,
    /// Measure what thousands leave: their memory, and what a new session gets through. The target
    /// needs --send-buffer then, or the kernel's memory for TCP runs out
    #[arg(long)]
    many: bool,
    /// Source of that new session, if it is another one
    #[arg(long)]
    source: Option<SocketAddr>,
}

#[derive(Args)]
pub(super) struct NarrowArgs {
    /// Which way the bulk data goes
    direction: Direction,
    #[command(flatten)]
    route: RouteArgs,
    /// Megabits per second of the link, for the share that is kept
    #[arg(long, default_value_t = 20.0)]
    rate_mbit: f64,
    /// Load before the measurement
    #[arg(long = "warm-up-seconds", value_parser = seconds, default_value = "1")]
    warm_up: Duration,
    /// Time of the measurement
    #[arg(long = "seconds", value_parser = seconds, default_value = "6")]
    duration: Duration,
}

#[derive(Args)]
pub(super) struct UdpArgs {
    #[command(flatten)]
    route: RouteArgs,
    #[command(flatten)]
    plan: udp::Plan,
}

#[derive(Args)]
pub(super) struct StormArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// How many
    #[arg(long, default_value_t = 1_000)]
    edges: usize,
    /// Processes to charge
    #[arg(long, value_name = "ROLE=PID,…", default_value = "")]
    watch: Roles,
}

#[derive(Args)]
pub(super) struct HoldSessionsArgs {
    #[arg(long)]
    first: usize,
    #[arg(long)]
    count: usize,
    #[arg(long)]
    route: String,
}

#[derive(Args)]
pub(super) struct HoldTunnelsArgs {
    #[arg(long)]
    first: usize,
    #[arg(long)]
    count: usize,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Args)]
pub(super) struct DelayArgs {
    /// Address to listen on. Given several times, the connections of all share the link
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    /// Address to relay to, one for each that is listened on
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    #[command(flatten)]
    link: Link,
}

impl TargetArgs {
    pub(super) async fn run(self) -> Result<()> {
        let endpoints = target::start(self.listen, self.port, self.send_buffer)?;
        println!("{}", serde_json::to_string(&endpoints)?);
        std::future::pending().await
    }
}

impl IdleArgs {
    pub(super) async fn run(self) -> Result<()> {
        self.unit.run().await
    }
}

impl StallArgs {
    pub(super) async fn run(self) -> Result<()> {
        let (route, watch, count) = (self.route.route(), &self.route.watch, self.stalled);
        if self.many {
            let source = self.source.unwrap_or(route.endpoints.source);
            let duration = self.duration;
            return print(&stall::many(&route, watch, count, source, duration).await?);
        }
        print(&stall::measure(&route, watch, count, self.duration).await?)
    }
}

impl NarrowArgs {
    pub(super) async fn run(self) -> Result<()> {
        let route = self.route.route();
        let found = narrow::measure(&route, self.direction, self.warm_up, self.duration).await?;
        print(&serde_json::json!({
            "echo": found.echo,
            "bulk_bytes_per_second": found.bulk,
            "share_of_link": found.share(self.rate_mbit),
        }))
    }
}

impl UdpArgs {
    pub(super) async fn run(self) -> Result<()> {
        let Self { route, plan } = self;
        let proxy = route.socks5.context("datagrams need --socks5")?;
        let target = route.target.datagrams.context("no echo of datagrams")?;
        print(&udp::measure(proxy, route.login.as_ref(), target, &plan, &route.watch).await?)
    }
}

impl StormArgs {
    pub(super) async fn run(self) -> Result<()> {
        let (url, key) = (&self.control.manager, &self.control.enrolment_key);
        print(&storm::run(url, key, self.edges, &self.watch).await?)
    }
}

impl DelayArgs {
    pub(super) async fn run(self) -> Result<()> {
        let (listen, to) = (self.listen.len(), self.to.len());
        ensure!(listen == to, "{listen} --listen, but {to} --to");
        let pairs: Vec<_> = self.listen.into_iter().zip(self.to).collect();
        println!("{pairs:?}");
        delay::serve(&pairs, self.link).await
    }
}

impl HoldSessionsArgs {
    pub(super) async fn run(self) -> Result<()> {
        hold::sessions(&serde_json::from_str(&self.route)?, self.first, self.count).await
    }
}

impl HoldTunnelsArgs {
    pub(super) async fn run(self) -> Result<()> {
        let (url, key) = (&self.control.manager, &self.control.enrolment_key);
        hold::tunnels(url, key, self.first, self.count).await
    }
}

impl RouteArgs {
    fn route(&self) -> Route {
        let login = self.login.clone();
        let via = match (self.socks5, self.connect) {
            (Some(proxy), _) => Via::Socks5 { proxy, login },
            (_, Some(proxy)) => Via::Connect { proxy, login },
            _ => Via::Direct,
        };
        Route {
            via,
            endpoints: self.target,
        }
    }
}

impl IdleUnit {
    async fn run(self) -> Result<()> {
        let (unit, watch, idle) = match self {
            Self::Sessions { route, idle } => (Unit::Session(route.route()), route.watch, idle),
            Self::Tunnels {
                control,
                watch,
                idle,
            } => {
                let ControlArgs {
                    manager: manager_url,
                    enrolment_key,
                } = control;
                (
                    Unit::Tunnel {
                        manager_url,
                        enrolment_key,
                    },
                    watch,
                    idle,
                )
            }
        };
        let plan = hold::Plan {
            count: idle.count,
            watched: idle.watched.unwrap_or(idle.count),
            duration: idle.duration,
        };
        print(&hold::measure(&unit, plan, &watch).await?)
    }
}

impl LoadArgs {
    pub(super) async fn run(self) -> Result<()> {
        let Self {
            work,
            sessions,
            duration,
            warm_up,
            ..
        } = self;
        let plan = Plan {
            work,
            sessions,
            warm_up,
            duration,
        };
        let outcome = load::run(&plan, &self.route.route(), &self.route.watch).await?;
        let cpu = |role: &String| Some((role.clone(), outcome.cpu_per_unit(role)?));
        let cpu: std::collections::BTreeMap<_, _> = outcome.cpu.keys().filter_map(cpu).collect();
        let found = serde_json::json!({
            "work": work,
            "sessions": sessions,
            "units": outcome.units,
            "failures": outcome.failures,
            "seconds": outcome.elapsed.as_secs_f64(),
            "units_per_second": outcome.rate(),
            "cpu_seconds_per_unit": cpu,
            "latency": outcome.latency,
        });
        print(&found)
    }
}

fn print(found: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(found)?);
    Ok(())
}

fn endpoints(text: &str) -> Result<Endpoints, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
