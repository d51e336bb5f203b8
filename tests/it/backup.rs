//! What a backup promises, seen through the library.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use proptest::prelude::*;
use volvault::ErrorKind;
use volvault::backup::{self, ParentChoice};
use volvault::catalog::{Content, Node};
use volvault::events::{Action, Event, Observer, Progress, Stop, Watch};
use volvault::repo::{BlobKind, BlobWriter, Selector, SnapshotFilter, Status};

use crate::support::faults::{Fault, FaultPlan, FaultStore, Op, Trouble, When};
use crate::support::repo::Bench;
use crate::support::vault::{Ear, Vault, assert_same, backup, contents, latest, noise, on_disk, options_for};

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
}

/// A tree with a bit of everything that an ordinary user can make.
fn sample(root: &Path) {
    for n in 0..120u64 {
        write(root, &format!("small/{}/{n}.txt", n % 7), &noise(usize::try_from(n * 37 % 5000).unwrap(), n));
    }
    write(root, "empty", b"");
    write(root, "copy-a", &noise(3000, 1));
    write(root, "copy-b", &noise(3000, 1));
    write(root, "large", &noise(700_000, 2));
    write(root, "larger", &[noise(900_000, 3), vec![0; 900_000], noise(900_000, 4)].concat());
    std::fs::hard_link(root.join("large"), root.join("large-too")).unwrap();
    std::os::unix::fs::symlink("../nowhere", root.join("link")).unwrap();
    std::fs::create_dir(root.join("nothing")).unwrap();
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(100_000, 5), 2 << 20).unwrap();
}

#[test]
fn a_snapshot_holds_what_was_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    let report = backup(&repo, &options_for(dir.path())).unwrap();
    assert_eq!((report.status, report.problems), (Status::Complete, 0));
    let (snapshot, seen) = latest(&repo).unwrap();
    assert_eq!(Some(snapshot.id), report.snapshot);
    assert_same(&seen, &on_disk(dir.path()));
    assert_eq!(report.summary.files_new, 128);
}

#[test]
fn an_unchanged_backup_stores_nothing_and_takes_nine_requests() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let vault = Vault::ready();
    let first = backup(&vault.open().unwrap(), &options_for(dir.path())).unwrap();
    let repo = vault.open().unwrap();
    let second = backup(&repo, &options_for(dir.path())).unwrap();
    assert_eq!(repo.store().requests().total(), 9, "{}", repo.store().requests());
    assert_eq!((second.summary.data_blobs, second.summary.tree_blobs), (0, 0));
    assert_eq!((second.parent, second.summary.files_unmodified), (first.snapshot, 128));
    assert_same(&latest(&repo).unwrap().1, &on_disk(dir.path()));
}

#[test]
fn after_a_change_only_what_changed_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    backup(&repo, &options_for(dir.path())).unwrap();
    write(dir.path(), "small/3/3.txt", b"changed");
    write(dir.path(), "small/new", b"new");
    std::fs::remove_file(dir.path().join("copy-a")).unwrap();
    let report = backup(&repo, &options_for(dir.path())).unwrap();
    assert_eq!((report.summary.files_new, report.summary.files_changed), (1, 1));
    assert_eq!(report.summary.data_blobs, 1, "both files ride in one bundle");
    assert_same(&latest(&repo).unwrap().1, &on_disk(dir.path()));
}

#[test]
fn touched_files_are_read_and_add_no_data() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    backup(&repo, &options_for(dir.path())).unwrap();
    for name in on_disk(dir.path()).into_iter().filter(|(_, seen)| seen.kind == "file").map(|(name, _)| name) {
        let file =
            std::fs::File::options().write(true).open(dir.path().join(String::from_utf8(name).unwrap())).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).unwrap();
    }
    let report = backup(&repo, &options_for(dir.path())).unwrap();
    assert_eq!(report.summary.data_blobs, 0);
    assert_same(&latest(&repo).unwrap().1, &on_disk(dir.path()));
}

