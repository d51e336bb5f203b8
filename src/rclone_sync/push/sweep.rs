//! Removes from the control area what no kept generation names. Spec: `docs/mirror.md` section 7.
//!
//! In two steps, pushes apart, so that a push is hardly dearer for it: one lists the area, marks what the newest generation does not name, and says of
//! which marks enough generations and enough time have gone by; the other deletes that, if it still is not named. All times are those of the store: no
//! two clocks are compared. Order of writes: marks are stored before anything is deleted by them, and both happen under the claim, after the root.
//! A push that is cut off in between has only left more to be swept.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::catalog::{Content, Entry, FileNode, Node, ObjectAt};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Attributes, Condition, ObjectInfo};

use super::super::layout::{GARBAGE, PUSH, ROOT, ROOTS, blocks_key, pack_key, segment_key};
use super::super::root::Root;
use super::options::Keep;
use super::publish::Publishing;

/// Keys that are marked at once, about 130 bytes each; what is beyond waits for the next time.
const MARKS_MAX: usize = 20_000;
/// Largest object of marks that is read.
const GARBAGE_MAX: u64 = 8 << 20;

/// What is not named any more, and what may be deleted of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Garbage {
    #[serde(default)]
    marks: BTreeMap<String, Mark>,
    #[serde(default)]
    doomed: Vec<String>,
}

/// Since when something is not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    generation: u64,
    /// When the root of that generation was stored.
    time: DateTime<Utc>,
}

/// What the newest generation names.
pub(super) struct Named {
    keys: HashSet<String>,
    generation: u64,
    keep: u64,
}

impl Named {
    pub(super) fn new(root: &Root, keep: &Keep) -> Self {
        let keys = root.segments().map(|segment| segment_key(&segment.hash)).collect();
        Self { keys, generation: root.generation, keep: keep.generations.max(1) }
    }

    /// To be told every entry of the generation.
    pub(super) fn see(&mut self, entry: &Entry) {
        let Node::File(FileNode { content: Content::Object(object), .. }) = &entry.node else { return };
        if let Some(hash) = object.hash.filter(|_| object.blocks) {
            self.keys.insert(blocks_key(&hash));
        }
        if let ObjectAt::Packed { pack, .. } = object.at {
            self.keys.insert(pack_key(&pack));
        }
    }

    fn has(&self, key: &str) -> bool {
        let is_fixed = [ROOT, PUSH, GARBAGE].contains(&key) || key.starts_with("stage/");
        let number = key.strip_prefix(ROOTS).and_then(|number| number.parse::<u64>().ok());
        let is_kept = number.is_some_and(|number| number + self.keep > self.generation);
        is_fixed || is_kept || self.keys.contains(key)
    }
}

/// Lists the control area and stores what was found: three requests for an area of a thousand objects.
pub(super) fn mark(publishing: &Publishing<'_>, named: &Named) -> Result<()> {
    let places = &publishing.destination.places;
    let before = read(publishing)?;
    let (mut unnamed, mut roots) = (Vec::new(), BTreeMap::new());
    let mut pages = places.control.list_objects("")?;
    while let Some(page) = places.block(pages.next())? {
        for object in page {
            if let Some(number) = object.key.strip_prefix(ROOTS).and_then(|number| number.parse::<u64>().ok()) {
                roots.insert(number, object.modified);
            }
            if !named.has(&object.key) && unnamed.len() < MARKS_MAX {
                unnamed.push(object);
            }
        }
    }
    // A listing that lags behind shows nothing that could be relied upon.
    let Some(now) = roots.get(&named.generation).copied() else { return Ok(()) };
    let garbage = judge(&before, &unnamed, (named, now), (&roots, &publishing.options.keep));
    if garbage == before {
        return Ok(());
    }
    let text = serde_json::to_vec(&garbage).map_err(|cause| Error::bug("write down marks").with_source(cause))?;
    publishing.hold.ensure()?;
    let json = Attributes { content_type: Some("application/json".to_owned()), ..Attributes::default() };
    places.block(places.control.put_with(GARBAGE, text.into(), &json, Condition::Any)).map(drop)
}

