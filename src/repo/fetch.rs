//! Fetches many blobs: finds them, groups them by pack, reads ranges ahead, opens them on several threads.
//!
//! Bounds: at most `reads_in_flight` requests and `read_window` bytes under way, or a share of that; each run of neighbouring blobs is at most
//! 4 MiB (or one blob). Blobs are opened in the memory they were read into.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use crate::catalog::{BlobRef, Place};
use crate::crypto::{BlobKind, ObjectKind, Opener};
use crate::error::{Error, ErrorKind, Result};
use crate::id::PackRef;
use crate::limits::Limits;

use super::index::IndexEntry;
use super::pack::{PackEntry, open_blob, open_in_place, pack_key};
use super::repository::Io;
use super::session::Session;

/// Longest range read at once; a link of 1 Gbit/s takes 32 ms for it.
const RUN_MAX: u64 = 4 << 20;

/// A blob that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What it is.
    pub kind: BlobKind,
    /// Which one.
    pub blob: BlobRef,
    /// Where it lay when somebody wrote that down; checked by id, and looked up anew when it is wrong.
    pub place: Option<Place>,
}

/// Hears of one blob: its number among the wanted, and its verified plaintext, or that it is lost or damaged. An error ends the fetch.
pub type Deliver<'a> = dyn Fn(usize, Result<Cow<'_, [u8]>>) -> Result<()> + Sync + 'a;

/// A wanted blob, by its number, and where it lies.
#[derive(Clone, Copy, Debug)]
struct Placed {
    number: usize,
    kind: BlobKind,
    place: Place,
    raw_len: u32,
}

/// Neighbouring blobs of one pack, read by one request.
#[derive(Debug)]
struct Run {
    kind: BlobKind,
    pack: PackRef,
    span: Range<u64>,
    blobs: Vec<Placed>,
}

type Fetched = Result<Bytes>;

/// The runs that are left, and those under way.
struct Queue {
    runs: VecDeque<Run>,
    under_way: VecDeque<(Run, JoinHandle<Fetched>)>,
    bytes: u64,
}

/// `limits` are those of this one fetch.
pub(super) fn fetch(session: &Session<'_>, limits: &Limits, wanted: &[Wanted], deliver: &Deliver<'_>) -> Result<()> {
    let io: &Io = session.repo().io();
    let runs = plan(session, wanted, deliver)?;
    let threads = limits.workers.min(runs.len()).max(1);
    let queue = Mutex::new(Queue { runs: runs.into(), under_way: VecDeque::new(), bytes: 0 });
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        while let Some((run, handle)) = next_run(io, limits, &queue) {
            let fetched =
                io.block(handle).unwrap_or_else(|cause| Err(Error::bug("a read was abandoned").with_source(cause)));
            let outcome = take_run(session, wanted, &run, fetched, deliver);
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.bytes -= run.span.end - run.span.start;
            if let Err(error) = outcome {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                queue.runs.clear();
            }
        }
    };
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
    }
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Starts as many reads as the bounds allow and takes the oldest.
fn next_run(io: &Io, limits: &Limits, queue: &Mutex<Queue>) -> Option<(Run, JoinHandle<Fetched>)> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    while queue.under_way.len() < limits.reads_in_flight {
        let Some(run) = queue.runs.front() else { break };
        let len = run.span.end - run.span.start;
        if !queue.under_way.is_empty() && queue.bytes + len > limits.read_window.bytes() {
            break;
        }
        let Some(run) = queue.runs.pop_front() else { break };
        queue.bytes += len;
        let (store, key, span) = (io.store.clone(), pack_key(&run.pack.name), run.span.clone());
        let handle = io.runtime.spawn(async move { store.get_range(&key, span).await });
        queue.under_way.push_back((run, handle));
    }
    queue.under_way.pop_front()
}

/// Opens the blobs of a run. Those that cannot be opened are sought in other packs before they count as lost.
fn take_run(
    session: &Session<'_>,
    wanted: &[Wanted],
    run: &Run,
    fetched: Fetched,
    deliver: &Deliver<'_>,
) -> Result<()> {
    let io = session.repo().io();
    let opener = Opener::for_pack(&io.keys, ObjectKind::pack_of(run.kind), &run.pack);
    let mut fetched = fetched.map(|bytes| bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared)));
    for Placed { number, place, raw_len, .. } in &run.blobs {
        let Some(want) = wanted.get(*number) else { continue };
        let here = match &mut fetched {
            Ok(bytes) => {
                let start = usize::try_from(u64::from(place.offset) - run.span.start).unwrap_or(usize::MAX);
                let end = start.saturating_add(place.stored_len as usize);
                let sealed =
                    bytes.get_mut(start..end).ok_or_else(|| Error::corrupt("answer is shorter than the range"));
                sealed.and_then(|sealed| {
                    open_in_place(&io.keys, run.kind, &opener, &entry(want, place, *raw_len), sealed)
                })
            }
            Err(error) => Err(Error::new(error.kind(), error.chain())),
        };
        match here.or_else(|error| elsewhere(session, want, place, error).map(Cow::Owned)) {
            Err(error) if !is_loss(&error) => return Err(error),
            plain => deliver(*number, plain)?,
        }
    }
    Ok(())
}

