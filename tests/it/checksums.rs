//! What a check makes of the checksums that stores list: packs that were written again are read, and no others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use volvault::clock::SystemClock;
use volvault::events::{Progress, Silent, Stop, Watch};
use volvault::id::{BlobId, ObjectHash};
use volvault::maintenance::repair::{self, Mode, RepairIndex};
use volvault::maintenance::{self, CheckReport, MaxUnused, PruneOptions, ReadData, StoreChecksums};
use volvault::repo::{BlobKind, Repository, pack_key};
use volvault::size::ByteSize;
use volvault::storage::{Store, StoreOptions};

use crate::support::faults::{At, Fault, FaultPlan, FaultStore, Op, Trouble, When};
use crate::support::memory_s3::Habits;
use crate::support::repo::{Bench, Layout, Tree, check, write_tree};
use crate::support::s3::{S3Server, S3ServerThread};
use crate::support::tags::TagStore;
use crate::support::vault::{SeededEntropy, Vault, noise};

/// `count` files of 20,000 bytes: four make a pack.
fn tree(count: u64, seed: u64) -> Tree {
    (0..count).map(|n| (format!("f{n:03}"), Some(noise(20_000, 1000 * seed + n)))).collect()
}

/// A repository on a store that gives checksums, with what was written so far in memory below.
struct Field {
    bench: Bench,
    tags: TagStore,
}

impl Field {
    fn new() -> Self {
        let objects = Arc::new(InMemory::new());
        let tags = TagStore::over(objects.clone());
        let field = Self { bench: Bench { vault: Vault::over(Arc::new(tags.clone())), objects }, tags };
        field.bench.vault.init().unwrap();
        field
    }

    fn filled(count: u64) -> Self {
        let field = Self::new();
        write_tree(&field.bench.open(), &tree(count, 0), Layout::Chunks(20_000));
        field
    }

    /// Writes an object again, through the store that gives tags.
    fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.bench.vault.runtime.block_on(self.tags.put(&key.into(), bytes.into().into())).unwrap();
    }

    /// Writes all packs again as they are, under another key of the store.
    fn put_all_again(&self) {
        self.tags.change_key();
        for key in self.bench.keys("packs/") {
            self.put(&key, self.bench.get(&key));
        }
    }

    /// A check, and the keys of the packs that were fetched as a whole meanwhile, in order.
    fn check(&self, read_data: ReadData) -> (CheckReport, Vec<String>) {
        let faults = FaultStore::new(Arc::new(self.tags.clone()), FaultPlan::default());
        let repo = Vault::on(self.bench.vault.runtime.clone(), faults.clone()).open().unwrap();
        let report = check(&repo, read_data).unwrap();
        let gets = faults.trace().into_iter().filter(|(op, key)| *op == Op::Get && key.starts_with("packs/"));
        (report, gets.map(|(_, key)| key).collect())
    }
}

fn changed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    bytes
}

fn assert_clean(report: &CheckReport) {
    assert_eq!((report.num_errors, &report.errors), (0, &Vec::new()));
}

/// All packs compared, and none differs.
fn alike(report: &CheckReport) -> StoreChecksums {
    StoreChecksums { compared: report.packs, ..StoreChecksums::default() }
}

fn name_of(key: &str) -> &str {
    key.rsplit('/').next().unwrap()
}

