//! Merges index segments as they accumulate, so that a cold process opens few.
//!
//! Order: the merged segment is stored, then the ones it supersedes are removed; stopped in between, readers leave the superseded ones out.
//! Of a blob that stands in several packs one place is kept, so nothing is merged while packs are condemned or dropped, and a merge ends before
//! its session does: a prune then sees either all places or the one that stayed. Otherwise entries go only with their packs, in a prune.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::id::ObjectHash;

use super::index::{IndexEntry, PackInfo, Segment, SegmentBuilder, segment_key};
use super::session::Session;

/// This many segments of about the same size are merged.
const FANOUT: usize = 8;
/// No segment gets larger (40 MiB in memory while it is made, 20 MiB stored).
const ENTRIES_MAX: u64 = 512 << 10;
/// Names of superseded segments that are carried on, for segments that could not be removed.
const CARRIED_MAX: usize = 1000;

/// Merges one group of segments of like size, if there is one. Costs a read of each, one PUT and a DELETE for each; a writer
/// that may not delete leaves the old ones, which are then ignored. Returns how many were merged.
pub(super) fn compact(session: &Session<'_>, segments: &[Arc<Segment>]) -> Result<usize> {
    let mut tiers: BTreeMap<u32, Vec<&Arc<Segment>>> = BTreeMap::new();
    for segment in segments {
        tiers.entry(segment.entries().max(1).ilog2() / FANOUT.ilog2()).or_default().push(segment);
    }
    let Some(group) = tiers.into_values().find_map(front) else { return Ok(0) };
    let io = session.repo().io();
    // Of two copies of a blob a merge keeps one: while a prune is about, it must not choose.
    if session.has_absent_packs() || !io.block(io.store.list("state/condemned/"))?.is_empty() {
        return Ok(0);
    }
    let mut builder = SegmentBuilder::default();
    let mut packs: HashMap<ObjectHash, (PackInfo, Vec<IndexEntry>)> = HashMap::new();
    let mut supersedes = Vec::new();
    for segment in &group {
        supersedes.push(segment.name());
        supersedes.extend(segment.supersedes().iter().take(CARRIED_MAX));
        for info in segment.packs() {
            packs.entry(info.pack.name).or_insert((*info, Vec::new()));
        }
        for entry in segment.all(io)? {
            if let Some((_, entries)) = packs.get_mut(&entry.place.pack.name) {
                entries.push(entry);
            }
        }
    }
    for (info, entries) in packs.into_values() {
        builder.add_indexed(info, entries)?;
    }
    let sealed = builder.finish(&io.keys, session.repo().clock().now().timestamp(), &supersedes)?;
    io.block(io.store.put(&segment_key(&sealed.hash), sealed.bytes.into()))
        .map_err(|error| error.within("store a merged index segment"))?;
    for segment in &group {
        match io.block(io.store.delete(&segment_key(&segment.name()))) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Denied => break,
            Err(error) => return Err(error.within("remove a superseded index segment")),
        }
    }
    Ok(group.len())
}

/// The smallest segments of a tier that may become one, if they are enough to be worth it.
fn front(mut tier: Vec<&Arc<Segment>>) -> Option<Vec<&Arc<Segment>>> {
    tier.sort_by_key(|segment| segment.entries());
    let mut entries = 0;
    let fit = tier.iter().take_while(|segment| {
        entries += segment.entries();
        entries <= ENTRIES_MAX
    });
    let fit = fit.count();
    tier.truncate(fit);
    (fit + 1 >= FANOUT).then_some(tier)
}
