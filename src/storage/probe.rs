//! Shows what a store does by doing it, on a few objects that are gone afterwards. What is found is a hint for people:
//! a store can do well a thousand times and fail at the next, so nothing that keeps data safe may rest on it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, TimeDelta};
use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutPayload, PutResult, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::failure::cannot_create_only;
use super::store::Store;
use crate::error::{Attempt, Error, ErrorKind, Result};

/// Below this folder lies what a probe writes. A repository has nothing there.
const FOLDER: &str = "probe";
/// Times that a thing is done before it counts as working.
const TIMES: usize = 20;
/// Writers of one object at the same time.
const RACERS: usize = 32;
/// What S3 wants a part to have at least, and a byte more.
const PARTS: usize = (5 << 20) + 1;
/// What an older probe left behind belongs to nobody.
const LEFT_BEHIND: TimeDelta = TimeDelta::hours(1);

/// Something that a store may do or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// What was put can be read at once.
    ReadAfterWrite,
    /// What was put is listed at once.
    ListAfterWrite,
    /// What was put over something else is read from then on.
    Overwrite,
    /// A part of an object can be read alone.
    Ranges,
    /// What was deleted is neither read nor listed from then on.
    Delete,
    /// An object can be put in parts.
    Multipart,
    /// An upload in parts that is given up leaves nothing.
    Abort,
    /// Of many that create an object, one succeeds.
    CreateOnly,
    /// Of many that replace a version of an object, one succeeds.
    ReplaceIfSame,
}

impl Ability {
    /// Whether a repository needs it. The others are used where they are there.
    pub fn is_needed(self) -> bool {
        match self {
            Self::ReadAfterWrite | Self::ListAfterWrite | Self::Ranges | Self::Delete | Self::Multipart => true,
            Self::Overwrite | Self::Abort | Self::CreateOnly | Self::ReplaceIfSame => false,
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadAfterWrite => "read what was just written",
            Self::ListAfterWrite => "list what was just written",
            Self::Overwrite => "read what was just replaced",
            Self::Ranges => "read parts of an object",
            Self::Delete => "forget what was deleted",
            Self::Multipart => "take an object in parts",
            Self::Abort => "forget an upload that was given up",
            Self::CreateOnly => "let one of many create an object",
            Self::ReplaceIfSame => "let one of many replace a version",
        })
    }
}

/// What was seen of an ability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It worked every time.
    Yes,
    /// It did not work.
    No,
    /// It could not be tried.
    Unknown,
}

/// One ability, and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The ability.
    pub ability: Ability,
    /// Whether a repository needs it.
    pub needed: bool,
    /// Whether it was there.
    pub found: Verdict,
    /// How often it worked, or why not.
    pub detail: String,
}

/// What a probe found.
#[derive(Debug, Clone)]
pub struct ProbeReport {
    /// All abilities, the needed ones first.
    pub findings: Vec<Finding>,
    /// How far the store's clock is ahead of ours; none where it tells no time.
    pub clock_skew: Option<TimeDelta>,
    /// Median time to put a small object.
    pub put: Duration,
    /// Median time to read it.
    pub get: Duration,
}

type Seen = Result<(Verdict, String)>;

/// Probes a store; `random` keeps two probes at the same time apart.
pub(super) async fn run(store: &Store, now: DateTime<FixedOffset>, random: u64) -> Result<ProbeReport> {
    sweep(store, now).await?;
    let site = Site { store, folder: format!("{FOLDER}/{}-{random:016x}", now.timestamp()), keys: Mutex::default() };
    let done = site.probe().await;
    site.clean().await.attempt(|| format!("remove what was written below {}", site.folder))?;
    done
}

/// Removes what killed probes left.
async fn sweep(store: &Store, now: DateTime<FixedOffset>) -> Result<()> {
    let is_old = |key: &str| {
        let started = key.strip_prefix(FOLDER)?.strip_prefix('/')?.split('-').next()?.parse().ok()?;
        Some(now.to_utc() - DateTime::from_timestamp(started, 0)? > LEFT_BEHIND)
    };
    let listed = store.list(&format!("{FOLDER}/")).await?;
    let old: Vec<String> = listed.into_iter().map(|one| one.key).filter(|key| is_old(key) == Some(true)).collect();
    store.delete_many(old).await
}

/// A folder of a store, and every key that was written in it: a listing may not show them all.
struct Site<'a> {
    store: &'a Store,
    folder: String,
    keys: Mutex<BTreeSet<String>>,
}

