//! The product from outside: real processes, real curl, real nginx, real sockets on loopback.
//!
//! The binaries of the other packages are taken from beside `titan`, so build the workspace first:
//! `make test` does.

mod apart;
mod bulk;
mod client;
mod departures;
mod enforcement;
mod failures;
mod harness;
mod http;
mod network;
mod origin;
mod reopen;
mod scarcity;
mod shards;
mod tunnels;
mod udp;
mod udp_client;
mod up;
mod usage;
