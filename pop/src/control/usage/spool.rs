//! The spool: batches on disk, from before they are sent until they are acknowledged.
//!
//! One file, written at its end and read from its front. A batch counts as written once the disk has
//! it; a batch that a crash has cut short is cut off when the file is opened again. What is
//! acknowledged stays in the file until all is, or until there is enough of it to write the rest
//! anew: a batch that is sent once more changes nothing.

mod index;
mod rewrite;

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Instant,
};

use titan_proto::control::{UsageBatch, UsageStream, UserUsage};

use self::index::{Entry, Index};
use super::record::Record;
use crate::{
    error::StartError,
    limits::{MERGE_BATCHES, PORT_RELEASE, PORT_RETRY, SPOOL_REWRITE},
};

/// What the file begins with.
const MAGIC: &[u8] = b"titan usage 1\n\0\0";
/// Where the first record begins.
const START: u64 = MAGIC.len() as u64;

const FILE: &str = "usage.spool";
const LOCK: &str = "usage.lock";

/// Batches that wait to be acknowledged, and the stream that new ones are of.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    file: File,
    end: u64,
    index: Index,
    stream: UsageStream,
    next: u64,
    /// Batches that were never sent above which they are merged.
    merge_above: usize,
    /// Bytes that were cut off when the file was opened.
    cut: u64,
    _lock: File,
}

/// Batches of one stream that are to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) stream: UsageStream,
    pub(super) batches: Vec<UsageBatch>,
}

impl Parcel {
    /// Which batches they are.
    pub(super) fn span(&self) -> Span {
        let sequence = |batch: Option<&UsageBatch>| batch.map_or(0, |batch| batch.sequence);
        Span {
            stream: self.stream,
            first: sequence(self.batches.first()),
            last: sequence(self.batches.last()),
        }
    }
}

