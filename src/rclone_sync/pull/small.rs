//! Small files: many requests at once from few threads. The thread that an answer comes to verifies and writes it, so that no file is handed
//! from thread to thread: that costs more than all that is done with a small file otherwise.
//!
//! Bounds: [`DRIVERS_MAX`] threads, `transfers` requests of all of them together, and their share of the bytes on their way.

use std::sync::{Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::catalog::{Entry, Node, ObjectAt};
use crate::error::{Attempt, Error, Result};
use crate::storage::Pin;

use super::super::key::key_of;
use super::super::segment::{Change, SegmentReader};
use super::content;
use super::fetch::Fetch;
use super::stage::{FETCH, Plan};
use super::verdict::object_of;

/// Largest file that is fetched here: while it is written, the answers behind it wait.
const SMALL_MAX: u64 = 1 << 20;
/// Threads: with more of them, the requests of each are too few to keep it busy.
const DRIVERS_MAX: usize = 4;

/// The small files of a plan that are still to be fetched.
pub(super) struct Small<'s, 'f, 'a> {
    fetch: &'s Fetch<'f, 'a>,
    left: Mutex<SegmentReader>,
}

impl<'s, 'f, 'a> Small<'s, 'f, 'a> {
    pub(super) fn new(fetch: &'s Fetch<'f, 'a>, plan: &Plan) -> Result<Self> {
        Ok(Self { fetch, left: Mutex::new(fetch.stage.read(FETCH, &plan.fetch)?) })
    }

    /// How many threads are to [`Small::drive`], and how many requests each may have under way.
    pub(super) fn drivers(transfers: usize) -> (usize, usize) {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let drivers = cores.clamp(1, DRIVERS_MAX).min(transfers);
        (drivers, transfers.div_ceil(drivers))
    }

    /// Fetches until nothing is left, or the fetch is over: requests that are under way then are given up.
    pub(super) fn drive(&self, share: usize) {
        self.fetch.pull.places.block(async {
            let mut under_way = FuturesUnordered::new();
            loop {
                while under_way.len() < share
                    && let Some(entry) = self.next()
                {
                    under_way.push(self.bring(entry));
                }
                if self.fetch.is_over() {
                    return;
                }
                match self.fetch.pull.unless_stopped(under_way.next()).await {
                    Ok(None) => return,
                    Ok(Some(())) => {}
                    Err(error) => self.fetch.halt(error),
                }
            }
        });
    }

    fn next(&self) -> Option<Entry> {
        let next = || {
            self.fetch.pull.check()?;
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            for change in left.by_ref() {
                if let Change::Put(entry) = change?
                    && is_small(&entry)
                {
                    return Ok(Some(*entry));
                }
            }
            Ok(None)
        };
        if self.fetch.is_over() {
            return None;
        }
        next().unwrap_or_else(|error| {
            self.fetch.halt(error);
            None
        })
    }

    async fn bring(&self, entry: Entry) {
        let brought = self.try_bring(&entry).await.attempt(|| format!("fetch {}", entry.path));
        self.fetch.settle(&entry, brought);
    }

    async fn try_bring(&self, entry: &Entry) -> Result<()> {
        let (Node::File(node), Some(object)) = (&entry.node, object_of(entry)) else {
            return Err(Error::bug("content of something that has none"));
        };
        if content::is_there(self.fetch, entry)? {
            return Ok(());
        }
        let room = self.fetch.room.acquire_many(u32::try_from(node.size).unwrap_or(u32::MAX)).await;
        let _room = room.map_err(|cause| Error::bug("no room for a read").with_source(cause))?;
        let version = object.version.as_ref().map(ToString::to_string);
        let pin = Pin { etag: Some(object.etag.to_string()), version };
        let data = &self.fetch.pull.places.data;
        let bytes = data.get_pinned(&key_of(&entry.path), 0..node.size, node.size, &pin).await?;
        content::put_whole(self.fetch, entry, &bytes)
    }
}

/// Whether a file is fetched here: all of it in one request, from an object of its own.
pub(super) fn is_small(entry: &Entry) -> bool {
    match (&entry.node, object_of(entry)) {
        (Node::File(node), Some(object)) => matches!(object.at, ObjectAt::Plain) && node.size <= SMALL_MAX,
        _ => false,
    }
}
