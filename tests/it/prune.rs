//! Prune: what is needed stays, what is not goes, whoever else is at work and wherever it is killed (R01 to R05, R10 to R13).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use proptest::prelude::*;
use volvault::error::ErrorKind;
use volvault::events::{Progress, Silent, Stop, Watch};
use volvault::id::SessionId;
use volvault::maintenance::repair::{self, Mode, RepairIndex, RepairSnapshots};
use volvault::maintenance::{self, MaxUnused, PruneOptions, PruneReport, ReadData, TagChange};
use volvault::repo::{BlobWriter, Repository, Selector, Session, SnapshotFilter};
use volvault::size::ByteSize;
use volvault::{Error, Result};

use crate::support::faults::{At, Fault, FaultPlan, FaultStore, Op, Trouble, When};
use crate::support::repo::{Bench, Layout, Tree, check, entries, write_entries, write_tree};
use crate::support::vault::{Vault, contents, noise};

mod guards;
mod marks;

/// Everything goes that may go, and nobody is waited for.
fn thorough() -> PruneOptions {
    PruneOptions {
        max_unused: MaxUnused::Bytes(ByteSize(0)),
        wait: Duration::ZERO,
        orphan_age: Duration::ZERO,
        ..PruneOptions::default()
    }
}

fn prune(repo: &Repository, options: &PruneOptions) -> Result<PruneReport> {
    let (progress, stop) = (Progress::default(), Stop::new());
    maintenance::prune(repo, options, &Watch { observer: &Silent, progress: &progress, stop: &stop }, &mut |_| ())
}

fn forget(repo: &Repository, ids: &[SessionId]) {
    let ids: BTreeSet<SessionId> = ids.iter().copied().collect();
    assert!(repo.forget(&repo.listing().unwrap(), &ids, "test").unwrap().is_empty());
}

/// A tree of files whose contents are numbered; a number stands for 3 to 90 KB.
fn tree(files: impl IntoIterator<Item = (u8, u64)>) -> Tree {
    files
        .into_iter()
        .map(|(name, n)| (format!("f{name}"), Some(noise(3000 + usize::try_from(n % 30).unwrap() * 3000, n))))
        .collect()
}

fn assert_holds(session: &Session<'_>, id: SessionId, tree: &Tree) {
    let name = session.snapshots().iter().find(|name| name.id == id).unwrap();
    let found = contents(session, &session.load(name).unwrap()).unwrap();
    for (path, content) in tree {
        assert_eq!(&found[path.as_bytes()].bytes, content.as_ref().unwrap(), "{path}");
    }
    assert_eq!(found.len(), tree.len());
}

fn assert_clean(repo: &Repository) {
    let report = check(repo, ReadData::All).unwrap();
    assert_eq!(report.errors, Vec::<String>::new());
}

#[test]
fn what_nobody_needs_goes_and_what_is_needed_stays() {
    let bench = Bench::new();
    let repo = bench.open();
    let first = tree((0..20).map(|n| (n, u64::from(n))));
    let second = tree((0..20).map(|n| (n, u64::from(n) + u64::from(n % 4 == 0) * 100)));
    let (a, b) = (write_tree(&repo, &first, Layout::Chunks(9000)), write_tree(&repo, &second, Layout::Chunks(9000)));
    let report = prune(&repo, &thorough()).unwrap();
    assert_eq!((report.deleted_packs.count, report.plan.unused.count), (0, 0));
    forget(&repo, &[a.id]);
    let before = bench.keys("packs/").len();
    let dry = prune(&repo, &PruneOptions { dry_run: true, ..thorough() }).unwrap();
    assert!(dry.plan.unused.count > 0 && dry.dry_run);
    assert_eq!(bench.keys("packs/").len(), before);
    let report = prune(&repo, &thorough()).unwrap();
    assert_eq!(report.plan.freed(), dry.plan.freed());
    assert!(report.deleted_packs.count > 0 && report.pending_packs == 0);
    assert_eq!(bench.keys("state/condemned/"), [""; 0]);
    let again = prune(&repo, &thorough()).unwrap();
    assert_eq!((again.plan.unused.count, again.plan.duplicate.count, again.deleted_packs.count), (0, 0, 0));
    assert_holds(&repo.observe().unwrap(), b.id, &second);
    assert_clean(&repo);
    // What went is stored anew when it is needed again.
    let c = write_tree(&repo, &first, Layout::Chunks(9000));
    assert_holds(&repo.observe().unwrap(), c.id, &first);
    assert_clean(&repo);
    forget(&repo, &[b.id, c.id]);
    let report = prune(&repo, &thorough()).unwrap();
    assert!(report.deleted_packs.count > 0);
    assert_eq!(bench.keys("packs/"), [""; 0]);
    assert_clean(&repo);
}

