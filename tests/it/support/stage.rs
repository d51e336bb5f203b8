//! A store for actors that take turns: one operation at a time, chosen by a seed, with faults chosen by the same seed.
//!
//! An operation is carried out only when every actor on the stage asks for one or has left, so that the order of all of them follows from the
//! seed, as long as an actor has no two threads that ask at the same time. Objects show when they were stored, in operations since the beginning.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use futures::stream::{self, BoxStream, StreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    coalesce_ranges,
};
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::trees::Dice;

/// What may go wrong, in thousandths of all operations.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chances {
    /// It fails and was not done.
    pub(crate) before: u64,
    /// It fails and was done.
    pub(crate) after: u64,
    /// A write fails and lands some time later, even if it was repeated or undone meanwhile.
    pub(crate) late: u64,
    /// The actor is killed, before or after the operation.
    pub(crate) kill: u64,
    /// The actor stands still for a long time.
    pub(crate) pause: u64,
    /// A listing leaves something out and does not say so: packs, or index segments.
    pub(crate) lie: u64,
    /// How wrong the times of objects are, in seconds.
    pub(crate) skew: i64,
}

/// Where the actors meet.
pub(crate) struct Stage {
    pub(crate) inner: Arc<InMemory>,
    state: Mutex<State>,
}

struct State {
    stage: Weak<Stage>,
    rng: Dice,
    chances: Chances,
    /// Actors that have not left, with how often their turn comes.
    actors: BTreeMap<usize, u64>,
    killed: BTreeSet<usize>,
    paused: BTreeMap<usize, u64>,
    /// Operations that wait for their turn, by actor and in the order in which they came.
    waiting: BTreeMap<(usize, u64), (String, oneshot::Sender<Turn>)>,
    /// Held while an operation of an actor is asked for and carried out.
    alone: HashMap<usize, Arc<tokio::sync::Mutex<()>>>,
    /// How many came so far.
    asked: u64,
    /// Whose operation is being carried out.
    running: bool,
    steps: u64,
    late: Vec<(u64, Late)>,
    /// The step at which each object was stored; 0 where it is missing.
    stored: HashMap<Path, u64>,
    trace: Vec<String>,
}

/// A write that lands late.
enum Late {
    Put(Path, PutPayload),
    Delete(Path),
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Before,
    After,
    Late,
    KilledBefore,
    KilledAfter,
    Lies,
}

impl Stage {
    pub(crate) fn new(inner: Arc<InMemory>, seed: u64, chances: Chances) -> Arc<Self> {
        let state = |stage: &Weak<Self>| State {
            stage: Weak::clone(stage),
            rng: Dice::new(seed),
            chances,
            actors: BTreeMap::new(),
            killed: BTreeSet::new(),
            paused: BTreeMap::new(),
            waiting: BTreeMap::new(),
            alone: HashMap::new(),
            asked: 0,
            running: false,
            steps: 0,
            late: Vec::new(),
            stored: HashMap::new(),
            trace: Vec::new(),
        };
        Arc::new_cyclic(|stage| Self { inner, state: Mutex::new(state(stage)) })
    }

    /// Brings actors on, all at once: from now on nothing happens unless all of them ask or have left.
    pub(crate) fn enter(&self, actors: Range<usize>) {
        let mut state = self.lock();
        for actor in actors {
            let weight = [1, 3, 9][usize::try_from(state.rng.below(3)).unwrap()];
            state.actors.insert(actor, weight);
        }
    }

    /// The store as an actor sees it.
    pub(crate) fn store_of(self: &Arc<Self>, actor: usize) -> Arc<dyn ObjectStore> {
        Arc::new(Seat { stage: Arc::clone(self), actor })
    }

    /// An actor leaves.
    pub(crate) fn leave(&self, actor: usize) {
        let mut state = self.lock();
        state.actors.remove(&actor);
        state.go_on();
    }

    /// Carries all late writes out. Everybody must have left.
    pub(crate) async fn land_late_writes(&self) {
        let late = std::mem::take(&mut self.lock().late);
        for (_, write) in late {
            self.land(write).await;
        }
    }

    /// Notes something for whoever reads a failure.
    pub(crate) fn note(&self, line: String) {
        self.lock().trace.push(line);
    }

