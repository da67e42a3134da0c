//! A line of tasks of one core, of which the first has its turn.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use crate::net::Notify;

/// Who waits, first come first served.
#[derive(Debug, Default)]
pub(super) struct Line(RefCell<VecDeque<Rc<Notify>>>);

/// A task's place in it, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    line: &'a Line,
    turn: Rc<Notify>,
}

impl Line {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Takes the last place and waits until it is the first.
    pub(super) async fn first(&self) -> Place<'_> {
        let place = Place {
            line: self,
            turn: Rc::default(),
        };
        self.0.borrow_mut().push_back(Rc::clone(&place.turn));
        while !place.is_first() {
            place.turn.notified().await;
        }
        place
    }
}

impl Place<'_> {
    fn is_first(&self) -> bool {
        let line = self.line.0.borrow();
        line.front()
            .is_some_and(|turn| Rc::ptr_eq(turn, &self.turn))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let is_first = self.is_first();
        let mut line = self.line.0.borrow_mut();
        if is_first {
            line.pop_front();
        } else {
            line.retain(|turn| !Rc::ptr_eq(turn, &self.turn));
        }
        if let Some(next) = line.front() {
            next.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::Arc,
        task::{Context, Poll, Wake, Waker},
    };

    use super::*;

    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn turns_come_in_order_and_pass_over_who_has_left() {
        let line = Line::default();
        let waker = Waker::from(Arc::new(Nobody));
        let mut cx = Context::from_waker(&waker);
        let Poll::Ready(first) = pin!(line.first()).poll(&mut cx) else {
            panic!("nobody is before it")
        };
        let mut third = pin!(line.first());
        {
            let mut second = pin!(line.first());
            assert!(second.as_mut().poll(&mut cx).is_pending());
            assert!(third.as_mut().poll(&mut cx).is_pending());
            drop(first);
        }
        let Poll::Ready(third) = third.as_mut().poll(&mut cx) else {
            panic!("the second has left")
        };
        drop(third);
        assert!(line.is_empty());
    }
}
