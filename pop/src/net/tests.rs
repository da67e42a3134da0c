//! What the rest of the crate relies on, on both drivers.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use socket2::SockRef;

use super::*;
use crate::{
    config::IoChoice,
    limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES},
};

/// Runs a test on every driver this kernel has.
fn on_each_driver<F: Future<Output = ()>>(test: impl Fn(Arc<Stats>) -> F) {
    let best = probe(IoChoice::Auto).expect("some driver");
    for driver in [best, Driver::Epoll] {
        let stats = Arc::<Stats>::default();
        run(driver, Arc::clone(&stats), test(stats)).expect("the driver runs");
    }
}

fn pair() -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("a socket");
    (Socket::adopt(OwnedFd::from(ours)).expect("adopts"), theirs)
}

fn receive(socket: &Socket) -> io::Result<(Received, BytesMut)> {
    let mut buffer = BytesMut::with_capacity(64);
    Ok((socket.try_recv(&mut buffer, 64)?, buffer))
}

#[test]
fn a_panicking_task_is_dropped_counted_and_alone() {
    on_each_driver(async |stats| {
        let done = Rc::<Notify>::default();
        let (witness, notify) = (Rc::new(()), Rc::clone(&done));
        let held = Rc::downgrade(&witness);
        spawn_guarded("bad", async move {
            let _witness = witness;
            sleep(Duration::ZERO).await;
            panic!("on purpose");
        });
        spawn_guarded("good", async move {
            sleep(Duration::from_millis(300)).await;
            notify.notify();
        });
        done.notified().await;
        assert_eq!(stats.task_panics.load(Ordering::Relaxed), 1);
        assert!(held.upgrade().is_none(), "what the task owned is dropped");
        guarded("call", || panic!("on purpose"));
        assert_eq!(stats.task_panics.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_dropped_wait_loses_no_byte() {
    on_each_driver(async |_| {
        let (socket, theirs) = pair();
        for round in 0..3 {
            let waited = timeout(Duration::ZERO, pin!(socket.readable())).await;
            assert!(waited.is_err(), "nothing is there yet");
            assert_eq!(receive(&socket).expect("works").0, Received::Nothing);
            io::Write::write_all(&mut &theirs, &[round; 10]).expect("writes");
            socket.readable().await.expect("waits");
            let (received, buffer) = receive(&socket).expect("works");
            assert_eq!(
                (received, &buffer[..]),
                (Received::Bytes(10), &[round; 10][..])
            );
        }
        drop(theirs);
        socket.readable().await.expect("waits");
        assert_eq!(receive(&socket).expect("works").0, Received::End);
    });
}

#[test]
fn a_full_socket_is_writable_again_when_the_peer_has_read() {
    on_each_driver(async |_| {
        let (socket, mut theirs) = pair();
        let chunk = [5; 64 * 1024];
        let mut sent = 0;
        loop {
            match socket
                .try_send(&[IoSlice::new(&chunk), IoSlice::new(&chunk)])
                .expect("sends")
            {
                0 => break,
                n => sent += n,
            }
        }
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; sent];
            io::Read::read_exact(&mut theirs, &mut bytes).map(|()| theirs)
        });
        socket.writable().await.expect("waits");
        assert!(socket.try_send(&[IoSlice::new(&chunk)]).expect("sends") > 0);
        drop(reader.join().expect("reads").expect("reads"));
    });
}

#[test]
fn a_socket_moves_to_another_core_even_while_a_wait_is_being_cancelled() {
    on_each_driver(async |_| {
        let (socket, theirs) = pair();
        assert!(
            timeout(Duration::ZERO, pin!(socket.readable()))
                .await
                .is_err()
        );
        let fd = socket.into_fd().expect("a descriptor");
        // The ring closes this core's own descriptor in its next turn.
        sleep(Duration::ZERO).await;
        let there = thread::spawn(move || {
            run(Driver::Epoll, Arc::default(), async move {
                let socket = Socket::adopt(fd).expect("adopts");
                socket.send_all(b"moved").await
            })
        });
        there.join().expect("runs").expect("runs").expect("sends");
        let mut bytes = [0; 5];
        io::Read::read_exact(&mut &theirs, &mut bytes).expect("reads");
        assert_eq!(&bytes, b"moved");
        assert_eq!(
            io::Read::read(&mut &theirs, &mut bytes).expect("reads"),
            0,
            "and is closed"
        );
    });
}

#[test]
fn sleeps_are_never_short_and_end_in_order() {
    on_each_driver(async |_| {
        let order = Rc::<RefCell<Vec<u64>>>::default();
        let (start, left) = (Instant::now(), Rc::new(Cell::new(3)));
        let done = Rc::<Notify>::default();
        for ms in [350, 150, 250] {
            let (order, left, done) = (Rc::clone(&order), Rc::clone(&left), Rc::clone(&done));
            spawn_guarded("sleeper", async move {
                sleep(Duration::from_millis(ms)).await;
                assert!(start.elapsed() >= Duration::from_millis(ms));
                order.borrow_mut().push(ms);
                left.set(left.get() - 1);
                if left.get() == 0 {
                    done.notify();
                }
            });
        }
        assert_eq!(
            timeout(Duration::from_secs(20), done.notified()).await,
            Ok(())
        );
        assert_eq!(*order.borrow(), [150, 250, 350]);
    });
}

#[test]
fn a_doorbell_is_heard_from_any_thread_and_never_missed() {
    on_each_driver(async |_| {
        const ROUNDS: usize = 2000;
        let (bell, ringer) = Doorbell::new().expect("a doorbell");
        let bell = bell.install().expect("installs");
        let (send, receive) = crossbeam_channel::unbounded();
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let (send, ringer) = (send.clone(), ringer.clone());
                thread::spawn(move || {
                    for round in 0..ROUNDS {
                        send.send(round).expect("the queue is there");
                        ringer.ring();
                    }
                })
            })
            .collect();
        let mut heard = 0;
        while heard < 2 * ROUNDS {
            let ring = timeout(Duration::from_secs(20), pin!(bell.heard())).await;
            ring.expect("a message waits and nobody rang")
                .expect("waits");
            heard += receive.try_iter().count();
        }
        ringers
            .into_iter()
            .for_each(|ringer| ringer.join().expect("rings"));
    });
}

