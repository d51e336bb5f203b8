//! A store that fails on demand: scripted or by seeded chance, before or after it did what it was asked.
//!
//! Wrap any store, hand the wrapper to `Store::from_object_store_with`, and read the trace. Every call is an
//! operation with a number, counted from 0; which calls count is said by [`Counting`]. For a crash at every write of
//! a program:
//!
//! ```text
//! let writes = run(FaultPlan::default()).numbered();   // first without faults, to count the writes
//! for k in 0..writes {
//!     for when in [When::Before, When::After] {
//!         run(FaultPlan::kill(k, when));               // write k is the first that is not done, or the last that is
//!         // then look at the inner store through another Store: what was reported done must be there
//!     }
//! }
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, coalesce_ranges,
};
use tokio::sync::Notify;
use volvault::events::Stop;

/// The kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Put,
    /// A put that must not replace anything, or only a given version.
    PutIf,
    Get,
    GetRange,
    Head,
    List,
    Delete,
    Copy,
    /// The begin of an upload in parts; its parts are not touched.
    Multipart,
}

impl Op {
    /// Whether it changes the store.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::GetRange | Self::Head | Self::List)
    }
}

/// Whether the store does what it was asked before it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// It does not.
    Before,
    /// It does, and the caller cannot know. (A list breaks off in its middle.)
    After,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No connection: certainly not done. Worth another try.
    Unreachable,
    /// The connection broke. Worth another try, the outcome is unknown.
    Reset,
    /// No answer in time; as `Reset`.
    Timeout,
    /// "You may not": final.
    Denied,
    /// "There is no such object", which may be a lie.
    NotFound,
}

/// What happens to one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This operation fails.
    Fail(When, Trouble),
    /// This operation and all further ones fail for ever: the process was killed here.
    Kill(When),
    /// A read delivers only so many bytes, and ends as if that were all.
    Truncate(usize),
    /// A read delivers so many bytes more.
    Pad(usize),
    /// A read delivers the byte at this place (modulo the length) with its lowest bit turned.
    Flip(usize),
    /// The operation takes this long.
    Delay(Duration),
    /// A put fails with a timeout and is carried out after so many further operations: a zombie.
    Late(u64),
    /// A listing leaves out this one of the packs and index segments that it should show, and says nothing.
    Hide(usize),
    /// A listing leaves out the first object that it should show whose key begins so.
    HideBelow(&'static str),
    /// The link is stuck: this operation waits for ever, and puts of packs that come after it wait until it is given up. The plan's stop is requested.
    Stuck,
}

/// Which operation a fault meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// The operation with this number.
    Number(u64),
    /// The operations of a kind whose key begins so, from the `from`th (counted from 0), `times` of them.
    Matching { op: Op, prefix: &'static str, from: u64, times: u64 },
}

/// Which operations are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Counting {
    /// All.
    All,
    /// Those that change the store.
    #[default]
    Writes,
}

/// What is going to fail. The default is nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultPlan {
    /// The faults; the first that fits is taken.
    pub(crate) script: Vec<(At, Fault)>,
    /// Which operations are numbered.
    pub(crate) counting: Counting,
    /// Each operation, numbered or not, fails with this chance, before or after, in a way that is worth another try.
    pub(crate) chance: f64,
    /// What the chance is drawn from: the same seed and the same order of operations fail alike.
    pub(crate) seed: u64,
    /// Is requested when the link gets stuck.
    pub(crate) stop: Arc<Stop>,
}

impl FaultPlan {
    /// The process is killed at write `number`.
    pub(crate) fn kill(number: u64, when: When) -> Self {
        Self { script: vec![(At::Number(number), Fault::Kill(when))], ..Self::default() }
    }

    /// The process is killed at operation `number`, reads and lists among them.
    pub(crate) fn kill_any(number: u64, when: When) -> Self {
        Self { counting: Counting::All, ..Self::kill(number, when) }
    }

    /// `times` operations of a kind below `prefix` meet `fault`.
    pub(crate) fn some(op: Op, prefix: &'static str, times: u64, fault: Fault) -> Self {
        Self { script: vec![(At::Matching { op, prefix, from: 0, times }, fault)], ..Self::default() }
    }

    /// Every operation fails with a chance.
    pub(crate) fn random(seed: u64, chance: f64) -> Self {
        Self { chance, seed, ..Self::default() }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
    moves: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    numbered: u64,
    /// How often each `Matching` of the script fitted.
    fitted: Vec<u64>,
    killed: bool,
    stuck: bool,
    trace: Vec<(Op, String)>,
    late: Vec<LatePut>,
}

#[derive(Debug)]
struct LatePut {
    due: usize,
    path: Path,
    payload: PutPayload,
    options: PutOptions,
}

impl FaultStore {
    /// `inner`, failing as planned.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, plan: FaultPlan) -> Arc<Self> {
        let fitted = vec![0; plan.script.len()];
        let state =
            State { plan, numbered: 0, fitted, killed: false, stuck: false, trace: Vec::new(), late: Vec::new() };
        Arc::new(Self { inner, state: Arc::new(Mutex::new(state)), moves: Arc::default() })
    }

