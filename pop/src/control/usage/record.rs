//! Records of the spool: a length, a checksum, and a batch with the stream it belongs to.
//!
//! ```text
//!  ┌─────────────┬───────────────────────┬──────────────────────────────────────┐
//!  │ length: u32 │ CRC-32 of what follows│ JSON: {"stream", "batch"}            │  little-endian
//!  └─────────────┴───────────────────────┴──────────────────────────────────────┘
//! ```

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use titan_proto::control::{UsageBatch, UsageStream};

use crate::limits::SPOOL_RECORD;

/// A batch and the run of the PoP that it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) stream: UsageStream,
    pub(super) batch: UsageBatch,
}

/// Bytes in front of a record's text.
const HEADER: usize = 8;

impl Record {
    /// Appends the record to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&text).to_le_bytes());
        out.extend_from_slice(&text);
        Ok(())
    }

    /// Reads the next record and its length in bytes; `None` where there is no whole one.
    pub(super) fn read(input: &mut impl Read) -> io::Result<Option<(Self, u64)>> {
        let mut header = [0; HEADER];
        if !fill(input, &mut header)? {
            return Ok(None);
        }
        let [a, b, c, d, checksum @ ..] = header;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > SPOOL_RECORD {
            return Ok(None);
        }
        let mut text = vec![0; length];
        if !fill(input, &mut text)? || crc32fast::hash(&text).to_le_bytes() != checksum {
            return Ok(None);
        }
        let record = serde_json::from_slice(&text).ok();
        Ok(record.map(|record| (record, (HEADER + length) as u64)))
    }
}

/// Whether there was enough to fill `buffer`.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
