//! The quantities that are measured: what each is called, its unit, and which way is better.

use serde::{Deserialize, Serialize};

/// The quantities, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// CPU for bulk data from target to client.
    CpuPerGbDown,
    /// CPU for bulk data from client to target.
    CpuPerGbUp,
    /// CPU for 64 bytes there and back.
    CpuPerEcho,
    /// CPU for a connection with password, one byte each way, and its end.
    CpuPerConnection,
    /// The same by HTTP CONNECT.
    CpuPerHttpConnect,
    /// Peak of resident memory while bulk data moves, less what it was before any load.
    BulkMemory,
    /// Bulk throughput of all sessions, down.
    ThroughputDown,
    /// Bulk throughput of all sessions, up.
    ThroughputUp,
    /// 99th percentile of a small echo.
    EchoP99,
    /// 99th percentile of a connection.
    ConnectionP99,
    /// CPU per GB down of a PoP with two shards, in units of that with one.
    TwoShardsDown,
    /// CPU per GB up of a PoP with two shards, in units of that with one.
    TwoShardsUp,
    /// Clients that changed shards while only bytes moved.
    TwoShardsHandovers,
    /// Resident memory of an idle session.
    MemoryPerSession,
    /// Resident memory of an idle tunnel.
    MemoryPerTunnel,
    /// CPU of idle tunnels with their heartbeats, for 10,000 of them.
    CpuIdleTunnels,
    /// CPU of as many idle tunnels as one process holds, with their heartbeats.
    CpuManyTunnels,
    /// What one session keeps of its throughput beside sessions that are never read.
    StallKept,
    /// By how much memory grew for those.
    StallGrowth,
    /// Resident memory with thousands of sessions that are never read.
    ManyStalledMemory,
    /// Throughput of a new session beside those.
    ManyStalledThroughput,
    /// Connection and first answered byte with a delayed link.
    DelayedFirstByte,
    /// Throughput of one session, down, with a delayed link.
    DelayedDown,
    /// Throughput of one session, up, with a delayed link.
    DelayedUp,
    /// Median of a small echo beside a session that fills a narrow link downwards.
    NarrowEchoDownP50,
    /// 99th percentile of the same.
    NarrowEchoDownP99,
    /// Part of the link that the session keeps that fills it.
    NarrowShareDown,
    /// Median of a small echo beside a session that fills a narrow link upwards.
    NarrowEchoUpP50,
    /// 99th percentile of the same.
    NarrowEchoUpP99,
    /// Part of the link that the session keeps that fills it.
    NarrowShareUp,
    /// Datagrams that came back through SOCKS5 UDP ASSOCIATE.
    UdpReturned,
    /// Datagrams that did not.
    UdpLost,
    /// CPU for a datagram there and back.
    UdpCpu,
    /// Length of the largest datagram that came back, its SOCKS5 header included.
    UdpLargest,
    /// Time until every edge of a storm is back.
    StormTime,
    /// CPU for each edge of a storm.
    StormCpu,
    /// Requests per second of wrk against nginx through the HTTP proxy.
    WrkProxyRate,
    /// CPU for each of them.
    WrkProxyCpu,
    /// Connections that the PoP accepted for all of them.
    WrkProxyConnections,
    /// Requests that failed.
    WrkProxyFailed,
    /// Requests per second of wrk against the manager.
    WrkApiRate,
    /// CPU for each of them.
    WrkApiCpu,
    /// Requests that failed.
    WrkApiFailed,
}

