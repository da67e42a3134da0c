//! The two ways in which this crate waits for two things at once.
//!
//! Both take futures that are pinned already (`pin!`): a future that is moved into another one has
//! its room there twice, and a session waits in several of them.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// The winner of a [`race`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first future was done first, or both were.
    First(A),
    /// The second future was done first.
    Second(B),
}

/// Waits for whichever is done first and leaves the other to the caller, who most often drops it.
pub async fn race<A, B>(mut first: A, mut second: B) -> Either<A::Output, B::Output>
where
    A: Future + Unpin,
    B: Future + Unpin,
{
    poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut first).poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        Pin::new(&mut second).poll(cx).map(Either::Second)
    })
    .await
}

/// Waits until both are done or one of them has failed.
///
/// # Errors
/// The error of whichever failed first.
pub async fn join<A, B, E>(mut first: A, mut second: B) -> Result<(), E>
where
    A: Future<Output = Result<(), E>> + Unpin,
    B: Future<Output = Result<(), E>> + Unpin,
{
    let (mut first_done, mut second_done) = (false, false);
    poll_fn(|cx| {
        if !first_done && let Poll::Ready(result) = Pin::new(&mut first).poll(cx) {
            result?;
            first_done = true;
        }
        if !second_done && let Poll::Ready(result) = Pin::new(&mut second).poll(cx) {
            result?;
            second_done = true;
        }
        if first_done && second_done {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}