#[derive(Clone, Debug)]
enum Step {
    Backup {
        files: Vec<(u8, u64)>,
        layout: Layout,
    },
    /// By number, of those that are left.
    Forget(usize),
    Prune {
        percent: u8,
        small: bool,
    },
    /// Two writers that do not see each other's blobs: copies.
    Twice {
        files: Vec<(u8, u64)>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let files = || prop::collection::vec((0u8..12, 0u64..30), 1..12);
    let layout = prop_oneof![Just(Layout::Bundle), Just(Layout::Chunks(7000)), Just(Layout::Chunks(40_000))];
    let step = prop_oneof![
        4 => (files(), layout).prop_map(|(files, layout)| Step::Backup { files, layout }),
        3 => (0usize..8).prop_map(Step::Forget),
        2 => (0u8..60, any::<bool>()).prop_map(|(percent, small)| Step::Prune { percent, small }),
        1 => files().prop_map(|files| Step::Twice { files }),
    ];
    prop::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Against a map of what each snapshot holds.
    #[test]
    fn any_history_keeps_what_is_left_of_it_and_nothing_else(steps in steps()) {
        let bench = Bench::new();
        let repo = bench.open();
        let mut kept: BTreeMap<SessionId, Tree> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Backup { files, layout } => {
                    let tree = tree(files);
                    kept.insert(write_tree(&repo, &tree, layout).id, tree);
                }
                Step::Twice { files } => {
                    let tree = tree(files);
                    let sessions = [repo.write_session().unwrap(), repo.write_session().unwrap()];
                    let writers = sessions.each_ref().map(|session| BlobWriter::new(session, false));
                    for (session, writer) in sessions.iter().zip(&writers) {
                        let entries = entries(&repo, writer, &tree, Layout::Chunks(7000));
                        kept.insert(write_entries(session, writer, &entries).id, tree.clone());
                    }
                }
                Step::Forget(number) if !kept.is_empty() => {
                    let id = *kept.keys().nth(number % kept.len()).unwrap();
                    forget(&repo, &[id]);
                    kept.remove(&id);
                }
                Step::Forget(_) => {}
                Step::Prune { percent, small } => {
                    let max_unused = MaxUnused::Percent(f64::from(percent));
                    marks::assert_as_read(&bench);
                    let report = prune(&repo, &PruneOptions { max_unused, repack_small: small, ..thorough() }).unwrap();
                    prop_assert_eq!(report.pending_packs + report.spared_packs, 0);
                    let plan = &report.plan;
                    prop_assert!(plan.remain_unused * 100 <= u64::from(percent) * plan.remain.bytes + 100, "{:?}", plan);
                }
            }
            let session = repo.observe().unwrap();
            for (id, tree) in &kept {
                assert_holds(&session, *id, tree);
            }
        }
        prune(&repo, &thorough()).unwrap();
        let plan = prune(&repo, &thorough()).unwrap().plan;
        prop_assert_eq!((plan.unused.count, plan.duplicate.count, plan.unreferenced_packs.count), (0, 0, 0));
        assert_clean(&repo);
    }
}

