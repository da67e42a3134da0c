//! The two ways in which this crate waits for two things at once.

use std::{
    future::{Future, poll_fn},
    pin::pin,
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

/// Waits for whichever is done first and drops the other. Both must be safe to drop, as every
/// wait of this module is.
pub async fn race<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|cx| {
        if let Poll::Ready(output) = first.as_mut().poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        second.as_mut().poll(cx).map(Either::Second)
    })
    .await
}

/// Waits until both are done or one of them has failed; the other is dropped then.
///
/// # Errors
/// The error of whichever failed first.
pub async fn join<A, B, E>(first: A, second: B) -> Result<(), E>
where
    A: Future<Output = Result<(), E>>,
    B: Future<Output = Result<(), E>>,
{
    let mut first = pin!(first);
    let mut second = pin!(second);
    let (mut first_done, mut second_done) = (false, false);
    poll_fn(|cx| {
        if !first_done && let Poll::Ready(result) = first.as_mut().poll(cx) {
            result?;
            first_done = true;
        }
        if !second_done && let Poll::Ready(result) = second.as_mut().poll(cx) {
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
