//! The names that an association's datagrams go to: one look-up for a stream of them.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use titan_proto::{
    addr::{Host, HostName, Target},
    reason::Reason,
};
use tokio::{task::JoinSet, time::Instant};

use super::Egress;
use crate::{
    limits::{
        ASSOCIATION_LOOKUPS, ASSOCIATION_NAMES, DATAGRAMS_AWAITING_NAME, NAME_FRESH,
        NAME_MISSING_FRESH,
    },
    metrics::DatagramDrop,
};

/// What is known of names, bounded.
///
/// ```text
///   [unknown] ──way()──▶ [Pending: datagrams wait] ──learn()──▶ [Known] ──too old, or no room──▶ [unknown]
/// ```
#[derive(Default)]
pub(super) struct Names {
    entries: HashMap<HostName, Entry>,
    lookups: JoinSet<Found>,
}

enum Entry {
    /// A look-up runs; these wait for it, each with its port.
    Pending(VecDeque<(u16, Bytes)>),
    /// Its answer, and how long it is believed.
    Known(Result<IpAddr, DatagramDrop>, Instant),
}

/// Where a datagram goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// There, now.
    To(IpAddr),
    /// It waits for its target's address.
    Later,
    /// It is dropped.
    Nowhere(DatagramDrop),
}

/// The end of a look-up.
pub(super) struct Found {
    pub(super) name: HostName,
    pub(super) addresses: Result<Vec<SocketAddr>, Reason>,
}

impl Names {
    /// Where a datagram to that port of `name` goes; where that is not known, it is asked for.
    pub(super) fn way(
        &mut self,
        name: HostName,
        port: u16,
        data: &Bytes,
        egress: &Rc<Egress>,
    ) -> Way {
        match self.entries.get_mut(&name) {
            Some(Entry::Pending(waiting)) if waiting.len() < DATAGRAMS_AWAITING_NAME => {
                // A copy: what waits must not pin the buffer it came in.
                waiting.push_back((port, Bytes::copy_from_slice(data)));
                return Way::Later;
            }
            Some(Entry::Pending(_)) => return Way::Nowhere(DatagramDrop::AwaitingName),
            Some(Entry::Known(answer, until)) if Instant::now() < *until => {
                return answer.map_or_else(Way::Nowhere, Way::To);
            }
            Some(Entry::Known(..)) | None => {}
        }
        if self.lookups.len() >= ASSOCIATION_LOOKUPS || !self.make_room(&name) {
            return Way::Nowhere(DatagramDrop::AwaitingName);
        }
        let egress = Rc::clone(egress);
        let target = Target::new(Host::Name(name.clone()), port);
        let asked = name.clone();
        self.lookups.spawn_local(async move {
            let addresses = egress.resolver.resolve(&target).await;
            Found {
                name: asked,
                addresses,
            }
        });
        let first = (port, Bytes::copy_from_slice(data));
        self.entries.insert(name, Entry::Pending([first].into()));
        Way::Later
    }

    /// Waits for the end of a look-up.
    pub(super) async fn found(&mut self) -> Found {
        loop {
            match self.lookups.join_next().await {
                Some(Ok(found)) => return found,
                // It panicked, which the resolver's own errors leave no reason for. Its name stays
                // pending, and its datagrams are lost.
                Some(Err(error)) => tracing::error!(%error, "a look-up failed"),
                None => pending().await,
            }
        }
    }

    /// Keeps the answer to a look-up and gives what waited for it, in order.
    pub(super) fn learn(
        &mut self,
        name: HostName,
        answer: Result<IpAddr, DatagramDrop>,
    ) -> VecDeque<(u16, Bytes)> {
        let fresh: Duration = match answer {
            Ok(_) => NAME_FRESH,
            Err(_) => NAME_MISSING_FRESH,
        };
        let known = Entry::Known(answer, Instant::now() + fresh);
        match self.entries.insert(name, known) {
            Some(Entry::Pending(waiting)) => waiting,
            Some(Entry::Known(..)) | None => VecDeque::new(),
        }
    }