#[test]
fn force_reads_everything_and_stores_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    backup(&repo, &options_for(dir.path())).unwrap();
    let options = backup::BackupOptions { parent: ParentChoice::None, ..options_for(dir.path()) };
    let report = backup(&repo, &options).unwrap();
    assert_eq!((report.parent, report.summary.files_new), (None, 128));
    assert_eq!(report.summary.data_blobs, 0);
}

#[test]
fn skip_if_unchanged_writes_no_snapshot_and_a_dry_run_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    let before = vault.objects_listed();
    let dry = backup::BackupOptions { dry_run: true, ..options_for(dir.path()) };
    let report = backup(&repo, &dry).unwrap();
    assert!(report.snapshot.is_none() && report.summary.data_added > 0);
    assert_eq!(vault.objects_listed(), before);
    backup(&repo, &options_for(dir.path())).unwrap();
    let skip = backup::BackupOptions { skip: backup::Skip::Unchanged, ..options_for(dir.path()) };
    assert!(backup(&repo, &skip).unwrap().snapshot.is_none());
    write(dir.path(), "new", b"new");
    assert!(backup(&repo, &skip).unwrap().snapshot.is_some());
}

/// Asks for a stop when it has seen so many entries.
struct StopAfter<'a> {
    left: std::sync::atomic::AtomicI64,
    stop: &'a Stop,
}

impl Observer for StopAfter<'_> {
    fn on(&self, event: &Event<'_>) {
        if matches!(event, Event::Item { .. }) && self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0 {
            self.stop.request();
        }
    }

    fn wants_items(&self) -> bool {
        true
    }
}

/// Counts files that were carried over.
#[derive(Default)]
struct CountUnchanged(std::sync::Mutex<Vec<String>>);

impl Observer for CountUnchanged {
    fn on(&self, event: &Event<'_>) {
        if let Event::Item { action: Action::Unchanged, path, .. } = event {
            self.0.lock().unwrap().push(path.display());
        }
    }

    fn wants_items(&self) -> bool {
        true
    }
}

#[test]
fn an_interrupted_run_leaves_a_partial_snapshot_and_the_next_run_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..1500u64 {
        write(dir.path(), &format!("{:02}/{n:04}", n / 100), &noise(20_000, n));
    }
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    let (progress, stop) = (Progress::default(), Stop::new());
    let observer = StopAfter { left: 100.into(), stop: &stop };
    let report =
        backup::run(&repo, &options_for(dir.path()), &Watch { observer: &observer, progress: &progress, stop: &stop })
            .unwrap();
    assert_eq!(report.status, Status::Partial);
    let session = repo.observe().unwrap();
    let latest_complete = session.find(&Selector::parse("latest"), &SnapshotFilter::default());
    assert!(latest_complete.is_err(), "a partial snapshot is not the latest");
    let partial = session.find(&Selector::Id(report.snapshot.unwrap().to_hex()), &SnapshotFilter::default()).unwrap();
    let saved = contents(&session, &partial).unwrap();
    let disk = on_disk(dir.path());
    assert!(saved.len() > 50 && saved.len() < disk.len(), "{}", saved.len());
    assert!(saved.iter().all(|(path, seen)| disk.get(path) == Some(seen)));

    let (progress, stop, observer) = (Progress::default(), Stop::new(), CountUnchanged::default());
    let next =
        backup::run(&repo, &options_for(dir.path()), &Watch { observer: &observer, progress: &progress, stop: &stop })
            .unwrap();
    assert_eq!(next.status, Status::Complete);
    assert_eq!(observer.0.into_inner().unwrap().len(), saved.len(), "what was finished is not read again");
    assert_same(&latest(&repo).unwrap().1, &disk);
}

#[test]
fn what_cannot_be_read_is_told_and_counted_and_the_rest_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "good", b"good");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    let mut options = options_for(dir.path());
    let cwd = dir.path();
    options.sources =
        volvault::volume::sources_from_args(&["good".into(), "missing".into(), "socket".into()], cwd).unwrap();
    let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
    let report = backup::run(&repo, &options, &Watch { observer: &ear, progress: &progress, stop: &stop }).unwrap();
    assert_eq!((report.problems, report.status), (1, Status::Complete));
    assert!(ear.problems.lock().unwrap()[0].contains("missing"));
    let names: Vec<_> = latest(&repo).unwrap().1.into_keys().collect();
    assert_eq!(names, [b"good".to_vec()]);
}