#[test]
fn a_prune_killed_at_any_write_loses_nothing_and_the_next_one_goes_on() {
    let base = Arc::new(InMemory::new());
    let vault = Vault::over(base.clone());
    vault.init().unwrap();
    let repo = vault.open().unwrap();
    let trees = [0u64, 1, 2].map(|round| tree((0..16).map(|n| (n, u64::from(n) + 40 * round * u64::from(n % 3 == 0)))));
    let names = trees.each_ref().map(|tree| write_tree(&repo, tree, Layout::Chunks(9000)));
    // An orphan: a writer that was killed before its index.
    {
        let session = repo.write_session().unwrap();
        let writer = BlobWriter::new(&session, false);
        entries(&repo, &writer, &tree([(0, 999), (1, 998)]), Layout::Chunks(30_000));
        session.end("killed");
    }
    forget(&repo, &[names[0].id]);
    let run = |plan: FaultPlan| {
        let inner = Arc::new(base.fork());
        let faulty = FaultStore::new(inner.clone(), plan);
        let report = Vault::over(faulty.clone()).open().and_then(|repo| prune(&repo, &thorough()));
        (inner, faulty, report)
    };
    let (inner, counted, report) = run(FaultPlan::default());
    assert!(report.unwrap().copied.count > 0);
    let best: u64 = size(inner);
    let writes = counted.numbered();
    assert!(writes >= 10, "{writes} writes");
    for number in 0..writes {
        for when in [When::Before, When::After] {
            let (inner, faulty, _) = run(FaultPlan::kill(number, when));
            assert!(faulty.killed());
            let survivor = Vault::over(inner.clone());
            let repo = survivor.open().unwrap();
            let session = repo.observe().unwrap();
            assert_holds(&session, names[1].id, &trees[1]);
            assert_holds(&session, names[2].id, &trees[2]);
            assert_clean(&repo);
            // Somebody backs up what the dead prune wanted to remove.
            let third = write_tree(&repo, &trees[0], Layout::Chunks(9000));
            let report = prune(&repo, &stale_at_once()).unwrap();
            assert_eq!(report.pending_packs, 0, "{number} {when:?}");
            assert_holds(&repo.observe().unwrap(), third.id, &trees[0]);
            assert_clean(&repo);
            forget(&repo, &[third.id]);
            prune(&repo, &stale_at_once()).unwrap();
            assert_holds(&repo.observe().unwrap(), names[2].id, &trees[2]);
            assert_clean(&repo);
            let plan = prune(&repo, &stale_at_once()).unwrap().plan;
            assert!(plan.is_empty() && plan.unused.count == 0, "{number} {when:?}: {plan:?}");
            let left = size(inner);
            assert!(left < best + 20_000, "{number} {when:?}: {left} bytes are left where {best} would do");
        }
    }
}

fn stale_at_once() -> PruneOptions {
    PruneOptions { stale_after: Duration::ZERO, ..thorough() }
}

/// Bytes of all packs.
fn size(objects: Arc<InMemory>) -> u64 {
    let listed = Vault::over(objects).objects_listed();
    listed.into_iter().filter(|(key, _)| key.starts_with("packs/")).map(|(_, size)| size).sum()
}

/// A repository with something to remove, and the tree that stays.
fn with_rubbish() -> (Bench, SessionId, Tree) {
    let bench = Bench::new();
    let repo = bench.open();
    let rubbish = write_tree(&repo, &tree((0..12).map(|n| (n, u64::from(n)))), Layout::Chunks(9000));
    let needed = tree((0..12).map(|n| (n, u64::from(n) + 50 * u64::from(n % 2))));
    let stays = write_tree(&repo, &needed, Layout::Chunks(9000));
    // What the next one does, it does with what this one noted.
    prune(&repo, &thorough()).unwrap();
    forget(&repo, &[rubbish.id]);
    (bench, stays.id, needed)
}

#[test]
fn a_backup_that_began_before_keeps_what_it_found_and_the_next_prune_removes_the_rest() {
    let (bench, stays, needed) = with_rubbish();
    let repo = bench.open();
    let rubbish = tree((0..12).map(|n| (n, u64::from(n))));
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    // It finds everything that it needs in the repository, where no snapshot needs it any more.
    let entries = entries(&repo, &writer, &rubbish, Layout::Chunks(9000));
    let report = prune(&repo, &thorough()).unwrap();
    assert!(report.pending_packs > 0 && report.waits_for == 1 && report.deleted_packs.count == 0, "{report:?}");
    // One that comes later stores anew what is condemned.
    let late = write_tree(&repo, &rubbish, Layout::Chunks(9000));
    let saved = write_entries(&session, &writer, &entries);
    assert_holds(&repo.observe().unwrap(), saved.id, &rubbish);
    let report = prune(&repo, &thorough()).unwrap();
    assert_eq!(report.pending_packs, 0, "{report:?}");
    assert_eq!(bench.keys("state/condemned/"), [""; 0]);
    let now = repo.observe().unwrap();
    for (id, tree) in [(stays, &needed), (late.id, &rubbish), (saved.id, &rubbish)] {
        assert_holds(&now, id, tree);
    }
    assert_clean(&repo);
    let plan = prune(&repo, &thorough()).unwrap().plan;
    assert_eq!((plan.unused.count, plan.duplicate.count), (0, 0));
}

