//! Plain HTTP through the proxy, as real clients speak it to real servers: curl, nginx, a WebSocket
//! library, and sockets for what neither of them would send.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, Receiver},
};

use crate::{
    client,
    harness::{DRIVERS, Nginx, Up, curl, make_file, run, sha256, wait_for},
    origin,
};

fn start(io: &str) -> Up {
    Up::start(&["--allow-private", "--io", io])
}

/// A request of the demo user's in absolute form.
fn request(up: &Up, method: &str, origin: SocketAddr, path: &str, lines: &str) -> String {
    let authorization = client::authorization("demo", &up.info.password);
    format!(
        "{method} http://{origin}{path} HTTP/1.1\r\nHost: {origin}\r\n{authorization}{lines}\r\n"
    )
}

/// A head, up to and with the empty line.
fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        head.extend(byte);
    }
    String::from_utf8(head).expect("text")
}

/// A server that answers every request without content by its name, and tells what it got.
fn recording(name: &'static str) -> (SocketAddr, Receiver<String>) {
    let (tell, heads) = mpsc::channel();
    let addr = origin::start(move |mut stream| {
        let mut byte = [0];
        while stream.peek(&mut byte).is_ok_and(|len| len > 0) {
            let head = read_head(&mut stream);
            // The test may be over.
            let _ = tell.send(head);
            let length = name.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (addr, heads)
}

/// A server that says the same to everybody who asks and then closes.
fn scripted(answer: &'static str) -> SocketAddr {
    origin::start(move |mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(answer.as_bytes());
    })
}

#[test]
fn curl_uses_one_connection_for_two_hosts_and_neither_gets_the_password() {
    let (first, first_heads) = recording("first");
    let (second, second_heads) = recording("second");
    for io in DRIVERS {
        let up = start(io);
        let urls = [first, second, first].map(|addr| format!("http://{addr}/"));
        let mut args = vec!["-v", "-x"];
        let proxy = up.http("demo");
        args.push(&proxy);
        args.extend(urls.iter().map(String::as_str));
        let output = run(&mut curl(&args));
        assert_eq!(output.stdout, b"firstsecondfirst");
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(log.matches("Re-using existing").count(), 2, "{log}");
        for (heads, addr, count) in [(&first_heads, first, 2), (&second_heads, second, 1)] {
            let heads: Vec<_> = heads.try_iter().collect();
            assert_eq!(heads.len(), count);
            for head in heads {
                assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
                assert!(head.contains(&format!("Host: {addr}\r\n")), "{head}");
                assert!(!head.to_ascii_lowercase().contains("proxy"), "{head}");
            }
        }
    }
}

#[test]
fn curl_logs_in_on_the_connection_that_asked_for_it() {
    let nginx = Nginx::start();
    nginx.make_file("page", 1000);
    for io in DRIVERS {
        let up = start(io);
        let proxy = up.http("demo");
        let url = format!("http://{}/page", nginx.addr);
        let args = [
            "-v",
            "--proxy-anyauth",
            "-x",
            &proxy,
            "-o",
            "/dev/null",
            &url,
        ];
        let output = run(&mut curl(&args));
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("< HTTP/1.1 407 "), "{log}");
        assert!(log.contains("< HTTP/1.1 200 OK"), "{log}");
        assert_eq!(log.matches("* Connected to").count(), 1, "{log}");
    }
}

#[test]
fn curl_uploads_in_chunks_and_with_consent() {
    let nginx = Nginx::start();
    for io in DRIVERS {
        let up = start(io);
        let proxy = up.http("demo");
        let file = up.dir.path().join("upload");
        make_file(&file, 5_000_000);
        let path = file.to_str().expect("UTF-8");
        let url = |name: &str| format!("http://{}/{name}-{io}", nginx.addr);
        let (chunked, length) = (url("chunked"), url("length"));
        let from_stdin = fs::File::open(&file).expect("a file");
        run(curl(&["--fail", "-x", &proxy, "-T", "-", &chunked]).stdin(from_stdin));
        let expect = ["-v", "--fail", "-x", &proxy, "-H", "Expect: 100-continue"];
        let output = run(&mut curl(&[&expect[..], &["-T", path, &length]].concat()));
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("< HTTP/1.1 100 Continue"), "{log}");
        for name in ["chunked", "length"] {
            let stored = nginx.dir.path().join(format!("{name}-{io}"));
            assert_eq!(sha256(&stored), sha256(&file), "{name} {io}");
        }
    }
}

#[test]
fn responses_without_content_leave_the_connection_to_the_next() {
    let nginx = Nginx::start();
    nginx.make_file("page", 10);
    for io in DRIVERS {
        let up = start(io);
        let ask = |method, lines: &str| request(&up, method, nginx.addr, "/page", lines);
        let stream = client::connect(up.info.proxy);
        let send = |text: String| {
            (&stream)
                .write_all(text.as_bytes())
                .expect("the proxy reads");
        };
        send(ask("HEAD", ""));
        let head = read_head(&mut &stream);
        let modified = head
            .lines()
            .find_map(|line| line.strip_prefix("Last-Modified: "))
            .expect("nginx knows");
        // At once: the answers come in the order of the requests.
        let conditional = ask("GET", &format!("If-Modified-Since: {modified}\r\n"));
        send(ask("GET", "Range: bytes=0-3\r\n") + &conditional + &ask("GET", ""));
        for (status, length) in [(206, 4), (304, 0), (200, 10)] {
            let head = read_head(&mut &stream);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
            (&stream).read_exact(&mut vec![0; length]).expect("content");
        }
        assert_eq!(up.metric("titan_pop_sessions_opened_total"), 1, "{io}");
    }
}