#[test]
fn bundles_that_are_used_by_less_than_half_are_bundled_anew_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..300u64 {
        write(dir.path(), &format!("{n:03}"), &noise(2000, n));
    }
    let vault = Vault::ready();
    let repo = vault.open().unwrap();
    backup(&repo, &options_for(dir.path())).unwrap();
    for n in (0..300u64).filter(|n| n % 3 != 0) {
        write(dir.path(), &format!("{n:03}"), &noise(2000, 1000 + n));
    }
    backup(&repo, &options_for(dir.path())).unwrap();
    let sparse = latest(&repo).unwrap().0.sparse;
    assert!(!sparse.is_empty());
    backup(&repo, &options_for(dir.path())).unwrap();
    let (snapshot, seen) = latest(&repo).unwrap();
    assert_same(&seen, &on_disk(dir.path()));
    let session = repo.observe().unwrap();
    for entry in session.reader().tree(&snapshot.root, None) {
        if let Node::File(file) = entry.unwrap().node
            && let Content::Bundle { blob, .. } = file.content
        {
            assert!(!sparse.contains(&blob.id), "a sparse bundle is still in use");
        }
    }
    let report = backup(&repo, &options_for(dir.path())).unwrap();
    assert_eq!(report.summary.data_blobs, 0, "once is enough");
}

#[test]
fn two_backups_at_once_do_not_disturb_each_other() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(one.path());
    sample(two.path());
    write(two.path(), "other", b"other");
    let vault = Vault::ready();
    let run = |dir: &Path| {
        let repo = vault.open().unwrap();
        backup(&repo, &options_for(dir)).unwrap().snapshot.unwrap()
    };
    let ids = std::thread::scope(|scope| {
        let first = scope.spawn(|| run(one.path()));
        let second = scope.spawn(|| run(two.path()));
        [first.join().unwrap(), second.join().unwrap()]
    });
    let repo = vault.open().unwrap();
    let session = repo.observe().unwrap();
    for (id, dir) in ids.iter().zip([&one, &two]) {
        let snapshot = session.find(&Selector::Id(id.to_hex()), &SnapshotFilter::default()).unwrap();
        assert_same(&contents(&session, &snapshot).unwrap(), &on_disk(dir.path()));
    }
}

#[test]
fn index_segments_are_merged_as_they_accumulate() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::ready();
    for n in 0..20u64 {
        write(dir.path(), &format!("{n}"), &noise(70_000, n));
        backup(&vault.open().unwrap(), &options_for(dir.path())).unwrap();
    }
    let repo = vault.open().unwrap();
    let segments = repo.listing().unwrap().segments.len();
    assert!(segments <= 12, "{segments} segments after 20 backups");
    assert_same(&latest(&repo).unwrap().1, &on_disk(dir.path()));
    let force = backup::BackupOptions { parent: ParentChoice::None, ..options_for(dir.path()) };
    let again = backup(&repo, &force).unwrap().summary;
    assert_eq!((again.data_blobs, again.tree_blobs), (0, 0), "merged segments still know every blob");
}

#[test]
fn session_records_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "file", b"content");
    let vault = Vault::ready();
    for _ in 0..70 {
        backup(&vault.open().unwrap(), &options_for(dir.path())).unwrap();
    }
    let listing = vault.open().unwrap().listing().unwrap();
    assert_eq!(listing.snapshots.len(), 70);
    assert!(listing.sessions.len() < 66, "{} sessions", listing.sessions.len());
}

