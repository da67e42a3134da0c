//! The tunnels one shard owns.

use std::rc::Rc;

use slab::Slab;

use super::Tunnel;
use crate::directory::{ShardId, TunnelKey};

/// Tunnels by key; a key is never given to a second tunnel.
#[derive(Debug)]
pub struct Table {
    shard: ShardId,
    serial: u32,
    tunnels: Slab<Rc<Tunnel>>,
}

impl Table {
    /// No tunnels.
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            serial: 0,
            tunnels: Slab::new(),
        }
    }

    /// Adds the tunnel that `make` makes for the key it is to have.
    pub fn insert(&mut self, make: impl FnOnce(TunnelKey) -> Rc<Tunnel>) -> Rc<Tunnel> {
        self.serial = self.serial.wrapping_add(1);
        let vacant = self.tunnels.vacant_entry();
        let slot = u32::try_from(vacant.key()).unwrap_or(u32::MAX);
        let tunnel = make(TunnelKey {
            shard: self.shard,
            slot,
            serial: self.serial,
        });
        vacant.insert(Rc::clone(&tunnel));
        tunnel
    }

    /// The tunnel of `key`, unless it has ended.
    pub fn get(&self, key: TunnelKey) -> Option<&Rc<Tunnel>> {
        let slot = usize::try_from(key.slot).ok()?;
        self.tunnels.get(slot).filter(|tunnel| tunnel.key() == key)
    }

    /// Removes a tunnel that has ended; a key that names another one removes nothing.
    pub fn remove(&mut self, key: TunnelKey) -> Option<Rc<Tunnel>> {
        self.get(key)?;
        self.tunnels.try_remove(usize::try_from(key.slot).ok()?)
    }

    /// All tunnels.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Tunnel>> {
        self.tunnels.iter().map(|(_, tunnel)| tunnel)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tunnels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tunnels.is_empty()
    }
}
