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
    // Also when what the snapshots name has been noted.
    for _ in 0..2 {
        assert_stopped(&bench, "1 snapshots are missing that later ones name");
    }
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

/// Removes the notes of prunes, so that only the number of packs is left to judge by.
fn without_notes(bench: &Bench) {
    bench.keys("state/pruned/").iter().for_each(|key| bench.delete(key));
}

/// A prune does not believe that most packs are to go while these snapshots are not listed.
fn assert_stopped_without(bench: &Bench, snapshots: &[SessionId]) {
    let hidden: Vec<_> =
        snapshots.iter().map(|id| key_of(bench, *id)).map(|key| (key.clone(), bench.get(&key))).collect();
    for (key, _) in &hidden {
        bench.delete(key);
    }
    assert_stopped(bench, "packs would be removed");
    for (key, bytes) in hidden {
        bench.put(&key, bytes);
    }
}

#[test]
fn what_an_earlier_prune_condemned_counts_neither_among_what_goes_nor_among_all() {
    let (bench, small, new) = grown_since_a_prune(5);
    let repo = bench.open();
    let at_work = repo.write_session().unwrap();
    forget(&repo, &[small, new[0], new[1]]);
    assert!(prune(&repo, &thorough()).unwrap().pending_packs > 4);
    at_work.end("failed");
    without_notes(&bench);
    // Two of three snapshots are not listed: of what is not condemned, most would go.
    assert_stopped_without(&bench, &new[3..]);
    assert!(prune(&repo, &thorough()).unwrap().deleted_packs.count > 4);
    assert_clean(&repo);
}

/// A repository in which just more than half of the packs are those of a snapshot that vanished.
fn with_a_majority_that_vanished() -> Bench {
    let bench = Bench::new();
    let repo = bench.open();
    let forgotten = write_tree(&repo, &tree([(0, 1)]), Layout::Chunks(9000)).id;
    write_tree(&repo, &tree([(0, 2)]), Layout::Chunks(9000));
    let before = bench.keys("packs/").len();
    let vanished = write_tree(&repo, &tree((0..6).map(|n| (n, 100 + u64::from(n)))), Layout::Chunks(9000)).id;
    let all = bench.keys("packs/").len();
    let majority = all - before;
    assert!(majority * 2 > all && (majority - 1) * 2 <= all, "{majority} of {all}");
    bench.delete(&key_of(&bench, vanished));
    forget(&repo, &[forgotten]);
    bench
}

#[test]
fn a_pack_that_the_listing_does_not_show_is_not_explained_by_what_was_forgotten() {
    let bench = with_a_majority_that_vanished();
    assert_stopped(&bench, "packs would be removed");
    for number in 0..bench.keys("packs/").len() {
        let at = At::Matching { op: Op::List, prefix: "packs", from: 0, times: 1 };
        let plan = FaultPlan { script: vec![(at, Fault::Hide(number))], ..FaultPlan::default() };
        let faulty = FaultStore::new(Arc::new(bench.objects.fork()), plan);
        let error = Vault::over(faulty).open().and_then(|repo| prune(&repo, &thorough())).unwrap_err();
        assert!(error.chain().contains("packs would be removed"), "{}", error.chain());
    }
}

/// The repository, for a run that gives its second sign of life, and its last one, at once.
fn restless(bench: &Bench) -> Vault {
    let mut vault = Vault::over(bench.objects.clone());
    (vault.limits.heartbeat, vault.limits.heartbeats_max) = (Duration::from_millis(5), 1);
    vault
}

