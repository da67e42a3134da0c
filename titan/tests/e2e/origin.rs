//! Target sites that do what no ordinary server does on demand.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// A TCP server that runs `serve` for every connection, on a thread each. It ends with the test.
pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// Sends back what it gets, byte for byte.
pub(crate) fn echo() -> SocketAddr {
    start(|mut stream| {
        let mut buffer = [0; 16 * 1024];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..len]).is_err() {
                return;
            }
        }
    })
}

/// Reads to the end of the request, then answers with as many bytes, each one more.
pub(crate) fn answers_after_the_end() -> SocketAddr {
    start(|mut stream| {
        let mut request = Vec::new();
        if stream.read_to_end(&mut request).is_ok() {
            let answer: Vec<u8> = request.iter().map(|byte| byte.wrapping_add(1)).collect();
            // A client that has gone shows in its own assertions.
            let _ = stream.write_all(&answer);
        }
    })
}

/// Accepts and never reads.
pub(crate) fn deaf() -> SocketAddr {
    start(|stream| {
        thread::park();
        drop(stream);
    })
}

/// Reads to the end and tells how each connection ended.
pub(crate) fn watching() -> (SocketAddr, mpsc::Receiver<io::Result<()>>) {
    let (tell, ends) = mpsc::channel();
    let addr = start(move |mut stream| {
        let end = io::copy(&mut stream, &mut io::sink());
        // The test may be over.
        let _ = tell.send(end.map(drop));
    });
    (addr, ends)
}

/// Sends bytes for as long as somebody takes them.
pub(crate) fn endless() -> SocketAddr {
    start(|mut stream| while stream.write_all(&[b'x'; 16 * 1024]).is_ok() {})
}

/// Answers any HTTP request with a download of a terabyte, a megabyte of it a second.
pub(crate) fn steady_download() -> SocketAddr {
    start(|mut stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
        let mut sent = stream
            .read(&mut [0; 4096])
            .and(stream.write_all(head.as_bytes()));
        while sent.is_ok() {
            thread::sleep(Duration::from_millis(10));
            sent = stream.write_all(&[b'x'; 10_000]);
        }
    })
}

/// Reads each request to its end and tells it. The first one is never answered, every other one
/// with its own bytes.
pub(crate) fn silent_at_first() -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let (tell, heard) = mpsc::channel();
    let first = Arc::new(AtomicBool::new(true));
    let addr = start(move |mut stream| {
        let mut request = Vec::new();
        if stream.read_to_end(&mut request).is_err() {
            return;
        }
        // The test may be over, or the client gone, which shows in its own assertions.
        let _ = tell.send(request.clone());
        if first.swap(false, Ordering::Relaxed) {
            thread::park();
        }
        let _ = stream.write_all(&request);
    });
    (addr, heard)
}
