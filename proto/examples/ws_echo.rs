//! A WebSocket echo server on the codec of this crate, for conformance suites such as Autobahn:
//!
//! ```text
//! cargo run -p titan-proto --example ws_echo 127.0.0.1:9001
//! ```
//!
//! One thread per connection and blocking sockets: what is to be judged is the codec. Messages are
//! echoed piece by piece as they arrive, so that their length does not matter.

// The ban on sockets is for the protocol; an example shows where the caller's go.
#![allow(clippy::disallowed_types)]

use std::{
    env,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use bytes::BytesMut;
use titan_proto::ws::{Deframer, Opcode, Piece, Role, close, encode_frame_header, upgrade};

fn main() -> ExitCode {
    let Some(address) = env::args().nth(1) else {
        eprintln!("usage: ws_echo ADDRESS:PORT");
        return ExitCode::from(64);
    };
    match listen(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("connection failed: {error}");
            }
        });
    }
    Ok(())
}

/// A connection from its first byte to its last.
fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_LIMIT))?;
    let mut socket = Socket {
        stream,
        input: BytesMut::new(),
        segment: vec![0; SEGMENT_LEN],
    };
    if open(&mut socket)? && echo(&mut socket)? {
        linger(&mut socket)?;
    }
    Ok(())
}

/// Answers the opening handshake; false when it failed.
fn open(socket: &mut Socket) -> io::Result<bool> {
    loop {
        match upgrade::parse_request(&mut socket.input) {
            Ok(Some(request)) => {
                socket
                    .stream
                    .write_all(&upgrade::accept_response(&request, None))?;
                return Ok(true);
            }
            Ok(None) if socket.receive()? => {}
            Ok(None) => return Ok(false),
            Err(error) => {
                let response = upgrade::reject_response(error.status(), &error.to_string());
                socket.stream.write_all(&response)?;
                return Ok(false);
            }
        }
    }
}

/// Echoes until a close frame has been sent; false when the client left without one.
fn echo(socket: &mut Socket) -> io::Result<bool> {
    let mut echo = Echo::new();
    loop {
        let closed = echo.answer(&mut socket.input);
        socket.stream.write_all(&echo.output)?;
        echo.output.clear();
        if closed {
            return Ok(true);
        }
        if !socket.receive()? {
            return Ok(false);
        }
    }
}

/// Ends our direction and waits for the client to end its own (RFC 6455 §7.1.1): closing the socket
/// with bytes unread would reset the connection, and the client might lose our close frame.
fn linger(socket: &mut Socket) -> io::Result<()> {
    socket.stream.shutdown(Shutdown::Write)?;
    socket.stream.set_read_timeout(Some(LINGER))?;
    while socket.receive()? {
        socket.input.clear();
    }
    Ok(())
}

/// The answers to what a client sends.
struct Echo {
    deframer: Deframer,
    /// Frames to be sent.
    output: Vec<u8>,
    /// True when a part of the current message has been echoed.
    continues: bool,
}

impl Echo {
    fn new() -> Self {
        Self {
            deframer: Deframer::new(Role::Server),
            output: Vec::new(),
            continues: false,
        }
    }

    /// Appends the answers to all of `input` to the output; true when the last of them is a close
    /// frame.
    fn answer(&mut self, input: &mut BytesMut) -> bool {
        loop {
            match self.deframer.next(input) {
                Ok(Some(Piece::Data {
                    opcode,
                    bytes,
                    message_end,
                })) => {
                    let opcode = if self.continues {
                        Opcode::Continuation
                    } else {
                        opcode
                    };
                    self.push(message_end, opcode, &bytes);
                    self.continues = !message_end;
                }
                Ok(Some(Piece::Ping(payload))) => self.push(true, Opcode::Pong, &payload),
                Ok(Some(Piece::Pong(_))) => {}
                Ok(Some(Piece::Close(reason))) => {
                    let payload = reason.map(|(code, text)| close::encode(code, &text));
                    self.push(true, Opcode::Close, &payload.unwrap_or_default());
                    return true;
                }
                Ok(None) => return false,
                Err(error) => {
                    let payload = close::encode(error.close_code(), &error.to_string());
                    self.push(true, Opcode::Close, &payload);
                    return true;
                }
            }
        }
    }

    fn push(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        encode_frame_header(fin, opcode, None, payload.len() as u64, &mut self.output);
        self.output.extend_from_slice(payload);
    }
}

/// A socket and what has arrived on it.
struct Socket {
    stream: TcpStream,
    input: BytesMut,
    segment: Vec<u8>,
}

impl Socket {
    /// Waits for more input; false when the client has ended its direction.
    fn receive(&mut self) -> io::Result<bool> {
        let len = self.stream.read(&mut self.segment)?;
        self.input.extend_from_slice(&self.segment[..len]);
        Ok(len > 0)
    }
}

/// Bytes per read: a few round trips of a fast connection on loopback.
const SEGMENT_LEN: usize = 64 * 1024;

/// Silence after which a client is given up. No case of the Autobahn suite pauses for so long.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// Time a client has to end its direction after the closing handshake.
const LINGER: Duration = Duration::from_secs(2);
