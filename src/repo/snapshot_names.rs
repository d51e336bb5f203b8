//! How snapshots are named and chosen without reading them. Spec: `docs/format.md` section 10.

use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};

use crate::id::{SessionId, SourceId};

/// Prefix of the keys of all snapshots.
pub(super) const PREFIX: &str = "state/snapshots/";

/// Nanoseconds: two snapshots of one second must have an order.
const TIME: &str = "%Y%m%dT%H%M%S%.9fZ";

/// What a listing says of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotName {
    /// The source it is of: host and paths.
    pub source: SourceId,
    /// Its time.
    pub time: DateTime<Utc>,
    /// Its id, which is that of the session that wrote it.
    pub id: SessionId,
    /// First half of the hash of its stored bytes, in hex.
    pub(super) hash: String,
}

impl SnapshotName {
    /// The key without the hash: what the seal binds.
    pub(super) fn bound_key(source: SourceId, time: DateTime<Utc>, id: SessionId) -> String {
        format!("{PREFIX}{source}/{}-{id}", time.format(TIME))
    }

    /// The key of the object.
    pub fn key(&self) -> String {
        format!("{}-{}", Self::bound_key(self.source, self.time, self.id), self.hash)
    }

    /// Reads a key of a listing.
    pub(super) fn parse(key: &str) -> Option<Self> {
        let (source, name) = key.strip_prefix(PREFIX)?.split_once('/')?;
        let mut parts = name.split('-');
        let time = NaiveDateTime::parse_from_str(parts.next()?, TIME).ok()?.and_utc();
        let id = parts.next()?.parse().ok()?;
        let hash = parts.next()?.to_owned();
        let hex = hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = Self { source: source.parse().ok()?, time, id, hash };
        // One way to write it: an object must not go by two names.
        (hex && name.key() == key).then_some(name)
    }
}

/// Which snapshot is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest, as restic's `latest`.
    Latest {
        /// How many newer ones to pass over.
        previous: u32,
        /// The newest not after this time.
        as_of: Option<DateTime<FixedOffset>>,
        /// Whether a snapshot of an interrupted run counts.
        include_partial: bool,
    },
    /// The one whose id starts with these hex digits.
    Id(String),
}

impl Selector {
    /// `latest` or the start of an id.
    pub fn parse(text: &str) -> Self {
        match text {
            "latest" => Self::Latest { previous: 0, as_of: None, include_partial: false },
            id => Self::Id(id.to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_others_are_passed_over() {
        let name = SnapshotName {
            source: SourceId::new([1; 16]),
            time: DateTime::parse_from_rfc3339("2026-11-20T10:11:12.003004005Z").unwrap().to_utc(),
            id: SessionId::new([2; 16]),
            hash: "ab".repeat(16),
        };
        assert_eq!(SnapshotName::parse(&name.key()), Some(name.clone()));
        assert!(name.key().contains("/20261120T101112.003004005Z-0202"));
        for key in [
            "state/snapshots/x",
            "state/snapshots/",
            &name.key()[1..],
            &format!("{}-", name.key()),
            &name.key().replace('T', "t"),
            &name.key().replace(".003004005", ""),
        ] {
            assert_eq!(SnapshotName::parse(key), None, "{key}");
        }
    }
}
