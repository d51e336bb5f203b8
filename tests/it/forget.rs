//! Forgetting: what it leaves behind wherever it is stopped, what it costs, and what it says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use volvault::Result;
use volvault::clock::SystemClock;
use volvault::events::{Progress, Silent, Stop, Watch};
use volvault::id::SessionId;
use volvault::maintenance::{self, ForgetOptions, ForgetPlan, ForgetReport, PruneOptions};
use volvault::repo::{Repository, SnapshotFilter};
use volvault::retention::{Count, Grouping, Policy};
use volvault::storage::Store;

use crate::support::faults::{Fault, FaultPlan, FaultStore, Op, Trouble, When};
use crate::support::repo::{Bench, Layout, Tree, write_tree};
use crate::support::s3::S3Server;
use crate::support::vault::{Vault, noise};

fn add_snapshots(repo: &Repository, count: usize) {
    let tree = Tree::from([("file".to_owned(), Some(b"content".to_vec()))]);
    (0..count).for_each(|_| drop(write_tree(repo, &tree, Layout::Bundle)));
}

fn listed(repo: &Repository) -> BTreeSet<SessionId> {
    repo.listing().unwrap().snapshots.iter().map(|name| name.id).collect()
}

/// Keeps the newest `count`.
fn keep_last(repo: &Repository, count: u64) -> Result<ForgetReport> {
    let options = ForgetOptions {
        policy: Policy { last: Count::UpTo(count), ..Policy::default() },
        grouping: Grouping::BY_SOURCE,
        filter: SnapshotFilter::default(),
        allow_remove_all: false,
    };
    let session = repo.observe()?;
    let plan = ForgetPlan::by_policy(&session, &options)?;
    maintenance::forget(&session, &plan.removed(), "test")
}

#[test]
fn a_forget_killed_at_any_write_names_what_is_gone_and_the_next_one_completes() {
    let base = Arc::new(InMemory::new());
    let vault = Vault::over(base.clone());
    add_snapshots(&vault.init().unwrap(), 5);
    let before = listed(&vault.open().unwrap());
    let run = |plan: FaultPlan| {
        let inner = Arc::new(base.fork());
        let faulty = FaultStore::new(inner.clone(), plan);
        let report = Vault::over(faulty.clone()).open().and_then(|repo| keep_last(&repo, 2));
        (Vault::over(inner), faulty, report)
    };
    let (whole, counted, report) = run(FaultPlan::default());
    let report = report.unwrap();
    assert_eq!((report.removed, report.not_removed.len()), (3, 0));
    let left = listed(&whole.open().unwrap());
    assert_eq!(left.len(), 2);
    let writes = counted.numbered();
    assert!(writes >= 4, "{writes} writes: a record, three snapshots");
    for number in 0..writes {
        for when in [When::Before, When::After] {
            let (survivor, faulty, report) = run(FaultPlan::kill(number, when));
            assert!(faulty.killed());
            let repo = survivor.open().unwrap();
            let (now, forgotten) = (listed(&repo), repo.forgotten().unwrap());
            assert!(before.difference(&now).all(|gone| forgotten.ids.contains(gone)), "write {number} {when:?}");
            assert!(left.is_subset(&now) && forgotten.ids.is_disjoint(&left), "write {number} {when:?}");
            if let Ok(report) = report {
                assert!(!report.not_removed.is_empty() || now == left, "write {number} {when:?}: {report:?}");
            }
            keep_last(&repo, 2).unwrap();
            assert_eq!(listed(&repo), left);
            assert_eq!(keep_last(&repo, 2).unwrap().removed, 0);
        }
    }
}

#[test]
fn a_record_that_cannot_be_stored_keeps_every_snapshot() {
    let inner = Arc::new(InMemory::new());
    add_snapshots(&Vault::over(inner.clone()).init().unwrap(), 3);
    let denied = Fault::Fail(When::Before, Trouble::Denied);
    let faulty = FaultStore::new(inner, FaultPlan::some(Op::Put, "state/forgotten/", u64::MAX, denied));
    let repo = Vault::over(faulty).open().unwrap();
    assert!(keep_last(&repo, 1).is_err());
    assert_eq!(listed(&repo).len(), 3);
}

