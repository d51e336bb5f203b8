//! What other commands make of repaired snapshots: beside the whole ones, once a copy has brought those back, and without them.

use std::collections::BTreeMap;

use bytes::Bytes;
use volvault::events::{Progress, Silent, Stop, Watch};
use volvault::id::SessionId;
use volvault::maintenance::repair::{self, Mode, RepairIndex, RepairSnapshots};
use volvault::maintenance::{self, CopyReport, ReadData, TagChange};
use volvault::repo::{Repository, Selector, Snapshot, SnapshotFilter};

use crate::support::repo::{Bench, Layout, Tree, check, write_tree};
use crate::support::vault::{contents, noise};

fn watched<T>(work: impl FnOnce(&Watch<'_>) -> T) -> T {
    let (progress, stop) = (Progress::default(), Stop::new());
    work(&Watch { observer: &Silent, progress: &progress, stop: &stop })
}

fn id(id: SessionId) -> Selector {
    Selector::Id(id.to_hex())
}

fn set_tags(repo: &Repository, tags: &[&str], chosen: SessionId) -> SessionId {
    let change = TagChange { set: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()), ..TagChange::default() };
    let chosen = [id(chosen)];
    let report = watched(|watch| maintenance::tag(repo, (&chosen, &SnapshotFilter::default()), &change, watch));
    report.unwrap().changed[0].1
}

fn copied(from: &Repository, to: &Repository, chosen: &[Selector]) -> CopyReport {
    let filter = SnapshotFilter::default();
    watched(|watch| maintenance::copy(from, to, (chosen, &filter), watch, &mut |_, _| ())).unwrap()
}

fn numbers(report: &CopyReport) -> (usize, usize) {
    (report.copied.len(), report.skipped.len())
}

fn snapshots(repo: &Repository) -> Vec<Snapshot> {
    let session = repo.observe().unwrap();
    session.load_all(&SnapshotFilter::default()).unwrap().0
}

/// What all snapshots hold, with their tags.
fn held(repo: &Repository) -> Vec<String> {
    let session = repo.observe().unwrap();
    let shown = |snapshot: Snapshot| {
        let tree = contents(&session, &snapshot).unwrap();
        format!("{} {:?} {tree:?}", snapshot.time, snapshot.tags)
    };
    let mut held: Vec<String> = snapshots(repo).into_iter().map(shown).collect();
    held.sort();
    held
}

/// A snapshot of which two parts lie in packs of their own.
struct Damaged {
    bench: Bench,
    whole: SessionId,
    /// The packs: the second half of one file, and all of another.
    packs: [String; 2],
}

impl Damaged {
    fn new() -> Self {
        let bench = Bench::new();
        let repo = bench.open();
        let (content, other) = (noise(1000, 7), noise(50, 9));
        let mut packs = Vec::new();
        for (name, bytes) in [("half", &content[500..]), ("other", &other)] {
            let before = bench.keys("packs/");
            write_tree(&repo, &Tree::from([(name.to_owned(), Some(bytes.to_vec()))]), Layout::Chunks(500));
            let is_new = |key: &String| !before.contains(key) && bench.get(key)[11] == 1;
            packs.push(bench.keys("packs/").into_iter().find(is_new).unwrap());
        }
        let tree = Tree::from([("file".to_owned(), Some(content)), ("other".to_owned(), Some(other))]);
        let whole = write_tree(&repo, &tree, Layout::Chunks(500)).id;
        Self { bench, whole, packs: packs.try_into().unwrap() }
    }

    /// Loses this pack, saves what is left of the snapshot, and gets back all that was there from a copy: whole and repaired stand side by side.
    fn repair_without(&self, pack: &str) -> SessionId {
        let Self { bench, whole, .. } = self;
        let copy: BTreeMap<String, Bytes> =
            bench.keys("").into_iter().map(|key| (key.clone(), bench.get(&key))).collect();
        bench.delete(pack);
        let repo = bench.open();
        let known: Vec<SessionId> = snapshots(&repo).iter().map(|snapshot| snapshot.id).collect();
        let options =
            RepairSnapshots { chosen: vec![id(*whole)], forget: true, mode: Mode::Apply, ..RepairSnapshots::default() };
        let index = RepairIndex { mode: Mode::Apply, read_all_packs: false };
        watched(|watch| repair::repair_index(&repo, index, watch)).unwrap();
        watched(|watch| repair::repair_snapshots(&repo, &options, watch)).unwrap();
        for (key, bytes) in copy {
            if key.starts_with("packs/") || key.starts_with("state/index/") || key.starts_with("state/snapshots/") {
                bench.put(&key, bytes);
            }
        }
        // The index was written anew without the pack, and takes it in again.
        watched(|watch| repair::repair_index(&repo, index, watch)).unwrap();
        assert_eq!(check(&repo, ReadData::All).unwrap().errors, [] as [String; 0]);
        let new = snapshots(&repo).into_iter().find(|snapshot| !known.contains(&snapshot.id)).unwrap();
        assert_eq!((new.original, new.tags.as_slice()), (Some(*whole), ["repaired".to_owned()].as_slice()));
        let time = snapshots(&repo).iter().find(|snapshot| snapshot.id == *whole).unwrap().time;
        assert_eq!(new.time, time);
        new.id
    }
}

