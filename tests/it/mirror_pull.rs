//! Pulls into directories: into empty ones, into changed ones, interrupted, guarded, and what each costs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use volvault::ErrorKind;
use volvault::catalog::Timestamp;
use volvault::events::Stop;
use volvault::path::TreePath;
use volvault::rclone_sync::pull::{PullOptions, Pulled};
use volvault::rclone_sync::{Destination, Includes};
use volvault::volume::EntryKind;

use crate::support::faults::{Counting, Fault, FaultPlan, FaultStore, Op, When};
use crate::support::mirror::{Mirror, write};
use crate::support::nobody::{NOBODY, as_nobody};
use crate::support::trees::{Facts, Garden, look, open_up, paths};
use crate::support::vault::noise;

/// Makes a tree one that stores in memory can hold: gigabytes of holes would be gigabytes of zeros, and they take no control
/// characters in keys.
fn tame(root: &Path) {
    for path in paths(root).into_iter().rev() {
        let name = path.file_name().unwrap().as_bytes();
        if name.iter().any(u8::is_ascii_control) {
            let plain: Vec<u8> = name.iter().map(|byte| if byte.is_ascii_control() { b'_' } else { *byte }).collect();
            open_up(path.parent().unwrap());
            rustix::fs::rename(&path, path.with_file_name(OsStr::from_bytes(&plain))).ok();
        }
    }
    for path in paths(root) {
        let meta = path.symlink_metadata().unwrap();
        let control = path.file_name().unwrap().as_bytes().iter().any(u8::is_ascii_control);
        if control && !meta.is_dir() {
            std::fs::remove_file(&path).unwrap();
            continue;
        }
        if meta.is_file() && meta.len() > 8 << 20 {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(3 << 20).unwrap();
        }
    }
}

pub(crate) fn grow(root: &Path, seed: u64, count: u64) -> Garden {
    let mut garden = Garden::new(root, seed);
    garden.grow(count);
    tame(root);
    garden.finish();
    garden
}

pub(crate) fn assert_alike(one: &Path, other: &Path, what: &str) {
    assert_same(&look(one), &look(other), what);
}

pub(crate) fn assert_same(one: &BTreeMap<Vec<u8>, Facts>, other: &BTreeMap<Vec<u8>, Facts>, what: &str) {
    for (path, facts) in one {
        let name = String::from_utf8_lossy(path);
        assert_eq!(Some(facts), other.get(path), "{what}: {name}");
    }
    for path in other.keys() {
        assert!(one.contains_key(path), "{what}: {} is too much", String::from_utf8_lossy(path));
    }
}

#[test]
fn a_target_becomes_each_generation_exactly() {
    for seed in 1..=12 {
        let mirror = Mirror::new();
        let mut garden = grow(&mirror.source(), seed, 60);
        for round in 0..4 {
            let what = format!("seed {seed}, round {round}");
            let generation = mirror.publish();
            let report = mirror.pull().unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!((report.generation, report.problems), (generation, 0), "{what}");
            assert_alike(&mirror.source(), &mirror.target(), &what);
            let again = mirror.pull().unwrap();
            assert_eq!((again.outcome, again.requests.total()), (Pulled::Unchanged, 1), "{what}: {again:?}");
            assert_alike(&mirror.source(), &mirror.target(), &what);
            garden.change();
            tame(&mirror.source());
        }
    }
}

#[test]
fn what_was_changed_in_the_target_is_put_right() {
    for seed in 1..=12 {
        let mirror = Mirror::new();
        grow(&mirror.source(), seed, 60);
        mirror.publish();
        // A tree that nobody has pulled, with the same names in it.
        let mut other = grow(&mirror.target(), seed, 50);
        other.change();
        other.change();
        let what = format!("seed {seed}");
        let report = mirror.pull().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!((report.outcome, report.problems), (Pulled::Applied, 0), "{what}");
        assert_alike(&mirror.source(), &mirror.target(), &what);
    }
}

