//! Where each waiting batch lies in the file.

use std::collections::VecDeque;

use titan_proto::control::{MAX_USAGE_BATCHES, MAX_USAGE_ENTRIES, UsageStream};

use super::super::record::Record;

/// One batch of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) stream: UsageStream,
    pub(super) sequence: u64,
    pub(super) at: u64,
    /// Where its record begins.
    pub(super) offset: u64,
    /// Bytes of its record.
    pub(super) length: u64,
    users: usize,
    /// Whether it may have reached the manager: then it must stay as it is.
    is_sent: bool,
}

impl Entry {
    pub(super) fn new(record: &Record, offset: u64, length: u64, is_sent: bool) -> Self {
        Self {
            stream: record.stream,
            sequence: record.batch.sequence,
            at: record.batch.at,
            offset,
            length,
            users: record.batch.users.len(),
            is_sent,
        }
    }
}

/// The waiting batches in their order; those that may have reached the manager come first.
#[derive(Debug, Default)]
pub(super) struct Index(VecDeque<Entry>);

impl Index {
    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.0.extend(entries);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.0.front()
    }

    /// How many have never been sent.
    pub(super) fn unsent(&self) -> usize {
        let fresh = self.0.iter().rev().take_while(|entry| !entry.is_sent);
        fresh.count()
    }

    /// The first batch that has never been sent.
    pub(super) fn first_unsent(&self) -> Option<Entry> {
        let place = self.len() - self.unsent();
        self.0.get(place).copied()
    }

    /// Forgets the batches that have never been sent.
    pub(super) fn drop_unsent(&mut self) {
        self.0.truncate(self.len() - self.unsent());
    }

    /// Whether `record` is the one behind the last: of another stream, or the next of the same.
    pub(super) fn is_followed_by(&self, record: &Record) -> bool {
        self.0.back().is_none_or(|last| {
            last.stream != record.stream || last.sequence + 1 == record.batch.sequence
        })
    }

    /// Chooses what is sent next: the stream, where it begins and how many bytes it has. What may
    /// have reached the manager goes alone, so that it is the same every time.
    pub(super) fn send(&mut self) -> Option<(UsageStream, u64, u64)> {
        let first = *self.front()?;
        let (mut users, mut bytes) = (0, 0);
        for entry in self.0.iter().take(MAX_USAGE_BATCHES) {
            users += entry.users;
            let fits = entry.stream == first.stream
                && entry.is_sent == first.is_sent
                && (users <= MAX_USAGE_ENTRIES || bytes == 0);
            if !fits {
                break;
            }
            bytes += entry.length;
        }
        let end = first.offset + bytes;
        let sent = self.0.iter_mut().take_while(|entry| entry.offset < end);
        sent.for_each(|entry| entry.is_sent = true);
        Some((first.stream, first.offset, bytes))
    }

    /// Forgets batches that are counted; gives how many they were.
    pub(super) fn acknowledge(&mut self, stream: UsageStream, sequence: u64) -> u64 {
        let mut count = 0;
        while let Some(entry) = self.front()
            && entry.stream == stream
            && entry.sequence <= sequence
        {
            self.0.pop_front();
            count += 1;
        }
        count
    }

    /// The batches lie `by` bytes further to the front of the file.
    pub(super) fn shift(&mut self, by: u64) {
        self.0.iter_mut().for_each(|entry| entry.offset -= by);
    }
}

impl FromIterator<Entry> for Index {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}
