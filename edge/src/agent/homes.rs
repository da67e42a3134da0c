//! At which PoPs an edge's tunnels are up.

use std::cell::RefCell;

use titan_proto::control::PopId;

/// One entry for each tunnel that is up and was not sent away.
#[derive(Default)]
pub(super) struct Homes(RefCell<Vec<PopId>>);

/// A tunnel's entry, taken out when it is dropped.
pub(super) struct Home<'a> {
    homes: &'a Homes,
    pop: PopId,
}

impl Homes {
    /// Notes that a tunnel to `pop` is up.
    pub(super) fn settle(&self, pop: &PopId) -> Home<'_> {
        self.0.borrow_mut().push(pop.clone());
        Home {
            homes: self,
            pop: pop.clone(),
        }
    }

    /// Whether any tunnel to `pop` is up.
    pub(super) fn hold(&self, pop: &PopId) -> bool {
        self.0.borrow().contains(pop)
    }
}

impl Drop for Home<'_> {
    fn drop(&mut self) {
        let mut homes = self.homes.0.borrow_mut();
        if let Some(place) = homes.iter().position(|pop| *pop == self.pop) {
            homes.swap_remove(place);
        }
    }
}