    /// How many operations were numbered so far.
    pub(crate) fn numbered(&self) -> u64 {
        self.lock().numbered
    }

    /// Whether the kill has happened.
    pub(crate) fn killed(&self) -> bool {
        self.lock().killed
    }

    /// All operations so far with their keys, in the order in which they came.
    pub(crate) fn trace(&self) -> Vec<(Op, String)> {
        self.lock().trace.clone()
    }

    /// Carries the late puts out that are not due yet, even after a kill: requests on the way outlive their sender.
    pub(crate) async fn land_late_puts(&self) {
        let late = std::mem::take(&mut self.lock().late);
        for put in late {
            let _ = self.inner.put_opts(&put.path, put.payload, put.options).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an operation and decides its fate; the error is for a store that is dead already.
    async fn begin(&self, op: Op, key: &str) -> Result<Option<Fault>> {
        let (fault, due) = {
            let mut state = self.lock();
            if state.killed {
                return Err(dead());
            }
            let fault = state.fate(op, key);
            state.trace.push((op, key.to_owned()));
            let now = state.trace.len();
            let (due, late) = std::mem::take(&mut state.late).into_iter().partition::<Vec<_>, _>(|put| put.due <= now);
            state.late = late;
            state.killed = matches!(fault, Some(Fault::Kill(_)));
            (fault, due)
        };
        for put in due {
            let _ = self.inner.put_opts(&put.path, put.payload, put.options).await;
        }
        if op == Op::Put && key.starts_with("packs/") && fault != Some(Fault::Stuck) {
            self.wait_while_stuck().await;
        }
        match fault {
            Some(Fault::Stuck) => {
                let stop = {
                    let mut state = self.lock();
                    state.stuck = true;
                    Arc::clone(&state.plan.stop)
                };
                let _stuck = Unstick(self.clone());
                stop.request();
                std::future::pending().await
            }
            Some(Fault::Kill(When::Before)) => Err(dead()),
            Some(Fault::Fail(When::Before, trouble)) => Err(trouble.error(key)),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(None)
            }
            fault => Ok(fault),
        }
    }

    async fn wait_while_stuck(&self) {
        loop {
            let moves = self.moves.notified();
            if !self.lock().stuck {
                return;
            }
            moves.await;
        }
    }

    /// Turns the answer into the failure that is to come after it.
    fn end<T>(fault: Option<Fault>, key: &str, answer: Result<T>) -> Result<T> {
        match fault {
            Some(Fault::Kill(_)) => Err(dead()),
            Some(Fault::Fail(_, trouble)) => Err(trouble.error(key)),
            _ => answer,
        }
    }

    fn listing(
        &self,
        key: String,
        entries: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let listed = async move {
            let fault = match store.begin(Op::List, &key).await {
                Ok(fault) => fault,
                Err(error) => return vec![Err(error)],
            };
            let mut entries: Vec<_> = entries.collect().await;
            if let Some(Fault::Hide(number)) = fault {
                let may_hide = |meta: &ObjectMeta| {
                    ["packs/", "state/index/"].iter().any(|of| meta.location.as_ref().starts_with(of))
                };
                let hidden =
                    entries.iter().enumerate().filter(|(_, entry)| entry.as_ref().is_ok_and(may_hide)).nth(number);
                if let Some(at) = hidden.map(|(at, _)| at) {
                    drop(entries.remove(at));
                }
            }
            if let Some(Fault::HideBelow(prefix)) = fault {
                let is_below = |meta: &ObjectMeta| meta.location.as_ref().starts_with(prefix);
                let hidden = entries.iter().position(|entry| entry.as_ref().is_ok_and(is_below));
                hidden.map(|at| entries.remove(at));
            }
            if let Err(error) = Self::end(fault, &key, Ok(())) {
                entries.truncate(entries.len() / 2);
                entries.push(Err(error));
            }
            entries
        };
        stream::once(listed).flat_map(stream::iter).boxed()
    }
}

/// Frees the link when whoever waits for it gives up.
struct Unstick(FaultStore);

impl Drop for Unstick {
    fn drop(&mut self) {
        self.0.lock().stuck = false;
        self.0.moves.notify_waiters();
    }
}

impl State {
    fn fate(&mut self, op: Op, key: &str) -> Option<Fault> {
        let counts = self.plan.counting == Counting::All || op.writes();
        let number = self.numbered;
        self.numbered += u64::from(counts);
        for ((at, fault), fitted) in self.plan.script.iter().zip(&mut self.fitted) {
            let meets = match at {
                At::Number(wanted) => counts && *wanted == number,
                At::Matching { op: wanted, prefix, from, times } => {
                    let fits = *wanted == op && key.starts_with(prefix);
                    let earlier = *fitted;
                    *fitted += u64::from(fits);
                    fits && earlier >= *from && earlier - *from < *times
                }
            };
            if meets {
                return Some(*fault);
            }
        }
        let draw = mixed(self.plan.seed ^ mixed(self.trace.len() as u64));
        if self.plan.chance <= 0.0
            || f64::from(u32::try_from(draw >> 32).unwrap_or(0)) / f64::from(u32::MAX) >= self.plan.chance
        {
            return None;
        }
        let when = if draw & 1 == 0 { When::Before } else { When::After };
        let trouble = [Trouble::Unreachable, Trouble::Reset, Trouble::Timeout][(draw >> 1) as usize % 3];
        // An unreachable store did nothing.
        Some(Fault::Fail(if trouble == Trouble::Unreachable { When::Before } else { when }, trouble))
    }
}

/// splitmix64.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Trouble {
    fn error(self, key: &str) -> Error {
        let http = |kind| Error::Generic {
            store: "fault",
            source: Box::new(HttpError::new(kind, std::io::Error::other("injected"))),
        };
        match self {
            Self::Unreachable => http(HttpErrorKind::Connect),
            Self::Reset => http(HttpErrorKind::Interrupted),
            Self::Timeout => http(HttpErrorKind::Timeout),
            Self::Denied => Error::PermissionDenied { path: key.to_owned(), source: "injected".into() },
            Self::NotFound => Error::NotFound { path: key.to_owned(), source: "injected".into() },
        }
    }
}

