//! Snapshots: what a run saved. Spec: `docs/format.md` section 10.

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::catalog::InnerPage;
use crate::crypto::{KeyRing, ObjectKind, Sealed};
use crate::error::{Error, Result};
use crate::id::{BlobId, SessionId, SourceId};

use super::small;
use super::snapshot_names::SnapshotName;

/// Whether a run saved all that it was to save.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The run came to its end (single files may have failed: the summary counts them).
    Complete,
    /// The run was interrupted; what it had finished is here.
    Partial,
}

/// What a run did, under restic's names. Sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are restic's and say it")]
#[serde(default)]
pub struct Summary {
    pub backup_start: String,
    pub backup_end: String,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    pub dirs_new: u64,
    pub dirs_changed: u64,
    pub dirs_unmodified: u64,
    pub data_blobs: u64,
    pub tree_blobs: u64,
    pub data_added: u64,
    pub data_added_packed: u64,
    pub total_files_processed: u64,
    pub total_bytes_processed: u64,
    pub errors: u64,
}

/// Older snapshots that one can say something of; with more, the newest.
const KNOWN_MAX: usize = 1000;

/// What a snapshot says of an older one of its source: as much as a policy wants to know, so that nobody has to read it for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: SessionId,
    /// The UTC offset of its time; the time itself stands in its name.
    pub offset: FixedOffset,
    /// Whether it is all.
    pub status: Status,
}

impl Known {
    fn encode(&self) -> String {
        let status = match self.status {
            Status::Complete => "complete",
            Status::Partial => "partial",
        };
        format!("{} {} {status}", self.id.to_hex(), self.offset.local_minus_utc())
    }

    /// What says nothing that is understood is left out: the snapshot can be read.
    fn decode(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (id, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let status = match words.next()? {
            "complete" => Status::Complete,
            "partial" => Status::Partial,
            _ => return None,
        };
        Some(Self { id, offset: FixedOffset::east_opt(offset)?, status })
    }
}

/// What a policy wants to know of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its id.
    pub id: SessionId,
    /// Its time, with the offset of its source.
    pub time: DateTime<FixedOffset>,
    /// Whether it is all.
    pub status: Status,
    /// Its tags, if they were asked for.
    pub tags: Vec<String>,
}

impl Fact {
    /// Of a snapshot that is at hand.
    pub fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { id, time, status, tags, .. } = snapshot;
        Self { id: *id, time: *time, status: *status, tags: tags.clone() }
    }
}

/// One snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The session that wrote it; also its own id.
    pub id: SessionId,
    /// When the run started, or the time it was given, with the source's UTC offset.
    pub time: DateTime<FixedOffset>,
    /// Host of the source.
    pub host: String,
    /// Who ran it.
    pub user: String,
    /// User id of who ran it.
    pub uid: u32,
    /// Group id of who ran it.
    pub gid: u32,
    /// What was saved: absolute paths.
    pub paths: Vec<Vec<u8>>,
    /// Tags.
    pub tags: Vec<String>,
    /// Exclude patterns of the run, for people.
    pub excludes: Vec<String>,
    /// The snapshot that unchanged files were taken from.
    pub parent: Option<SessionId>,
    /// The snapshot that this one was first, before its tags were changed, it was repaired or copied.
    pub original: Option<SessionId>,
    /// Whether it is all.
    pub status: Status,
    /// The root of its catalogue.
    pub root: InnerPage,
    /// The program that wrote it.
    pub program: String,
    /// What the run did.
    pub summary: Summary,
    /// How many snapshots of this source came before it.
    pub seq: u64,
    /// The snapshot of this source before it; of one that took another's place that other one, where what it named was gone.
    pub prev: Option<SessionId>,
    /// Bundles that this snapshot uses by less than half; the next backup bundles their files anew.
    pub sparse: Vec<BlobId>,
    /// What its writer knew of older snapshots of this source, the newest first.
    pub known: Vec<Known>,
}

impl Snapshot {
    /// The folder it lies in.
    pub fn source(&self, keys: &KeyRing) -> SourceId {
        keys.source_id(self.host.as_bytes(), &self.paths)
    }

    /// One of that day in March, for tests.
    #[cfg(test)]
    pub(crate) fn sample(day: u8, host: &str, paths: &[&str]) -> Self {
        Self {
            id: SessionId::new([day; 16]),
            time: DateTime::parse_from_rfc3339(&format!("2024-03-{day:02}T10:00:00Z")).unwrap(),
            host: host.to_owned(),
            user: "root".to_owned(),
            uid: 0,
            gid: 0,
            paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
            tags: Vec::new(),
            excludes: Vec::new(),
            parent: None,
            original: None,
            status: Status::Complete,
            root: InnerPage { level: 1, children: Vec::new() },
            program: "volvault 0.1.0".to_owned(),
            summary: Summary { total_bytes_processed: 1536, ..Summary::default() },
            seq: 0,
            prev: None,
            sparse: Vec::new(),
            known: Vec::new(),
        }
    }

    /// The snapshot that it was at first, before it was copied, repaired or its tags were changed.
    pub fn first(&self) -> SessionId {
        self.original.unwrap_or(self.id)
    }

    /// What the next ones say of it.
    pub fn known_as(&self) -> Known {
        Known { id: self.id, offset: *self.time.offset(), status: self.status }
    }