/// Waits for its second sign of life.
fn wait_for_a_beat(bench: &Bench, session: SessionId) {
    let prefix = format!("state/sessions/{}/", session.to_hex());
    while bench.keys(&prefix).len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Many packs that no snapshot needs yet.
fn large() -> Tree {
    tree((0..30).map(|n| (n, 900 + u64::from(n))))
}

#[test]
fn what_a_large_backup_at_work_has_stored_refuses_no_prune_and_is_not_condemned() {
    let (bench, small, new) = grown_since_a_prune(3);
    let (repo, vault) = (bench.open(), restless(&bench));
    forget(&repo, &[small, new[0]]);
    let old = bench.keys("packs/").len();
    let busy = vault.open().unwrap();
    let at_work = busy.write_session().unwrap();
    let writer = BlobWriter::new(&at_work, false);
    let files = entries(&busy, &writer, &large(), Layout::Chunks(9000));
    writer.finish().unwrap();
    assert!(bench.keys("packs/").len() > 2 * old);
    wait_for_a_beat(&bench, at_work.id());
    let report = prune(&repo, &thorough()).unwrap();
    assert!(report.pending_packs > 4 && report.plan.remove_packs.count == report.pending_packs, "{report:?}");
    // Another one that runs meanwhile builds on what is there.
    let other = repo.write_session().unwrap();
    assert_eq!(other.absent_packs().len() as u64, report.pending_packs);
    other.end("failed");
    // What else would go is judged as ever, also while that backup runs.
    without_notes(&bench);
    assert_stopped_without(&bench, &new[1..]);
    let id = write_entries(&at_work, &writer, &files).id;
    assert!(prune(&repo, &thorough()).unwrap().deleted_packs.count > 4);
    assert_holds(&repo.observe().unwrap(), id, &large());
    assert_clean(&repo);
}

#[test]
fn what_a_large_backup_left_that_gave_up_or_fell_silent_is_judged_like_the_rest() {
    let (bench, ..) = grown_since_a_prune(1);
    let (repo, vault) = (bench.open(), restless(&bench));
    let busy = vault.open().unwrap();
    let gave_up = busy.write_session().unwrap();
    let writer = BlobWriter::new(&gave_up, false);
    entries(&busy, &writer, &large(), Layout::Chunks(9000));
    writer.finish().unwrap();
    wait_for_a_beat(&bench, gave_up.id());
    let report = prune(&repo, &thorough()).unwrap();
    assert_eq!((report.pending_packs, report.deleted_packs.count), (0, 0));
    let error = prune(&repo, &stale_at_once()).unwrap_err();
    assert!(error.chain().contains("packs would be removed"), "{}", error.chain());
    gave_up.end("failed");
    assert_stopped(&bench, "packs would be removed");
}

fn watched<T>(work: impl FnOnce(&Watch<'_>) -> T) -> T {
    let (progress, stop) = (Progress::default(), Stop::new());
    work(&Watch { observer: &Silent, progress: &progress, stop: &stop })
}

fn tagged(repo: &Repository, id: SessionId) -> SessionId {
    let change = TagChange { add: vec!["x".to_owned()], ..TagChange::default() };
    let chosen = [Selector::Id(id.to_hex())];
    let report = watched(|watch| maintenance::tag(repo, (&chosen, &SnapshotFilter::default()), &change, watch));
    report.unwrap().changed[0].1
}

/// Somebody removed this snapshot, and said that it was on purpose.
fn accept_without(bench: &Bench, id: SessionId) {
    bench.delete(&key_of(bench, id));
    assert_stopped(bench, "1 snapshots are missing");
    prune(&bench.open(), &PruneOptions { force: true, ..thorough() }).unwrap();
    prune(&bench.open(), &thorough()).unwrap();
}

#[test]
fn a_snapshot_that_takes_anothers_place_brings_up_no_old_loss_again() {
    let (bench, _, new) = grown_since_a_prune(3);
    let repo = bench.open();
    accept_without(&bench, new[1]);
    let last = tagged(&repo, new[2]);
    prune(&repo, &thorough()).unwrap();
    // The same of one that is repaired.
    let packs = bench.keys("packs/");
    write_tree(&repo, &tree((0..6).map(|n| (n, 925 + u64::from(n)))), Layout::Chunks(9000));
    accept_without(&bench, last);
    let is_data = |key: &&String| !packs.contains(key) && bench.get(key)[11] == 1;
    bench.delete(bench.keys("packs/").iter().find(is_data).unwrap());
    let index = RepairIndex { mode: Mode::Apply, read_all_packs: false };
    let snapshots = RepairSnapshots { forget: true, mode: Mode::Apply, ..RepairSnapshots::default() };
    watched(|watch| repair::repair_index(&repo, index, watch)).unwrap();
    let report = watched(|watch| repair::repair_snapshots(&repo, &snapshots, watch)).unwrap();
    assert_eq!(report.steps.len(), 2, "{report:?}");
    prune(&repo, &thorough()).unwrap();
}

#[test]
fn a_snapshot_that_takes_anothers_place_goes_on_telling_what_came_before() {
    let (bench, _, new) = grown_since_a_prune(3);
    tagged(&bench.open(), new[2]);
    bench.delete(&key_of(&bench, new[1]));
    assert_stopped(&bench, "1 snapshots are missing that later ones name");
}