#[test]
fn a_snapshot_that_appears_while_a_prune_waits_is_spared_what_it_needs() {
    let (bench, _, _) = with_rubbish();
    let repo = bench.open();
    let rubbish = tree((0..12).map(|n| (n, u64::from(n))));
    let waits = PruneOptions { wait: Duration::from_mins(1), ..thorough() };
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let entries = entries(&repo, &writer, &rubbish, Layout::Chunks(9000));
    let (report, saved) = std::thread::scope(|scope| {
        let pruning = scope.spawn(|| prune(&bench.open(), &waits));
        while bench.keys("state/condemned/").len() < 2 {
            std::thread::yield_now();
        }
        let saved = write_entries(&session, &writer, &entries);
        (pruning.join().unwrap().unwrap(), saved)
    });
    assert!(report.spared_packs > 0 && report.pending_packs == 0, "{report:?}");
    assert_holds(&repo.observe().unwrap(), saved.id, &rubbish);
    assert_clean(&repo);
}

#[test]
fn a_run_that_is_given_up_notices_and_does_not_report_success() {
    let (bench, stays, needed) = with_rubbish();
    let repo = bench.open();
    let rubbish = tree((0..12).map(|n| (n, u64::from(n))));
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let kept = entries(&repo, &writer, &rubbish, Layout::Chunks(9000));
    let report = prune(&repo, &stale_at_once()).unwrap();
    assert!(report.given_up == 1 && report.deleted_packs.count > 0, "{report:?}");
    let outcome: std::thread::Result<_> =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write_entries(&session, &writer, &kept)));
    assert!(outcome.is_err(), "the snapshot lacks what was removed");
    assert_holds(&repo.observe().unwrap(), stays, &needed);
    // It is there, and marked: no prune stops at it, and no backup builds on it.
    let marked = repo.observe().unwrap();
    assert_eq!(marked.listing().suspect.len(), 1);
    let report = prune(&repo, &thorough()).unwrap();
    assert_eq!(report.incomplete_snapshots, [session.id().to_hex()]);
    forget(&repo, &[session.id()]);
    prune(&repo, &thorough()).unwrap();
    assert_clean(&repo);
}

#[test]
fn the_mark_of_a_run_that_ended_whole_is_taken_away() {
    let bench = Bench::new();
    let repo = bench.open();
    let rubbish = write_tree(&repo, &tree([(0, 1)]), Layout::Bundle);
    forget(&repo, &[rubbish.id]);
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let own = tree([(0, 2), (1, 3)]);
    let kept = entries(&repo, &writer, &own, Layout::Chunks(9000));
    assert_eq!(prune(&repo, &stale_at_once()).unwrap().given_up, 1);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write_entries(&session, &writer, &kept)));
    assert_eq!(bench.keys("state/suspect/").len(), 1);
    assert_eq!(prune(&repo, &thorough()).unwrap().incomplete_snapshots, [""; 0]);
    assert_eq!(bench.keys("state/suspect/"), [""; 0]);
    assert_holds(&repo.observe().unwrap(), session.id(), &own);
}

#[test]
fn two_prunes_at_once_never_remove_both_copies() {
    for round in 0..20u64 {
        let bench = Bench::new();
        let repo = bench.open();
        let both = tree((0..12).map(|n| (n, u64::from(n) + round)));
        let sessions = [repo.write_session().unwrap(), repo.write_session().unwrap()];
        let writers = sessions.each_ref().map(|session| BlobWriter::new(session, false));
        let names = [0, 1].map(|nr| {
            let entries = entries(&repo, &writers[nr], &both, Layout::Chunks(9000));
            write_entries(&sessions[nr], &writers[nr], &entries)
        });
        let outcomes = std::thread::scope(|scope| {
            let prunes = [0, 1, 2].map(|_| scope.spawn(|| prune(&bench.open(), &thorough())));
            prunes.map(|prune| prune.join().unwrap())
        });
        assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
        let now = repo.observe().unwrap();
        for name in &names {
            assert_holds(&now, name.id, &both);
        }
        prune(&repo, &stale_at_once()).unwrap();
        assert_clean(&repo);
        assert_eq!(prune(&repo, &stale_at_once()).unwrap().plan.duplicate.count, 0);
    }
}