fn watched<T>(work: impl FnOnce(&Watch<'_>) -> T) -> T {
    let (progress, stop) = (Progress::default(), Stop::new());
    work(&Watch { observer: &Silent, progress: &progress, stop: &stop })
}

fn repair_index(repo: &Repository, read_all_packs: bool) {
    let options = RepairIndex { read_all_packs, mode: Mode::Apply };
    watched(|watch| repair::repair_index(repo, options, watch)).unwrap();
}

#[test]
fn a_pack_that_was_overwritten_is_found_and_no_other_one_is_read() {
    let field = Field::filled(30);
    let (report, read) = field.check(ReadData::None);
    assert_clean(&report);
    assert!(report.packs >= 6, "{} packs", report.packs);
    assert_eq!((report.checksums, report.packs_read), (Some(alike(&report)), 0));
    assert_eq!((read.len(), report.notes.len()), (0, 0));
    for key in field.bench.keys("packs/").iter().take(3) {
        let bytes = field.bench.get(key);
        field.put(key, changed(&bytes));
        let (report, read) = field.check(ReadData::None);
        assert_eq!((report.broken_packs, report.packs_read), (vec![name_of(key).to_owned()], 1));
        let expected =
            StoreChecksums { compared: report.packs, rewritten: 1, rewritten_read: 1, ..StoreChecksums::default() };
        assert_eq!((report.checksums, report.suggest_repair.is_some()), (Some(expected), true));
        assert_eq!(read.iter().collect::<BTreeSet<_>>(), BTreeSet::from([key]));
        field.put(key, bytes);
    }
    assert_clean(&field.check(ReadData::None).0);
}

#[test]
fn the_same_bytes_under_another_checksum_are_read_and_are_no_error() {
    let field = Field::filled(30);
    field.tags.change_key();
    let keys = &field.bench.keys("packs/")[2..4];
    for key in keys {
        field.put(key, field.bench.get(key));
    }
    let (report, mut read) = field.check(ReadData::None);
    assert_clean(&report);
    read.sort();
    assert_eq!(read, keys);
    let found = report.checksums.unwrap();
    assert_eq!((found.compared, found.rewritten, found.rewritten_read), (report.packs, 2, 2));
    let [note] = &report.notes[..] else { panic!("{:?}", report.notes) };
    assert!(note.contains("found whole") && keys.iter().all(|key| note.contains(name_of(key))), "{note}");
}

#[test]
fn comparing_costs_no_request() {
    let field = Field::filled(20);
    let counts = |objects: Arc<dyn ObjectStore>| {
        let vault = Vault { entropy: SeededEntropy::of(1, 1), ..Vault::over(objects) };
        let repo = vault.open().unwrap();
        let before = repo.store().requests();
        let report = check(&repo, ReadData::None).unwrap();
        assert_clean(&report);
        (repo.store().requests().since(&before), report.checksums.map(|sums| sums.compared))
    };
    // Without the layer that gives tags, the listing has those of the store in memory, which are small numbers.
    let (without, none) = counts(field.bench.objects.clone());
    let (with, compared) = counts(Arc::new(field.tags.clone()));
    assert_eq!((none, compared.is_some_and(|compared| compared > 4)), (Some(0), true), "{compared:?}");
    assert_eq!(with, without);
}

#[test]
fn what_a_check_reads_without_being_asked_is_bounded_and_the_rest_is_told() {
    let field = Field::filled(300);
    field.put_all_again();
    let (report, read) = field.check(ReadData::None);
    assert_clean(&report);
    let found = report.checksums.unwrap();
    assert!(report.packs > 70, "{} packs", report.packs);
    assert_eq!((found.rewritten, found.rewritten_read, report.packs_read), (report.packs, 64, 64));
    let left = format!("and {} more. A check", report.packs - 64 - 3);
    assert!(report.notes.iter().any(|note| note.contains("not read") && note.contains(&left)), "{:?}", report.notes);
    let (_, others) = field.check(ReadData::None);
    let both: BTreeSet<_> = read.iter().chain(&others).collect();
    assert!(read.len() == 64 && others.len() == 64 && both.len() > 64, "always the same {}", both.len());
    // Whatever else is read, no pack is read twice; what is asked for comes before what is not.
    let hour = ReadData::Budget(Duration::from_hours(1));
    for read_data in [ReadData::All, hour, ReadData::Subset { n: 1, t: 2 }] {
        let (report, read) = field.check(read_data);
        assert_clean(&report);
        let once: BTreeSet<_> = read.iter().collect();
        assert_eq!((once.len() as u64, read.len() as u64), (report.packs, report.packs_read), "{read_data:?}");
        assert_eq!(report.checksums.unwrap().rewritten_read, report.packs);
        assert!(!report.notes.iter().any(|note| note.contains("not read")), "{:?}", report.notes);
    }
}

#[test]
fn checksums_outlive_merges_of_segments_and_prunes() {
    let field = Field::filled(10);
    let repo = field.bench.open();
    for n in 0..9 {
        write_tree(&repo, &tree(4, n + 1), Layout::Chunks(20_000));
    }
    let segments = || field.bench.keys("state/index/").len();
    let before = segments();
    let session = repo.write_session().unwrap();
    session.places(BlobKind::Data, &BlobId::new([0; 32])).unwrap();
    assert!(session.compact_index().unwrap() >= 7);
    session.end("done");
    assert!(segments() + 7 <= before, "{} segments of {before}", segments());
    let (report, _) = field.check(ReadData::None);
    assert_clean(&report);
    assert_eq!(report.checksums, Some(alike(&report)));
    // A prune that copies what is needed out of packs: half of a snapshot is in the one that stays.
    let mut kept = tree(4, 1);
    kept.retain(|path, _| path.as_str() < "f002");
    let kept = write_tree(&repo, &kept, Layout::Chunks(20_000)).id;
    let listing = repo.listing().unwrap();
    let others = listing.snapshots.iter().map(|name| name.id).filter(|id| *id != kept).collect();
    assert!(repo.forget(&listing, &others, "test").unwrap().is_empty());
    let options = PruneOptions {
        max_unused: MaxUnused::Bytes(ByteSize(0)),
        wait: Duration::ZERO,
        orphan_age: Duration::ZERO,
        ..PruneOptions::default()
    };
    let pruned = watched(|watch| maintenance::prune(&repo, &options, watch, &mut |_| ())).unwrap();
    assert!(pruned.deleted_packs.count > 10, "{pruned:?}");
    let (report, _) = field.check(ReadData::None);
    assert_clean(&report);
    assert!(report.packs >= 2);
    assert_eq!(report.checksums, Some(alike(&report)));
}

#[test]
fn a_pack_whose_put_was_repeated_keeps_its_checksum() {
    let field = Field::new();
    let fault = |from, when| {
        (At::Matching { op: Op::Put, prefix: "packs/", from, times: 2 }, Fault::Fail(when, Trouble::Reset))
    };
    let script = vec![fault(0, When::After), fault(3, When::Before)];
    let plan = FaultPlan { script, ..FaultPlan::default() };
    let faults = FaultStore::new(Arc::new(field.tags.clone()), plan);
    let repo = Vault::on(field.bench.vault.runtime.clone(), faults).open().unwrap();
    write_tree(&repo, &tree(10, 0), Layout::Chunks(20_000));
    assert!(repo.store().requests().retries >= 4);
    let (report, _) = field.check(ReadData::None);
    assert_clean(&report);
    assert_eq!(report.checksums, Some(alike(&report)));
}

#[test]
fn packs_without_a_checksum_on_either_side_are_counted() {
    let field = Field::new();
    field.tags.silence(true);
    let repo = field.bench.open();
    write_tree(&repo, &tree(10, 0), Layout::Chunks(20_000));
    let (before, _) = field.check(ReadData::None);
    let nothing = StoreChecksums::default();
    assert_eq!(before.checksums, Some(StoreChecksums { none_in_index: before.packs, ..nothing }));
    field.tags.silence(false);
    write_tree(&repo, &tree(10, 1), Layout::Chunks(20_000));
    let (report, _) = field.check(ReadData::None);
    let new = report.packs - before.packs;
    let expected = StoreChecksums { compared: new, none_in_index: before.packs, ..nothing };
    assert_eq!(report.checksums, Some(expected));
    assert_eq!(report.notes, [] as [String; 0]);
    // Brought to another place by a tool: a store whose tags are no checksums.
    let moved = check(&Vault::over(field.bench.objects.clone()).open().unwrap(), ReadData::None).unwrap();
    assert_eq!(moved.checksums, Some(StoreChecksums { none_at_store: report.packs, ..nothing }));
    // An index that is made anew from the packs has none: the way out when all were written again, and are known to be sound.
    repair_index(&repo, true);
    field.put_all_again();
    let (anew, read) = field.check(ReadData::None);
    assert_clean(&anew);
    assert_eq!(anew.checksums, Some(StoreChecksums { none_in_index: report.packs, ..nothing }));
    assert_eq!(read.len(), 0);
}

#[test]
fn a_segment_that_loses_a_pack_keeps_the_checksums_of_the_others() {
    let field = Field::filled(12);
    let repo = field.bench.open();
    let lost = field.bench.keys("packs/").remove(0);
    field.bench.delete(&lost);
    repair_index(&repo, false);
    let (report, _) = field.check(ReadData::None);
    assert_eq!((report.packs, report.checksums), (field.bench.keys("packs/").len() as u64, Some(alike(&report))));
}

#[test]
fn a_directory_has_none_and_nothing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::new();
    let connect = || {
        let location = dir.path().to_str().unwrap().parse().unwrap();
        vault.runtime.block_on(Store::connect(&location, &StoreOptions::default(), SystemClock::new())).unwrap()
    };
    let repo = vault.init_in(connect()).unwrap();
    write_tree(&repo, &tree(10, 0), Layout::Chunks(20_000));
    let report = check(&repo, ReadData::All).unwrap();
    assert_clean(&report);
    assert_eq!((report.checksums, report.notes), (None, Vec::new()));
    assert!(report.packs > 3);
}

