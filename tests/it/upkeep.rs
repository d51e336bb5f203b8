//! Commands that look after snapshots: tags and counts.

use std::sync::Arc;

use volvault::Result;
use volvault::catalog::{Content, FileNode, Node};
use volvault::events::{Progress, Silent, Stop, Watch};
use volvault::maintenance::{self, CopyReport, ReadData, Stats, StatsMode, TagChange, TagReport};
use volvault::repo::{Repository, Selector, Snapshot, SnapshotFilter};

use crate::support::faults::{FaultPlan, FaultStore, When};
use crate::support::repo::{Bench, Layout, Tree, check, write_tree};
use crate::support::vault::{Vault, contents, file_bytes, latest, noise};

fn watched<T>(work: impl FnOnce(&Watch<'_>) -> T) -> T {
    let (progress, stop) = (Progress::default(), Stop::new());
    work(&Watch { observer: &Silent, progress: &progress, stop: &stop })
}

fn add(repo: &Repository, tag: &str, chosen: &[Selector]) -> Result<TagReport> {
    let change = TagChange { add: vec![tag.to_owned()], ..TagChange::default() };
    watched(|watch| maintenance::tag(repo, (chosen, &SnapshotFilter::default()), &change, watch))
}

fn tree(seed: u64) -> Tree {
    let file = |n: u64| (format!("f{n}"), Some(noise(700, seed + n)));
    (0..10).map(file).collect()
}

#[test]
fn a_snapshot_with_other_tags_is_the_same_otherwise_and_takes_the_old_ones_place() {
    let bench = Bench::new();
    let repo = bench.open();
    let names: Vec<_> = (0..3).map(|n| write_tree(&repo, &tree(n), Layout::Bundle)).collect();
    let before = latest(&repo).unwrap();
    let report = add(&repo, "x", &[Selector::Id(names[2].id.to_hex())]).unwrap();
    assert_eq!(report.changed.len(), 1);
    let after = latest(&repo).unwrap();
    assert_eq!(after.0.tags, ["x"]);
    assert_eq!((after.0.time, after.0.original), (before.0.time, Some(before.0.id)));
    assert!(after.1 == before.1 && after.0.id == report.changed[0].1);
    let times: Vec<_> = repo.observe().unwrap().snapshots().iter().map(|name| name.time).collect();
    assert_eq!(times, names.iter().rev().map(|name| name.time).collect::<Vec<_>>());
    assert!(repo.forgotten().unwrap().ids.contains(&names[2].id));
    // Once more, and nothing changes; then all of them, and the first id stays known.
    assert_eq!(add(&repo, "x", &[]).unwrap().changed.len(), 2);
    assert_eq!(add(&repo, "x", &[]).unwrap().changed.len(), 0);
    add(&repo, "y", &[]).unwrap();
    assert_eq!(latest(&repo).unwrap().0.original, Some(names[2].id));
    assert_eq!(check(&repo, ReadData::All).unwrap().errors, [] as [String; 0]);
}

#[test]
fn a_change_of_tags_killed_at_any_write_loses_no_snapshot_and_the_next_one_completes() {
    let bench = Bench::new();
    let repo = bench.open();
    (0..2).for_each(|n| drop(write_tree(&repo, &tree(n), Layout::Bundle)));
    let seen = |repo: &Repository| {
        let session = repo.observe().unwrap();
        let mut all: Vec<_> = session
            .snapshots()
            .iter()
            .map(|name| contents(&session, &session.load(name).unwrap()).unwrap())
            .map(|tree| format!("{tree:?}"))
            .collect();
        all.sort();
        all.dedup();
        all
    };
    let before = seen(&repo);
    for number in 0.. {
        let mut is_over = false;
        for when in [When::Before, When::After] {
            let inner = Arc::new(bench.objects.fork());
            let faulty = FaultStore::new(inner.clone(), FaultPlan::kill(number, when));
            let killed = Vault::over(faulty.clone());
            let outcome = killed.open().and_then(|repo| add(&repo, "x", &[]));
            is_over |= outcome.is_ok() && !faulty.killed();
            let survivor = Vault::over(inner);
            let repo = survivor.open().unwrap();
            assert_eq!(seen(&repo), before, "write {number} {when:?}");
            add(&repo, "x", &[]).unwrap();
            let session = repo.observe().unwrap();
            assert_eq!((session.snapshots().len(), seen(&repo)), (2, before.clone()), "write {number} {when:?}");
            assert!(session.snapshots().iter().all(|name| session.load(name).unwrap().tags == ["x"]));
        }
        if is_over {
            assert!(number >= 5, "{number} writes");
            return;
        }
    }
}

#[test]
fn counts_are_those_of_the_files_that_were_written() {
    let bench = Bench::new();
    let repo = bench.open();
    write_tree(&repo, &tree(0), Layout::Chunks(200));
    let mut second = tree(0);
    second.insert("dir".to_owned(), None);
    second.insert("dir/more".to_owned(), Some(noise(90, 99)));
    write_tree(&repo, &second, Layout::Chunks(200));
    let session = repo.observe().unwrap();
    let snapshots = session.load_all(&SnapshotFilter::default()).unwrap().0;
    let count = |mode| watched(|watch| maintenance::stats(&session, &snapshots, mode, watch)).unwrap();
    let restore = count(StatsMode::RestoreSize);
    assert_eq!(restore, Stats { snapshots: 2, files: 22, size: 2 * 7000 + 90, ..Stats::default() });
    let unique = count(StatsMode::FilesByContents);
    assert_eq!(unique, Stats { snapshots: 2, files: 11, size: 7090, ..Stats::default() });
    let blobs = count(StatsMode::BlobsPerFile);
    assert_eq!((blobs.files, blobs.blobs), (21, 20 * 4 + 1));
    // Ten files of four chunks, one of one; a page for each snapshot.
    let raw = count(StatsMode::RawData);
    assert_eq!(raw.blobs, 43);
    assert!(raw.uncompressed > 7090 && raw.size > 7090 && raw.size < 12_000, "{raw:?}");
    // Each by itself, as a grouping has it: the index is read once for all.
    let each = |groups: &[&[Snapshot]]| {
        let before = repo.store().requests().total();
        let count = watched(|watch| maintenance::stats_of_each(&session, groups, StatsMode::RawData, watch)).unwrap();
        (count.iter().map(|stats| stats.blobs).collect::<Vec<_>>(), repo.store().requests().total() - before)
    };
    let (both, few) = each(&snapshots.chunks(1).collect::<Vec<_>>());
    assert_eq!(both, [42, 41]);
    let (twice, many) = (each(&[&snapshots[..1]]), each(&[&snapshots[1..]]));
    assert!(few < twice.1 + many.1, "{few} {} {}", twice.1, many.1);
}

fn copied(from: &Repository, to: &Repository) -> Result<CopyReport> {
    watched(|watch| maintenance::copy(from, to, (&[], &SnapshotFilter::default()), watch, &mut |_, _| ()))
}

/// What all snapshots of a repository hold, by time.
fn all(repo: &Repository) -> Vec<String> {
    let session = repo.observe().unwrap();
    let shown = |snapshot: Snapshot| (snapshot.time, snapshot.host.clone(), contents(&session, &snapshot).unwrap());
    let mut all: Vec<_> = session.snapshots().iter().map(|name| shown(session.load(name).unwrap())).collect();
    all.sort_by_key(|(time, ..)| *time);
    all.iter().map(|snapshot| format!("{snapshot:?}")).collect()
}

fn to_copy() -> Bench {
    let bench = Bench::new();
    let repo = bench.open();
    write_tree(&repo, &tree(0), Layout::Bundle);
    write_tree(&repo, &tree(1), Layout::Chunks(300));
    write_tree(&repo, &Tree::from([("big".to_owned(), Some(noise(150 * 300, 9)))]), Layout::Chunks(300));
    write_tree(&repo, &tree(0), Layout::Bundle);
    bench
}

#[test]
fn snapshots_come_to_another_repository_with_all_they_hold_and_only_once() {
    let (bench, other) = (to_copy(), Bench::new());
    let (from, to) = (bench.open(), other.open());
    let report = copied(&from, &to).unwrap();
    assert_eq!((report.copied.len(), report.skipped.len()), (4, 0));
    assert_eq!(all(&to), all(&from));
    assert_eq!(check(&to, ReadData::All).unwrap().errors, [] as [String; 0]);
    let packs = other.keys("packs/");
    let again = copied(&from, &to).unwrap();
    assert_eq!((again.copied.len(), again.skipped.len()), (0, 4));
    assert_eq!(other.keys("packs/"), packs);
    // Content hashes are those of the key here: the next backup recognises its files.
    let session = to.observe().unwrap();
    for snapshot in session.load_all(&SnapshotFilter::default()).unwrap().0 {
        for entry in session.reader().tree(&snapshot.root, None).map(Result::unwrap) {
            if let Node::File(FileNode { content: Content::Bundle { hash, .. }, .. }) = &entry.node {
                assert_eq!(*hash, to.keys().content_hash(&file_bytes(&session, &entry).unwrap()));
            }
        }
    }
    // What was copied on from there is still known by its first id.
    let third = Bench::new();
    copied(&to, &third.open()).unwrap();
    assert_eq!(copied(&from, &third.open()).unwrap().skipped.len(), 4);
}

#[test]
fn a_copy_killed_at_any_write_leaves_whole_snapshots_and_the_next_one_completes() {
    let (bench, empty) = (to_copy(), Bench::new());
    let from = bench.open();
    let expected = all(&from);
    for number in 0.. {
        let mut is_over = false;
        for when in [When::Before, When::After] {
            let inner = Arc::new(empty.objects.fork());
            let faulty = FaultStore::new(inner.clone(), FaultPlan::kill(number, when));
            let killed = Vault::over(faulty.clone());
            let outcome = killed.open().and_then(|to| copied(&from, &to));
            is_over |= outcome.is_ok() && !faulty.killed();
            let survivor = Vault::over(inner);
            let to = survivor.open().unwrap();
            assert!(all(&to).iter().all(|snapshot| expected.contains(snapshot)), "write {number} {when:?}");
            copied(&from, &to).unwrap();
            assert_eq!(all(&to), expected, "write {number} {when:?}");
        }
        if is_over {
            assert!(number >= 10, "{number} writes");
            return;
        }
    }
}
