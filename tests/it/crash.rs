//! Kills at every operation of a run on the store, reads and lists among them, before and after the store has done it (R01): the repository
//! opens with a password that is known, `check` finds nothing, every snapshot that was reported is whole, the next run completes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use volvault::Result;
use volvault::clock::SystemClock;
use volvault::maintenance::ReadData;
use volvault::repo::{Repository, Selector, SnapshotFilter};
use volvault::secret::{Credential, Key32};
use volvault::storage::Store;

use crate::support::faults::{Counting, FaultPlan, FaultStore, When};
use crate::support::repo::check;
use crate::support::s3::{Conditions, S3Server, S3ServerThread};
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

/// The repository is sound for whoever opens it with `credential`: it checks clean, and whatever it lists can be read.
fn assert_sound(vault: &Vault, credential: &Credential, what: &str) -> Repository {
    let repo = vault.open_with(credential).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let report = check(&repo, ReadData::All).unwrap();
    assert_eq!(report.errors, Vec::<String>::new(), "{what}");
    let session = repo.observe().unwrap();
    for name in session.snapshots() {
        contents(&session, &session.load(name).unwrap()).unwrap();
    }
    drop(session);
    repo
}

#[test]
fn a_backup_killed_at_any_operation_loses_nothing_and_the_next_one_completes() {
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
    let (_, counted, report) = run(FaultPlan { counting: Counting::All, ..FaultPlan::default() });
    assert!(report.is_ok());
    let operations = counted.numbered();
    assert!(operations >= 16, "{operations} operations");
    for number in 0..operations {
        for when in [When::Before, When::After] {
            let (inner, faulty, report) = run(FaultPlan::kill_any(number, when));
            let what = format!("operation {number}, {when:?}: {:?}", faulty.trace().last());
            // What comes last is tidying up, and its failure nobody's concern: a report may be good although the end was cut off.
            assert!(faulty.killed(), "{what}");
            let survivor = Vault::over(inner);
            let repo = assert_sound(&survivor, &Vault::credential(), &what);
            let session = repo.observe().unwrap();
            let mut reported = vec![(first, &before)];
            reported.extend(report.ok().and_then(|report| report.snapshot).map(|id| (id, &after)));
            for (id, disk) in reported {
                let snapshot = session.find(&Selector::Id(id.to_hex()), &SnapshotFilter::default()).unwrap();
                assert_same(&contents(&session, &snapshot).unwrap(), disk);
            }
            let next = backup(&repo, &options_for(dir.path())).unwrap();
            assert!(next.snapshot.is_some());
            assert_same(&latest(&repo).unwrap().1, &after);
        }
    }
}

/// What is done to the keys of a repository that `old` opens.
type KeyChange = fn(&Repository, &Credential) -> Result<()>;

#[test]
fn a_change_of_keys_killed_at_any_operation_leaves_a_key_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 0);
    let (old, new) = (Vault::credential(), Credential::Key(Key32::new([8; 32])));
    let base = Arc::new(InMemory::new());
    let vault = Vault::over(base.clone());
    let repo = vault.init().unwrap();
    let third = repo.add_slot(&Credential::Key(Key32::new([9; 32])), None, "third").unwrap();
    backup(&repo, &options_for(dir.path())).unwrap();
    let saved = on_disk(dir.path());
    let changes: [(&str, KeyChange); 3] = [
        ("add", |repo, new| repo.add_slot(new, None, "").map(drop)),
        ("remove", |repo, _| {
            let slots = repo.slots()?;
            let third = slots.iter().find(|(_, slot)| slot.as_ref().is_ok_and(|slot| slot.label().label == "third"));
            repo.remove_slot(&third.expect("it was there").0).map(drop)
        }),
        ("passwd", |repo, new| repo.replace_slot(new, None, "").map(drop)),
    ];
    for (name, change) in changes {
        let run = |plan: FaultPlan| {
            let inner = Arc::new(base.fork());
            let faulty = FaultStore::new(inner.clone(), plan);
            let outcome = Vault::over(faulty.clone()).open().and_then(|repo| change(&repo, &new));
            (Vault::over(inner), faulty, outcome)
        };
        let (_, counted, outcome) = run(FaultPlan { counting: Counting::All, ..FaultPlan::default() });
        outcome.unwrap();
        for (number, when) in (0..counted.numbered()).flat_map(|n| [(n, When::Before), (n, When::After)]) {
            let (survivor, faulty, outcome) = run(FaultPlan::kill_any(number, when));
            let what = format!("key {name}, operation {number}, {when:?}: {:?}", faulty.trace().last());
            if !faulty.killed() {
                // Slots are tried in the order of their names, which are random: this run found the right one earlier.
                assert!(outcome.is_ok() && number + 3 > counted.numbered(), "{what}");
                continue;
            }
            let opens = |credential: &Credential| survivor.open_with(credential).is_ok();
            // The user knows both keys, and which one works depends on what was done last.
            let known = if opens(&old) { &old } else { &new };
            let repo = assert_sound(&survivor, known, &what);
            assert_same(&latest(&repo).unwrap().1, &saved);
            match (name, outcome) {
                ("remove", Ok(())) => {
                    assert!(repo.slots().unwrap().iter().all(|(name, _)| *name != third), "{what}");
                }
                (_, Ok(())) => assert!(opens(&new), "{what}"),
                // Again, and now to its end; a slot may be there twice, or gone already.
                (_, Err(_)) if name != "remove" || repo.slots().unwrap().iter().any(|(name, _)| *name == third) => {
                    change(&repo, &new).unwrap();
                    assert!(name == "remove" || opens(&new), "{what}");
                }
                (_, Err(_)) => {}
            }
            backup(&survivor.open_with(if opens(&new) { &new } else { known }).unwrap(), &options_for(dir.path()))
                .unwrap();
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
fn an_init_killed_at_any_operation_leaves_a_place_where_init_works() {
    let run = |plan: FaultPlan| {
        let inner = Arc::new(InMemory::new());
        let faulty = FaultStore::new(inner.clone(), plan);
        let outcome = Vault::over(faulty.clone()).init();
        (inner, faulty, outcome.is_ok())
    };
    let operations = run(FaultPlan { counting: Counting::All, ..FaultPlan::default() }).1.numbered();
    for number in 0..operations {
        for when in [When::Before, When::After] {
            let (inner, _, _) = run(FaultPlan::kill_any(number, when));
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

/// Over HTTP, each through a connection of its own. Who comes when, and who has the smallest name, is chance; what follows from it is played through beside the
/// code (`of_many_inits_at_once_on_a_store_that_overlooks_conditions_one_makes_the_repository`).
#[test]
fn five_inits_at_once_on_a_server_that_overlooks_conditions_end_with_one_repository() {
    let s3 = S3ServerThread::serving(S3Server::start_with(Conditions::Ignored));
    s3.server.make_bucket("bucket");
    let vault = Vault::new();
    let store = || {
        let (location, options) = (s3.server.location("bucket", "p"), s3.server.options());
        vault.runtime.block_on(Store::connect(&location, &options, SystemClock::new())).unwrap()
    };
    #[expect(clippy::disallowed_methods, reason = "they come one after the other")]
    let init = &|number: u64| {
        std::thread::sleep(Duration::from_millis(number * 5));
        vault.init_in(store()).map(|repo| repo.id())
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..5).map(|number| scope.spawn(move || init(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let made: Vec<_> = outcomes.into_iter().filter_map(Result::ok).collect();
    assert_eq!(made.len(), 1, "exactly one says that it made the repository");
    assert_eq!(Repository::open(store(), &Vault::credential(), vault.options()).unwrap().id(), made[0]);
}