#[test]
fn a_pull_of_a_hundred_changed_files_takes_a_hundred_requests_and_few_more() {
    let mirror = Mirror::new();
    for number in 0..1000 {
        write(&mirror.source(), &format!("{}/{number}", number / 100), format!("first {number}").as_bytes());
    }
    mirror.publish();
    mirror.pull().unwrap();
    for number in 0..100 {
        write(&mirror.source(), &format!("{}/{number}", number / 100), format!("second {number}").as_bytes());
    }
    mirror.publish();
    let report = mirror.pull().unwrap();
    assert_eq!(report.tally.transfers, 100);
    assert!(report.requests.total() <= 102, "{}", report.requests);
    assert_alike(&mirror.source(), &mirror.target(), "after 100 changes");
    let report = mirror.pull().unwrap();
    assert_eq!((report.requests.total(), report.outcome), (1, Pulled::Unchanged));
}

#[test]
fn nothing_was_pushed_is_said() {
    let mirror = Mirror::new();
    let error = mirror.pull().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().is_some());
}

/// A mirror with two generations of a small tree, and a target of the first.
fn moved_on(seed: u64) -> (Mirror, BTreeMap<Vec<u8>, Facts>) {
    let mirror = Mirror::new();
    let mut garden = grow(&mirror.source(), seed, 25);
    mirror.publish();
    mirror.pull().unwrap();
    let first = look(&mirror.target());
    garden.change();
    garden.change();
    tame(&mirror.source());
    mirror.publish();
    (mirror, first)
}

fn without_stage(mut facts: BTreeMap<Vec<u8>, Facts>) -> BTreeMap<Vec<u8>, Facts> {
    facts.retain(|path, _| !path.starts_with(b".volvault-pull"));
    // Making and removing the stage changes the times of the root.
    facts.remove(&b""[..]);
    facts
}

#[test]
fn a_pull_stopped_at_any_step_leaves_the_old_generation_or_a_stage_that_becomes_the_new_one_without_the_store() {
    for seed in [3, 7] {
        let (mut questions, mut finished_alone, mut untouched) = (1, 0, 0);
        loop {
            let (mirror, first) = moved_on(seed);
            let second = look(&mirror.source());
            let what = format!("seed {seed}, question {questions}");
            let options = PullOptions { transfers: 1, checkers: 0, ..mirror.options() };
            let stopped = mirror.pull_from(&mirror.destination(), &options, &Stop::after(questions));
            let ready = mirror.target().join(".volvault-pull/ready").exists();
            if stopped.is_ok() {
                assert!(questions > 20 && finished_alone > 0 && untouched > 0, "{what}");
                break;
            }
            assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted, "{what}");
            if ready {
                // Nothing can be had from the store: an empty one.
                let nowhere = Mirror::new();
                let alone = Destination { places: nowhere.places(), ..mirror.destination() };
                let error = mirror.pull_from(&alone, &options, &Stop::new()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound, "{what}");
                assert_same(&second, &look(&mirror.target()), &what);
                finished_alone += 1;
            } else if without_stage(look(&mirror.target())) == without_stage(first) {
                untouched += 1;
            } else {
                assert_same(&without_stage(second.clone()), &without_stage(look(&mirror.target())), &what);
            }
            mirror.pull().unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_same(&second, &look(&mirror.target()), &what);
            // The first steps are the same for each entry.
            questions += if questions < 60 { 5 } else { 13 };
        }
    }
}

/// What an interrupted pull was about to remove or replace, the next one may have been told to keep.
#[test]
fn a_pull_that_was_told_other_things_does_not_finish_what_an_earlier_one_had_planned() {
    let rules: [fn(PullOptions) -> PullOptions; 3] = [
        |options| PullOptions { max_delete: Some(0), ..options },
        |options| PullOptions { ignore_existing: true, max_delete: Some(0), ..options },
        |options| PullOptions { filter: Arc::new(Nothing), ..options },
    ];
    for (number, rule) in rules.into_iter().enumerate() {
        let (mirror, _) = moved_on(3);
        write(&mirror.target(), "mine/precious", b"mine");
        write(&mirror.target(), "mine/too", b"mine");
        let stage = mirror.target().join(".volvault-pull");
        let options = PullOptions { transfers: 1, checkers: 0, ..mirror.options() };
        let is_torn = |questions| {
            let stopped = mirror.pull_from(&mirror.destination(), &options, &Stop::after(questions));
            assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
            stage.join("ready").exists()
        };
        assert!((1..10_000).any(is_torn), "it is stopped when it begins to change the target");
        let kept = || mirror.target().join("mine/precious").exists() && mirror.target().join("mine/too").exists();
        assert!(kept());
        let outcome = mirror.pull_with(&rule(mirror.options()));
        assert!(kept(), "rule {number}: {outcome:?}");
        assert_eq!(outcome.is_err(), number < 2, "rule {number}: {outcome:?}");
        if outcome.is_err() {
            assert!(stage.join("torn").exists() && !stage.join("ready").exists(), "rule {number}");
        }
        mirror.pull().unwrap();
        assert!(!kept() && !stage.exists());
        assert_alike(&mirror.source(), &mirror.target(), &format!("rule {number}"));
    }
}

