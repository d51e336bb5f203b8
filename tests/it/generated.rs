//! A thousand generated trees: saved, restored, changed, saved again and restored over what is there; each compared by all that lstat, the
//! attributes and the bytes say.
//!
//! A tree that does not come back is grown again by its number: `VOLVAULT_TEST_TREES=417 cargo test generated`, or more of them by
//! `VOLVAULT_TEST_TREES=1000..9000`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use volvault::backup;
use volvault::events::{Progress, Stop, Watch};
use volvault::repo::{Repository, Selector, SnapshotFilter, Status};
use volvault::restore::{self, RestoreOptions};

use crate::support::nobody::as_nobody;
use crate::support::trees::{Dice, Facts, Garden, look, open_up, paths};
use crate::support::vault::{Ear, Vault, options_for};

type Tree = BTreeMap<Vec<u8>, Facts>;

/// The numbers of the trees, or what the environment wants instead: then this share of it.
fn numbers(share: Range<u64>) -> Range<u64> {
    let Some((_, wanted)) = std::env::vars().find(|(name, _)| name == "VOLVAULT_TEST_TREES") else { return share };
    let (from, to) = wanted.split_once("..").unwrap_or((&wanted, ""));
    let from: u64 = from.parse().expect("a number");
    let to = if to.is_empty() { from + 1 } else { to.parse().expect("a number") };
    let at = |thousandth: u64| from + (to - from) * thousandth / 1000;
    if to - from == 1 { from..to } else { at(share.start)..at(share.end) }
}

fn assert_alike(number: u64, when: &str, wanted: &Tree, found: &Tree) {
    for path in wanted.keys().chain(found.keys()) {
        let name = String::from_utf8_lossy(path);
        assert_eq!(wanted.get(path), found.get(path), "tree {number}, {when}: {name} (VOLVAULT_TEST_TREES={number})");
    }
}

fn save(number: u64, repo: &Repository, source: &Path) {
    let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
    let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
    let report =
        backup::run(repo, &options_for(source), &watch).unwrap_or_else(|error| panic!("tree {number}: {error:?}"));
    assert_eq!((report.status, ear.problems.lock().unwrap().as_slice()), (Status::Complete, &[][..]), "tree {number}");
}

fn bring_back(number: u64, repo: &Repository, previous: u32, target: &Path) {
    let session = repo.read_session().unwrap();
    let selector = Selector::Latest { previous, as_of: None, include_partial: false };
    let snapshot = session.find(&selector, &SnapshotFilter::default()).unwrap();
    let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
    let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
    let options = RestoreOptions { delete: true, ..RestoreOptions::new(target) };
    let report = restore::run(&session, &snapshot, &options, &watch);
    let report = report.unwrap_or_else(|error| panic!("tree {number}: {error:?}"));
    let problems = ear.problems.lock().unwrap();
    assert_eq!((problems.as_slice(), report.not_set), (&[][..], restore::NotSet::default()), "tree {number}");
}

/// One tree, there and back again.
fn comes_back(number: u64) {
    let outer = tempfile::tempdir().unwrap();
    let (source, target) = (outer.path().join("source"), outer.path().join("target"));
    let mut garden = Garden::new(&source, number);
    garden.grow(Dice::new(number).below(24));
    garden.finish();
    let first = look(&source);
    let repo = Vault::ready();
    let repo = repo.open().unwrap();
    save(number, &repo, &source);
    bring_back(number, &repo, 0, &target);
    assert_alike(number, "restored", &first, &look(&target));
    garden.change();
    let second = look(&source);
    save(number, &repo, &source);
    bring_back(number, &repo, 0, &target);
    assert_alike(number, "changed and restored over the first", &second, &look(&target));
    if number.is_multiple_of(4) {
        bring_back(number, &repo, 1, &target);
        assert_alike(number, "the first again", &first, &look(&target));
    }
    // What an ordinary user may not change, it cannot remove either.
    paths(outer.path()).iter().filter(|path| path.is_dir()).for_each(|dir| open_up(dir));
}

#[test]
fn the_first_250_generated_trees_come_back_as_they_were() {
    numbers(0..250).for_each(comes_back);
}

#[test]
fn the_second_250_generated_trees_come_back_as_they_were() {
    numbers(250..500).for_each(comes_back);
}

#[test]
fn the_third_250_generated_trees_come_back_as_they_were() {
    numbers(500..750).for_each(comes_back);
}

#[test]
fn the_last_250_generated_trees_come_back_for_an_ordinary_user() {
    as_nobody(|| numbers(750..1000).for_each(comes_back));
}
