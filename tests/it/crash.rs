//! Kills at every write of a run, before and after the store has it (R01): the repository opens, every snapshot that was reported is whole, the
//! next run completes.

use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use volvault::repo::{Selector, SnapshotFilter};

use crate::support::faults::{FaultPlan, FaultStore, When};
use crate::support::vault::{Vault, assert_same, backup, contents, latest, noise, on_disk, options_for};

fn fill(root: &Path, round: u64) {
    for n in 0..40u64 {
        let path = root.join(format!("{n}"));
        let len = if n % 8 == 0 { 120_000 } else { 3000 };
        if n % 3 == round % 3 || round == 0 {
            std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), &noise(len, n + 1000 * round))
                .unwrap();
        }
    }
}

#[test]
fn a_backup_killed_at_any_write_loses_nothing_and_the_next_one_completes() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 0);
    let base = Arc::new(InMemory::new());
    let vault = Vault::over(base.clone());
    vault.init().unwrap();
    let first = backup(&vault.open().unwrap(), &options_for(dir.path())).unwrap().snapshot.unwrap();
    let before = on_disk(dir.path());
    fill(dir.path(), 1);
    let after = on_disk(dir.path());

    let run = |plan: FaultPlan| {
        let inner = Arc::new(base.fork());
        let faulty = FaultStore::new(inner.clone(), plan);
        let killed = Vault::over(faulty.clone());
        let report = killed.open().and_then(|repo| backup(&repo, &options_for(dir.path())));
        (inner, faulty, report)
    };
    let (_, counted, report) = run(FaultPlan::default());
    assert!(report.is_ok());
    let writes = counted.numbered();
    assert!(writes >= 6, "{writes} writes");
    for number in 0..writes {
        for when in [When::Before, When::After] {
            let (inner, faulty, report) = run(FaultPlan::kill(number, when));
            assert!(faulty.killed());
            let survivor = Vault::over(inner);
            let repo = survivor.open().unwrap();
            let session = repo.observe().unwrap();
            let mut reported = vec![(first, &before)];
            reported.extend(report.ok().and_then(|report| report.snapshot).map(|id| (id, &after)));
            for (id, disk) in reported {
                let snapshot = session.find(&Selector::Id(id.to_hex()), &SnapshotFilter::default()).unwrap();
                assert_same(&contents(&session, &snapshot).unwrap(), disk);
            }
            // Whatever else is listed must be whole too.
            for name in session.snapshots() {
                let snapshot = session.load(name).unwrap();
                contents(&session, &snapshot).unwrap();
            }
            let next = backup(&repo, &options_for(dir.path())).unwrap();
            assert!(next.snapshot.is_some());
            assert_same(&latest(&repo).unwrap().1, &after);
        }
    }
}

/// More jobs than fit into the queues: a failure must wake everybody who waits for anybody.
#[test]
fn a_store_that_dies_in_the_middle_ends_a_long_backup_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..150u64 {
        let len = if n % 2 == 0 { 300_000 } else { 60_000 };
        let path = dir.path().join(format!("{n:03}"));
        std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), &noise(len, n)).unwrap();
    }
    let base = Arc::new(InMemory::new());
    Vault::over(base.clone()).init().unwrap();
    for number in [0, 1, 2, 5, 20, 60] {
        let faulty = FaultStore::new(Arc::new(base.fork()), FaultPlan::kill(number, When::Before));
        let vault = Vault::over(faulty.clone());
        let report = vault.open().and_then(|repo| backup(&repo, &options_for(dir.path())));
        assert!(report.is_err() && faulty.killed(), "write {number}");
    }
}

#[test]
fn an_init_killed_at_any_write_leaves_a_place_where_init_works() {
    let run = |plan: FaultPlan| {
        let inner = Arc::new(InMemory::new());
        let faulty = FaultStore::new(inner.clone(), plan);
        let outcome = Vault::over(faulty.clone()).init();
        (inner, faulty, outcome.is_ok())
    };
    let writes = run(FaultPlan::default()).1.numbered();
    for number in 0..writes {
        for when in [When::Before, When::After] {
            let (inner, _, _) = run(FaultPlan::kill(number, when));
            let survivor = Vault::over(inner);
            if survivor.open().is_err() {
                survivor.init().unwrap();
            }
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path(), 0);
            let repo = survivor.open().unwrap();
            backup(&repo, &options_for(dir.path())).unwrap();
            assert_same(&latest(&repo).unwrap().1, &on_disk(dir.path()));
        }
    }
}

#[test]
fn thirty_two_processes_that_init_at_once_end_with_one_repository() {
    let vault = Vault::new();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(|| vault.init().map(|repo| repo.id()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let made: Vec<_> = outcomes.into_iter().filter_map(Result::ok).collect();
    assert_eq!(made.len(), 1, "exactly one says that it made the repository");
    assert_eq!(vault.open().unwrap().id(), made[0]);
}
