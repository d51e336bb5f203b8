//! The store as the rest of the house holds it.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::body::collect;
use super::connect::{Access, Connected, S3Access, connect};
use super::counts::{Counters, Kind, RequestCounts};
use super::failure::{Failure, beyond_the_end, cannot_create_only, explain, judge};
use super::files::Files;
use super::flight::Flight;
use super::governor::{Governor, Request, Shared};
use super::local::{moment_before, sweep};
use super::location::Location;
use super::options::StoreOptions;
use super::pin::Checksum;
use super::probe::{self, ProbeReport};
use super::profile::Profile;
use super::retry::{Budget, Patience};
use super::s3_objects::S3Objects;
use super::throttle::Bandwidth;
use super::wire::Skew;
use crate::clock::SharedClock;
use crate::error::{Attempt, Error, ErrorKind, Result};

/// An object above this size is sent in parts: one request would have to begin anew after an accident.
const SINGLE_PUT_MAX: usize = 64 << 20;
/// The size of a part.
const PART: usize = 16 << 20;
/// Answers of the wrong length are asked for again this often; `failure` repeats broken bodies by itself.
const SHORT_RETRIES: u32 = 2;
/// Requests in flight at the start and at most, where the location is behind a network. A disk needs fewer. So many only a pull of small files wants:
/// others have lower bounds of their own.
const FLIGHT_REMOTE: (usize, usize) = (8, 128);
const FLIGHT_LOCAL: (usize, usize) = (16, 16);
/// Objects deleted at once, where each is a request.
const DELETIONS_BY_KEY: usize = 8;

/// A place that keeps objects. Cheap to clone; clones share limits and counters.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) governor: Governor,
    pub(super) location: Arc<Location>,
    pub(super) access: Option<Arc<Access>>,
    pub(super) files: Option<Files>,
    pub(super) s3: Option<S3Objects>,
    skew: Arc<Skew>,
    clock: Option<SharedClock>,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its key, relative to the location.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was stored, by the store's own clock. Only to be compared with that of another object of the same store.
    pub modified: DateTime<Utc>,
    /// Its checksum, where the store lists one.
    pub checksum: Option<Checksum>,
}

impl Store {
    /// The store at `location`. Makes no request: whether it is there shows at the first use.
    pub async fn connect(location: &Location, options: &StoreOptions, clock: SharedClock) -> Result<Self> {
        let skew = Arc::new(Skew::new());
        let profile = match location {
            Location::S3 { endpoint, .. } => Profile::load(options, endpoint.is_some()).await,
            Location::Gcs { .. } | Location::Azure { .. } | Location::Local(_) | Location::Memory => Profile::default(),
        };
        let connected = connect(location, options, &profile, &clock, &skew)?;
        let (kind, (first, most)) = match location {
            Location::S3 { .. } => ("s3", FLIGHT_REMOTE),
            Location::Gcs { .. } => ("gs", FLIGHT_REMOTE),
            Location::Azure { .. } => ("azure", FLIGHT_REMOTE),
            Location::Local(_) | Location::Memory => ("local", FLIGHT_LOCAL),
        };
        let most = options.connections(kind)?.unwrap_or(most);
        let patience = match &options.patience {
            Some(patience) => patience.clone(),
            None if location.is_remote() => Patience::default(),
            None => Patience::local(),
        };
        let own = || Bandwidth::new(options.limit_upload, options.limit_download);
        let limits = Limits {
            patience,
            flight: Flight::new(first, most),
            bandwidth: options.bandwidth.clone().unwrap_or_else(own),
        };
        let mut store = Self::govern(connected, location.clone(), limits);
        store.skew = skew;
        store.clock = Some(clock);
        Ok(store)
    }

    /// A store over any object store, for tests and fault injection; counted and repeated like a real one.
    pub fn from_object_store(inner: Arc<dyn ObjectStore>, location: Location) -> Self {
        Self::from_object_store_with(inner, location, Patience::default())
    }

    /// As [`Store::from_object_store`], with less patience than the default.
    pub fn from_object_store_with(inner: Arc<dyn ObjectStore>, location: Location, patience: Patience) -> Self {
        let connected = Connected { inner, batch: 1, storage_class: None, files: None, s3: None, access: None };
        let (first, most) = FLIGHT_REMOTE;
        let limits = Limits { patience, flight: Flight::new(first, most), bandwidth: Bandwidth::new(None, None) };
        Self::govern(connected, location, limits)
    }