/// Decides. A copy of a root may go when enough newer ones are there and the one after it is old enough; what else is not named, when it was
/// not named for as long.
fn judge(
    before: &Garbage,
    unnamed: &[ObjectInfo],
    (named, now): (&Named, DateTime<Utc>),
    (roots, keep): (&BTreeMap<u64, DateTime<Utc>>, &Keep),
) -> Garbage {
    let mut garbage = Garbage::default();
    let grace = TimeDelta::from_std(keep.grace).unwrap_or(TimeDelta::MAX);
    let is_old = |time: DateTime<Utc>| now.signed_duration_since(time) >= grace;
    for object in unnamed {
        if let Some(number) = object.key.strip_prefix(ROOTS).and_then(|number| number.parse::<u64>().ok()) {
            let superseded = roots.range(number + 1..).next().map(|(_, stored)| *stored);
            if superseded.is_some_and(is_old) {
                garbage.doomed.push(object.key.clone());
            }
            continue;
        }
        let first = Mark { generation: named.generation, time: now };
        // What was stored again since was named again since.
        let mark = before.marks.get(&object.key).filter(|mark| mark.time >= object.modified).copied().unwrap_or(first);
        if mark.generation + named.keep <= named.generation && is_old(mark.time) {
            garbage.doomed.push(object.key.clone());
        }
        garbage.marks.insert(object.key.clone(), mark);
    }
    garbage
}

/// Deletes what was found due, and is still not named: two requests for a thousand objects.
pub(super) fn sweep(publishing: &Publishing<'_>, named: &Named) -> Result<()> {
    let garbage = read(publishing)?;
    let mut doomed: Vec<&String> = garbage.doomed.iter().filter(|key| !named.has(key)).collect();
    // Roots first: none may name what is gone.
    doomed.sort_by_key(|key| !key.starts_with(ROOTS));
    publishing.delete_from(&publishing.destination.places.control, doomed)
}

fn read(publishing: &Publishing<'_>) -> Result<Garbage> {
    let places = &publishing.destination.places;
    match places.block(places.control.get(GARBAGE, GARBAGE_MAX)) {
        // Marks that are lost are made again.
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(Garbage::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rclone_sync::layout::root_key;
    use crate::storage::Pin;
    use std::time::Duration;

    fn at(hour: u32) -> DateTime<Utc> {
        format!("2026-11-{:02}T{:02}:00:00Z", 1 + hour / 24, hour % 24).parse().expect("a time")
    }

    fn object(key: &str, hour: u32) -> ObjectInfo {
        ObjectInfo { key: key.to_owned(), size: 1, pin: Pin::default(), modified: at(hour) }
    }

    fn named(generation: u64) -> Named {
        Named { keys: ["segments/aa/aa".to_owned()].into(), generation, keep: 10 }
    }

    #[test]
    fn what_is_not_named_goes_after_ten_generations_and_a_day() {
        let keep = Keep { generations: 10, grace: Duration::from_hours(24), every: 16 };
        let roots: BTreeMap<u64, _> =
            (1..=40).map(|number| (number, at(u32::try_from(number).expect("small")))).collect();
        let seen = |before: &Garbage, generation: u64, modified: u32| {
            let hour = u32::try_from(generation).expect("small");
            let listed = [object("packs/bb/bb", modified), object(&root_key(2), 2), object("probe-1", 3)];
            judge(before, &listed, (&named(generation), at(hour)), (&roots, &keep))
        };
        let first = seen(&Garbage::default(), 12, 1);
        assert_eq!((first.marks.len(), first.doomed.len()), (2, 0), "nothing is deleted that was not marked before");
        assert_eq!(seen(&first, 20, 1).doomed, Vec::<String>::new(), "not ten generations");
        assert_eq!(seen(&first, 26, 1).doomed, Vec::<String>::new(), "not a day");
        assert_eq!(seen(&first, 27, 1).doomed, [root_key(2)], "the root after it was stored a day ago");
        assert_eq!(seen(&first, 36, 1).doomed, ["packs/bb/bb".to_owned(), root_key(2), "probe-1".to_owned()]);
        let again = seen(&first, 36, 20);
        assert_eq!(again.doomed, [root_key(2), "probe-1".to_owned()], "stored again since");
        assert_eq!(again.marks["packs/bb/bb"].generation, 36);
    }

    #[test]
    fn what_every_mirror_has_and_the_newest_roots_are_named() {
        let named = named(30);
        for key in [ROOT, PUSH, GARBAGE, "stage/aa/aa", "segments/aa/aa", &root_key(21), &root_key(30)] {
            assert!(named.has(key), "{key}");
        }
        for key in ["segments/bb/bb", "packs/aa/aa", "probe-1", &root_key(20)] {
            assert!(!named.has(key), "{key}");
        }
    }
}