    /// Makes room for `name`, at the cost of the oldest answer; `false` where every name is pending.
    fn make_room(&mut self, name: &HostName) -> bool {
        if self.entries.len() < ASSOCIATION_NAMES || self.entries.contains_key(name) {
            return true;
        }
        let oldest = self
            .entries
            .iter()
            .filter_map(|(name, entry)| match entry {
                Entry::Known(_, until) => Some((*until, name.clone())),
                Entry::Pending(_) => None,
            })
            .min();
        oldest.is_some_and(|(_, name)| self.entries.remove(&name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, sync::Arc};

    use tokio::task::LocalSet;

    use super::*;
    use crate::{metrics::Metrics, net::Backend, policy::Policy, resolve::Resolver};

    fn egress() -> Rc<Egress> {
        Rc::new(Egress {
            backend: Backend::Epoll,
            policy: Policy::new(true),
            resolver: Resolver::new(),
            metrics: Arc::new(Metrics::default()),
            datagram_buffer: RefCell::default(),
            memory: titan_proto::mux::Memory::new(crate::limits::SESSION_MEMORY),
        })
    }

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    const ANSWER: Result<IpAddr, DatagramDrop> = Ok(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[tokio::test]
    async fn a_stream_to_one_name_is_one_look_up_and_keeps_its_order() {
        let (mut names, egress) = (Names::default(), egress());
        let ask = async {
            for n in 0..3_u8 {
                let way = names.way(name("a.invalid"), n.into(), &vec![n].into(), &egress);
                assert_eq!(way, Way::Later);
            }
            let found = names.found().await;
            assert_eq!(found.addresses, Err(Reason::NameNotFound));
            let waited = names.learn(found.name, ANSWER);
            let ports: Vec<_> = waited.iter().map(|(port, _)| *port).collect();
            assert_eq!(ports, [0, 1, 2]);
            let way = names.way(name("a.invalid"), 9, &Bytes::new(), &egress);
            assert_eq!(way, Way::To(ANSWER.unwrap()));
            assert!(names.lookups.is_empty());
        };
        LocalSet::new().run_until(ask).await;
    }

    #[tokio::test]
    async fn what_waits_and_what_is_remembered_is_bounded() {
        let (mut names, egress) = (Names::default(), egress());
        let ask = async {
            let mut later = 0;
            while names.way(name("a.invalid"), 1, &Bytes::new(), &egress) == Way::Later {
                later += 1;
            }
            assert_eq!(later, DATAGRAMS_AWAITING_NAME);
            let mut asked = 1;
            while names.way(
                name(&format!("n{asked}.invalid")),
                1,
                &Bytes::new(),
                &egress,
            ) == Way::Later
            {
                asked += 1;
            }
            assert_eq!(asked, ASSOCIATION_LOOKUPS);
            for n in 0..4 * ASSOCIATION_NAMES {
                while !names.lookups.is_empty() {
                    let found = names.found().await;
                    names.learn(found.name, ANSWER);
                }
                let way = names.way(name(&format!("m{n}.invalid")), 1, &Bytes::new(), &egress);
                assert_eq!(way, Way::Later);
                assert!(names.entries.len() <= ASSOCIATION_NAMES);
            }
        };
        LocalSet::new().run_until(ask).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_grows_old() {
        let (mut names, egress) = (Names::default(), egress());
        let ask = async {
            for (answer, fresh) in [
                (ANSWER, NAME_FRESH),
                (Err(DatagramDrop::Unresolved), NAME_MISSING_FRESH),
            ] {
                names.learn(name("a.invalid"), answer);
                tokio::time::advance(fresh - Duration::from_millis(1)).await;
                let known = answer.map_or_else(Way::Nowhere, Way::To);
                let way = names.way(name("a.invalid"), 1, &Bytes::new(), &egress);
                assert_eq!(way, known);
                tokio::time::advance(Duration::from_millis(1)).await;
                let way = names.way(name("a.invalid"), 1, &Bytes::new(), &egress);
                assert_eq!(way, Way::Later);
            }
        };
        LocalSet::new().run_until(ask).await;
    }
}
