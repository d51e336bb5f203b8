//! What a run asked of its store.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The kinds of requests that are told apart, because stores bill and limit them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    GetRange,
    Put,
    List,
    Head,
    Delete,
    Copy,
    Multipart,
}

/// Requests sent so far, repeated ones included, and the bytes of objects that they moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestCounts {
    /// Whole objects read.
    pub get: u64,
    /// Parts of objects read.
    pub get_range: u64,
    /// Objects written in one request.
    pub put: u64,
    /// Pages listed: one for each thousand objects begun.
    pub list: u64,
    /// Sizes asked for; buckets asked for.
    pub head: u64,
    /// Deletions; up to a thousand objects in one where the store can.
    pub delete: u64,
    /// Copies inside the store.
    pub copy: u64,
    /// Requests of uploads in parts: begin, one for each part, finish, abort.
    pub multipart: u64,
    /// Bytes of objects sent.
    pub bytes_up: u64,
    /// Bytes of objects received.
    pub bytes_down: u64,
    /// How many of the requests above were sent because an earlier one failed.
    pub retries: u64,
}

impl RequestCounts {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.get + self.get_range + self.put + self.list + self.head + self.delete + self.copy + self.multipart
    }

    /// Those of this count that `earlier`, a count of the same store, does not have yet.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// These and others, of another store.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, other: &Self, what: fn(u64, u64) -> u64) -> Self {
        Self {
            get: what(self.get, other.get),
            get_range: what(self.get_range, other.get_range),
            put: what(self.put, other.put),
            list: what(self.list, other.list),
            head: what(self.head, other.head),
            delete: what(self.delete, other.delete),
            copy: what(self.copy, other.copy),
            multipart: what(self.multipart, other.multipart),
            bytes_up: what(self.bytes_up, other.bytes_up),
            bytes_down: what(self.bytes_down, other.bytes_down),
            retries: what(self.retries, other.retries),
        }
    }
}

impl fmt::Display for RequestCounts {
    /// One line for people: `12 requests (3 get, 1 list, 8 put), 1 repeated, 4096 bytes up, 120 bytes down`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.total())?;
        let mut separator = " (";
        for (count, name) in [
            (self.get, "get"),
            (self.get_range, "get range"),
            (self.head, "head"),
            (self.list, "list"),
            (self.put, "put"),
            (self.multipart, "multipart"),
            (self.copy, "copy"),
            (self.delete, "delete"),
        ] {
            if count > 0 {
                write!(f, "{separator}{count} {name}")?;
                separator = ", ";
            }
        }
        if separator == ", " {
            f.write_str(")")?;
        }
        if self.retries > 0 {
            write!(f, ", {} repeated", self.retries)?;
        }
        write!(f, ", {} bytes up, {} bytes down", self.bytes_up, self.bytes_down)
    }
}

/// The counters behind [`RequestCounts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    kinds: [AtomicU64; 8],
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    fn of(&self, kind: Kind) -> &AtomicU64 {
        let [get, get_range, put, list, head, delete, copy, multipart] = &self.kinds;
        match kind {
            Kind::Get => get,
            Kind::GetRange => get_range,
            Kind::Put => put,
            Kind::List => list,
            Kind::Head => head,
            Kind::Delete => delete,
            Kind::Copy => copy,
            Kind::Multipart => multipart,
        }
    }

    pub(super) fn sent(&self, kind: Kind, bytes_up: u64) {
        self.of(kind).fetch_add(1, Ordering::Relaxed);
        self.bytes_up.fetch_add(bytes_up, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.bytes_down.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn repeated(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let count = |kind| read(self.of(kind));
        RequestCounts {
            get: count(Kind::Get),
            get_range: count(Kind::GetRange),
            put: count(Kind::Put),
            list: count(Kind::List),
            head: count(Kind::Head),
            delete: count(Kind::Delete),
            copy: count(Kind::Copy),
            multipart: count(Kind::Multipart),
            bytes_up: read(&self.bytes_up),
            bytes_down: read(&self.bytes_down),
            retries: read(&self.retries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_shown_as_one_line_without_zeros() {
        let counts = RequestCounts {
            get: 3,
            put: 8,
            list: 1,
            retries: 1,
            bytes_up: 4096,
            bytes_down: 120,
            ..RequestCounts::default()
        };
        assert_eq!(counts.to_string(), "12 requests (3 get, 1 list, 8 put), 1 repeated, 4096 bytes up, 120 bytes down");
        assert_eq!(RequestCounts::default().to_string(), "0 requests, 0 bytes up, 0 bytes down");
    }

    #[test]
    fn every_kind_has_its_own_counter() {
        let counters = Counters::default();
        for kind in
            [Kind::Get, Kind::GetRange, Kind::Put, Kind::List, Kind::Head, Kind::Delete, Kind::Copy, Kind::Multipart]
        {
            counters.sent(kind, 2);
        }
        let counts = counters.snapshot();
        assert_eq!((counts.total(), counts.bytes_up, counts.get, counts.multipart), (8, 16, 1, 1));
    }
}