    /// What happened, in order.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let answer = self.inner.put_opts(path, payload, options).await;
        if answer.is_ok() {
            let mut state = self.lock();
            let step = state.steps;
            state.stored.insert(path.clone(), step);
        }
        answer
    }

    async fn land(&self, write: Late) {
        match write {
            Late::Put(path, payload) => drop(self.put(&path, payload, PutOptions::default()).await),
            Late::Delete(path) => drop(self.inner.delete(&path).await),
        }
    }

    /// Waits for the turn of an operation, which lasts until what is returned is dropped.
    async fn turn(self: &Arc<Self>, actor: usize, operation: String) -> Result<Turn> {
        // One operation of an actor after the other: two answers at once would leave it to chance which of them it goes on with first.
        let alone = Arc::clone(self.lock().alone.entry(actor).or_default());
        let alone = alone.lock_owned().await;
        let waits = {
            let mut state = self.lock();
            if state.killed.contains(&actor) {
                return Err(dead());
            }
            if !state.actors.contains_key(&actor) {
                return Ok(Turn { stage: Arc::clone(self), fate: Fate::Done, counts: false, alone: Some(alone) });
            }
            let (tell, waits) = oneshot::channel();
            state.asked += 1;
            let place = (actor, state.asked);
            state.waiting.insert(place, (operation, tell));
            state.go_on();
            waits
        };
        // What else this thread asks for now comes first, however soon the answer is there.
        tokio::task::yield_now().await;
        let mut turn = waits.await.map_err(|_| dead())?;
        turn.alone = Some(alone);
        let due = self.lock().take_due();
        for write in due {
            self.land(write).await;
        }
        Ok(turn)
    }
}

/// An operation that is being carried out, alone. Should nobody be there to receive it, it is over.
struct Turn {
    stage: Arc<Stage>,
    fate: Fate,
    counts: bool,
    /// Given back when it is over.
    alone: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.counts {
            let mut state = self.stage.lock();
            state.running = false;
            state.go_on();
        }
    }
}

impl Turn {
    fn outcome<T>(self, answer: Result<T>) -> Result<T> {
        match self.fate {
            Fate::KilledAfter => Err(dead()),
            Fate::Done | Fate::Lies => answer,
            Fate::Before | Fate::After | Fate::Late | Fate::KilledBefore => Err(broken()),
        }
    }
}

impl State {
    fn take_due(&mut self) -> Vec<Late> {
        let steps = self.steps;
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= steps);
        self.late = late;
        due.into_iter().map(|(_, write)| write).collect()
    }

    /// If everybody asks for something, one of them gets it.
    fn go_on(&mut self) {
        while !self.running && self.grant() {}
    }

    /// Lets one operation begin; says whether there was one. It may have been given up meanwhile.
    fn grant(&mut self) -> bool {
        if self.actors.is_empty() {
            return false;
        }
        self.waiting.retain(|_, (_, tell)| !tell.is_closed());
        let asking: BTreeSet<usize> = self.waiting.keys().map(|(actor, ..)| *actor).collect();
        if self.actors.keys().any(|actor| !asking.contains(actor)) {
            return false;
        }
        self.steps += 1;
        let (steps, paused) = (self.steps, &self.paused);
        let mut able: Vec<(usize, u64)> = self.actors.iter().map(|(actor, weight)| (*actor, *weight)).collect();
        if able.iter().any(|(actor, _)| paused.get(actor).is_none_or(|until| *until <= steps)) {
            able.retain(|(actor, _)| paused.get(actor).is_none_or(|until| *until <= steps));
        }
        let mut draw = self.rng.below(able.iter().map(|(_, weight)| weight).sum());
        let mut chosen = able[0].0;
        for (actor, weight) in able {
            chosen = actor;
            if draw < weight {
                break;
            }
            draw -= weight;
        }
        let place = *self.waiting.keys().find(|(actor, _)| *actor == chosen).unwrap();
        let (operation, tell) = self.waiting.remove(&place).unwrap();
        let fate = self.fate(chosen, &operation);
        self.trace.push(format!("{:>5} actor {chosen} {operation} {fate:?}", self.steps));
        let Some(stage) = self.stage.upgrade() else { return false };
        let refused = tell.send(Turn { stage, fate, counts: true, alone: None }).err();
        self.running = refused.is_none();
        if let Some(mut turn) = refused {
            turn.counts = false;
        }
        true
    }

    fn fate(&mut self, actor: usize, operation: &str) -> Fate {
        let chances = self.chances;
        if self.rng.chance(chances.pause) {
            let length = 20 + self.rng.below(400);
            self.paused.insert(actor, self.steps + length);
        }
        let writes = operation.starts_with("put") || operation.starts_with("delete");
        if self.rng.chance(chances.kill) {
            self.killed.insert(actor);
            // What else it asked for dies with it.
            self.waiting.retain(|(asks, _), _| *asks != actor);
            return if self.rng.chance(500) { Fate::KilledBefore } else { Fate::KilledAfter };
        }
        if self.rng.chance(chances.before) {
            return Fate::Before;
        }
        if self.rng.chance(chances.after) {
            return Fate::After;
        }
        if writes && self.rng.chance(chances.late) {
            return Fate::Late;
        }
        if operation.starts_with("list") && self.rng.chance(chances.lie) {
            return Fate::Lies;
        }
        Fate::Done
    }
}

