//! The index as a repair sees it: segments that can be read to their end, those that cannot, and what the sound ones say of packs.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::Result;
use crate::events::Watch;
use crate::id::ObjectHash;
use crate::repo::{IndexEntry, OpenSegment, PackInfo, Session, Trash};

use super::super::is_damage;
use super::go_on;

/// All index segments of a session.
pub(super) struct Segments<'s> {
    session: &'s Session<'s>,
    /// Segments that are sound and that no other one supersedes.
    live: Vec<OpenSegment<'s>>,
    /// Segments that count as gone because another one is there.
    superseded: Vec<OpenSegment<'s>>,
    /// Segments that cannot be read, or that contradict others; with the reason.
    pub(super) damaged: Vec<(ObjectHash, String)>,
    /// What the live ones say of packs, without those that were dropped.
    pub(super) packs: BTreeMap<ObjectHash, Indexed>,
}

/// A pack in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Indexed {
    pub(super) info: PackInfo,
    /// Blobs that have a row; a merge leaves out those that stand in another pack, too.
    pub(super) rows: u32,
}

impl<'s> Segments<'s> {
    /// Reads every segment to its last byte.
    pub(super) fn read(session: &'s Session<'s>, watch: &Watch<'_>) -> Result<Self> {
        let (mut sound, mut damaged) = (Vec::new(), Vec::new());
        for (name, segment) in session.open_segments(false)? {
            go_on(watch)?;
            let rows = |segment: OpenSegment<'s>| {
                let mut rows = vec![0u32; segment.packs().len()];
                segment.rows(&mut |row| rows.get_mut(row.pack as usize).into_iter().for_each(|n| *n += 1))?;
                Ok((segment, rows))
            };
            match segment.and_then(rows) {
                Ok(segment) => sound.push(segment),
                Err(error) if is_damage(&error) => damaged.push((name, error.chain())),
                Err(error) => return Err(error),
            }
        }
        let gone: HashSet<ObjectHash> = sound.iter().flat_map(|(s, _)| s.supersedes().iter().copied()).collect();
        let (superseded, live): (Vec<_>, Vec<_>) = sound.into_iter().partition(|(s, _)| gone.contains(&s.name()));
        let superseded = superseded.into_iter().map(|(segment, _)| segment).collect();
        let mut all = Self { session, live: Vec::new(), superseded, damaged, packs: BTreeMap::new() };
        let contradicting = contradicting(&live);
        for (segment, rows) in live {
            if contradicting.contains(&segment.name()) {
                all.damaged.push((segment.name(), "it describes a pack unlike another segment".to_owned()));
                continue;
            }
            for (info, rows) in segment.packs().iter().zip(rows) {
                if !session.absent_packs().contains(&info.pack.name) {
                    let known = all.packs.entry(info.pack.name).or_insert(Indexed { info: *info, rows });
                    known.rows = known.rows.max(rows);
                }
            }
            all.live.push(segment);
        }
        Ok(all)
    }

    /// Segments that have to be written anew when these packs are to be in no segment.
    pub(super) fn naming(&self, packs: &HashSet<ObjectHash>) -> Vec<&OpenSegment<'s>> {
        let names = |segment: &&OpenSegment<'s>| segment.packs().iter().any(|info| packs.contains(&info.pack.name));
        self.live.iter().filter(names).collect()
    }

    /// All rows of these packs.
    pub(super) fn rows_of(&self, packs: &HashSet<ObjectHash>) -> Result<HashMap<ObjectHash, Vec<IndexEntry>>> {
        let mut rows: HashMap<ObjectHash, Vec<IndexEntry>> = HashMap::new();
        for segment in self.naming(packs) {
            for row in segment.rows_of(packs)? {
                rows.entry(row.place.pack.name).or_default().push(row);
            }
        }
        Ok(rows)
    }

    /// Takes packs out of the index: writes what else their segments hold, then moves these aside.
    pub(super) fn forget(&self, packs: &HashSet<ObjectHash>, trash: &Trash) -> Result<()> {
        let naming = self.naming(packs);
        for segment in &naming {
            self.session.rewrite_segment(segment, packs)?;
        }
        // A segment that is superseded by nothing any more would be alive again: these go first.
        let below: HashSet<ObjectHash> =
            naming.iter().flat_map(|segment| segment.supersedes().iter().copied()).collect();
        for segment in self.superseded.iter().filter(|segment| below.contains(&segment.name())) {
            trash.take(&segment.key())?;
        }
        for segment in naming {
            trash.take(&segment.key())?;
        }
        Ok(())
    }

    /// Moves all segments aside that can be read, superseded ones first.
    pub(super) fn retire(&self, trash: &Trash) -> Result<()> {
        for segment in self.superseded.iter().chain(&self.live) {
            trash.take(&segment.key())?;
        }
        Ok(())
    }
}

/// Segments that say of a pack what another one does not: which of them is right shows only in the pack.
fn contradicting(segments: &[(OpenSegment<'_>, Vec<u32>)]) -> HashSet<ObjectHash> {
    let mut known: HashMap<ObjectHash, (PackInfo, ObjectHash)> = HashMap::new();
    let mut wrong = HashSet::new();
    for (segment, rows) in segments {
        for (info, rows) in segment.packs().iter().zip(rows) {
            let (first, by) = known.entry(info.pack.name).or_insert((*info, segment.name()));
            if first != info {
                wrong.extend([*by, segment.name()]);
            }
            if *rows > info.blobs {
                wrong.insert(segment.name());
            }
        }
    }
    wrong
}