/// No part of any tree.
#[derive(Debug)]
struct Nothing;

impl Includes for Nothing {
    fn includes(&self, _: &TreePath, _: EntryKind, _: u64, _: Timestamp) -> bool {
        false
    }

    fn may_descend(&self, _: &TreePath) -> bool {
        false
    }

    fn reaches(&self, _: &TreePath, _: EntryKind) -> bool {
        true
    }
}

#[test]
fn a_pull_killed_at_any_request_leaves_the_old_generation_and_the_next_one_completes() {
    let count = {
        let (mirror, _) = moved_on(5);
        let data = FaultStore::new(Arc::clone(&mirror.data), counting());
        let control = FaultStore::new(Arc::clone(&mirror.control), counting());
        let places = mirror.places_of(&(data.clone() as _), &(control.clone() as _));
        let from = Destination { places, ..mirror.destination() };
        mirror.pull_from(&from, &mirror.options(), &Stop::new()).unwrap();
        (data.numbered(), control.numbered())
    };
    assert!(count.0 > 3 && count.1 > 1, "{count:?}");
    let plans = (0..count.0).map(|number| (number, true)).chain((0..count.1).map(|number| (number, false)));
    for (number, of_data) in plans {
        let (mirror, first) = moved_on(5);
        let plan = |mine: bool| if mine { FaultPlan::kill_any(number, When::Before) } else { counting() };
        let data = FaultStore::new(Arc::clone(&mirror.data), plan(of_data));
        let control = FaultStore::new(Arc::clone(&mirror.control), plan(!of_data));
        let from = Destination { places: mirror.places_of(&(data as _), &(control as _)), ..mirror.destination() };
        let what = format!("request {number}, data {of_data}");
        let options = PullOptions { wait: Duration::from_millis(50), ..mirror.options() };
        assert!(mirror.pull_from(&from, &options, &Stop::new()).is_err(), "{what}");
        assert_eq!(without_stage(look(&mirror.target())), without_stage(first), "{what}");
        mirror.pull().unwrap();
        assert_alike(&mirror.source(), &mirror.target(), &what);
    }
}

fn counting() -> FaultPlan {
    FaultPlan { counting: Counting::All, ..FaultPlan::default() }
}

