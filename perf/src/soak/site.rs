//! The target of a soak: it sends, reads and echoes what can be checked, and knows which session
//! each of its connections belongs to.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::spawn_local,
};

use super::{ledger::Ledger, pattern::Pattern};
use crate::{limits::SOAK_CHUNK, target};

/// What a client wants, in the first bytes of a connection: a letter, the session's number, and
/// how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) wish: Wish,
    pub(super) session: u64,
    pub(super) len: u64,
}

/// What the site shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Send so many bytes, and the end.
    Send,
    /// Read to the end, then say how many bytes it was, and end.
    Read,
    /// Send everything back, and end when the client ends.
    Echo,
}

/// Bytes of an order.
const ORDER: usize = 1 + 8 + 8;

impl Order {
    pub(super) fn encode(self) -> [u8; ORDER] {
        let mut bytes = [0; ORDER];
        bytes[0] = match self.wish {
            Wish::Send => b's',
            Wish::Read => b'r',
            Wish::Echo => b'e',
        };
        bytes[1..9].copy_from_slice(&self.session.to_be_bytes());
        bytes[9..].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    fn decode(bytes: [u8; ORDER]) -> io::Result<Self> {
        let wish = match bytes[0] {
            b's' => Wish::Send,
            b'r' => Wish::Read,
            b'e' => Wish::Echo,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let number = |at: usize| {
            let word = bytes[at..].first_chunk().copied();
            u64::from_be_bytes(word.unwrap_or_default())
        };
        let (session, len) = (number(1), number(9));
        Ok(Self { wish, session, len })
    }
}

/// The site while it serves.
#[derive(Debug)]
pub(super) struct Site {
    /// Where TCP sessions go.
    pub(super) address: SocketAddr,
    /// Where datagrams go.
    pub(super) datagrams: SocketAddr,
    /// The session of the connection from each port, the last one where a port was used again.
    ports: RefCell<HashMap<u16, u64>>,
    ledger: Rc<Ledger>,
}

impl Site {
    /// Serves on free ports, as tasks of the current `LocalSet`.
    ///
    /// # Errors
    /// There is no port.
    pub(super) fn start(ledger: &Rc<Ledger>) -> Result<Rc<Self>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(4096)?;
        let site = Rc::new(Self {
            address: listener.local_addr()?,
            datagrams: target::start_datagrams((Ipv4Addr::LOCALHOST, 0).into())?,
            ports: RefCell::default(),
            ledger: Rc::clone(ledger),
        });
        spawn_local(Rc::clone(&site).accept(listener));
        Ok(site)
    }

    /// The sessions whose connections come from these ports.
    pub(super) fn sessions(&self, ports: &BTreeSet<u16>) -> BTreeSet<u64> {
        let known = self.ports.borrow();
        let session = |port: &u16| known.get(port).copied();
        ports.iter().filter_map(session).collect()
    }

    async fn accept(self: Rc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                // What becomes of a session its client says.
                Ok((stream, from)) => drop(spawn_local(Rc::clone(&self).serve(stream, from))),
                Err(_) => tokio::time::sleep(crate::limits::POLL_INTERVAL).await,
            }
        }
    }

    async fn serve(self: Rc<Self>, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut bytes = [0; ORDER];
        stream.read_exact(&mut bytes).await?;
        let order = Order::decode(bytes)?;
        self.ports.borrow_mut().insert(from.port(), order.session);
        self.ledger.reached(order.session);
        let served = match order.wish {
            Wish::Send => send(&mut stream, order).await,
            Wish::Read => self.read(&mut stream, order).await,
            Wish::Echo => echo(&mut stream).await,
        };
        self.ledger.left(order.session);
        served
    }

    async fn read(&self, stream: &mut TcpStream, order: Order) -> io::Result<()> {
        let (mut buffer, mut pattern) = (vec![0; SOAK_CHUNK], Pattern::new(order.session));
        let mut fits = true;
        loop {
            let len = stream.read(&mut buffer).await?;
            if len == 0 {
                break;
            }
            fits &= pattern.fits(&buffer[..len]);
            tokio::task::yield_now().await;
        }
        // A client that was cut off ends early, and knows it: it gets no answer that it believes.
        if !fits {
            self.ledger
                .mismatch(order.session, "other bytes arrived than were sent");
        }
        stream.write_all(&pattern.offset().to_be_bytes()).await?;
        stream.shutdown().await
    }
}

async fn send(stream: &mut TcpStream, order: Order) -> io::Result<()> {
    let (mut buffer, mut pattern) = (vec![0; SOAK_CHUNK], Pattern::new(order.session));
    while pattern.offset() < order.len {
        let left = order.len - pattern.offset();
        let len = usize::try_from(left).unwrap_or(SOAK_CHUNK).min(SOAK_CHUNK);
        pattern.fill(&mut buffer[..len]);
        stream.write_all(&buffer[..len]).await?;
    }
    stream.shutdown().await?;
    // Until the client has ended, too.
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..len]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        for wish in [Wish::Send, Wish::Read, Wish::Echo] {
            let order = Order {
                wish,
                session: 1 << 40,
                len: 77,
            };
            assert_eq!(Order::decode(order.encode()).unwrap(), order);
        }
        assert!(Order::decode([0; ORDER]).is_err());
    }
}
