//! Merges index segments as they accumulate, so that a cold process opens few.
//!
//! Order: the merged segment is stored, then the ones it supersedes are removed; stopped in between, readers leave the superseded ones out.
//! A merge chooses nothing: of a blob that stands in several packs it keeps every place (further copies go to a segment of their own, stored first),
//! and it leaves out only what was dropped for good. So it may run beside any prune.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::id::ObjectHash;

use super::index::{Segment, SegmentBuilder, segment_key};
use super::listing::Listing;
use super::session::Session;

/// This many segments of about the same size are merged, and as many small ones by a prune.
pub const FANOUT: usize = 8;
/// No segment gets larger (25 MiB in memory while it is made, 20 MiB stored).
const ENTRIES_MAX: u64 = 512 << 10;
/// Names of superseded segments that are carried on, for segments that could not be removed.
const CARRIED_MAX: usize = 1000;
/// A prune rewrites a segment when at least one in this many of its entries was dropped.
const DEAD_SHARE: u64 = 4;

/// Merges one group of segments of like size, if there is one. Costs a read of each, one PUT and a DELETE for each; a writer
/// that may not delete leaves the old ones, which are then ignored. Returns how many were merged.
pub(super) fn compact(session: &Session<'_>, segments: &[Arc<Segment>]) -> Result<usize> {
    let mut tiers: BTreeMap<u32, Vec<&Segment>> = BTreeMap::new();
    for segment in segments {
        tiers.entry(segment.entries().max(1).ilog2() / FANOUT.ilog2()).or_default().push(segment);
    }
    let Some(group) = tiers.into_values().find_map(front) else { return Ok(0) };
    merge(session, &group, &session.gone().packs)?;
    Ok(group.len())
}

/// After a prune: rewrites the segments that hold many entries of dropped packs, and with them the small ones. Returns how many there were.
pub(super) fn rewrite(
    session: &Session<'_>,
    segments: &[Arc<Segment>],
    dropped: &HashSet<ObjectHash>,
) -> Result<usize> {
    let dead = |segment: &Segment| -> u64 {
        let packs = segment.packs().iter().filter(|info| dropped.contains(&info.pack.name));
        packs.map(|info| u64::from(info.blobs)).sum()
    };
    let mut group: Vec<&Segment> = Vec::new();
    let mut small: Vec<&Segment> = Vec::new();
    for segment in segments {
        if dead(segment) * DEAD_SHARE >= segment.entries().max(1) {
            group.push(segment);
        } else if segment.entries() < ENTRIES_MAX / FANOUT as u64 {
            small.push(segment);
        }
    }
    if !group.is_empty() || small.len() >= FANOUT {
        group.append(&mut small);
    }
    group.sort_by_key(|segment| segment.entries());
    let count = group.len();
    let mut rest = group.as_slice();
    while !rest.is_empty() {
        let mut entries = 0;
        let fit = rest.iter().take_while(|segment| {
            entries += segment.entries().saturating_sub(dead(segment));
            entries <= ENTRIES_MAX
        });
        let (now, later) = rest.split_at(fit.count().max(1));
        merge(session, now, dropped)?;
        rest = later;
    }
    Ok(count)
}

fn merge(session: &Session<'_>, group: &[&Segment], dropped: &HashSet<ObjectHash>) -> Result<()> {
    let io = session.repo().io();
    let mut builder = SegmentBuilder::default();
    let mut supersedes = Vec::new();
    for segment in group {
        supersedes.push(segment.name());
        supersedes.extend(segment.supersedes().iter().take(CARRIED_MAX));
        builder.add_segment(io, segment, dropped)?;
    }
    let written = session.repo().clock().now().timestamp();
    let store = |builder: SegmentBuilder, supersedes: &[ObjectHash]| -> Result<String> {
        let sealed = builder.finish(&io.keys, written, supersedes)?;
        let key = segment_key(&sealed.hash);
        io.block(io.store.put(&key, sealed.bytes.into()))
            .map_err(|error| error.within("store a merged index segment"))?;
        Ok(key)
    };
    let mut copies = builder.split_copies()?;
    while let Some(mut layer) = copies {
        copies = layer.split_copies()?;
        store(layer, &[])?;
    }
    let merged = store(builder, &supersedes)?;
    // Somebody else has merged one of them meanwhile, or a repair has taken one out because of what it says: ours is not to bring it back.
    let now: HashSet<ObjectHash> = Listing::segments_now(io)?.into_iter().map(|(name, _)| name).collect();
    if group.iter().any(|segment| !now.contains(&segment.name())) {
        // The further copies stay: a late write may yet bring back the segment that hides their other places.
        return io.block(io.store.delete(&merged)).map_err(|error| error.within("take a merged index segment back"));
    }
    for segment in group {
        match io.block(io.store.delete(&segment_key(&segment.name()))) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Denied => break,
            Err(error) => return Err(error.within("remove a superseded index segment")),
        }
    }
    Ok(())
}

/// The smallest segments of a tier that may become one, if they are enough to be worth it.
fn front(mut tier: Vec<&Segment>) -> Option<Vec<&Segment>> {
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