/// Whether the error means that a blob cannot be had, while others may.
fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}

fn entry(want: &Wanted, place: &Place, raw_len: u32) -> PackEntry {
    PackEntry { id: want.blob.id, offset: place.offset, stored_len: place.stored_len, raw_len, codec: place.codec }
}

/// Reads the blob again, alone, from all places that the index knows: what failed may have been the way here, or a neighbour.
fn elsewhere(session: &Session<'_>, want: &Wanted, tried: &Place, error: Error) -> Result<Vec<u8>> {
    let io = session.repo().io();
    for found in look_up(session, want)? {
        let span = span_of(&found.place);
        let Ok(bytes) = io.block(io.store.get_range(&pack_key(&found.place.pack.name), span)) else { continue };
        let opener = Opener::for_pack(&io.keys, ObjectKind::pack_of(want.kind), &found.place.pack);
        let entry = entry(want, &found.place, found.raw_len);
        if let Ok(plain) = open_blob(&io.keys, want.kind, &opener, &entry, &mut bytes.to_vec()) {
            return Ok(plain);
        }
    }
    let kind = if error.kind() == ErrorKind::NotFound { ErrorKind::Corrupt } else { error.kind() };
    let what = format!("read blob {} from pack {}", want.blob.id, tried.pack.name);
    Err(Error::new(kind, what)
        .with_source(error)
        .with_hint("run `volvault check --read-data` to see the extent of the damage"))
}

fn look_up(session: &Session<'_>, want: &Wanted) -> Result<Vec<IndexEntry>> {
    let found = session.find_blob(want.kind, &want.blob.id)?;
    if found.is_empty() && session.refresh_index()? {
        return session.find_blob(want.kind, &want.blob.id);
    }
    Ok(found)
}

fn span_of(place: &Place) -> Range<u64> {
    let start = u64::from(place.offset);
    start..start + u64::from(place.stored_len)
}

/// Places all blobs and joins neighbours. A blob that no pack has is delivered as lost.
fn plan(session: &Session<'_>, wanted: &[Wanted], deliver: &Deliver<'_>) -> Result<Vec<Run>> {
    let mut placed = Vec::with_capacity(wanted.len());
    for (number, want) in wanted.iter().enumerate() {
        let found = match want.place {
            // A catalogue page keeps its hints after a prune has moved what they point to.
            Some(place) if !session.gone().packs.contains(&place.pack.name) => Some((place, want.blob.raw_len)),
            _ => look_up(session, want)?.first().map(|found| (found.place, found.raw_len)),
        };
        if let Some((place, raw_len)) = found {
            placed.push(Placed { number, kind: want.kind, place, raw_len });
        } else {
            let error = Error::corrupt(format!("blob {} is in no pack that the index knows", want.blob.id));
            deliver(number, Err(error.with_hint("run `volvault check` to see what is affected")))?;
        }
    }
    // Packs in the order in which they are first wanted; blobs by offset within.
    let mut rank = std::collections::HashMap::new();
    for Placed { kind, place, .. } in &placed {
        let next = rank.len();
        rank.entry((*kind, place.pack.name)).or_insert(next);
    }
    placed.sort_by_key(|blob| (rank.get(&(blob.kind, blob.place.pack.name)).copied(), blob.place.offset));
    let gap = session.repo().limits().read_gap.bytes();
    let mut runs: Vec<Run> = Vec::new();
    for blob in placed {
        let span = span_of(&blob.place);
        if let Some(run) = runs.last_mut()
            && run.kind == blob.kind
            && run.pack == blob.place.pack
            // What is wanted twice is read twice: it is opened in place.
            && span.start >= run.span.end
            && span.start <= run.span.end + gap
            && span.end - run.span.start <= RUN_MAX
        {
            run.span.end = span.end;
            run.blobs.push(blob);
        } else {
            runs.push(Run { kind: blob.kind, pack: blob.place.pack, span, blobs: vec![blob] });
        }
    }
    Ok(runs)
}
