//! Clients that vanish: what they held is freed, though nobody was reading from them.

use std::{
    io::{ErrorKind, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use crate::{
    client,
    harness::{DRIVERS, Up, wait_for},
    origin,
};

#[test]
fn a_client_that_vanishes_while_its_target_reads_nothing_frees_its_session() {
    let deaf = origin::deaf();
    for io in DRIVERS {
        let up = Up::start(&["--allow-private", "--io", io]);
        let client = client::socks5(up.info.proxy, "demo", &up.info.password, deaf).stream;
        fill(&client);
        assert_eq!(sessions(&up), 1, "{io}");
        vanish(client);
        wait_for("the session to end", || (sessions(&up) == 0).then_some(()));
    }
}

#[test]
fn a_client_that_half_closes_and_vanishes_frees_its_session() {
    let deaf = origin::deaf();
    for io in DRIVERS {
        let up = Up::start(&["--allow-private", "--io", io]);
        let tunnelled = client::socks5(up.info.proxy, "demo", &up.info.password, deaf).stream;
        let forwarded = client::connect(up.info.proxy);
        let authorization = client::authorization("demo", &up.info.password);
        let head = format!("GET http://{deaf}/ HTTP/1.1\r\nHost: {deaf}\r\n{authorization}\r\n");
        (&forwarded)
            .write_all(head.as_bytes())
            .expect("the proxy reads");
        wait_for("both sessions", || (sessions(&up) == 2).then_some(()));
        for client in [tunnelled, forwarded] {
            client.shutdown(Shutdown::Write).expect("connected");
            vanish(client);
        }
        wait_for("the sessions to end", || (sessions(&up) == 0).then_some(()));
    }
}

/// Sends until the other side takes no more.
fn fill(client: &TcpStream) {
    let patience = Duration::from_millis(300);
    client.set_write_timeout(Some(patience)).expect("a socket");
    let block = [7; 64 * 1024];
    let error = loop {
        if let Err(error) = (&*client).write(&block) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

/// Ends the connection with a reset, as a crashed client's system does.
fn vanish(client: TcpStream) {
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(client);
}

fn sessions(up: &Up) -> u64 {
    up.metric("titan_pop_sessions_active")
}