/// Names batches of one stream that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) stream: UsageStream,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Spool {
    /// Opens the spool in `dir`, and makes it where there is none. What it holds may have been sent.
    ///
    /// # Errors
    /// Where it cannot be read and written, is no spool, or another process has it.
    pub fn open(dir: &Path) -> Result<Self, StartError> {
        Self::open_in(dir).map_err(|source| StartError::Spool {
            path: dir.to_owned(),
            source,
        })
    }

    fn open_in(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = lock(&dir.join(LOCK))?;
        let file = open_file(&dir.join(FILE))?;
        sync_dir(dir)?;
        let mut spool = Self {
            dir: dir.to_owned(),
            file,
            end: START,
            index: Index::default(),
            stream: UsageStream::new(rand::random()),
            next: 1,
            merge_above: MERGE_BATCHES,
            cut: 0,
            _lock: lock,
        };
        spool.recover()?;
        Ok(spool)
    }

    /// Writes what was relayed until `at`, in batches of these users, and waits until the disk has it.
    ///
    /// # Errors
    /// Where the disk does not take it. Nothing of it is in the spool then.
    pub(super) fn append(&mut self, at: u64, batches: Vec<Vec<UserUsage>>) -> io::Result<()> {
        let (mut bytes, mut entries, mut next) = (Vec::new(), Vec::new(), self.next);
        for users in batches {
            let sequence = next;
            let batch = UsageBatch {
                sequence,
                at,
                users,
            };
            let record = Record {
                stream: self.stream,
                batch,
            };
            let before = bytes.len() as u64;
            record.encode(&mut bytes)?;
            let length = bytes.len() as u64 - before;
            entries.push(Entry::new(&record, self.end + before, length, false));
            next += 1;
        }
        self.file.write_all_at(&bytes, self.end)?;
        self.file.sync_data()?;
        self.end += bytes.len() as u64;
        self.next = next;
        self.index.extend(entries);
        Ok(())
    }

    /// The batches that are to be sent next; they stay as they are from now on. Those that were sent
    /// before go without others, so that what is sent again is what was sent.
    pub(super) fn front(&mut self) -> io::Result<Option<Parcel>> {
        let Some((stream, offset, length)) = self.index.send() else {
            return Ok(None);
        };
        let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut text, offset)?;
        let (mut rest, mut batches, mut read) = (&text[..], Vec::new(), 0);
        while let Some((record, length)) = Record::read(&mut rest)? {
            batches.push(record.batch);
            read += length;
        }
        whole(read, length)?;
        Ok(Some(Parcel { stream, batches }))
    }

    /// Forgets the batches of `stream` up to a sequence: they are counted. Gives how many they were.
    pub(super) fn acknowledge(&mut self, stream: UsageStream, sequence: u64) -> io::Result<u64> {
        let count = self.index.acknowledge(stream, sequence);
        let done = self.index.front().map_or(self.end, |entry| entry.offset) - START;
        if self.index.is_empty() {
            self.end = START;
            self.merge_above = MERGE_BATCHES;
            self.file.set_len(START)?;
        } else if done > SPOOL_REWRITE && done > self.bytes() / 2 {
            self.compact()?;
        }
        Ok(count)
    }

    /// Merges batches that were never sent, those of one five minutes to one, once there are many:
    /// the manager has been away for minutes.
    pub(super) fn merge(&mut self) -> io::Result<()> {
        if self.index.unsent() > self.merge_above {
            self.merge_unsent()?;
            self.merge_above = self.index.unsent() + MERGE_BATCHES;
        }
        Ok(())
    }

    /// How many batches wait.
    pub(super) fn waiting(&self) -> usize {
        self.index.len()
    }

    /// When the oldest of them was made, seconds since the Unix epoch.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.index.front().map(|entry| entry.at)
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.end - START
    }

    /// Bytes that were cut off when it was opened.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Takes in what the file holds, up to the first record that is not whole or does not follow.
    fn recover(&mut self) -> io::Result<()> {
        let mut magic = [0; MAGIC.len()];
        let mut input = BufReader::new(self.file.try_clone()?);
        if input.read_exact(&mut magic).is_err() {
            // A crash has come before anything was written.
            self.file.set_len(0)?;
            self.file.write_all_at(MAGIC, 0)?;
            return self.file.sync_all();
        }
        if magic != *MAGIC {
            return Err(io::Error::other(format!("{FILE} is no spool of usage")));
        }
        while let Some((record, length)) = Record::read(&mut input)? {
            if !self.index.is_followed_by(&record) {
                break;
            }
            let entry = Entry::new(&record, self.end, length, true);
            self.index.extend([entry]);
            self.end += length;
        }
        let length = self.file.metadata()?.len();
        if length > self.end {
            self.cut_off(length)?;
        }
        Ok(())
    }

    /// Cuts off what is behind the last good record, and keeps it beside for whoever wants to know.
    fn cut_off(&mut self, length: u64) -> io::Result<()> {
        self.cut = length - self.end;
        let kept = self.dir.join(format!("{FILE}.cut-{}", self.stream));
        tracing::warn!(
            bytes = self.cut, kept = %kept.display(),
            "[DIAG] a crash has cut the last batch of usage short"
        );
        let mut tail = self.file.try_clone()?;
        tail.seek(SeekFrom::Start(self.end))?;
        io::copy(
            &mut tail,
            &mut private().create(true).truncate(true).open(kept)?,
        )?;
        self.file.set_len(self.end)?;
        self.file.sync_all()
    }
}

/// What was written must be read again: nothing may be left out unseen.
fn whole(read: u64, expected: u64) -> io::Result<()> {
    if read == expected {
        return Ok(());
    }
    let detail = format!("{FILE} is damaged: {read} of {expected} bytes can be read");
    Err(io::Error::new(io::ErrorKind::InvalidData, detail))
}

fn open_file(path: &Path) -> io::Result<File> {
    private().read(true).create(true).truncate(false).open(path)
}

/// For this user's eyes only: who uses the proxies, and how much.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Keeps other processes out. One that was killed a moment ago may still hold it.
fn lock(path: &Path) -> io::Result<File> {
    let file = private().create(true).truncate(false).open(path)?;
    let begun = Instant::now();
    while let Err(error) = file.try_lock() {
        match error {
            TryLockError::Error(error) => return Err(error),
            TryLockError::WouldBlock if begun.elapsed() > PORT_RELEASE => {
                let detail = "another PoP uses this folder";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, detail));
            }
            TryLockError::WouldBlock => {}
        }
        std::thread::sleep(PORT_RETRY);
    }
    Ok(file)
}

/// A file's name must survive a crash of the machine as its content does.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