    pub(super) fn seal(&self, keys: &KeyRing) -> Result<(SnapshotName, Sealed)> {
        let (source, time) = (self.source(keys), self.time.to_utc());
        let key = SnapshotName::bound_key(source, time, self.id);
        let sealed = small::seal(keys, ObjectKind::Snapshot, &key, &Stored::from_snapshot(self))?;
        let hash = sealed.hash.to_hex().chars().take(32).collect();
        Ok((SnapshotName { source, time, id: self.id, hash }, sealed))
    }

    pub(super) fn open(keys: &KeyRing, name: &SnapshotName, bytes: &[u8]) -> Result<Self> {
        let key = name.key();
        let within = |error: Error| error.within(format!("snapshot {}", name.id.short()));
        if !blake3::hash(bytes).to_hex().starts_with(&name.hash) {
            return Err(within(Error::corrupt(format!("bytes of {key} do not have the hash that names them"))));
        }
        let bound = SnapshotName::bound_key(name.source, name.time, name.id);
        let stored: Stored = small::open(keys, ObjectKind::Snapshot, &bound, bytes).map_err(within)?;
        stored.into_snapshot(name.id).map_err(within)
    }

    /// Path as text for people and JSON.
    pub fn paths_shown(&self) -> Vec<String> {
        self.paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }
}

/// A path in JSON: text where it is UTF-8.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredPath {
    Text(String),
    Bytes { hex: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    time: String,
    host: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    paths: Vec<StoredPath>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    excludes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original: Option<String>,
    status: Status,
    root: String,
    #[serde(default)]
    program: String,
    session: String,
    #[serde(default)]
    summary: Summary,
    #[serde(default)]
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prev: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sparse: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    known: Vec<String>,
}

impl Stored {
    fn from_snapshot(snapshot: &Snapshot) -> Self {
        let path = |path: &Vec<u8>| match std::str::from_utf8(path) {
            Ok(text) => StoredPath::Text(text.to_owned()),
            Err(_) => StoredPath::Bytes { hex: hex::encode(path) },
        };
        Self {
            time: snapshot.time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, false),
            host: snapshot.host.clone(),
            user: snapshot.user.clone(),
            uid: snapshot.uid,
            gid: snapshot.gid,
            paths: snapshot.paths.iter().map(path).collect(),
            tags: snapshot.tags.clone(),
            excludes: snapshot.excludes.clone(),
            parent: snapshot.parent.map(|id| id.to_hex()),
            original: snapshot.original.map(|id| id.to_hex()),
            status: snapshot.status,
            root: hex::encode(snapshot.root.encode()),
            program: snapshot.program.clone(),
            session: snapshot.id.to_hex(),
            summary: snapshot.summary.clone(),
            seq: snapshot.seq,
            prev: snapshot.prev.map(|id| id.to_hex()),
            sparse: snapshot.sparse.iter().map(BlobId::to_hex).collect(),
            known: snapshot.known.iter().take(KNOWN_MAX).map(Known::encode).collect(),
        }
    }

    fn into_snapshot(self, id: SessionId) -> Result<Snapshot> {
        let damaged = |what: &str| Error::corrupt(format!("snapshot has a damaged {what}"));
        let path = |path: StoredPath| match path {
            StoredPath::Text(text) => Ok(text.into_bytes()),
            StoredPath::Bytes { hex } => hex::decode(hex).map_err(|_| damaged("path")),
        };
        if self.session != id.to_hex() {
            return Err(damaged("session id"));
        }
        let session = |id: Option<String>| id.map(|id| id.parse::<SessionId>()).transpose();
        Ok(Snapshot {
            id,
            time: DateTime::parse_from_rfc3339(&self.time).map_err(|cause| damaged("time").with_source(cause))?,
            host: self.host,
            user: self.user,
            uid: self.uid,
            gid: self.gid,
            paths: self.paths.into_iter().map(path).collect::<Result<_>>()?,
            tags: self.tags,
            excludes: self.excludes,
            parent: session(self.parent)?,
            original: session(self.original)?,
            status: self.status,
            root: InnerPage::decode(&hex::decode(&self.root).map_err(|_| damaged("root"))?)?,
            program: self.program,
            summary: self.summary,
            seq: self.seq,
            prev: session(self.prev)?,
            sparse: self.sparse.iter().map(|id| id.parse()).collect::<Result<_>>()?,
            known: self.known.iter().take(KNOWN_MAX).filter_map(|text| Known::decode(text)).collect(),
        })
    }
}

/// Which snapshots are meant, by restic's rules; an empty list asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct SnapshotFilter {
    /// The host is one of these.
    pub hosts: Vec<String>,
    /// The snapshot has all of these paths.
    pub paths: Vec<Vec<u8>>,
    /// The snapshot has all tags of one of these lists; the list `[""]` is for snapshots without tags.
    pub tags: Vec<Vec<String>>,
}

impl SnapshotFilter {
    /// Whether every snapshot is meant.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.paths.is_empty() && self.tags.is_empty()
    }

    /// Whether `snapshot` is meant.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let has_tags = |list: &Vec<String>| match list.as_slice() {
            [one] if one.is_empty() => snapshot.tags.is_empty(),
            list => list.iter().all(|tag| snapshot.tags.contains(tag)),
        };
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.host))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
            && (self.tags.is_empty() || self.tags.iter().any(has_tags))
    }
}