    /// The same place with requests that wait for no others, and not for bandwidth: for the few small ones whose time matters.
    #[must_use]
    pub fn in_own_lane(&self, patience: Patience) -> Self {
        let shared = &self.governor.shared;
        let lane = Shared {
            patience: Arc::new(patience),
            budget: Arc::new(Budget::new()),
            counters: Arc::clone(&shared.counters),
            flight: Flight::new(2, 2),
            bandwidth: Bandwidth::new(None, None),
            ordered: shared.ordered,
            batch: shared.batch,
            storage_class: shared.storage_class.clone(),
        };
        let governor = Governor { inner: Arc::clone(&self.governor.inner), shared: Arc::new(lane) };
        Self { objects: Arc::new(governor.clone()), governor, ..self.clone() }
    }

    /// As [`Store::in_own_lane`], with the patience of this one.
    #[must_use]
    pub fn past_the_queue(&self) -> Self {
        self.in_own_lane(self.governor.shared.patience.as_ref().clone())
    }

    fn govern(connected: Connected, location: Location, limits: Limits) -> Self {
        let shared = Shared {
            patience: Arc::new(limits.patience),
            budget: Arc::new(Budget::new()),
            counters: Arc::new(Counters::default()),
            flight: limits.flight,
            bandwidth: limits.bandwidth,
            ordered: location.lists_in_order(),
            batch: connected.batch,
            storage_class: connected.storage_class,
        };
        let governor = Governor { inner: connected.inner, shared: Arc::new(shared) };
        Self {
            objects: Arc::new(governor.clone()),
            governor,
            location: Arc::new(location),
            access: connected.access.map(Arc::new),
            files: connected.files,
            s3: connected.s3,
            skew: Arc::new(Skew::new()),
            clock: None,
        }
    }

    /// The seam itself, for what the methods here do not have: streams, conditions, copies, uploads in parts.
    ///
    /// Every request through it is counted, limited and repeated too, except that a create-only or conditional
    /// write is repeated only if it was certainly not sent: after any other failure its outcome is unknown, and the
    /// caller has to look.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// Where the objects lie.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The same in full, as it is remembered: with the endpoint or the account that the environment or a profile names, and the whole path of a
    /// directory. Two stores have the same only if they are the same.
    pub fn place(&self) -> String {
        self.place_of(&self.location)
    }

    /// As [`Store::place`], without the prefix: what all prefixes of one bucket or container have in common, and no others.
    pub fn holder(&self) -> String {
        self.place_of(&self.location.without_prefix())
    }

    fn place_of(&self, location: &Location) -> String {
        let place = location.to_string();
        match (self.access.as_deref(), location) {
            (Some(Access::S3(S3Access { endpoint: Some(endpoint), .. })), Location::S3 { bucket, prefix, .. }) => {
                format!("s3:{endpoint}/{bucket}/{prefix}")
            }
            (_, Location::Local(path)) => std::path::absolute(path).map_or(place, |path| path.display().to_string()),
            (Some(Access::Google(access)), _) => format!("{place} at {}", access.url()),
            (Some(Access::Azure(access)), _) => format!("{place} at {}", access.url()),
            (Some(Access::S3(_)) | None, _) => place,
        }
    }

    /// The requests so far.
    pub fn requests(&self) -> RequestCounts {
        self.governor.shared.counters.snapshot()
    }

    /// How far the store's clock is ahead of ours, from its last answer; none for a disk and before the first answer.
    pub fn clock_skew(&self) -> Option<TimeDelta> {
        self.skew.get()
    }

    /// The whole object, if it has at most `max` bytes: more is `Corrupt`, and not even read.
    pub async fn get(&self, key: &str, max: u64) -> Result<Bytes> {
        let path = self.path(key)?;
        let failed = |error| self.failed("read", key, error);
        let result = self.objects.get_opts(&path, GetOptions::default()).await.map_err(failed)?;
        let size = result.meta.size;
        if size > max {
            return Err(self.corrupt(key, format_args!("it has {size} bytes where at most {max} are expected")));
        }
        collect(result).await.map_err(failed)?.ok_or_else(|| self.corrupt(key, "it is shorter than the store says"))
    }

