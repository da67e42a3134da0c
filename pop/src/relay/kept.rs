//! What a session or a request needs to be carried by another edge: its order, and every byte of its
//! client.
//!
//! Kept until the target has answered, or the client has sent more than is kept. From then on
//! there is nothing left of it but an empty place.

use std::cell::RefCell;

use bytes::BytesMut;

use crate::{
    limits::{KEPT_BYTES, KEPT_BYTES_PER_SHARD},
    mesh::{Order, Progress},
    metrics::Held,
    tunnel::Core,
};

/// A session's place for it, with nothing in it at first.
#[derive(Debug, Default)]
pub(super) struct Keeper(RefCell<Option<Box<Kept>>>);

#[derive(Debug)]
struct Kept {
    /// Its early bytes are all that the client has sent so far.
    order: Order,
    progress: Progress,
    memory: Held,
}

impl Keeper {
    /// Begins to keep. Here it is decided whether a session may change its edge at all: the
    /// operator may forbid it, and this is where a route that is pinned to its edge does too.
    pub(super) fn new(core: &Core, order: Order, progress: Progress) -> Self {
        let kept = core.config.reopen.then(|| {
            let mut memory = Held::nothing(&core.metrics, |m| &m.kept_bytes);
            let fits = charge(&mut memory, size_of::<Kept>() + order.early.len());
            fits.then(|| {
                Box::new(Kept {
                    order,
                    progress,
                    memory,
                })
            })
        });
        Self(RefCell::new(kept.flatten()))
    }

    /// The client has sent these bytes.
    pub(super) fn note(&self, bytes: &[u8]) {
        let mut kept = self.0.borrow_mut();
        if kept.as_mut().is_some_and(|kept| !kept.append(bytes)) {
            *kept = None;
        }
    }

    /// The client has ended its direction.
    pub(super) fn note_end(&self) {
        if let Some(kept) = &mut *self.0.borrow_mut() {
            kept.progress.ended = true;
        }
    }

    /// Keeps nothing any more.
    pub(super) fn discard(&self) {
        self.0.take();
    }

    /// What was kept, if it still is.
    pub(super) fn take(&self) -> Option<(Order, Progress)> {
        let kept = *self.0.take()?;
        Some((kept.order, kept.progress))
    }
}

/// What an edge was sent of a request's content, for as long as another one may need it.
#[derive(Debug)]
pub(super) struct KeptContent(RefCell<Option<(BytesMut, Held)>>);

impl KeptContent {
    /// Begins to keep, unless the operator forbids it.
    pub(super) fn new(core: &Core) -> Self {
        let memory = || Held::nothing(&core.metrics, |m| &m.kept_bytes);
        let kept = core.config.reopen.then(|| (BytesMut::new(), memory()));
        Self(RefCell::new(kept))
    }

    /// The edge is sent these bytes.
    pub(super) fn note(&self, bytes: &[u8]) {
        let mut kept = self.0.borrow_mut();
        let Some((content, memory)) = &mut *kept else {
            return;
        };
        if content.len() + bytes.len() <= KEPT_BYTES && charge(memory, bytes.len()) {
            content.extend_from_slice(bytes);
        } else {
            *kept = None;
        }
    }

    /// Keeps nothing any more.
    pub(super) fn discard(&self) {
        self.0.take();
    }

    /// All the content that was sent; `None` where it is not kept.
    pub(super) fn take(&self) -> Option<BytesMut> {
        self.0.take().map(|(content, _)| content)
    }
}

impl Kept {
    /// Adds bytes; `false` where they are too many.
    fn append(&mut self, bytes: &[u8]) -> bool {
        let fits = self.order.early.len() + bytes.len() <= KEPT_BYTES
            && charge(&mut self.memory, bytes.len());
        if fits {
            self.order.early.extend_from_slice(bytes);
        }
        fits
    }
}

/// Counts bytes in the shard's budget; `false` where it is used up.
fn charge(memory: &mut Held, bytes: usize) -> bool {
    memory.grow(bytes as u64, KEPT_BYTES_PER_SHARD)
}
