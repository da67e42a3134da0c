//! From names to addresses, with the system's own resolver: `/etc/hosts`, search rules and name
//! services work as they do for every other program of the machine.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    sync::Arc,
};

use titan_proto::{
    addr::{Host, HostName, Target},
    reason::Reason,
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{
    limits::{MAX_LOOKUPS, RESOLVE_TIMEOUT},
    net,
};

/// Resolves names, [`MAX_LOOKUPS`] at a time.
pub(crate) struct Resolver {
    slots: Arc<Semaphore>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }

    /// The addresses of a target, at least one.
    ///
    /// # Errors
    ///
    /// [`Reason::NameNotFound`], or [`Reason::NameTimedOut`] where the resolver gave no answer.
    pub(crate) async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, Reason> {
        match &target.host {
            Host::V4(ip) => Ok(vec![(*ip, target.port).into()]),
            Host::V6(ip) => Ok(vec![(*ip, target.port).into()]),
            Host::Name(name) if is_invalid(name) => Err(Reason::NameNotFound),
            Host::Name(name) => timeout(RESOLVE_TIMEOUT, self.look_up(name, target.port))
                .await
                .unwrap_or(Err(Reason::NameTimedOut)),
        }
    }

    /// Runs one lookup in the blocking pool. The lookup keeps its slot until it really ends: one
    /// that nobody waits for any more still occupies a thread.
    async fn look_up(&self, name: &HostName, port: u16) -> Result<Vec<SocketAddr>, Reason> {
        let slot = self.slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_| Reason::GeneralFailure)?;
        let name = name.as_str().to_owned();
        let lookup = spawn_blocking(move || {
            let found = (name.as_str(), port).to_socket_addrs();
            drop(slot);
            found.map_err(|error| shortage().unwrap_or(error))
        });
        let found = lookup.await.map_err(|_| Reason::GeneralFailure)?;
        let addresses: Vec<_> = found.map_err(|error| failure(&error))?.collect();
        if addresses.is_empty() {
            Err(Reason::NameNotFound)
        } else {
            Ok(addresses)
        }
    }
}

/// RFC 6761 §6.4: names in `invalid` never exist, and resolvers should say so without asking.
fn is_invalid(name: &HostName) -> bool {
    let name = name.as_str();
    name == "invalid" || name.ends_with(".invalid")
}

/// Whether this process has run out of descriptors. The system's resolver, which needs some for its files
/// and its questions, says then that there is no such name.
fn shortage() -> Option<io::Error> {
    let error = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).err()?;
    (net::reason(&error) == Reason::TooManySessions).then_some(error)
}

/// The standard library gives `getaddrinfo`'s code only as text. "Try again" means that no server
/// answered, which another edge may do better at; everything else means that there is no address.
///
/// A resolver that could not even open a file or a socket says nothing about the name.
fn failure(error: &io::Error) -> Reason {
    if error.raw_os_error().is_some() {
        return net::reason(error);
    }
    let text = error.to_string();
    let unanswered = TRY_AGAIN.iter().any(|message| text.contains(message));
    if unanswered {
        Reason::NameTimedOut
    } else {
        Reason::NameNotFound
    }
}

/// `EAI_AGAIN` in the words of glibc and of musl.
const TRY_AGAIN: [&str; 2] = ["Temporary failure in name resolution", "Try again"];

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(authority: &str) -> Result<Vec<SocketAddr>, Reason> {
        let target = Target::parse_authority(authority.as_bytes()).unwrap();
        Resolver::new().resolve(&target).await
    }

    #[tokio::test]
    async fn addresses_need_no_lookup() {
        assert_eq!(
            resolve("192.0.2.1:80").await,
            Ok(vec!["192.0.2.1:80".parse().unwrap()])
        );
        assert_eq!(
            resolve("[::1]:80").await,
            Ok(vec!["[::1]:80".parse().unwrap()])
        );
    }

    #[tokio::test]
    async fn the_hosts_file_counts() {
        let found = resolve("localhost:80").await.unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 80)
        );
    }

    #[tokio::test]
    async fn invalid_names_do_not_exist() {
        assert_eq!(resolve("name.invalid:80").await, Err(Reason::NameNotFound));
    }

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_keeps_its_slot() {
        let resolver = Resolver::new();
        let all = resolver
            .slots
            .acquire_many(u32::try_from(MAX_LOOKUPS).unwrap())
            .await
            .unwrap();
        let target = Target::parse_authority(b"localhost:80").unwrap();
        tokio::time::pause();
        assert_eq!(resolver.resolve(&target).await, Err(Reason::NameTimedOut));
        drop(all);
        tokio::time::resume();
        assert!(resolver.resolve(&target).await.is_ok());
    }

    #[test]
    fn an_unanswered_question_is_not_an_unknown_name() {
        let again = io::Error::other("failed to lookup address information: Try again");
        assert_eq!(failure(&again), Reason::NameTimedOut);
        let unknown =
            io::Error::other("failed to lookup address information: Name does not resolve");
        assert_eq!(failure(&unknown), Reason::NameNotFound);
    }
}