#[test]
fn a_snapshot_that_lacks_something_stops_it_before_anything_is_removed() {
    let (bench, _, _) = with_rubbish();
    let packs = bench.keys("packs/");
    for damage in ["packs/", "state/index/", "state/snapshots/"] {
        for key in bench.keys(damage) {
            let bytes = bench.get(&key);
            for removed in [true, false] {
                if removed {
                    bench.delete(&key);
                } else {
                    bench.damage(&key);
                }
                match prune(&bench.open(), &thorough()) {
                    // Rubbish may be missing or damaged; a snapshot that is not listed is not known.
                    Ok(_) if damage == "packs/" => {}
                    Ok(_) => panic!("{key} {removed}"),
                    Err(error) => {
                        let known = [
                            ErrorKind::Corrupt,
                            ErrorKind::Unsupported,
                            ErrorKind::Unavailable,
                            ErrorKind::Changed,
                            ErrorKind::Invalid,
                            ErrorKind::Refused,
                        ];
                        assert!(known.contains(&error.kind()), "{key}: {}", error.chain());
                    }
                }
                let bench_packs = bench.keys("packs/");
                if bench_packs.len() != packs.len() {
                    // It was rubbish that was damaged, and the prune did its work.
                    return_to(&bench, &key, &bytes);
                    assert_eq!(damage, "packs/");
                    return;
                }
                bench.put(&key, bytes.clone());
            }
        }
    }
}

fn return_to(bench: &Bench, key: &str, bytes: &bytes::Bytes) {
    bench.put(key, bytes.clone());
}

#[test]
fn limits_on_work_are_kept_and_the_next_prune_goes_on() {
    let (bench, stays, needed) = with_rubbish();
    let repo = bench.open();
    let limited = PruneOptions { max_repack: Some(ByteSize(0)), ..thorough() };
    assert_eq!(prune(&repo, &limited).unwrap().copied.count, 0);
    let timed = PruneOptions { max_time: Some(Duration::ZERO), ..thorough() };
    assert_eq!(prune(&repo, &timed).unwrap().copied.count, 0);
    assert_clean(&repo);
    assert!(prune(&repo, &thorough()).unwrap().copied.count > 0);
    assert_holds(&repo.observe().unwrap(), stays, &needed);
    assert_clean(&repo);
}

#[test]
fn orphans_of_a_run_under_way_are_left_until_they_are_old() {
    let (bench, _, _) = with_rubbish();
    let repo = bench.open();
    prune(&repo, &thorough()).unwrap();
    let packs = bench.keys("packs/").len();
    let session = repo.write_session().unwrap();
    {
        let writer = BlobWriter::new(&session, false);
        entries(&repo, &writer, &tree([(0, 999), (1, 998), (2, 997)]), Layout::Chunks(30_000));
    }
    session.end("killed");
    // Its uploads end when they end.
    let mut orphans = 0;
    for _ in 0..200 {
        let now = bench.keys("packs/").len() - packs;
        if now > 0 && now == orphans {
            break;
        }
        orphans = now;
        repo.pause(Duration::from_millis(50));
    }
    assert!(orphans > 0);
    let careful = PruneOptions { orphan_age: Duration::from_hours(1), ..thorough() };
    assert_eq!(prune(&repo, &careful).unwrap().deleted_packs.count, 0);
    let report = prune(&repo, &thorough()).unwrap();
    assert_eq!(report.deleted_packs.count, orphans as u64);
    assert_clean(&repo);
}

