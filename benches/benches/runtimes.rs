//! The floor under everything: a plain relay of one connection on each runtime this project uses.
//!
//! The client and the echo behind the relay are threads with blocking sockets; only the relay
//! differs. What PoP and edge cost beyond this is our own doing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Bytes of one read of every relay.
const BUFFER: usize = 64 * 1024;

/// Bytes of one turn of bulk data.
const BULK: usize = 4 * 1024 * 1024;

/// A relay on some runtime: accepts one connection and joins it to the address.
type Relay = fn(&TcpListener, SocketAddr);

const RELAYS: [(&str, Relay); 4] = [
    ("tokio", tokio_relay),
    ("tokio-uring", tokio_uring_relay),
    ("monoio, io_uring", monoio_uring_relay),
    ("monoio, epoll", monoio_epoll_relay),
];

fn echoes(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay/64 B echo");
    for (name, relay) in RELAYS {
        let mut stream = through(relay);
        group.bench_function(name, |b| {
            let mut bytes = [7; 64];
            b.iter(|| {
                stream.write_all(&bytes).expect("the relay runs");
                stream.read_exact(&mut bytes).expect("the relay runs");
            });
        });
    }
    group.finish();
}

fn bulk(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay/bulk there and back");
    group.throughput(Throughput::Bytes(BULK as u64));
    group.sample_size(20);
    for (name, relay) in RELAYS {
        let mut stream = through(relay);
        group.bench_function(name, |b| {
            let mut received = vec![0; BULK];
            b.iter(|| {
                let mut writer = stream.try_clone().expect("a descriptor is free");
                let sender = thread::spawn(move || writer.write_all(&vec![7; BULK]));
                stream.read_exact(&mut received).expect("the relay runs");
                sender.join().expect("no panic").expect("the relay runs");
            });
        });
    }
    group.finish();
}

/// A connection through a relay, which runs on a thread of its own, to an echo.
fn through(relay: Relay) -> TcpStream {
    let bind = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let (echo, front) = (bind(), bind());
    let (to, at) = (
        echo.local_addr().expect("bound"),
        front.local_addr().expect("bound"),
    );
    thread::spawn(move || {
        let (mut stream, _) = echo.accept().expect("the relay connects");
        stream.set_nodelay(true).expect("TCP");
        let mut buffer = vec![0; BUFFER];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || relay(&front, to));
    let stream = TcpStream::connect(at).expect("the relay listens");
    stream.set_nodelay(true).expect("TCP");
    stream
}

fn tokio_relay(listener: &TcpListener, to: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (near, _) = listener.accept().expect("the client connects");
        near.set_nonblocking(true).expect("TCP");
        let mut near = tokio::net::TcpStream::from_std(near).expect("registered");
        let mut far = tokio::net::TcpStream::connect(to)
            .await
            .expect("the echo listens");
        near.set_nodelay(true).expect("TCP");
        far.set_nodelay(true).expect("TCP");
        // How the connection ends is of no interest here.
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await;
    });
}

fn tokio_uring_relay(listener: &TcpListener, to: SocketAddr) {
    use std::rc::Rc;
    use tokio_uring::net::TcpStream;
    async fn copy(from: Rc<TcpStream>, to: Rc<TcpStream>) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let (read, full) = from.read(buffer).await;
            let Ok(len @ 1..) = read else { return };
            use tokio_uring::buf::BoundedBuf;
            let (written, slice) = to.write_all(full.slice(..len)).await;
            if written.is_err() {
                return;
            }
            buffer = slice.into_inner();
        }
    }
    tokio_uring::start(async {
        let (near, _) = listener.accept().expect("the client connects");
        let near = Rc::new(TcpStream::from_std(near));
        let far = Rc::new(TcpStream::connect(to).await.expect("the echo listens"));
        near.set_nodelay(true).expect("TCP");
        far.set_nodelay(true).expect("TCP");
        let up = tokio_uring::spawn(copy(near.clone(), far.clone()));
        copy(far, near).await;
        up.await.expect("no panic");
    });
}

fn monoio_uring_relay(listener: &TcpListener, to: SocketAddr) {
    let runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().build();
    runtime
        .expect("io_uring is allowed")
        .block_on(monoio_relay(listener, to));
}

fn monoio_epoll_relay(listener: &TcpListener, to: SocketAddr) {
    let runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().build();
    runtime
        .expect("a runtime")
        .block_on(monoio_relay(listener, to));
}

async fn monoio_relay(listener: &TcpListener, to: SocketAddr) {
    use monoio::{
        io::{AsyncReadRent, AsyncWriteRentExt, Splitable},
        net::TcpStream,
    };
    async fn copy(mut from: impl AsyncReadRent, mut to: impl AsyncWriteRentExt) {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            let (read, full) = from.read(buffer).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
            let (written, mut full) = to.write_all(full).await;
            if written.is_err() {
                return;
            }
            full.clear();
            buffer = full;
        }
    }
    let (near, _) = listener.accept().expect("the client connects");
    near.set_nonblocking(true).expect("TCP");
    let near = TcpStream::from_std(near).expect("registered");
    let far = TcpStream::connect_addr(to).await.expect("the echo listens");
    near.set_nodelay(true).expect("TCP");
    far.set_nodelay(true).expect("TCP");
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let up = monoio::spawn(copy(near_read, far_write));
    copy(far_read, near_write).await;
    up.await;
}

criterion_group!(benches, echoes, bulk);
criterion_main!(benches);