#[test]
fn a_parent_whose_pages_cannot_be_read_costs_a_full_read_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..3000u64 {
        write(
            dir.path(),
            &format!("{:02}/a file with a long name to fill the pages of the catalogue {n:04}", n / 100),
            b"x",
        );
    }
    let bench = Bench::new();
    backup(&bench.open(), &options_for(dir.path())).unwrap();
    let kinds = bench.kinds_of_packs();
    let trees: Vec<_> = kinds.iter().filter(|(_, kind)| **kind == BlobKind::Tree).map(|(key, _)| key).collect();
    assert!(!trees.is_empty());
    for key in &trees {
        bench.damage(key);
    }
    assert!(latest(&bench.open()).is_err(), "the old snapshot is damaged");
    let report = backup(&bench.open(), &options_for(dir.path())).unwrap();
    assert!(report.summary.tree_blobs > 0, "pages that cannot be read where they lie are stored again");
    assert_same(&latest(&bench.open()).unwrap().1, &on_disk(dir.path()));
}

#[test]
fn more_paths_than_a_snapshot_can_name_are_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "file", b"content");
    let vault = Vault::ready();
    let before = vault.objects_listed();
    let mut options = options_for(dir.path());
    options.paths = (0..20_000).map(|n| format!("/some/where/below/a/directory/{n:08}").into_bytes()).collect();
    let error = backup(&vault.open().unwrap(), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.chain().contains("20000") && error.hint().unwrap().contains("--exclude"), "{error:?}");
    assert_eq!(vault.objects_listed(), before);
}

#[test]
fn as_many_paths_as_are_let_in_fit_into_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "file", b"content");
    let vault = Vault::ready();
    let mut options = options_for(dir.path());
    // Not UTF-8, so that each takes twice its length.
    options.paths = (0..2500).map(|n| [&b"/\xff"[..], format!("{n:094}").as_bytes()].concat()).collect();
    backup(&vault.open().unwrap(), &options).unwrap();
}

#[test]
fn a_blob_that_could_not_be_stored_fails_the_run_whoever_heard_of_it() {
    let refused = Fault::Fail(When::Before, Trouble::Denied);
    let base = Arc::new(InMemory::new());
    Vault::over(base.clone()).init().unwrap();
    let vault = Vault::over(FaultStore::new(base, FaultPlan::some(Op::Put, "packs/", 1, refused)));
    let repo = vault.open().unwrap();
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let failures = (0..100).filter(|n| writer.put(BlobKind::Data, &noise(8000, *n)).is_err()).count();
    // Whether or not a caller went on after it.
    assert!(writer.finish().is_err(), "{failures} failures were heard");
    drop(session);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "file", &noise(300_000, 1));
    assert!(backup(&repo, &options_for(dir.path())).is_ok(), "the next run starts anew");
}

/// A step of a history: what is done to which of a few files.
#[derive(Debug, Clone)]
enum Step {
    Write(u8, usize, u64),
    Remove(u8),
    Rename(u8, u8),
    Save,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12u8, prop_oneof![0..5000usize, 60_000..140_000usize], 0..6u64).prop_map(|(file, len, seed)| Step::Write(file, len, seed)),
        1 => (0..12u8).prop_map(Step::Remove),
        1 => (0..12u8, 0..12u8).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => Just(Step::Save),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_snapshot_of_a_history_holds_what_was_there_then(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::ready();
        let repo = vault.open().unwrap();
        let name = |file: u8| format!("d{}/f{file}", file % 3);
        let mut expected = BTreeMap::new();
        for step in steps {
            match step {
                Step::Write(file, len, seed) => write(dir.path(), &name(file), &noise(len, seed)),
                Step::Remove(file) => drop(std::fs::remove_file(dir.path().join(name(file)))),
                Step::Rename(from, to) => {
                    std::fs::create_dir_all(dir.path().join(format!("d{}", to % 3))).unwrap();
                    let (from, to) = (dir.path().join(name(from)), dir.path().join(name(to)));
                    let _ = rustix::fs::rename(from, to);
                }
                Step::Save => {
                    let report = backup(&repo, &options_for(dir.path())).unwrap();
                    expected.insert(report.snapshot.unwrap(), on_disk(dir.path()));
                }
            }
        }
        let session = repo.observe().unwrap();
        prop_assert_eq!(session.snapshots().len(), expected.len());
        for (id, disk) in expected {
            let snapshot = session.find(&Selector::Id(id.to_hex()), &SnapshotFilter::default()).unwrap();
            assert_same(&contents(&session, &snapshot).unwrap(), &disk);
        }
    }
}