    /// The bytes of a range, all of them; an object that ends earlier is `Corrupt`.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let path = self.path(key)?;
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        let mut tries = 0;
        loop {
            let options = GetOptions::new().with_range(Some(GetRange::Bounded(range.clone())));
            let result = match self.objects.get_opts(&path, options).await {
                Err(error) if beyond_the_end(&error) => {
                    return Err(self
                        .failed("read", key, error)
                        .within(self.attempt(&format!("read bytes {}..{} of", range.start, range.end), key)));
                }
                other => other.map_err(|error| self.failed("read", key, error))?,
            };
            let whole = result.range == range;
            let bytes = collect(result).await.map_err(|error| self.failed("read", key, error))?;
            match bytes {
                Some(bytes) if whole => return Ok(bytes),
                _ if tries == SHORT_RETRIES => {
                    return Err(
                        self.corrupt(key, format_args!("bytes {}..{} are not all there", range.start, range.end))
                    );
                }
                _ => tries += 1,
            }
        }
    }

    /// The last `len` bytes, or all of a shorter object, and the size of the object.
    pub async fn get_suffix(&self, key: &str, len: u64) -> Result<(Bytes, u64)> {
        let path = self.path(key)?;
        let options = GetOptions::new().with_range(Some(GetRange::Suffix(len)));
        match self.objects.get_opts(&path, options).await {
            Ok(result) => {
                let size = result.meta.size;
                if result.range == (size.saturating_sub(len)..size)
                    && let Some(bytes) = collect(result).await.map_err(|error| self.failed("read", key, error))?
                {
                    return Ok((bytes, size));
                }
            }
            // An empty object has no suffix, and Azure has none at all. Some servers (the Versity gateway for an empty object,
            // s3rver for any) answer with other bytes than were asked for.
            Err(error)
                if beyond_the_end(&error)
                    || matches!(error, StoreError::NotSupported { .. })
                    || judge(&error) == Failure::Malformed => {}
            Err(error) => return Err(self.failed("read", key, error)),
        }
        let size = self.head(key).await?;
        Ok((self.get_range(key, size.saturating_sub(len)..size).await?, size))
    }

    /// Stores an object; an older one of that key is replaced. Returns only after the store acknowledged it (on a
    /// disk: after it was synced). For names that come from the content, and for what may be written twice.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.put_with_checksum(key, bytes).await.map(drop)
    }

    /// As [`Store::put`]; returns the checksum with which the store answered to these very bytes, if it did. None for an object that is sent in parts.
    pub async fn put_with_checksum(&self, key: &str, bytes: Bytes) -> Result<Option<Checksum>> {
        let path = self.path(key)?;
        let outcome = if bytes.len() > SINGLE_PUT_MAX && self.location.is_remote() {
            self.put_parts(&path, bytes).await.map(|()| None)
        } else {
            let put = self.objects.put(&path, PutPayload::from(bytes)).await;
            put.map(|put| put.e_tag.as_deref().and_then(Checksum::of_tag))
        };
        outcome.map_err(|error| self.failed("store", key, error))
    }

    /// Stores an object if there is none of that key, else `AlreadyExists`; the very same bytes there already are a
    /// success, which is how an answer that was lost is made good. A store without create-only writes overwrites.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(key)?;
        let mut retries = self.governor.retries();
        loop {
            let payload = PutPayload::from(bytes.clone());
            let Err(error) = self.objects.put_opts(&path, payload, PutMode::Create.into()).await else { return Ok(()) };
            let failure = match &error {
                StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => {
                    match self.holds(key, &bytes).await? {
                        Some(true) => return Ok(()),
                        Some(false) => return Err(self.failed("create", key, error)),
                        // A 409 for a write or a deletion that races with ours: nothing is there.
                        None => Failure::Busy { after: None },
                    }
                }
                error if cannot_create_only(error) => {
                    return match self.holds(key, &bytes).await? {
                        Some(true) => Ok(()),
                        Some(false) => Err(Error::new(ErrorKind::AlreadyExists, self.attempt("create", key))),
                        None => self.put(key, bytes).await,
                    };
                }
                error => match judge(error) {
                    // The governor has repeated these already.
                    Failure::NotSent => Failure::Final,
                    failure => failure,
                },
            };
            if !retries.again(failure).await {
                return Err(self.failed("create", key, error));
            }
        }
    }

    /// The size of an object.
    pub async fn head(&self, key: &str) -> Result<u64> {
        let path = self.path(key)?;
        self.objects.head(&path).await.map(|meta| meta.size).map_err(|error| self.failed("look for", key, error))
    }

    /// All objects below a folder (`packs/`; empty for all), sorted by key: the whole listing or an error, never a
    /// part.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        self.list_each(prefix, &mut |object| listed.push(object)).await?;
        listed.sort_unstable();
        listed.dedup_by(|later, earlier| later.key == earlier.key);
        Ok(listed)
    }

    /// As [`Store::list`], for many: `each` hears of every object as it comes, in any order, and perhaps of one twice.
    pub async fn list_each(&self, prefix: &str, each: &mut (dyn FnMut(Listed) + Send)) -> Result<()> {
        let path = self.path(prefix.trim_end_matches('/'))?;
        let mut stream = self.objects.list(Some(&path).filter(|path| !path.as_ref().is_empty()));
        while let Some(entry) = stream.next().await {
            let meta = entry.map_err(|error| self.failed("list", prefix, error))?;
            let checksum = meta.e_tag.as_deref().and_then(Checksum::of_tag);
            each(Listed { key: meta.location.into(), size: meta.size, modified: meta.last_modified, checksum });
        }
        Ok(())
    }

    /// Deletes an object; a missing one is a success.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.delete_many(vec![key.to_owned()]).await
    }

    /// Deletes many objects, in as few requests as the store allows; missing ones are a success. On an error
    /// any part of them may be gone.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<()> {
        let first = keys.first().cloned().unwrap_or_default();
        let (paths, others) = self.paths_and_other_keys(&keys)?;
        let store = self.clone();
        let delete = move |key: String| {
            let store = store.clone();
            async move { store.delete_by_key(&key).await }
        };
        let others = futures::stream::iter(others).map(delete).buffered(DELETIONS_BY_KEY);
        let paths = self.objects.delete_stream(futures::stream::iter(paths).map(Ok).boxed()).map_ok(drop);
        let mut outcomes = paths.chain(others).boxed();
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(()) => {}
                // A directory that is not there holds nothing, either.
                Err(StoreError::NotFound { source, .. }) if !source.to_string().contains("NoSuchBucket") => {}
                Err(error) => {
                    let what =
                        if keys.len() == 1 { first } else { format!("{} objects, {first} the first,", keys.len()) };
                    return Err(self.failed("delete", &what, error));
                }
            }
        }
        Ok(())
    }

    /// Keys that the seam can delete, and those that it cannot name.
    fn paths_and_other_keys(&self, keys: &[String]) -> Result<(Vec<Path>, Vec<String>)> {
        if self.files.is_some() {
            return Ok((Vec::new(), keys.to_vec()));
        }
        let (mut paths, mut others) = (Vec::new(), Vec::new());
        for key in keys {
            match self.path_of(key) {
                Ok(Some(path)) => paths.push(path),
                Ok(None) => others.push(key.clone()),
                Err(_) => paths.push(self.path(key)?),
            }
        }
        Ok((paths, others))
    }

    /// Deletes what the seam cannot name.
    async fn delete_by_key(&self, key: &str) -> object_store::Result<()> {
        let send = || async {
            match (&self.files, &self.s3) {
                (Some(files), _) => files.delete(key).await,
                (None, Some(objects)) => objects.delete(key).await,
                (None, None) => Ok(()),
            }
        };
        self.governor.run(Request::of(Kind::Delete), send).await
    }

    /// Deletes temporary files that killed writers left in a directory, if they are older than `age`; says how many.
    /// Other kinds of stores show nothing of a write that did not finish.
    pub async fn sweep_leftovers(&self, age: Duration) -> Result<usize> {
        let (Location::Local(path), Some(clock)) = (&*self.location, &self.clock) else { return Ok(0) };
        let (root, before) = (path.clone(), moment_before(clock.now(), age));
        let swept = tokio::task::spawn_blocking(move || sweep(&root, before)).await;
        swept
            .map_err(|error| Error::bug("sweep the directory").with_source(error))?
            .attempt(|| format!("sweep temporary files from {}", path.display()))
    }

    /// Shows what the store does by doing it; leaves nothing behind. `random` keeps two probes at the same time apart.
    pub async fn probe(&self, now: DateTime<FixedOffset>, random: u64) -> Result<ProbeReport> {
        probe::run(self, now, random).await
    }

    /// Whether the object is there and has these bytes; none if it is not there.
    async fn holds(&self, key: &str, bytes: &Bytes) -> Result<Option<bool>> {
        match self.get(key, u64::try_from(bytes.len()).unwrap_or(u64::MAX)).await {
            Ok(stored) => Ok(Some(stored == bytes)),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Some(false)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put_parts(&self, path: &Path, bytes: Bytes) -> object_store::Result<()> {
        let mut upload = self.objects.put_multipart(path).await?;
        let mut rest = bytes;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            parts.push(upload.put_part(PutPayload::from(rest.split_to(rest.len().min(PART)))));
        }
        let sent = futures::future::try_join_all(parts).await;
        let outcome = match sent {
            Ok(_) => upload.complete().await.map(drop),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // Best effort: the store's lifecycle rule for unfinished uploads takes what is left.
            let _ = upload.abort().await;
        }
        outcome
    }

    fn path(&self, key: &str) -> Result<Path> {
        Path::parse(key)
            .map_err(|cause| Error::invalid(format!("{key:?} cannot be a key of {}", self.location)).with_source(cause))
    }

    pub(super) fn attempt(&self, operation: &str, key: &str) -> String {
        let object = if key.is_empty() { "all objects" } else { key };
        format!("{operation} {object} in {}", self.location)
    }

    pub(super) fn failed(&self, operation: &str, key: &str, error: StoreError) -> Error {
        explain(self.attempt(operation, key), error)
    }

    pub(super) fn corrupt(&self, key: &str, why: impl Display) -> Error {
        Error::corrupt(self.attempt("read", key)).with_source(why.to_string())
    }
}

/// What `govern` puts around a store.
struct Limits {
    patience: Patience,
    flight: Flight,
    bandwidth: Bandwidth,
}
