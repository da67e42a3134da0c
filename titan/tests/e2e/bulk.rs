//! Bytes arrive as they were sent, however many, however many at once, in both directions.

use std::{
    io::{Read, Write},
    net::Shutdown,
    thread,
};

use crate::{
    client,
    harness::{DRIVERS, Nginx, Up, curl, make_file, run, sha256, sha256_of_download},
    origin,
};

const MIB: usize = 1024 * 1024;

#[test]
fn a_gibibyte_arrives_unchanged_by_both_protocols() {
    let (up, nginx) = (Up::start(&["--allow-private"]), Nginx::start());
    let expected = nginx.make_file("large", 1024 * MIB);
    let url = format!("http://{}/large", nginx.addr);
    for proxy in [&up.socks5("demo")[..], &up.http("demo")] {
        let digest = sha256_of_download(&["--proxytunnel", "-x", proxy, &url]);
        assert_eq!(digest, expected, "{proxy}");
    }
}

#[test]
fn an_upload_arrives_unchanged_on_both_drivers() {
    for io in DRIVERS {
        let (up, nginx) = (Up::start(&["--allow-private", "--io", io]), Nginx::start());
        let file = up.dir.path().join("upload");
        make_file(&file, 256 * MIB);
        let url = format!("http://{}/uploaded", nginx.addr);
        let path = file.to_str().expect("UTF-8");
        run(&mut curl(&[
            "--fail",
            "-x",
            &up.socks5("demo"),
            "-T",
            path,
            &url,
        ]));
        assert_eq!(
            sha256(&nginx.dir.path().join("uploaded")),
            sha256(&file),
            "{io}"
        );
    }
}

#[test]
fn two_hundred_downloads_at_once_are_all_the_same() {
    for io in DRIVERS {
        let (up, nginx) = (Up::start(&["--allow-private", "--io", io]), Nginx::start());
        let expected = nginx.make_file("medium", 5 * MIB);
        let url = format!("http://{}/medium?[1-200]", nginx.addr);
        let to = up.dir.path().join("part-#1");
        let to = to.to_str().expect("UTF-8");
        let proxy = up.socks5("demo");
        let parallel = [
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            "200",
        ];
        let mut command = curl(&["--fail", "-x", &proxy, "-o", to, &url]);
        run(command.args(parallel));
        for part in 1..=200 {
            let path = up.dir.path().join(format!("part-{part}"));
            assert_eq!(sha256(&path), expected, "{io}: {}", path.display());
        }
    }
}

#[test]
fn a_client_that_half_closes_gets_the_whole_answer() {
    let origin = origin::answers_after_the_end();
    for io in DRIVERS {
        let up = Up::start(&["--allow-private", "--io", io]);
        let mut client =
            client::socks5(up.info.proxy, &up.info.user, &up.info.password, origin).stream;
        let mut sender = client.try_clone().expect("a socket");
        let writer = thread::spawn(move || {
            sender
                .write_all(&vec![7; 8 * MIB])
                .expect("the proxy reads");
            sender.shutdown(Shutdown::Write).expect("a socket");
        });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("a clean end");
        writer.join().expect("written");
        assert_eq!(answer.len(), 8 * MIB, "{io}");
        assert!(answer.iter().all(|byte| *byte == 8));
    }
}

#[test]
fn a_slow_reader_holds_up_nobody_else() {
    let (origin, echo) = (origin::endless(), origin::echo());
    let up = Up::start(&["--allow-private"]);
    let (proxy, user, password) = (up.info.proxy, &up.info.user, &up.info.password);
    let stalled: Vec<_> = (0..20)
        .map(|_| client::socks5(proxy, user, password, origin).stream)
        .collect();
    let mut client = client::socks5(proxy, user, password, echo).stream;
    for round in 0..100u32 {
        client
            .write_all(&round.to_be_bytes())
            .expect("the proxy reads");
        let mut answer = [0; 4];
        client.read_exact(&mut answer).expect("an echo");
        assert_eq!(answer, round.to_be_bytes());
    }
    drop(stalled);
}