#[test]
fn a_snapshot_that_cannot_be_removed_hinders_no_other() {
    let inner = Arc::new(InMemory::new());
    add_snapshots(&Vault::over(inner.clone()).init().unwrap(), 6);
    let denied = Fault::Fail(When::Before, Trouble::Denied);
    // Two refusals: the first ends the request for all, the second one of those that are tried by themselves.
    let faulty = FaultStore::new(inner, FaultPlan::some(Op::Delete, "state/snapshots/", 2, denied));
    let repo = Vault::over(faulty).open().unwrap();
    let report = keep_last(&repo, 1).unwrap();
    assert_eq!((report.removed, report.not_removed.len()), (4, 1));
    assert_eq!(listed(&repo).len(), 2);
    assert!(repo.forgotten().unwrap().ids.contains(&report.not_removed[0].0));
    assert_eq!(keep_last(&repo, 1).unwrap().removed, 1);
}

#[test]
fn records_are_merged_and_no_name_is_lost() {
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    let records = || repo.listing().unwrap().forgotten.len();
    add_snapshots(&repo, 1);
    let (mut names, mut most) = (BTreeSet::new(), 0);
    for _ in 0..70 {
        add_snapshots(&repo, 1);
        let before = listed(&repo);
        keep_last(&repo, 1).unwrap();
        names.extend(before.difference(&listed(&repo)).copied());
        most = most.max(records());
    }
    assert_eq!((repo.forgotten().unwrap().ids, names.len()), (names, 70));
    assert!(most <= 32 && records() < 32, "{most} records at most, {} in the end", records());
}

/// A record is needed as long as a prune may remember its snapshots; then it goes.
#[test]
fn records_of_snapshots_that_prunes_have_settled_are_swept() {
    let bench = Bench::new();
    let repo = bench.open();
    for n in 0..5 {
        write_tree(&repo, &Tree::from([("file".to_owned(), Some(noise(50_000, n)))]), Layout::Bundle);
    }
    let prune = || {
        let (progress, stop) = (Progress::default(), Stop::new());
        let options = PruneOptions { wait: Duration::ZERO, ..PruneOptions::default() };
        let watch = Watch { observer: &Silent, progress: &progress, stop: &stop };
        maintenance::prune(&repo, &options, &watch, &mut |_| ())
    };
    let records = || bench.keys("state/forgotten/").len();
    prune().unwrap();
    for left in [4, 3, 2] {
        keep_last(&repo, left).unwrap();
        assert!(prune().unwrap().deleted_packs.count > 0);
        assert!((1..=2).contains(&records()), "{} records", records());
    }
    prune().unwrap();
    assert_eq!((records(), repo.forgotten().unwrap().ids.len()), (0, 0));
    prune().unwrap();
    bench.delete(&bench.keys("state/snapshots/")[0]);
    let error = prune().unwrap_err();
    assert!(error.to_string().contains("nobody forgot"), "{error}");
}

/// What a forget of k of n snapshots asks of S3, the repository being open.
#[test]
fn a_forget_asks_for_each_snapshot_once_and_little_more() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(S3Server::start());
    server.make_bucket("vault");
    let location = server.location("vault", "repo");
    let connect = || runtime.block_on(Store::connect(&location, &server.options(), SystemClock::new())).unwrap();
    let objects: Arc<dyn ObjectStore> = connect().objects();
    let vault = Vault::over(objects);
    add_snapshots(&vault.init().unwrap(), 30);
    let store = connect();
    let repo = Repository::open(store.clone(), &Vault::credential(), vault.options()).unwrap();
    let before = store.requests();
    let report = keep_last(&repo, 4).unwrap();
    assert_eq!((report.removed, listed(&vault.open().unwrap()).len()), (26, 4));
    let asked = store.requests();
    let counts = [asked.list - before.list, asked.get - before.get, asked.put - before.put];
    // One listing, the metadata of 30, one record; then the sessions' records and the snapshots themselves.
    assert_eq!(counts, [1, 30, 1], "{asked}");
    assert!(asked.delete - before.delete <= 2, "{asked}");
    assert_eq!(asked.total() - before.total(), 34, "{asked}");
}
