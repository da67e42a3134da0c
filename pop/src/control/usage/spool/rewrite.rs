//! Writing the spool anew: without what is acknowledged, with merged batches, under another stream.
//!
//! The new file takes the old one's place at once and whole, or not at all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
};

use titan_proto::control::{UsageBatch, UsageResolution, UsageStream, UserName, UserUsage};

use super::{
    super::record::Record, FILE, MAGIC, START, Spool, index::Entry, open_file, sync_dir, whole,
};
use crate::limits::BATCH_USERS;

const NEW_FILE: &str = "usage.spool.new";

/// A file that is to take the spool's place.
struct Successor {
    file: BufWriter<File>,
    end: u64,
}

impl Spool {
    /// Leaves out what is acknowledged.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        let begin = self.index.front().map_or(self.end, |entry| entry.offset);
        let mut successor = Successor::make(self)?;
        successor.copy(self, begin, self.end)?;
        self.replace_by(successor)?;
        self.index.shift(begin - START);
        Ok(())
    }

    /// Merges what was never sent into one batch for every five minutes.
    pub(super) fn merge_unsent(&mut self) -> io::Result<()> {
        let Some(first) = self.index.first_unsent() else {
            return Ok(());
        };
        let begin = self
            .index
            .front()
            .map_or(first.offset, |entry| entry.offset);
        let mut successor = Successor::make(self)?;
        successor.copy(self, begin, first.offset)?;
        let (mut input, mut merged) = (self.read_from(first.offset)?, Merged::default());
        let (mut entries, mut next, mut read) = (Vec::new(), first.sequence, 0);
        while let Some((record, length)) = Record::read(&mut input)? {
            read += length;
            if !merged.may_hold(record.batch.at) {
                entries.extend(successor.write(self.stream, &mut next, &mut merged)?);
            }
            merged.add(record.batch);
        }
        whole(read, self.end - first.offset)?;
        entries.extend(successor.write(self.stream, &mut next, &mut merged)?);
        self.replace_by(successor)?;
        self.index.drop_unsent();
        self.index.shift(begin - START);
        self.index.extend(entries);
        self.next = next;
        Ok(())
    }

    /// Puts all batches of the first stream under a new one, counted from 1: the manager has forgotten
    /// what came before them, and takes none of them under the old.
    pub(in super::super) fn restart_stream(&mut self) -> io::Result<()> {
        let Some(first) = self.index.front().copied() else {
            return Ok(());
        };
        let (stream, mut next) = (UsageStream::new(rand::random()), 1);
        let mut successor = Successor::make(self)?;
        let (mut input, mut index) = (self.read_from(first.offset)?, Vec::new());
        let mut read = 0;
        while let Some((mut record, length)) = Record::read(&mut input)? {
            read += length;
            if record.stream == first.stream {
                record.stream = stream;
                record.batch.sequence = next;
                next += 1;
            }
            index.push(successor.put(&record, true)?);
        }
        whole(read, self.end - first.offset)?;
        self.replace_by(successor)?;
        self.index = index.into_iter().collect();
        if self.stream == first.stream {
            (self.stream, self.next) = (stream, next);
        }
        Ok(())
    }

    /// The file's records from `offset` on.
    fn read_from(&self, offset: u64) -> io::Result<impl Read + use<>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(BufReader::new(file.take(self.end - offset)))
    }

    fn replace_by(&mut self, successor: Successor) -> io::Result<()> {
        let file = successor.file.into_inner().map_err(io::Error::from)?;
        file.sync_all()?;
        fs::rename(self.dir.join(NEW_FILE), self.dir.join(FILE))?;
        (self.file, self.end) = (file, successor.end);
        if let Err(error) = sync_dir(&self.dir) {
            // Until the disk has the name, a crash brings the old file back, which is as good.
            tracing::warn!(%error, "the folder of the usage spool cannot be written to the disk");
        }
        Ok(())
    }
}

impl Successor {
    fn make(spool: &Spool) -> io::Result<Self> {
        let file = open_file(&spool.dir.join(NEW_FILE))?;
        // A crash may have left one.
        file.set_len(0)?;
        let mut file = BufWriter::new(file);
        file.write_all(MAGIC)?;
        Ok(Self { file, end: START })
    }

    /// Copies records as they are.
    fn copy(&mut self, spool: &Spool, begin: u64, end: u64) -> io::Result<()> {
        let mut records = spool.read_from(begin)?.take(end - begin);
        self.end += io::copy(&mut records, &mut self.file)?;
        Ok(())
    }

    /// Adds a record.
    fn put(&mut self, record: &Record, is_sent: bool) -> io::Result<Entry> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes)?;
        self.file.write_all(&bytes)?;
        let (offset, length) = (self.end, bytes.len() as u64);
        self.end += length;
        Ok(Entry::new(record, offset, length, is_sent))
    }

    /// Adds what was merged and leaves nothing of it.
    fn write(
        &mut self,
        stream: UsageStream,
        next: &mut u64,
        merged: &mut Merged,
    ) -> io::Result<Vec<Entry>> {
        let at = merged.at;
        let users: Vec<UserUsage> = std::mem::take(merged).users.into_values().collect();
        let mut entries = Vec::new();
        for users in users.chunks(BATCH_USERS) {
            let (sequence, users) = (*next, users.to_vec());
            let batch = UsageBatch {
                sequence,
                at,
                users,
            };
            entries.push(self.put(&Record { stream, batch }, false)?);
            *next += 1;
        }
        Ok(entries)
    }
}

/// Batches of one five minutes, added up: the finest series that the manager keeps sees no difference.
#[derive(Default)]
struct Merged {
    at: u64,
    users: BTreeMap<UserName, UserUsage>,
}

impl Merged {
    fn may_hold(&self, at: u64) -> bool {
        let slot = |at| UsageResolution::FiveMinutes.start_of(at);
        self.users.is_empty() || slot(self.at) == slot(at)
    }

    fn add(&mut self, batch: UsageBatch) {
        self.at = batch.at;
        for user in batch.users {
            match self.users.get_mut(&user.name) {
                Some(sum) => add(sum, &user),
                None => drop(self.users.insert(user.name.clone(), user)),
            }
        }
    }
}

fn add(sum: &mut UserUsage, more: &UserUsage) {
    sum.up_bytes = sum.up_bytes.saturating_add(more.up_bytes);
    sum.down_bytes = sum.down_bytes.saturating_add(more.down_bytes);
    sum.sessions = sum.sessions.saturating_add(more.sessions);
    sum.connections = more.connections;
}
