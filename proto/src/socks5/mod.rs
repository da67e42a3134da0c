//! SOCKS5 (RFC 1928) with user name and password (RFC 1929), both sides.

mod reply;

pub use reply::Reply;