#[test]
fn a_download_arrives_whole_and_leaves_the_connection() {
    let nginx = Nginx::start();
    let expected = nginx.make_file("big", 30_000_000);
    for io in DRIVERS {
        let up = start(io);
        let (proxy, url) = (up.http("demo"), format!("http://{}/big", nginx.addr));
        let files = ["one", "two"].map(|name| up.dir.path().join(name));
        let [one, two] = [&files[0], &files[1]].map(|file| file.to_str().expect("UTF-8"));
        let args = [
            "-v", "--fail", "-x", &proxy, "-o", one, &url, "-o", two, &url,
        ];
        let output = run(&mut curl(&args));
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(log.matches("Re-using existing").count(), 1, "{log}");
        for file in &files {
            assert_eq!(sha256(file), expected, "{io}");
        }
    }
}

#[test]
fn a_websocket_speaks_through_the_proxy() {
    let server = origin::start(|stream| {
        let Ok(mut socket) = tungstenite::accept(stream) else {
            return;
        };
        while let Ok(message) = socket.read() {
            if message.is_close() || socket.send(message).is_err() {
                return;
            }
        }
    });
    for io in DRIVERS {
        let up = start(io);
        let stream = client::connect(up.info.proxy);
        let stream = ThroughProxy::new(stream, &up, server);
        let url = format!("ws://{server}/chat");
        let (mut socket, response) = tungstenite::client(url, stream).expect("an upgrade");
        assert_eq!(response.status(), 101);
        for len in [0, 5, 100_000] {
            let message = tungstenite::Message::text("x".repeat(len));
            socket.send(message.clone()).expect("sent");
            assert_eq!(socket.read().expect("an echo"), message);
        }
        socket.close(None).expect("sent");
        while socket.read().is_ok() {}
        drop(socket);
        wait_for("the session to end", || {
            (up.metric("titan_pop_sessions_active") == 0).then_some(())
        });
    }
}

/// Makes the opening handshake of a WebSocket library a request to a proxy, as browsers without
/// CONNECT do: the target in absolute form, and the login.
struct ThroughProxy {
    stream: TcpStream,
    origin: String,
    login: String,
    is_open: bool,
}

impl ThroughProxy {
    fn new(stream: TcpStream, up: &Up, origin: SocketAddr) -> Self {
        Self {
            stream,
            origin: format!("GET http://{origin}/"),
            login: client::authorization("demo", &up.info.password),
            is_open: false,
        }
    }
}

impl Read for ThroughProxy {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for ThroughProxy {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.is_open {
            return self.stream.write(bytes);
        }
        let head = std::str::from_utf8(bytes).expect("the library writes its head at once");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        let head = head.replacen("GET /", &self.origin, 1);
        let head = head.replacen("\r\n", &format!("\r\n{}", self.login), 1);
        self.is_open = true;
        self.stream.write_all(head.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

#[test]
fn shapes_used_for_smuggling_reach_no_server() {
    let (server, heads) = recording("x");
    for io in DRIVERS {
        let up = start(io);
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding\t: chunked\r\n",
            "X: a\r\n Transfer-Encoding: chunked\r\n",
            "X: a\nContent-Length: 5\r\n",
            "X: \0\r\n",
        ] {
            let mut stream = client::connect(up.info.proxy);
            let text =
                request(&up, "POST", server, "/", lines) + "0\r\n\r\nGET /smuggled HTTP/1.1\r\n";
            stream.write_all(text.as_bytes()).expect("the proxy reads");
            let mut answer = String::new();
            stream
                .read_to_string(&mut answer)
                .expect("an answer and the end");
            assert!(answer.starts_with("HTTP/1.1 400 "), "{lines:?}: {answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        }
    }
    assert_eq!(heads.try_iter().count(), 0);
}

#[test]
fn a_response_that_breaks_off_is_an_error_for_curl() {
    let (ask, asked) = mpsc::channel::<()>();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(asked));
    let half = origin::start(move |mut stream| {
        read_head(&mut stream);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
        let _ = stream.write_all(answer);
        // The client has its half before the rest fails to come.
        let _ = asked.lock().expect("not poisoned").recv();
    });
    let nonsense = scripted("HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n");
    let nothing = scripted("");
    for io in DRIVERS {
        let up = start(io);
        let mut stream = client::connect(up.info.proxy);
        let text = request(&up, "GET", half, "/", "");
        stream.write_all(text.as_bytes()).expect("the proxy reads");
        read_head(&mut stream);
        stream.read_exact(&mut [0; 4]).expect("a half");
        ask.send(()).expect("the server waits");
        let error = stream.read(&mut [0]).expect_err("a reset, not an end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{io}");
        let proxy = up.http("demo");
        for (server, error) in [(nonsense, "bad_response"), (nothing, "target_reset")] {
            let url = format!("http://{server}/");
            let output = run(&mut curl(&["-i", "-x", &proxy, &url]));
            let answer = String::from_utf8_lossy(&output.stdout);
            assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
            assert!(
                answer.contains("\r\nProxy-Status: titan; error="),
                "{answer}"
            );
            assert!(
                answer.contains(&format!("X-Titan-Error: {error}\r\n")),
                "{answer}"
            );
        }
    }
}