#[test]
fn a_store_that_fails_at_random_ends_a_prune_with_an_error_and_no_loss() {
    for seed in 0..60 {
        let (bench, stays, needed) = with_rubbish();
        let faulty = FaultStore::new(Arc::new(bench.objects.fork()), FaultPlan::random(seed, 0.02));
        let vault = Vault::over(faulty.clone());
        let outcome: Result<PruneReport, Error> = vault.open().and_then(|repo| prune(&repo, &thorough()));
        drop(outcome);
        let repo = bench.open();
        prune(&repo, &stale_at_once()).unwrap();
        assert_holds(&repo.observe().unwrap(), stays, &needed);
        assert_clean(&repo);
    }
}

/// A repository with something to remove, a sound snapshot, and one that is whole but marked as suspect. What the latter needs is in segments of two runs.
fn with_a_marked_snapshot() -> (Bench, [(SessionId, Tree); 2]) {
    let bench = Bench::new();
    let repo = bench.open();
    let sound = tree((0..6).map(|n| (n, 50 + u64::from(n))));
    let sound_id = write_tree(&repo, &sound, Layout::Chunks(9000)).id;
    let first = write_tree(&repo, &tree((0..6).map(|n| (n, u64::from(n)))), Layout::Chunks(9000)).id;
    let marked = tree((0..6).map(|n| (n + 10, u64::from(n))));
    let marked_id = write_tree(&repo, &marked, Layout::Chunks(9000)).id;
    let rubbish = write_tree(&repo, &tree((0..6).map(|n| (n, 90 + u64::from(n)))), Layout::Chunks(9000)).id;
    prune(&repo, &thorough()).unwrap();
    forget(&repo, &[first, rubbish]);
    bench.put(&format!("state/suspect/{}/{}", marked_id.to_hex(), rubbish.to_hex()), Vec::new());
    (bench, [(sound_id, sound), (marked_id, marked)])
}

/// Prunes a copy of that repository over a store that fails so; whether the prune ended, and what the store was asked.
fn prune_over(bench: &Bench, script: Vec<(At, Fault)>, kept: &[(SessionId, Tree)]) -> (bool, Vec<(Op, String)>) {
    let inner = Arc::new(bench.objects.fork());
    let faulty = FaultStore::new(inner.clone(), FaultPlan { script, ..FaultPlan::default() });
    let options = PruneOptions { force: true, ..thorough() };
    let outcome = Vault::over(faulty.clone()).open().and_then(|repo| prune(&repo, &options));
    let clean = Vault::over(inner);
    let repo = clean.open().unwrap();
    for (id, tree) in kept {
        assert_holds(&repo.observe().unwrap(), *id, tree);
    }
    (outcome.is_ok(), faulty.trace())
}

#[test]
fn a_listing_that_leaves_something_out_once_costs_no_snapshot_not_even_a_marked_one() {
    let (bench, kept) = with_a_marked_snapshot();
    let (ended, trace) = prune_over(&bench, Vec::new(), &kept);
    let lists = trace.iter().filter(|(op, key)| *op == Op::List && !key.starts_with("state/keys")).count() as u64;
    let hidden = bench.keys("packs/").len().max(bench.keys("state/index/").len());
    assert!(ended && lists >= 5 && hidden >= 4, "{trace:#?}");
    let mut ended = 0;
    for prefix in ["packs", "state"] {
        for from in 0..=lists {
            for number in 0..hidden {
                let at = At::Matching { op: Op::List, prefix, from, times: 1 };
                ended += u32::from(prune_over(&bench, vec![(at, Fault::Hide(number))], &kept).0);
            }
        }
    }
    assert!(ended > 0);
}

#[test]
fn a_segment_that_is_merged_away_while_the_next_listing_lies_costs_no_snapshot() {
    let (bench, kept) = with_a_marked_snapshot();
    let (_, trace) = prune_over(&bench, Vec::new(), &kept);
    let reads = trace.iter().filter(|(op, key)| *op == Op::Get && key.starts_with("state/index/")).count() as u64;
    let segments = bench.keys("state/index/").len();
    assert!(reads > segments as u64, "{trace:#?}");
    for from in 0..reads {
        for number in 0..segments {
            let gone = At::Matching { op: Op::Get, prefix: "state/index/", from, times: 1 };
            let lie = At::Matching { op: Op::List, prefix: "state/index", from: 0, times: 1 };
            let script = vec![(gone, Fault::Fail(When::Before, Trouble::NotFound)), (lie, Fault::Hide(number))];
            prune_over(&bench, script, &kept);
        }
    }
}
