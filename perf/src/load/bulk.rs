//! Bulk data, one way.

use std::sync::Arc;

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Meter;
use crate::limits::BULK_CHUNK;

/// Reads for ever and counts bytes.
pub(super) async fn down(mut stream: TcpStream, meter: Arc<Meter>) -> Result<()> {
    let mut buffer = vec![0; BULK_CHUNK];
    loop {
        let len = stream.read(&mut buffer).await?;
        ensure!(len > 0, "the source ended");
        meter.add(len as u64);
    }
}

/// Writes for ever and counts bytes that the kernel has taken: over a few seconds the difference
/// to what has arrived, a few buffers, is lost in the gigabytes.
pub(super) async fn up(mut stream: TcpStream, meter: Arc<Meter>) -> Result<()> {
    let buffer = vec![0; BULK_CHUNK];
    loop {
        let len = stream.write(&buffer).await?;
        meter.add(len as u64);
    }
}