impl Site<'_> {
    fn key(&self, name: &str) -> String {
        let key = format!("{}/{name}", self.folder);
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        key
    }

    async fn probe(&self) -> Result<ProbeReport> {
        // A store that takes nothing is not worth a table.
        self.store.put(&self.key("first"), Bytes::from_static(b"first")).await?;
        let (mut put, mut get) = (Vec::new(), Vec::new());
        let findings = vec![
            finding(Ability::ReadAfterWrite, self.read_after_write(&mut put, &mut get).await),
            finding(Ability::ListAfterWrite, self.list_after_write().await),
            finding(Ability::Ranges, self.ranges().await),
            finding(Ability::Delete, self.delete().await),
            finding(Ability::Multipart, self.multipart().await),
            finding(Ability::Overwrite, self.overwrite().await),
            finding(Ability::Abort, self.abort().await),
            finding(Ability::CreateOnly, self.create_only().await),
            finding(Ability::ReplaceIfSame, self.replace_if_same().await),
        ];
        Ok(ProbeReport { findings, clock_skew: self.store.clock_skew(), put: median(put), get: median(get) })
    }

    async fn read_after_write(&self, put: &mut Vec<Duration>, get: &mut Vec<Duration>) -> Seen {
        let mut good = 0;
        for n in 0..TIMES {
            let (key, content) = (self.key(&format!("read-{n}")), content(n));
            let start = Instant::now();
            self.store.put(&key, content.clone()).await?;
            put.push(start.elapsed());
            let start = Instant::now();
            good += usize::from(found(self.store.get(&key, 100).await)?.is_some_and(|bytes| bytes == content));
            get.push(start.elapsed());
        }
        Ok(counted(good))
    }

    async fn list_after_write(&self) -> Seen {
        let mut good = 0;
        for n in 0..TIMES {
            let key = self.key(&format!("list-{n}"));
            self.store.put(&key, content(n)).await?;
            let listed = self.store.list(&self.folder).await?;
            good += usize::from(listed.iter().any(|one| one.key == key && one.size == content(n).len() as u64));
        }
        Ok(counted(good))
    }

    async fn overwrite(&self) -> Seen {
        let (key, mut good) = (self.key("replaced"), 0);
        self.store.put(&key, Bytes::from_static(b"before")).await?;
        for n in 0..TIMES {
            self.store.put(&key, content(n)).await?;
            good += usize::from(found(self.store.get(&key, 100).await)?.is_some_and(|bytes| bytes == content(n)));
        }
        Ok(counted(good))
    }

    async fn ranges(&self) -> Seen {
        let key = self.key("ranges");
        let whole = Bytes::from_static(b"0123456789");
        self.store.put(&key, whole.clone()).await?;
        let part = self.store.get_range(&key, 3..7).await;
        let last = self.store.get_suffix(&key, 4).await;
        let beyond = self.store.get_range(&key, 8..12).await;
        let wrong = |what: &str| Ok((Verdict::No, what.to_owned()));
        match (part, last, beyond) {
            (Ok(part), _, _) if part != whole.slice(3..7) => wrong("other bytes came than were asked for"),
            (Ok(_), Ok(last), Err(_)) if last == (whole.slice(6..), 10) => {
                Ok((Verdict::Yes, "middle, end and beyond".to_owned()))
            }
            (Ok(_), _, Ok(_)) => wrong("bytes beyond the end are made up"),
            (Ok(_), Ok(_), Err(_)) => wrong("the end is not the end"),
            (Err(error), _, _) | (_, Err(error), _) if error.kind() == ErrorKind::Corrupt => wrong(&error.chain()),
            (Err(error), _, _) | (_, Err(error), _) => Err(error),
        }
    }

    async fn delete(&self) -> Seen {
        let mut good = 0;
        for n in 0..TIMES {
            let key = self.key(&format!("deleted-{n}"));
            self.store.put(&key, content(n)).await?;
            self.store.delete(&key).await?;
            let gone = found(self.store.get(&key, 100).await)?.is_none();
            let unlisted = !self.store.list(&self.folder).await?.iter().any(|one| one.key == key);
            good += usize::from(gone && unlisted);
        }
        Ok(counted(good))
    }

    async fn multipart(&self) -> Seen {
        let key = self.key("parts");
        let whole: Bytes = (0..PARTS).map(|n| (n % 251).to_le_bytes().first().copied().unwrap_or_default()).collect();
        let mut upload = self.raw(&key, self.store.objects().put_multipart(&Path::from(key.as_str())).await)?;
        for part in [whole.slice(..PARTS - 1), whole.slice(PARTS - 1..)] {
            self.raw(&key, upload.put_part(PutPayload::from(part)).await)?;
        }
        self.raw(&key, upload.complete().await)?;
        let same = found(self.store.get(&key, PARTS as u64).await)?.is_some_and(|bytes| bytes == whole);
        Ok(if same { (Verdict::Yes, "2 parts".to_owned()) } else { (Verdict::No, "other bytes came back".to_owned()) })
    }

    async fn abort(&self) -> Seen {
        let key = self.key("aborted");
        let mut upload = self.raw(&key, self.store.objects().put_multipart(&Path::from(key.as_str())).await)?;
        self.raw(&key, upload.put_part(PutPayload::from_static(b"part")).await)?;
        self.raw(&key, upload.abort().await)?;
        if found(self.store.get(&key, 100).await)?.is_some() {
            return Ok((Verdict::No, "the object is there".to_owned()));
        }
        match self.store.unfinished_uploads(&self.folder).await {
            Ok(Some(0)) => Ok((Verdict::Yes, "no object, no upload".to_owned())),
            Ok(Some(left)) => Ok((Verdict::No, format!("{left} uploads are left, and their parts cost money"))),
            Ok(None) => Ok((Verdict::Yes, "no object".to_owned())),
            Err(error) => Ok((Verdict::Unknown, format!("no object, but uploads cannot be listed: {}", error.chain()))),
        }
    }

    async fn create_only(&self) -> Seen {
        self.race("created", || PutMode::Create).await
    }

    async fn replace_if_same(&self) -> Seen {
        let key = self.key("versions");
        let first = PutPayload::from_static(b"first");
        let PutResult { e_tag, version, .. } =
            self.raw(&key, self.store.objects().put(&Path::from(key.as_str()), first).await)?;
        if e_tag.is_none() && version.is_none() {
            return Ok((Verdict::No, "the store names no versions".to_owned()));
        }
        let version = UpdateVersion { e_tag, version };
        self.race("versions", || PutMode::Update(version.clone())).await
    }

    /// Many write one object under a condition that only one can meet.
    async fn race(&self, name: &str, mode: impl Fn() -> PutMode) -> Seen {
        let key = self.key(name);
        let (objects, path) = (self.store.objects(), Path::from(key.as_str()));
        let racers = (0..RACERS).map(|n| {
            let (objects, path, mode) = (&objects, &path, mode());
            async move { objects.put_opts(path, PutPayload::from(content(n)), mode.into()).await }
        });
        let outcomes = join_all(racers).await;
        let winners: Vec<usize> = (0..).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| n).collect();
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(error) if is_lost(error))).count();
        let other = outcomes.into_iter().find_map(|outcome| outcome.err().filter(|error| !is_lost(error)));
        match (winners.as_slice(), other) {
            (_, Some(error)) if cannot_create_only(&error) => {
                Ok((Verdict::No, "the store refuses the condition".to_owned()))
            }
            ([winner], None) => {
                let kept = self.store.get(&key, 100).await? == content(*winner);
                let whose = if kept { "and its bytes are there" } else { "but other bytes are there" };
                Ok((if kept { Verdict::Yes } else { Verdict::No }, format!("1 of {RACERS} won, {whose}")))
            }
            ([_, _, ..], _) => {
                Ok((Verdict::No, format!("{} of {RACERS} won: the condition is overlooked", winners.len())))
            }
            (_, Some(error)) => {
                Ok((Verdict::Unknown, format!("{} won, {lost} lost; one failed: {error}", winners.len())))
            }
            ([], None) => Ok((Verdict::Unknown, format!("all {RACERS} lost"))),
        }
    }

    async fn clean(&self) -> Result<()> {
        let written = std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner));
        let listed = self.store.list(&self.folder).await?.into_iter().map(|one| one.key);
        self.store.delete_many(written.into_iter().chain(listed).collect::<BTreeSet<_>>().into_iter().collect()).await
    }

    fn raw<T>(&self, key: &str, outcome: object_store::Result<T>) -> Result<T> {
        outcome.map_err(|error| self.store.failed("write", key, error))
    }
}

fn content(n: usize) -> Bytes {
    Bytes::from(format!("probe {n}"))
}

fn is_lost(error: &StoreError) -> bool {
    matches!(error, StoreError::AlreadyExists { .. } | StoreError::Precondition { .. })
}

fn found(read: Result<Bytes>) -> Result<Option<Bytes>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn counted(good: usize) -> (Verdict, String) {
    (if good == TIMES { Verdict::Yes } else { Verdict::No }, format!("{good} of {TIMES} times"))
}

fn finding(ability: Ability, seen: Seen) -> Finding {
    let (found, detail) = seen.unwrap_or_else(|error: Error| (Verdict::Unknown, error.chain()));
    Finding { ability, needed: ability.is_needed(), found, detail }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