#[test]
fn guards_refuse_before_anything_is_written() {
    let mirror = Mirror::new();
    for name in ["a", "b/c", "b/d"] {
        write(&mirror.source(), name, b"content");
        write(&mirror.target(), &format!("extra/{name}"), b"mine");
    }
    mirror.publish();
    let before = look(&mirror.target());
    let refused = |options: PullOptions, what: &str| {
        let error = mirror.pull_with(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{what}: {error:?}");
        assert!(error.hint().is_some(), "{what}");
        assert_eq!(without_stage(look(&mirror.target())), without_stage(before.clone()), "{what}");
    };
    refused(PullOptions { max_delete: Some(2), ..mirror.options() }, "--max-delete");
    let planned = mirror.pull_with(&PullOptions { dry_run: true, ..mirror.options() }).unwrap();
    assert_eq!((planned.outcome, planned.tally.transfers_total, planned.tally.deleted_files), (Pulled::Planned, 3, 3));
    for name in ["a", "b"] {
        let path = mirror.source().join(name);
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    mirror.publish();
    refused(mirror.options(), "an empty mirror");
    let report = mirror.pull_with(&PullOptions { allow_empty: true, ..mirror.options() }).unwrap();
    assert_eq!((report.tally.deleted_files, report.tally.deleted_dirs), (3, 2));
    assert_eq!(std::fs::read_dir(mirror.target()).unwrap().count(), 0);
}

#[test]
fn lost_and_found_and_a_lock_of_another_pull_are_respected() {
    let mirror = Mirror::new();
    write(&mirror.source(), "a", b"content");
    mirror.publish();
    write(&mirror.target(), "lost+found/#1", b"the file system's");
    mirror.pull().unwrap();
    assert!(mirror.target().join("lost+found/#1").exists());
    let other = volvault::volume::Target::open(&mirror.target(), false).unwrap();
    let lock = other.lock().unwrap();
    assert_eq!(mirror.pull().unwrap_err().kind(), ErrorKind::Unavailable);
    drop(lock);
    mirror.pull().unwrap();
}

#[test]
fn what_is_replaced_and_removed_goes_to_the_backup_directory() {
    let mirror = Mirror::new();
    write(&mirror.source(), "same/replaced", b"new");
    write(&mirror.source(), "was a directory", b"file");
    write(&mirror.source(), "was a file/x", b"x");
    mirror.publish();
    for (path, bytes) in [
        ("same/replaced", &b"old content"[..]),
        ("same/gone/removed", b"removed"),
        ("was a directory/y", b"y"),
        ("was a file", b"f"),
    ] {
        write(&mirror.target(), path, bytes);
    }
    let backup = mirror.at("backup");
    mirror.pull_with(&PullOptions { backup_dir: Some(backup.clone()), ..mirror.options() }).unwrap();
    assert_alike(&mirror.source(), &mirror.target(), "with a backup directory");
    for (path, bytes) in [
        ("same/replaced", &b"old content"[..]),
        ("same/gone/removed", b"removed"),
        ("was a directory/y", b"y"),
        ("was a file", b"f"),
    ] {
        assert_eq!(std::fs::read(backup.join(path)).unwrap(), bytes, "{path}");
    }
    let inside = PullOptions { backup_dir: Some(mirror.target().join("b")), ..mirror.options() };
    assert_eq!(mirror.pull_with(&inside).unwrap_err().kind(), ErrorKind::Invalid);
}

/// A name that is a file in one generation and a directory in another: nothing that an earlier pull kept goes for what a later one keeps, but a file for a
/// file of the same name.
#[test]
fn later_pulls_keep_what_earlier_ones_put_into_the_backup_directory() {
    let mirror = Mirror::new();
    let backup = mirror.at("backup");
    let options = PullOptions { backup_dir: Some(backup.clone()), ..mirror.options() };
    let generation = |files: &[(&str, &str)]| {
        std::fs::remove_dir_all(mirror.source()).unwrap();
        std::fs::create_dir(mirror.source()).unwrap();
        for (path, text) in files {
            write(&mirror.source(), path, text.as_bytes());
        }
        mirror.publish();
        mirror.pull_with(&options).unwrap();
        assert_alike(&mirror.source(), &mirror.target(), &format!("{files:?}"));
    };
    let kept = |path: &str| std::fs::read_to_string(backup.join(path)).unwrap();
    write(&mirror.source(), "stays", b"");
    generation(&[("stays", ""), ("a/x", "1"), ("a/y", "1"), ("b", "1"), ("c/d", "1")]);
    // `a` and `c` are kept as directories, `b` as a file.
    generation(&[("stays", ""), ("a", "2"), ("b/x", "2"), ("b/y", "2"), ("c", "2")]);
    assert_eq!((kept("a/x"), kept("a/y"), kept("b"), kept("c/d")), ("1".into(), "1".into(), "1".into(), "1".into()));
    // Another file takes the place of the file `a`, `c` goes, and `b/x` is replaced.
    generation(&[("stays", ""), ("a", "333"), ("b/x", "333")]);
    assert_eq!((kept("a/x"), kept("a/y"), kept("c/d")), ("1".into(), "1".into(), "1".into()));
    assert_eq!((kept("a.~1~"), kept("c.~1~"), kept("b.~1~")), ("2".into(), "2".into(), "1".into()));
    assert_eq!((kept("b/x"), kept("b/y")), ("2".into(), "2".into()));
    // A file of the same name is replaced, as rclone does it.
    generation(&[("stays", ""), ("b/x", "4444")]);
    assert_eq!((kept("b/x"), kept("b/y"), kept("a/x")), ("333".into(), "2".into(), "1".into()));
}

/// Then it is of two generations, and nobody is to push it on.
#[test]
fn a_target_that_is_the_generation_only_in_part_says_so_until_it_is_whole() {
    let mirror = Mirror::new();
    let name = "x".repeat(253);
    for path in [name.as_str(), "other"] {
        write(&mirror.source(), path, b"new");
        write(&mirror.target(), path, b"old content");
    }
    mirror.publish();
    // A directory has this name there, and a longer one cannot be made.
    let backup = mirror.at("backup");
    write(&backup, &format!("{name}/kept"), b"kept");
    let options = PullOptions { backup_dir: Some(backup.clone()), ..mirror.options() };
    let stage = mirror.target().join(".volvault-pull");
    for replaced in ["other", "none"] {
        assert_eq!(mirror.pull_with(&options).unwrap().problems, 1, "{replaced}");
        let read = |path: &str| std::fs::read(mirror.target().join(path)).unwrap();
        assert_eq!((read(&name), read("other")), (b"old content".to_vec(), b"new".to_vec()), "{replaced}");
        let left: Vec<_> = std::fs::read_dir(&stage).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["torn"], "{replaced}");
    }
    std::fs::remove_dir_all(&backup).unwrap();
    assert_eq!(mirror.pull_with(&options).unwrap().problems, 0);
    assert!(!stage.exists());
    assert_alike(&mirror.source(), &mirror.target(), "in the end");
}

#[test]
fn options_say_which_local_files_are_left_alone() {
    let content = |mirror: &Mirror, name: &str| std::fs::read(mirror.target().join(name)).unwrap();
    let fresh = || {
        let mirror = Mirror::new();
        write(&mirror.source(), "newer here", b"theirs");
        write(&mirror.source(), "same size", b"1234");
        write(&mirror.source(), "missing", b"there");
        mirror.publish();
        write(&mirror.target(), "newer here", b"mine is longer");
        write(&mirror.target(), "same size", b"5678");
        mirror
    };
    let mirror = fresh();
    mirror.pull_with(&PullOptions { ignore_existing: true, ..mirror.options() }).unwrap();
    assert_eq!(
        (content(&mirror, "newer here"), content(&mirror, "same size"), content(&mirror, "missing")),
        (b"mine is longer".to_vec(), b"5678".to_vec(), b"there".to_vec())
    );
    let mirror = fresh();
    mirror.pull_with(&PullOptions { update: true, ..mirror.options() }).unwrap();
    assert_eq!(content(&mirror, "newer here"), b"mine is longer");
    let mirror = fresh();
    mirror.pull_with(&PullOptions { size_only: true, ..mirror.options() }).unwrap();
    assert_eq!((content(&mirror, "newer here"), content(&mirror, "same size")), (b"theirs".to_vec(), b"5678".to_vec()));
    // Same size, same time, other content: only --checksum sees that.
    let mirror = fresh();
    mirror.pull().unwrap();
    let path = mirror.target().join("same size");
    let time = path.metadata().unwrap().modified().unwrap();
    write(&mirror.target(), "same size", b"9999");
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    mirror.pull().unwrap();
    assert_eq!(content(&mirror, "same size"), b"9999");
    mirror.pull_with(&PullOptions { checksum: true, ..mirror.options() }).unwrap();
    assert_eq!(content(&mirror, "same size"), b"1234");
    // Another time, the same content: nothing is fetched.
    write(&mirror.target(), "same size", b"1234");
    let report = mirror.pull().unwrap();
    assert_eq!((report.tally.transfers, report.outcome), (0, Pulled::Applied));
    assert_alike(&mirror.source(), &mirror.target(), "a touched file");
}

#[test]
fn an_object_that_was_replaced_makes_the_pull_wait_and_then_say_so() {
    let mirror = Mirror::new();
    write(&mirror.source(), "a", b"first");
    write(&mirror.source(), "b", b"first");
    mirror.publish();
    let places = mirror.places();
    places.block(places.data.put("b", "another program's".into())).unwrap();
    let options = PullOptions { wait: Duration::from_millis(300), ..mirror.options() };
    let error = mirror.pull_with(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(!mirror.target().join("a").exists(), "all of it or nothing");
    write(&mirror.source(), "b", b"second");
    mirror.publish();
    assert_eq!(mirror.pull_with(&options).unwrap().generation, 2);
    assert_alike(&mirror.source(), &mirror.target(), "after the next generation");
    // The first generation has lost its file.
    let error = mirror.pull_with(&PullOptions { generation: Some(1), ..mirror.options() }).unwrap_err();
    assert!(error.chain().contains("generation 1"), "{error:?}");
}

#[test]
fn an_earlier_generation_comes_back_as_far_as_its_objects_are_there() {
    let mirror = Mirror::new();
    write(&mirror.source(), "kept", b"kept");
    mirror.publish();
    mirror.pull().unwrap();
    write(&mirror.source(), "new", b"new");
    mirror.publish();
    assert_eq!(mirror.pull().unwrap().generation, 2);
    let report = mirror.pull_with(&PullOptions { generation: Some(1), ..mirror.options() }).unwrap();
    assert_eq!((report.generation, report.tally.deleted_files), (1, 1));
    assert!(!mirror.target().join("new").exists() && mirror.target().join("kept").exists());
    assert_eq!(mirror.pull().unwrap().generation, 2);
    assert_alike(&mirror.source(), &mirror.target(), "forward again");
}

#[test]
fn a_damaged_object_leaves_the_target_as_it_was() {
    let mirror = Mirror::new();
    write(&mirror.source(), "a", b"first");
    mirror.publish();
    mirror.pull().unwrap();
    let before = look(&mirror.target());
    write(&mirror.source(), "a", b"second");
    write(&mirror.source(), "b", b"other");
    mirror.publish();
    let data = FaultStore::new(Arc::clone(&mirror.data), FaultPlan::some(Op::Get, "b", 99, Fault::Flip(2)));
    let from = Destination { places: mirror.places_of(&(data as _), &mirror.control), ..mirror.destination() };
    let error = mirror.pull_from(&from, &mirror.options(), &Stop::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(without_stage(look(&mirror.target())), without_stage(before));
    mirror.pull().unwrap();
    assert_alike(&mirror.source(), &mirror.target(), "from the sound store");
}

#[test]
fn of_a_big_file_only_the_blocks_that_changed_are_fetched() {
    const SIZE: usize = 24 << 20;
    let mirror = Mirror::new();
    let mut bytes = noise(SIZE, 1);
    write(&mirror.source(), "big", &bytes);
    write(&mirror.source(), "sparse", &noise(3 << 20, 2));
    let sparse = std::fs::File::options().write(true).open(mirror.source().join("sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    mirror.publish();
    mirror.pull().unwrap();
    assert_alike(&mirror.source(), &mirror.target(), "the first time");
    // One changed byte, some inserted ones, and a piece that is moved to the end.
    bytes[5 << 20] ^= 1;
    bytes.splice(9 << 20..9 << 20, noise(1000, 3));
    let moved: Vec<u8> = bytes.drain(12 << 20..14 << 20).collect();
    bytes.extend(moved);
    write(&mirror.source(), "big", &bytes);
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the hole", 15 << 20).unwrap();
    mirror.publish();
    let report = mirror.pull().unwrap();
    assert_alike(&mirror.source(), &mirror.target(), "after some changes");
    assert!(report.tally.bytes < 6 << 20, "{} bytes", report.tally.bytes);
    assert!(report.requests.total() < 20, "{}", report.requests);
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
    assert!(blocks(&mirror.target().join("sparse")) < (8 << 20) / 512, "the hole is still one");
    // Without its block list a file is fetched as a whole.
    let places = mirror.places();
    for listed in mirror.runtime.block_on(places.control.list("blocks/")).unwrap() {
        mirror.runtime.block_on(places.control.delete(&listed.key)).unwrap();
    }
    write(&mirror.target(), "big", &bytes[1..]);
    let report = mirror.pull().unwrap();
    assert_alike(&mirror.source(), &mirror.target(), "without a block list");
    assert_eq!(report.tally.bytes, u64::try_from(bytes.len()).unwrap());
}

#[test]
fn a_renamed_file_moves_no_data_and_keeps_its_holes() {
    let mirror = Mirror::new();
    write(&mirror.source(), "plain", &noise(9 << 20, 1));
    write(&mirror.source(), "sparse", &noise(3 << 20, 2));
    let sparse = std::fs::File::options().write(true).open(mirror.source().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"between holes", 12 << 20).unwrap();
    sparse.set_len(20 << 20).unwrap();
    mirror.publish();
    mirror.pull().unwrap();
    for name in ["plain", "sparse"] {
        let path = mirror.source().join(name);
        rustix::fs::rename(&path, path.with_extension("renamed")).unwrap();
    }
    mirror.publish();
    let report = mirror.pull().unwrap();
    assert_alike(&mirror.source(), &mirror.target(), "after two renames");
    assert_eq!((report.tally.renamed, report.tally.transfers, report.tally.bytes), (2, 0, 0));
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
    assert!(blocks(&mirror.target().join("sparse.renamed")) < (8 << 20) / 512, "the holes are still there");
}

#[test]
fn packed_files_come_many_at_once() {
    let mirror = Mirror::new();
    for number in 0..3000 {
        write(&mirror.source(), &format!("{}/{number}", number / 100), &noise(1 + number % 4000, number as u64));
    }
    write(&mirror.source(), "too big for the pack", &noise(10_000, 1));
    mirror.publish_with(true);
    let report = mirror.pull().unwrap();
    assert_alike(&mirror.source(), &mirror.target(), "packed");
    assert_eq!(report.tally.transfers, 3001);
    assert!(report.requests.total() < 10, "{}", report.requests);
}

#[test]
fn an_ordinary_user_gets_what_he_may_have_and_a_second_pull_finds_nothing_to_do() {
    if !rustix::process::geteuid().is_root() {
        println!("left to a run as root: it makes devices and files of others");
        return;
    }
    let mirror = Mirror::new();
    write(&mirror.source(), "d/a", b"root's");
    write(&mirror.source(), "d/set id", b"#!/bin/sh\n");
    std::fs::set_permissions(mirror.source().join("d/set id"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(mirror.source().join("d"), std::fs::Permissions::from_mode(0o555)).unwrap();
    let device = rustix::fs::makedev(1, 3);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, mirror.source().join("null"), kind, rustix::fs::Mode::RUSR, device).unwrap();
    mirror.publish();
    for path in [mirror.dir.path().to_owned(), mirror.target(), mirror.at("state")] {
        std::fs::create_dir_all(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let (first, again) = as_nobody(|| (mirror.pull().unwrap(), mirror.pull().unwrap()));
    assert_eq!((first.problems, first.not_set.nodes, first.not_set.special_bits), (0, 1, 1), "{first:?}");
    assert!(first.not_set.ownership >= 4, "{first:?}");
    assert_eq!((again.outcome, again.requests.total()), (Pulled::Unchanged, 1), "{again:?}");
    let read = |name: &str| std::fs::read(mirror.target().join(name)).unwrap();
    assert_eq!((read("d/a"), read("d/set id")), (b"root's".to_vec(), b"#!/bin/sh\n".to_vec()));
    let mode = mirror.target().join("d").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o555);
    write(&mirror.source(), "d/a", b"changed in a directory that nobody may write");
    mirror.publish();
    let third = as_nobody(|| mirror.pull().unwrap());
    assert_eq!((third.problems, third.tally.transfers), (0, 1), "{third:?}");
    assert_eq!(read("d/a"), b"changed in a directory that nobody may write");
    let strict = PullOptions { strict: true, ..mirror.options() };
    assert_eq!(as_nobody(|| mirror.pull_with(&strict).unwrap_err()).kind(), ErrorKind::Denied);
}
