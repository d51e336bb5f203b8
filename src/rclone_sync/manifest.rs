//! The manifest: what a generation of a mirror holds, as one stream put together from a base and deltas. Spec: `docs/mirror.md` section 4.

use super::layout::{Places, segment_key};
use super::merge::{Entries, Merge};
use super::root::Root;
use super::segment::{SegmentReader, SegmentRef, Written};
use crate::error::{Attempt, Result};

/// Bytes of all segments that are on their way or wait to be decoded: 3 ranges of 1 MiB for each of five, or of 64 KiB for each of eighty.
const AHEAD: u64 = 15 << 20;
/// Largest range: about what a link moves in two round trips.
const WINDOW_MAX: u64 = 1 << 20;
/// Smallest range.
const WINDOW_MIN: u64 = 64 << 10;

/// All entries of the generation of `root`, in catalogue order: the base with its deltas, read from the store as they are wanted.
/// Nothing is certain before the stream has ended without an error.
pub fn entries(places: &Places, root: &Root) -> Entries {
    let mut layers = vec![&root.base];
    layers.extend(root.deltas.iter().map(|delta| &delta.segment));
    Merge::of(readers(places, &layers)).entries_of(root)
}

/// All entries of the generation of `root`, from a local copy of those of `seen`, an earlier root. None if the deltas of `root` do not lead from there.
pub fn entries_onto(places: &Places, root: &Root, local: SegmentReader, seen: &Root) -> Option<Entries> {
    let deltas = root.deltas_since(seen)?;
    let mut layers = vec![local];
    layers.extend(readers(places, &deltas.iter().collect::<Vec<_>>()));
    Some(Merge::of(layers).entries_of(root))
}

/// What the generations after that of `seen` changed, each path once with what became of it. None if the deltas of `root` do not lead from there.
pub fn changes_since(places: &Places, root: &Root, seen: &Root) -> Option<Merge> {
    let deltas = root.deltas_since(seen)?;
    Some(Merge::of(readers(places, &deltas.iter().collect::<Vec<_>>())))
}

fn readers(places: &Places, segments: &[&SegmentRef]) -> Vec<SegmentReader> {
    let share = AHEAD / 3 / (segments.len() as u64).max(1);
    let window = share.clamp(WINDOW_MIN, WINDOW_MAX);
    segments.iter().map(|segment| SegmentReader::of_object(places, segment, window)).collect()
}

/// Stores a segment at its name.
pub fn store_segment(places: &Places, written: &Written) -> Result<()> {
    let said = || format!("store segment {} of the manifest", written.hash.short());
    let bytes = std::fs::read(&written.path).attempt(said)?;
    places.block(places.control.put(&segment_key(&written.hash), bytes.into())).attempt(said)
}
