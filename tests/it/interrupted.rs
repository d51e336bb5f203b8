//! Backups that are told to stop while the store takes nothing: the snapshot holds what is stored, and refers to nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use volvault::Result;
use volvault::backup::{self, BackupReport};
use volvault::error::ErrorKind;
use volvault::events::{Progress, Watch};
use volvault::maintenance::ReadData;
use volvault::repo::Status;
use volvault::size::ByteSize;

use crate::support::faults::{At, Fault, FaultPlan, FaultStore, Op, When};
use crate::support::repo::check;
use crate::support::vault::{Ear, Vault, assert_same, backup, contents, latest, noise, on_disk, options_for};

/// Small files that make some ten bundles, files of several chunks, one of which is a copy, and empty ones.
fn fill(root: &Path) {
    for n in 0..120u64 {
        let len = match n % 30 {
            3 => 100_000,
            7 => 0,
            _ => 30_000,
        };
        let dir = root.join(format!("{:02}", n / 20));
        std::fs::create_dir_all(&dir).unwrap();
        std::io::Write::write_all(
            &mut std::fs::File::create(dir.join(format!("{n:03}"))).unwrap(),
            &noise(len, if n % 30 == 3 { n % 90 } else { n }),
        )
        .unwrap();
    }
}

/// The link gets stuck at the `from`th pack, and the run is told to stop then.
fn stuck_at(from: u64) -> FaultPlan {
    let stuck = (At::Matching { op: Op::Put, prefix: "packs/", from, times: 1 }, Fault::Stuck);
    FaultPlan { script: vec![stuck], ..FaultPlan::default() }
}

/// Packs of a few chunks.
fn over(objects: Arc<dyn ObjectStore>) -> Vault {
    let mut vault = Vault::over(objects);
    vault.limits.pack_size = ByteSize::kib(16);
    vault
}

/// A backup over a store with these faults, which gives up at once what is not sent.
fn run(dir: &Path, base: &InMemory, plan: FaultPlan) -> (Arc<InMemory>, Arc<FaultStore>, Result<BackupReport>) {
    let inner = Arc::new(base.fork());
    let stop = Arc::clone(&plan.stop);
    let faulty = FaultStore::new(inner.clone(), plan);
    let mut vault = over(faulty.clone());
    vault.limits.send_after_stop = Duration::ZERO;
    let report = vault.open().and_then(|repo| {
        let (progress, ear) = (Progress::default(), Ear::default());
        backup::run(&repo, &options_for(dir), &Watch { observer: &ear, progress: &progress, stop: &stop })
    });
    (inner, faulty, report)
}

/// What lies in a repository is sound; returns the paths in its only snapshot, and carries the backup to its end.
fn look_and_go_on(dir: &Path, inner: Arc<InMemory>, what: &str) -> Vec<Vec<u8>> {
    let disk = on_disk(dir);
    let vault = Vault::over(inner);
    let repo = vault.open().unwrap();
    assert_eq!(check(&repo, ReadData::All).unwrap().errors, Vec::<String>::new(), "{what}");
    let session = repo.observe().unwrap();
    let snapshots = session.snapshots().iter().map(|name| session.load(name).unwrap());
    let saved: Vec<_> = snapshots.map(|snapshot| contents(&session, &snapshot).unwrap()).collect();
    drop(session);
    for (path, seen) in saved.iter().flatten() {
        assert_eq!(disk.get(path), Some(seen), "{what}: {}", String::from_utf8_lossy(path));
    }
    let files = saved.first().map_or(0, |saved| saved.values().filter(|seen| seen.kind == "file").count());
    let next = backup(&repo, &options_for(dir)).unwrap();
    assert_eq!(next.status, Status::Complete);
    assert_eq!(next.summary.files_unmodified, files as u64, "{what}: what is finished is not read again");
    assert_same(&latest(&repo).unwrap().1, &disk);
    assert_eq!(check(&repo, ReadData::All).unwrap().errors, Vec::<String>::new(), "{what}");
    saved.into_iter().next().unwrap_or_default().into_keys().collect()
}

#[test]
fn a_run_that_is_stopped_on_a_stuck_link_saves_what_the_store_has_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let vault = over(Arc::new(InMemory::new()));
    vault.init().unwrap();
    backup(&vault.open().unwrap(), &options_for(dir.path())).unwrap();
    let order: Vec<_> = latest(&vault.open().unwrap()).unwrap().1.into_keys().collect();

    let base = Arc::new(InMemory::new());
    Vault::over(base.clone()).init().unwrap();
    let mut saved_at = Vec::new();
    for from in 0.. {
        let (inner, _, report) = run(dir.path(), &base, stuck_at(from));
        let what = format!("stuck at pack {from}: {report:?}");
        match &report {
            // There are no more packs.
            Ok(report) if report.status == Status::Complete => break,
            Ok(report) => assert_eq!(report.status, Status::Partial, "{what}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{what}"),
        }
        let saved = look_and_go_on(dir.path(), inner, &what);
        assert_eq!(saved.is_empty(), report.is_err(), "{what}");
        assert_eq!(saved, order[..saved.len()], "{what}: what is saved goes without a gap up to where it ends");
        saved_at.push(saved.len());
    }
    let all = order.len();
    assert!(saved_at.len() > 5, "of {all}: {saved_at:?}");
    assert!(saved_at.iter().any(|saved| saved * 2 > all), "of {all}: {saved_at:?}");
    assert!(saved_at.iter().any(|saved| (1..all).contains(saved)), "of {all}: {saved_at:?}");
}

/// Kills before the link is stuck are those of any backup: `crash` has them.

#[test]
fn a_run_that_is_stopped_on_a_stuck_link_and_killed_at_any_write_then_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let base = Arc::new(InMemory::new());
    Vault::over(base.clone()).init().unwrap();
    let stuck = (0..50).find(|from| {
        let report = run(dir.path(), &base, stuck_at(*from)).2;
        report.is_ok_and(|report| report.status == Status::Partial)
    });
    let stuck = stuck.expect("some files are stored when the link is stuck late enough");
    let writes = run(dir.path(), &base, stuck_at(stuck)).1.numbered();
    let mut reported = 0;
    for (number, when) in (stuck + 1..writes).flat_map(|number| [(number, When::Before), (number, When::After)]) {
        let mut plan = stuck_at(stuck);
        plan.script.insert(0, (At::Number(number), Fault::Kill(when)));
        let (inner, _, report) = run(dir.path(), &base, plan);
        let what = format!("write {number} of {writes}, {when:?}: {report:?}");
        let saved = look_and_go_on(dir.path(), inner, &what);
        assert!(report.is_err() || !saved.is_empty(), "{what}");
        reported += u64::from(report.is_ok());
    }
    assert!(reported < 2 * (writes - stuck - 1), "no kill did any harm");
}
