//! Pulls into directories: into empty ones, into changed ones, interrupted, guarded, and what each costs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use volvault::ErrorKind;
use volvault::rclone_sync::pull::Pulled;

use crate::support::mirror::{Mirror, write};
use crate::support::trees::{Facts, Garden, look, open_up, paths};

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