impl Metric {
    /// What it is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::CpuPerGbDown => "CPU per GB down",
            Self::CpuPerGbUp => "CPU per GB up",
            Self::CpuPerEcho => "CPU per 64-byte echo",
            Self::CpuPerConnection => "CPU per new connection",
            Self::CpuPerHttpConnect => "CPU per new connection, HTTP CONNECT",
            Self::BulkMemory => "memory under bulk load",
            Self::ThroughputDown => "bulk throughput down",
            Self::ThroughputUp => "bulk throughput up",
            Self::EchoP99 => "64-byte echo, p99",
            Self::ConnectionP99 => "new connection, p99",
            Self::TwoShardsDown => "CPU per GB down, two shards ÷ one",
            Self::TwoShardsUp => "CPU per GB up, two shards ÷ one",
            Self::TwoShardsHandovers => "clients handed over while bytes move",
            Self::MemoryPerSession => "memory per idle session",
            Self::MemoryPerTunnel => "memory per idle tunnel",
            Self::CpuIdleTunnels => "CPU of 10,000 idle tunnels",
            Self::CpuManyTunnels => "CPU of 19,000 idle tunnels",
            Self::StallKept => "throughput kept beside stalled sessions",
            Self::StallGrowth => "memory grown by stalled sessions",
            Self::ManyStalledMemory => "memory with 5,000 stalled sessions",
            Self::ManyStalledThroughput => "a new session beside 5,000 stalled",
            Self::DelayedFirstByte => "connect and first byte at 50 ms RTT",
            Self::DelayedDown => "one session down at 50 ms RTT",
            Self::DelayedUp => "one session up at 50 ms RTT",
            Self::NarrowEchoDownP50 => "echo beside bulk down at 20 Mbit/s, p50",
            Self::NarrowEchoDownP99 => "echo beside bulk down at 20 Mbit/s, p99",
            Self::NarrowShareDown => "bulk down keeps of 20 Mbit/s",
            Self::NarrowEchoUpP50 => "echo beside bulk up at 20 Mbit/s, p50",
            Self::NarrowEchoUpP99 => "echo beside bulk up at 20 Mbit/s, p99",
            Self::NarrowShareUp => "bulk up keeps of 20 Mbit/s",
            Self::UdpReturned => "datagrams returned of 100,000",
            Self::UdpLost => "datagrams lost",
            Self::UdpCpu => "CPU per echoed datagram",
            Self::UdpLargest => "largest datagram returned, bytes",
            Self::StormTime => "all edges of a storm back within",
            Self::StormCpu => "CPU per reconnecting edge",
            Self::WrkProxyRate => "wrk through the HTTP proxy",
            Self::WrkProxyCpu => "CPU per request through the HTTP proxy",
            Self::WrkProxyConnections => "connections of all those requests",
            Self::WrkProxyFailed => "failed requests through the HTTP proxy",
            Self::WrkApiRate => "wrk against the manager",
            Self::WrkApiCpu => "CPU per request to the manager",
            Self::WrkApiFailed => "failed requests to the manager",
        }
    }

    /// Its unit; empty for counts and ratios.
    pub fn unit(self) -> &'static str {
        match self {
            Self::CpuPerGbDown | Self::CpuPerGbUp => "s/GB",
            Self::CpuPerEcho
            | Self::CpuPerConnection
            | Self::CpuPerHttpConnect
            | Self::EchoP99
            | Self::ConnectionP99
            | Self::UdpCpu
            | Self::StormCpu
            | Self::WrkProxyCpu
            | Self::WrkApiCpu => "µs",
            Self::BulkMemory | Self::StallGrowth | Self::ManyStalledMemory => "MiB",
            Self::ThroughputDown
            | Self::ThroughputUp
            | Self::ManyStalledThroughput
            | Self::DelayedDown
            | Self::DelayedUp => "MB/s",
            Self::TwoShardsDown
            | Self::TwoShardsUp
            | Self::TwoShardsHandovers
            | Self::UdpReturned
            | Self::UdpLost
            | Self::UdpLargest
            | Self::WrkProxyConnections
            | Self::WrkProxyFailed
            | Self::WrkApiFailed => "",
            Self::MemoryPerSession | Self::MemoryPerTunnel => "KiB",
            Self::CpuIdleTunnels
            | Self::CpuManyTunnels
            | Self::StallKept
            | Self::NarrowShareDown
            | Self::NarrowShareUp => "%",
            Self::DelayedFirstByte
            | Self::NarrowEchoDownP50
            | Self::NarrowEchoDownP99
            | Self::NarrowEchoUpP50
            | Self::NarrowEchoUpP99 => "ms",
            Self::StormTime => "s",
            Self::WrkProxyRate | Self::WrkApiRate => "1/s",
        }
    }

    /// Whether it is a number of things, which has no decimals.
    pub fn is_count(self) -> bool {
        self.unit().is_empty() && !matches!(self, Self::TwoShardsDown | Self::TwoShardsUp)
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::ThroughputDown
                | Self::ThroughputUp
                | Self::StallKept
                | Self::ManyStalledThroughput
                | Self::DelayedDown
                | Self::DelayedUp
                | Self::NarrowShareDown
                | Self::NarrowShareUp
                | Self::UdpReturned
                | Self::UdpLargest
                | Self::WrkProxyRate
                | Self::WrkApiRate
        )
    }
}