fn broken() -> Error {
    let source = Box::new(HttpError::new(HttpErrorKind::Timeout, std::io::Error::other("injected")));
    Error::Generic { store: "stage", source }
}

/// Not worth another try.
fn dead() -> Error {
    Error::Generic { store: "stage", source: "the process was killed".into() }
}

/// The store as one actor sees it.
struct Seat {
    stage: Arc<Stage>,
    actor: usize,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seat of actor {}", self.actor)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Seat {
    fn later(&self, write: Late) {
        let mut state = self.stage.lock();
        let at = state.steps + 1 + state.rng.below(300);
        state.late.push((at, write));
    }

    /// A listing may leave out a pack or a segment, and its times are wrong.
    fn seen(&self, fate: Fate, metas: Vec<Result<ObjectMeta>>) -> Vec<Result<ObjectMeta>> {
        let mut state = self.stage.lock();
        let skew = state.chances.skew;
        let may_lack = |meta: &ObjectMeta| {
            let key = meta.location.as_ref();
            key.starts_with("packs/") || key.starts_with("state/index/")
        };
        let mut seen = Vec::with_capacity(metas.len());
        for meta in metas {
            let Ok(mut meta) = meta else {
                seen.push(meta);
                continue;
            };
            if fate == Fate::Lies && may_lack(&meta) && state.rng.chance(300) {
                continue;
            }
            let step = state.stored.get(&meta.location).copied().unwrap_or_default();
            meta.last_modified = DateTime::UNIX_EPOCH + TimeDelta::seconds(i64::try_from(step).unwrap());
            if skew != 0 {
                // The same error for the same object, whoever lists it.
                let hash = blake3::hash(meta.location.as_ref().as_bytes());
                let draw = i64::from(u32::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()));
                meta.last_modified += TimeDelta::seconds(draw % (2 * skew) - skew);
            }
            seen.push(Ok(meta));
        }
        seen
    }

    fn listing(
        &self,
        key: String,
        entries: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let seat = Self { stage: Arc::clone(&self.stage), actor: self.actor };
        let listed = async move {
            let turn = match seat.stage.turn(seat.actor, format!("list {key}")).await {
                Ok(turn) => turn,
                Err(error) => return vec![Err(error)],
            };
            let entries: Vec<_> = entries.collect().await;
            let mut entries = seat.seen(turn.fate, entries);
            if let Err(error) = turn.outcome(Ok(())) {
                entries.truncate(entries.len() / 2);
                entries.push(Err(error));
            }
            entries
        };
        stream::once(listed).flat_map(stream::iter).boxed()
    }
}

#[async_trait]
impl ObjectStore for Seat {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let turn = self.stage.turn(self.actor, format!("put {location}")).await?;
        let answer = match turn.fate {
            Fate::Before | Fate::KilledBefore => Err(broken()),
            Fate::Late => {
                self.later(Late::Put(location.clone(), payload));
                Err(broken())
            }
            _ => self.stage.put(location, payload, options).await,
        };
        turn.outcome(answer)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.stage.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let what = if options.head { "head" } else { "get" };
        let turn = self.stage.turn(self.actor, format!("{what} {location} {:?}", options.range)).await?;
        let answer = self.stage.inner.get_opts(location, options).await;
        turn.outcome(answer)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (stage, actor) = (Arc::clone(&self.stage), self.actor);
        locations
            .then(move |location| {
                let seat = Self { stage: Arc::clone(&stage), actor };
                async move {
                    let location = location?;
                    let turn = seat.stage.turn(actor, format!("delete {location}")).await?;
                    let answer = match turn.fate {
                        Fate::Before | Fate::KilledBefore => Err(broken()),
                        Fate::Late => {
                            seat.later(Late::Delete(location.clone()));
                            Err(broken())
                        }
                        _ => seat.stage.inner.delete(&location).await,
                    };
                    turn.outcome(answer.map(|()| location))
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let key = prefix.map_or_else(String::new, ToString::to_string);
        // In memory the listing is made when it is asked for, which must be in turn.
        let (inner, prefix) = (Arc::clone(&self.stage.inner), prefix.cloned());
        let entries = stream::once(async move { inner.list(prefix.as_ref()).collect::<Vec<_>>().await });
        self.listing(key, entries.flat_map(stream::iter).boxed())
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.stage.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.stage.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.stage.inner.rename_opts(from, to, options).await
    }
}