#[test]
fn a_race_has_one_winner_and_a_join_two() {
    on_each_driver(async |_| {
        let (first, second) = (Notify::default(), Notify::default());
        second.notify();
        assert_eq!(
            race(first.notified(), second.notified()).await,
            Either::Second(())
        );
        first.notify();
        second.notify();
        let wait = async |notify: &Notify| {
            notify.notified().await;
            io::Result::Ok(())
        };
        join(pin!(wait(&first)), pin!(wait(&second)))
            .await
            .expect("both are done");
        let failed: Result<(), u8> = join(pin!(async { Err(3) }), std::future::pending()).await;
        assert_eq!(failed, Err(3));
    });
}

/// A client that vanished without a word is found out by the kernel, so every accepted socket must ask.
#[test]
fn accepted_sockets_ask_whether_their_peer_is_still_there() {
    on_each_driver(async |_| {
        let fd = bind("127.0.0.1:0".parse().expect("an address"), None).expect("binds");
        let address = Listener::address(&fd).expect("bound");
        let listener = Listener::adopt(fd).expect("adopted");
        let _client = std::net::TcpStream::connect(address).expect("connects");
        let mut accepted = Vec::new();
        while accepted.is_empty() {
            let accept = listener.accept_some(|one| accepted.push(one));
            accept.await.expect("a sound listener");
        }
        let socket = SockRef::from(&accepted[0].fd);
        assert!(socket.keepalive().expect("a socket"));
        let idle = socket.tcp_keepalive_time().expect("a socket");
        let interval = socket.tcp_keepalive_interval().expect("a socket");
        let probes = socket.tcp_keepalive_retries().expect("a socket");
        assert_eq!(
            (idle, interval, probes),
            (KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES)
        );
    });
}
