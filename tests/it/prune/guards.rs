//! What is gone without a reason stops a prune, and what went for a reason does not (R13).

#![expect(clippy::disallowed_methods, reason = "the store says by the clock on the wall when something was stored")]

use super::*;

/// A prune without `--force` is refused with these words, and nothing is removed.
fn assert_stopped(bench: &Bench, words: &str) {
    let packs = bench.keys("packs/");
    let error = prune(&bench.open(), &thorough()).unwrap_err();
    assert!(error.chain().contains(words), "{}", error.chain());
    assert_eq!(bench.keys("packs/"), packs);
}

fn key_of(bench: &Bench, id: SessionId) -> String {
    bench.keys("state/snapshots/").into_iter().find(|key| key.contains(&id.to_hex())).unwrap()
}

#[test]
fn snapshots_that_vanish_and_packs_that_would_go_for_no_reason_stop_it() {
    let (bench, stays, _) = with_rubbish();
    let repo = bench.open();
    prune(&repo, &thorough()).unwrap();
    let packs = bench.keys("packs/");
    let key = bench.keys("state/snapshots/").into_iter().find(|key| key.contains(&stays.to_hex())).unwrap();
    let snapshot = bench.get(&key);
    bench.delete(&key);
    let stopped = |options: &PruneOptions, words: &str| {
        let error = prune(&repo, options).unwrap_err();
        assert!(error.chain().contains(words), "{}", error.chain());
        assert_eq!(bench.keys("packs/"), packs);
    };
    stopped(&thorough(), "nobody forgot");
    let errors = check(&repo, ReadData::None).unwrap().errors;
    assert!(errors.len() == 1 && errors[0].contains("the last prune saw it, and nobody forgot it"), "{errors:?}");
    // Without the record of what was seen there is still the number of packs.
    let seen = bench.keys("state/pruned/");
    let notes: Vec<_> = seen.iter().map(|key| (key.clone(), bench.get(key))).collect();
    let forgotten: Vec<_> =
        bench.keys("state/forgotten/").into_iter().map(|key| (key.clone(), bench.get(&key))).collect();
    for (key, _) in notes.iter().chain(&forgotten) {
        bench.delete(key);
    }
    stopped(&thorough(), "packs would be removed");
    bench.put(&key, snapshot);
    prune(&repo, &thorough()).unwrap();
    bench.delete(&key);
    let report = prune(&repo, &PruneOptions { force: true, ..thorough() }).unwrap();
    assert!(report.deleted_packs.count > 0);
}

/// A repository that was pruned, then a small snapshot, and then `count` that have nothing in common with it or one another.
fn grown_since_a_prune(count: u8) -> (Bench, SessionId, Vec<SessionId>) {
    let bench = Bench::new();
    let repo = bench.open();
    write_tree(&repo, &tree([(0, 1)]), Layout::Chunks(9000));
    prune(&repo, &thorough()).unwrap();
    let write = |nr: u8| {
        write_tree(&repo, &tree((0..6).map(|n| (n, u64::from(nr) * 100 + u64::from(n)))), Layout::Chunks(9000)).id
    };
    let small = write_tree(&repo, &tree([(0, 2)]), Layout::Chunks(9000)).id;
    let new = (1..=count).map(write).collect();
    (bench, small, new)
}

#[test]
fn one_made_since_the_last_prune_that_a_later_one_names_is_missed() {
    let (bench, _, new) = grown_since_a_prune(3);
    bench.delete(&key_of(&bench, new[1]));
    assert_stopped(&bench, "1 snapshots are missing that later ones name");
    prune(&bench.open(), &PruneOptions { force: true, ..thorough() }).unwrap();
    // What the prune saw is known from now on.
    prune(&bench.open(), &thorough()).unwrap();
}

#[test]
fn one_that_was_forgotten_is_not_missed_however_often_is_pruned() {
    let (bench, small, new) = grown_since_a_prune(3);
    let repo = bench.open();
    for id in [new[1], small, new[0]] {
        forget(&repo, &[id]);
        prune(&repo, &thorough()).unwrap();
        write_tree(&repo, &tree([(0, 7)]), Layout::Chunks(9000));
    }
    prune(&repo, &thorough()).unwrap();
}

#[test]
fn a_forgotten_snapshot_explains_nothing_that_was_stored_after_it() {
    let (bench, small, new) = grown_since_a_prune(3);
    std::thread::sleep(Duration::from_millis(20));
    for id in &new {
        bench.delete(&key_of(&bench, *id));
    }
    forget(&bench.open(), &[small]);
    assert_stopped(&bench, "no snapshot that was forgotten since the last prune can have needed them");
}

#[test]
fn all_but_the_newest_may_be_forgotten_at_once() {
    let (bench, small, new) = grown_since_a_prune(5);
    forget(&bench.open(), &[&[small], &new[..4]].concat());
    let report = prune(&bench.open(), &thorough()).unwrap();
    assert!(report.plan.remove_packs.count > report.plan.keep_packs.count, "{report:?}");
}

#[test]
fn what_was_copied_by_a_prune_may_have_been_needed_by_an_older_snapshot() {
    let bench = Bench::new();
    let repo = bench.open();
    let all = write_tree(&repo, &tree((0..12).map(|n| (n, u64::from(n)))), Layout::Chunks(9000)).id;
    let half = write_tree(&repo, &tree((0..12).step_by(2).map(|n| (n, u64::from(n)))), Layout::Chunks(9000)).id;
    forget(&repo, &[all]);
    std::thread::sleep(Duration::from_millis(20));
    assert!(prune(&repo, &thorough()).unwrap().copied.count > 0);
    write_tree(&repo, &tree([(0, 50)]), Layout::Chunks(9000));
    forget(&repo, &[half]);
    prune(&repo, &thorough()).unwrap();
}

#[test]
fn most_packs_that_were_condemned_and_waited_go_with_the_next_prune() {
    let (bench, small, new) = grown_since_a_prune(4);
    let repo = bench.open();
    let at_work = repo.write_session().unwrap();
    forget(&repo, &[&[small], &new[..3]].concat());
    let report = prune(&repo, &thorough()).unwrap();
    assert!(report.pending_packs > 4 && report.waits_for == 1 && report.deleted_packs.count == 0, "{report:?}");
    at_work.end("failed");
    let report = prune(&repo, &thorough()).unwrap();
    assert!(report.deleted_packs.count > 4 && report.pending_packs == 0, "{report:?}");
    assert_clean(&repo);
}