#[test]
fn tags_never_put_a_repaired_snapshot_in_the_place_of_the_whole_one() {
    let damaged = Damaged::new();
    let repaired = damaged.repair_without(&damaged.packs[0]);
    let repo = damaged.bench.open();
    let untagged =
        |held: Vec<String>| -> Vec<String> { held.iter().map(|one| one.replace("\"repaired\"", "")).collect() };
    let before = untagged(held(&repo));
    set_tags(&repo, &["keep"], repaired);
    set_tags(&repo, &["keep"], damaged.whole);
    let after: Vec<String> = held(&repo).iter().map(|one| one.replace("\"keep\"", "")).collect();
    assert_eq!(after, before);
}

#[test]
fn a_copy_takes_whole_and_repaired_snapshots_each_once() {
    let (damaged, other) = (Damaged::new(), Bench::new());
    let repaired = damaged.repair_without(&damaged.packs[0]);
    let (from, to) = (damaged.bench.open(), other.open());
    assert_eq!(numbers(&copied(&from, &to, &[id(repaired)])), (1, 0));
    assert_eq!(numbers(&copied(&from, &to, &[id(repaired)])), (0, 1), "the repaired one");
    assert_eq!(numbers(&copied(&from, &to, &[id(damaged.whole)])), (1, 0), "the whole one");
    assert_eq!(numbers(&copied(&from, &to, &[])), (2, 2));
    assert_eq!(numbers(&copied(&from, &to, &[])), (0, 4));
    assert_eq!(held(&to), held(&from));
    // A copy of the copies, and then of the first ones.
    let third = Bench::new();
    assert_eq!(numbers(&copied(&to, &third.open(), &[])), (4, 0));
    assert_eq!(numbers(&copied(&from, &third.open(), &[])), (0, 4));
}

/// Nothing that is stored with them tells them apart, but which files they lack.
#[test]
fn two_repaired_snapshots_that_lack_different_files_are_both_copied() {
    let (damaged, other) = (Damaged::new(), Bench::new());
    let first = damaged.repair_without(&damaged.packs[0]);
    let second = damaged.repair_without(&damaged.packs[1]);
    let (from, to) = (damaged.bench.open(), other.open());
    assert_eq!(numbers(&copied(&from, &to, &[id(first)])), (1, 0));
    assert_eq!(numbers(&copied(&from, &to, &[id(second)])), (1, 0));
    assert_eq!(numbers(&copied(&from, &to, &[id(first), id(second)])), (0, 2));
    // Nor does the tag, when somebody takes it away.
    let untagged = [first, second].map(|repaired| id(set_tags(&from, &[], repaired)));
    for one in &untagged {
        assert_eq!(numbers(&copied(&from, &to, std::slice::from_ref(one))), (1, 0));
    }
    assert_eq!(numbers(&copied(&from, &to, &untagged)), (0, 2));
}

/// Nor does the tag, when somebody takes it away.
#[test]
fn a_repaired_snapshot_without_its_tag_does_not_stand_for_the_whole_one() {
    let (damaged, other) = (Damaged::new(), Bench::new());
    let repaired = damaged.repair_without(&damaged.packs[0]);
    let (from, to) = (damaged.bench.open(), other.open());
    let untagged = set_tags(&from, &[], repaired);
    assert_eq!(numbers(&copied(&from, &to, &[id(untagged)])), (1, 0));
    assert_eq!(numbers(&copied(&from, &to, &[id(damaged.whole)])), (1, 0));
    assert_eq!(numbers(&copied(&from, &to, &[])), (2, 2));
    assert_eq!(held(&to), held(&from));
}

#[test]
fn a_snapshot_whose_tags_were_changed_is_copied_again_as_restic_does() {
    let (bench, other) = (Bench::new(), Bench::new());
    let (from, to) = (bench.open(), other.open());
    let name = write_tree(&from, &Tree::from([("file".to_owned(), Some(noise(300, 1)))]), Layout::Bundle);
    assert_eq!(numbers(&copied(&from, &to, &[])), (1, 0));
    let tagged = set_tags(&from, &["b", "a"], name.id);
    assert_eq!(numbers(&copied(&from, &to, &[])), (1, 0));
    assert_eq!(numbers(&copied(&from, &to, &[])), (0, 1));
    // In which order they stand says nothing.
    set_tags(&from, &["a", "b"], tagged);
    assert_eq!(numbers(&copied(&from, &to, &[])), (0, 1));
    assert_eq!(snapshots(&to).len(), 2);
}
