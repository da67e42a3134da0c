//! Small talk: echoes in a lasting session, and sessions that last one byte.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::Meter;
use crate::{
    limits::ECHO_LEN,
    via::{Via, source_address},
};

/// Sends a small message and waits for it to come back, for ever.
pub(crate) async fn echo(mut stream: TcpStream, meter: Arc<Meter>) -> Result<()> {
    let mut buffer = [7; ECHO_LEN];
    loop {
        let start = Instant::now();
        stream.write_all(&buffer).await?;
        stream.read_exact(&mut buffer).await?;
        meter.add_timed(start.elapsed());
    }
}

/// Makes one connection after the other. A failed one is counted, and the next is tried.
pub(super) async fn churn(
    via: Via,
    target: SocketAddr,
    client: usize,
    meter: Arc<Meter>,
) -> Result<()> {
    // A client's address stays the same, as a customer's does.
    let source = source_address(client);
    loop {
        let start = Instant::now();
        let made = async {
            let mut stream = via.dial(target, Some(source)).await?;
            exchange(&mut stream).await
        };
        match made.await {
            Ok(()) => meter.add_timed(start.elapsed()),
            Err(_) => meter.fail(),
        }
    }
}

/// One byte there, one byte back, and the end.
async fn exchange(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"x").await?;
    let mut answer = [0; 2];
    ensure!(stream.read(&mut answer).await? == 1, "no answer");
    ensure!(stream.read(&mut answer).await? == 0, "no end");
    Ok(())
}