#[test]
fn a_repository_of_format_1_is_checked_as_before() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let files = LocalFileSystem::new_with_prefix(golden).unwrap();
    let bench = Bench::over(InMemory::new());
    bench.vault.runtime.block_on(async {
        let listed: Vec<_> = files.list(None).try_collect().await.unwrap();
        for meta in listed {
            let bytes = files.get(&meta.location).await.unwrap().bytes().await.unwrap();
            bench.objects.put(&meta.location, bytes.into()).await.unwrap();
        }
    });
    let report = bench.check(ReadData::All);
    assert_clean(&report);
    assert_eq!((report.checksums, report.packs_read), (None, report.packs));
    assert!(report.snapshots > 0 && report.packs > 0);
}

/// A repository on an S3 server in this process, and its store.
fn on_s3(server: &S3ServerThread) -> (Vault, Repository) {
    let vault = Vault::new();
    let (location, options) = (server.server.location("vault", "repo"), server.server.options());
    let connect = Store::connect(&location, &options, SystemClock::new());
    let store = vault.runtime.block_on(connect).unwrap();
    let repo = vault.init_in(store).unwrap();
    write_tree(&repo, &tree(20, 0), Layout::Chunks(20_000));
    (vault, repo)
}

#[test]
fn on_s3_an_overwritten_pack_is_found_and_a_damaged_one_whose_tag_stays_only_by_reading() {
    let server = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "vault"));
    let (vault, repo) = on_s3(&server);
    let kinds: Vec<(ObjectHash, BlobKind)> = {
        let session = repo.observe().unwrap();
        let segments = session.open_segments(false).unwrap().into_iter().map(|(_, segment)| segment.unwrap());
        segments.flat_map(|segment| segment.packs().to_vec()).map(|info| (info.pack.name, info.kind)).collect()
    };
    let data: Vec<String> =
        kinds.iter().filter(|(_, kind)| *kind == BlobKind::Data).map(|(name, _)| pack_key(name)).collect();
    // Pages are read by range; of packs of data, only what a check reads as a whole.
    let gets = || {
        let asked = server.server.asked();
        let gets = asked.iter().filter_map(|line| line.strip_prefix("GET /vault/repo/"));
        gets.filter(|key| data.iter().any(|data| data == key)).map(str::to_owned).collect::<Vec<_>>()
    };
    let report = check(&repo, ReadData::None).unwrap();
    assert_clean(&report);
    assert_eq!((report.checksums, report.packs_read), (Some(alike(&report)), 0));
    let [first, second] = [&data[0], &data[1]];
    assert!(gets().is_empty() && data.len() >= 4, "{data:?}");
    let bytes = vault.runtime.block_on(repo.store().get(first, 1 << 20)).unwrap();
    vault.runtime.block_on(repo.store().put(first, changed(&bytes).into())).unwrap();
    let report = check(&repo, ReadData::None).unwrap();
    assert_eq!((&report.broken_packs, report.packs_read), (&vec![name_of(first).to_owned()], 1));
    // Once, again because of what came, and for what is whole in it.
    let read = gets();
    assert!(read.len() == 4 && read.iter().all(|key| key == first), "{read:?}");
    vault.runtime.block_on(repo.store().put(first, bytes)).unwrap();
    server.server.rot(&format!("repo/{second}"));
    assert_clean(&check(&repo, ReadData::None).unwrap());
    assert_eq!(check(&repo, ReadData::All).unwrap().broken_packs, [name_of(second)]);
}

#[test]
fn a_server_that_lists_no_tags_is_said_to_have_none() {
    let server = S3ServerThread::start();
    server.server.make_bucket("vault");
    let (_vault, repo) = on_s3(&server);
    let report = check(&repo, ReadData::None).unwrap();
    assert_clean(&report);
    assert_eq!(report.checksums, Some(StoreChecksums { none_at_store: report.packs, ..StoreChecksums::default() }));
}
