//! The manager from outside: a real server on a loopback port with a real store.

mod document;
mod edges;
mod events;
mod harness;
mod operators;
mod persistence;
mod pops;
mod protocol;
mod users;