/// Not worth another try.
fn dead() -> Error {
    Error::Generic { store: "fault", source: "the process was killed".into() }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failing {}", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let op = if matches!(options.mode, PutMode::Overwrite) { Op::Put } else { Op::PutIf };
        let fault = self.begin(op, location.as_ref()).await?;
        if let Some(Fault::Late(operations)) = fault {
            let mut state = self.lock();
            let due = state.trace.len().saturating_add(usize::try_from(operations).unwrap_or(usize::MAX));
            state.late.push(LatePut { due, path: location.clone(), payload, options });
            return Err(Trouble::Timeout.error(location.as_ref()));
        }
        Self::end(fault, location.as_ref(), self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.begin(Op::Multipart, location.as_ref()).await?;
        Self::end(fault, location.as_ref(), self.inner.put_multipart_opts(location, options).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let op = match (options.head, &options.range) {
            (true, _) => Op::Head,
            (false, Some(_)) => Op::GetRange,
            (false, None) => Op::Get,
        };
        let fault = self.begin(op, location.as_ref()).await?;
        let result = Self::end(fault, location.as_ref(), self.inner.get_opts(location, options).await)?;
        let (meta, range, attributes, extensions) =
            (result.meta.clone(), result.range.clone(), result.attributes.clone(), result.extensions.clone());
        let mut body = match fault {
            Some(Fault::Truncate(_) | Fault::Pad(_) | Fault::Flip(_)) if op != Op::Head => {
                result.bytes().await?.to_vec()
            }
            _ => return Ok(result),
        };
        let length = body.len();
        match fault {
            Some(Fault::Truncate(keep)) => body.truncate(keep),
            Some(Fault::Pad(more)) => body.resize(length + more, 0xee),
            Some(Fault::Flip(place)) if length > 0 => body[place % length] ^= 1,
            _ => {}
        }
        let payload = GetResultPayload::Stream(stream::once(async { Ok(Bytes::from(body)) }).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let fault = store.begin(Op::Delete, location.as_ref()).await?;
                    let answer = store.inner.delete(&location).await;
                    Self::end(fault, location.as_ref(), answer)?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix.map_or_else(String::new, ToString::to_string), self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let key = prefix.map_or_else(String::new, ToString::to_string);
        self.listing(key, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let key = prefix.map_or_else(String::new, ToString::to_string);
        let fault = self.begin(Op::List, &key).await?;
        Self::end(fault, &key, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = self.begin(Op::Copy, to.as_ref()).await?;
        Self::end(fault, to.as_ref(), self.inner.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let fault = self.begin(Op::Copy, to.as_ref()).await?;
        Self::end(fault, to.as_ref(), self.inner.rename_opts(from, to, options).await)
    }
}
