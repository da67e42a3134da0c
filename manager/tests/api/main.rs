//! The manager from outside: a real server on a loopback port with a real store.

mod blocks;
mod docs;
mod document;
mod edges;
mod events;
mod harness;
mod idempotency;
mod lists;
mod operators;
mod packages;
mod persistence;
mod pops;
mod protocol;
mod tokens;
mod usage;
mod users;
