//! What a check finds, what it costs, and what it is silent about.

use std::collections::BTreeMap;

use volvault::ErrorKind;
use volvault::catalog::{BlobRef, ChildRef, Content, Entry, InnerPage, Node};
use volvault::events::{Progress, Silent, Stop, Watch};
use volvault::id::BlobId;
use volvault::limits::Limits;
use volvault::maintenance::{self, CheckOptions, CheckReport, ReadData};
use volvault::path::TreePath;
use volvault::repo::{BlobKind, BlobWriter, Repository, Session};
use volvault::size::ByteSize;
use volvault::storage::{Location, Store};

use crate::support::faults::{Fault, FaultPlan, FaultStore, Op};
use crate::support::repo::{
    Bench, Layout, Tree, check, check_heard, entries, entry, file, publish, store_page, write_entries, write_tree,
};
use crate::support::vault::{Ear, Vault, backup, noise, options_for};

/// `count` files of `len` bytes in directories of fifty.
fn tree(count: u64, len: usize) -> Tree {
    let mut tree = Tree::new();
    for n in 0..count {
        tree.insert(format!("d{:04}", n / 50), None);
        tree.insert(format!("d{:04}/f{n:06}", n / 50), Some(noise(len, n)));
    }
    tree
}

fn assert_clean(report: &CheckReport) {
    assert_eq!(report.errors, [] as [String; 0]);
    assert_eq!(report.num_errors, 0);
    assert_eq!(report.broken_packs, [] as [String; 0]);
}

/// Every error, in one string, for searches.
fn said(report: &CheckReport) -> String {
    assert_eq!(report.num_errors, report.errors.len() as u64);
    report.errors.join("\n")
}

/// Writes a snapshot with what `make` gives; returns what a check with all data says.
fn check_of(make: impl FnOnce(&Repository, &BlobWriter<'_>) -> Vec<Entry>) -> CheckReport {
    let bench = Bench::new();
    let repo = bench.open();
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let entries = make(&repo, &writer);
    write_entries(&session, &writer, &entries);
    bench.check(ReadData::All)
}

#[test]
fn a_sound_repository_has_no_errors_and_is_counted() {
    let bench = Bench::new();
    let repo = bench.open();
    write_tree(&repo, &tree(60, 700), Layout::Bundle);
    write_tree(&repo, &tree(3, 40_000), Layout::Chunks(5_000));
    // 150 chunks: more than an entry names itself, so in lists.
    write_tree(&repo, &BTreeMap::from([("big".to_owned(), Some(noise(150 * 300, 9)))]), Layout::Chunks(300));
    let report = bench.check(ReadData::All);
    assert_clean(&report);
    assert_eq!((report.snapshots, report.unreferenced_packs), (3, 0));
    assert_eq!(report.packs, bench.keys("packs/").len() as u64);
    assert_eq!((report.packs_read, report.bytes_read), (report.packs, report.pack_bytes));
    assert!(report.blobs >= 1 + 24 + 150 && report.pages >= 4, "{report:?}");
    assert_eq!(report.notes, [] as [String; 0]);
}

#[test]
fn what_a_backup_of_real_files_stored_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..300u64 {
        let len = if n % 50 == 0 { 900_000 } else { 2_000 };
        std::fs::File::create(dir.path().join(n.to_string())).unwrap();
        std::io::Write::write_all(&mut std::fs::File::create(dir.path().join(n.to_string())).unwrap(), &noise(len, n))
            .unwrap();
    }
    let bench = Bench::new();
    for _ in 0..2 {
        backup(&bench.open(), &options_for(dir.path())).unwrap();
    }
    let report = bench.check(ReadData::All);
    assert_clean(&report);
    assert_eq!(report.snapshots, 2);
}

#[test]
fn an_empty_repository_is_sound() {
    assert_clean(&Bench::new().check(ReadData::All));
}

#[test]
fn a_check_writes_nothing_that_stays() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(5, 100), Layout::Bundle);
    let before = bench.vault.objects_listed();
    bench.check(ReadData::All);
    assert_eq!(bench.vault.objects_listed(), before);
}

#[test]
fn a_missing_pack_is_named_with_what_is_lost() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(60, 700), Layout::Bundle);
    for key in bench.keys("packs/") {
        let pack = bench.get(&key);
        bench.delete(&key);
        let report = bench.check(ReadData::None);
        let name = key.rsplit('/').next().unwrap();
        assert_eq!(report.broken_packs, [name]);
        assert!(said(&report).contains(&format!("pack {name} is missing, and with it")), "{}", said(&report));
        let is_data = pack[11] == 1;
        assert_eq!(said(&report).contains("file /d0000/f000000"), is_data, "{}", said(&report));
        assert_eq!(said(&report).contains("catalogue page"), !is_data);
        assert!(report.suggest_repair.is_some());
        bench.put(&key, pack);
    }
    assert_clean(&bench.check(ReadData::None));
}

#[test]
fn a_pack_of_another_size_is_an_error_without_reading_it() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(60, 700), Layout::Bundle);
    let key = bench.keys("packs/").remove(0);
    let pack = bench.get(&key);
    bench.put(&key, pack.slice(..pack.len() - 1));
    let report = bench.check(ReadData::None);
    assert!(said(&report).contains(&format!("has {} bytes, the index says {}", pack.len() - 1, pack.len())));
    assert_eq!((report.broken_packs.len(), report.packs_read), (1, 0));
}

#[test]
fn packs_of_an_interrupted_run_are_counted_and_no_error() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(60, 700), Layout::Bundle);
    bench.delete(&bench.keys("state/snapshots/").remove(0));
    let segment = bench.keys("state/index/").remove(0);
    bench.delete(&segment);
    bench.put("packs/00/not-a-pack", "x");
    bench.put("state/odd", "x");
    bench.put(&format!("state/index/{}", "AB".repeat(32)), "x");
    let report = bench.check(ReadData::All);
    assert_clean(&report);
    assert_eq!(report.unreferenced_packs, 2);
    assert!(report.suggest_prune && report.unreferenced_bytes > 60 * 700);
    for stray in ["packs/00/not-a-pack", "state/odd", "state/index/ABAB"] {
        assert!(report.notes.iter().any(|note| note.contains(stray)), "{:?}", report.notes);
    }
}

#[test]
fn a_lost_index_segment_is_seen_by_the_blobs_that_it_had() {
    let bench = Bench::new();
    let repo = bench.open();
    write_tree(&repo, &tree(60, 700), Layout::Bundle);
    let first = bench.keys("state/index/").remove(0);
    write_tree(&repo, &BTreeMap::from([("other".to_owned(), Some(noise(100, 5)))]), Layout::Bundle);
    bench.delete(&first);
    let report = bench.check(ReadData::None);
    // The page itself still lies where the snapshot says, so its files are looked at, too.
    assert!(
        said(&report).contains("catalogue page") && said(&report).contains("file /d0000/f000000"),
        "{}",
        said(&report)
    );
    assert!(!said(&report).contains("other"));
}

#[test]
fn a_damaged_blob_is_found_by_reading_and_only_its_file_is_named() {
    let bench = Bench::new();
    let repo = bench.open();
    write_tree(&repo, &tree(10, 1000), Layout::Chunks(1000));
    let is_data = |key: &&String| bench.get(key)[11] == 1;
    let key = bench.keys("packs/").iter().find(is_data).unwrap().clone();
    bench.damage(&key);
    assert_clean(&bench.check(ReadData::None));
    let heard = Ear::default();
    let report = check_heard(&bench.open(), ReadData::All, &heard).unwrap();
    let name = key.rsplit('/').next().unwrap();
    assert_eq!(report.broken_packs, [name]);
    let files = report.errors.iter().filter(|error| error.contains(", file /d0000/f")).count();
    assert_eq!((files, report.num_errors), (1, 2), "{}", said(&report));
    assert_eq!(heard.problems.lock().unwrap().len(), 2);
}

#[test]
fn damage_on_the_way_is_read_again_and_said() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(10, 1000), Layout::Chunks(1000));
    let plan = FaultPlan::some(Op::Get, "packs/", 1, Fault::Flip(500));
    let store = Store::from_object_store(FaultStore::new(bench.objects.clone(), plan), Location::Memory);
    let report = check(&bench.open_store(store).unwrap(), ReadData::All).unwrap();
    assert_clean(&report);
    assert!(report.notes.iter().any(|note| note.contains("whole the second time")), "{:?}", report.notes);
}

#[test]
fn references_that_the_index_does_not_have_are_errors() {
    let absent = BlobRef { id: BlobId::new([9; 32]), raw_len: 300 };
    let report = check_of(|repo, writer| {
        let stored = writer.put(BlobKind::Data, &noise(300, 1)).unwrap().blob;
        let hash = repo.keys().content_hash(b"x");
        // A blob of the catalogue is no content, and no length may be another than the index has.
        let tree_blob = writer.put(BlobKind::Tree, &noise(300, 2)).unwrap().blob;
        vec![
            file("a-sound", 300, Content::Chunks(vec![stored])),
            file("b-absent", 300, Content::Chunks(vec![absent])),
            file("c-bundle", 10, Content::Bundle { blob: absent, offset: 0, hash }),
            file("d-length", 299, Content::Chunks(vec![BlobRef { raw_len: 299, ..stored }])),
            file("e-kind", 300, Content::Chunks(vec![tree_blob])),
            file("f-lists", 300, Content::Lists { depth: 0, lists: vec![absent] }),
            file("g-no-list", 300, Content::Lists { depth: 0, lists: vec![tree_blob] }),
        ]
    });
    for name in ["b-absent", "c-bundle", "d-length", "e-kind", "f-lists", "g-no-list"] {
        assert!(said(&report).contains(&format!(", file /{name}: ")), "{name}: {}", said(&report));
    }
    assert!(!said(&report).contains("a-sound"));
}

#[test]
fn chunk_lists_must_add_up_and_be_of_their_depth() {
    use volvault::catalog::{ChunkList, ListItem};
    let report = check_of(|_, writer| {
        let chunk = writer.put(BlobKind::Data, &noise(300, 1)).unwrap().blob;
        let list = |depth, items: &[(BlobRef, u64)]| {
            let chunks = items.iter().map(|(blob, len)| ListItem { id: blob.id, len: *len }).collect();
            writer.put(BlobKind::Tree, &ChunkList { depth, chunks }.encode()).unwrap().blob
        };
        let sound = list(0, &[(chunk, 300), (chunk, 300)]);
        let deep = list(1, &[(sound, 600), (sound, 600)]);
        let lies = list(1, &[(sound, 601)]);
        let broken = list(0, &[(BlobRef { id: BlobId::new([8; 32]), raw_len: 300 }, 300)]);
        let empty = list(0, &[]);
        let content = |depth, lists: &[BlobRef]| Content::Lists { depth, lists: lists.to_vec() };
        vec![
            file("a-sound", 600, content(0, &[sound])),
            file("b-sound", 1200, content(1, &[deep])),
            file("c-sum", 601, content(0, &[sound])),
            file("d-depth", 1200, content(0, &[deep])),
            file("e-lies", 601, content(1, &[lies])),
            file("f-lost", 300, content(0, &[broken])),
            file("g-empty", 300, content(0, &[empty])),
            file("h-two", 1800, content(0, &[sound, sound, sound])),
        ]
    });
    for name in ["c-sum", "d-depth", "e-lies", "f-lost", "g-empty"] {
        assert!(said(&report).contains(&format!(", file /{name}: ")), "{name}: {}", said(&report));
    }
    for name in ["a-sound", "b-sound", "h-two"] {
        assert!(!said(&report).contains(name), "{name}: {}", said(&report));
    }
}

#[test]
fn what_lies_below_a_file_is_an_error() {
    let report =
        check_of(|_, _| vec![file("a", 0, Content::Empty), entry("a/b", Node::Directory), entry("c", Node::Directory)]);
    assert!(said(&report).contains("file /a: something lies below it"), "{}", said(&report));
    assert_eq!(report.num_errors, 1);
}

type Change = fn(&mut ChildRef);

/// Publishes a snapshot whose root names one leaf page, as `change` says of it.
fn check_of_root(change: impl FnOnce(&mut InnerPage, &Session<'_>, &BlobWriter<'_>)) -> CheckReport {
    let bench = Bench::new();
    let repo = bench.open();
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let mut pages = volvault::catalog::TreeWriter::new(repo.keys().page_cut());
    for entry in entries(&repo, &writer, &tree(3, 10), Layout::Bundle) {
        pages.push(&entry, &mut |page| store_page(&writer, page)).unwrap();
    }
    let mut root = pages.finish(&mut |page| store_page(&writer, page)).unwrap();
    change(&mut root, &session, &writer);
    publish(&session, &writer, root);
    bench.check(ReadData::All)
}

#[test]
fn a_page_must_be_what_its_parent_says() {
    let path = |text: &str| TreePath::parse(text).unwrap();
    assert_clean(&check_of_root(|_, _, _| ()));
    let changes: [(&str, Change); 3] = [
        ("entries", |child| child.entries += 1),
        ("first", |child| child.first = TreePath::parse("a").unwrap()),
        ("length", |child| child.raw_len += 1),
    ];
    for (what, change) in changes {
        let report = check_of_root(|root, _, _| change(&mut root.children[0]));
        assert!(said(&report).contains("catalogue page"), "{what}: {}", said(&report));
    }
    // The same page twice: the second is not behind the first.
    let report = check_of_root(|root, _, _| {
        let mut child = root.children[0].clone();
        child.first = path("d0000/f000001");
        root.children.push(child);
    });
    assert!(said(&report).contains("not before the one behind it"), "{}", said(&report));
    let report = check_of_root(|root, _, _| root.level = 2);
    assert!(said(&report).contains("not an inner page"), "{}", said(&report));
}

#[test]
fn suspect_snapshots_are_said() {
    let bench = Bench::new();
    let name = write_tree(&bench.open(), &tree(3, 10), Layout::Bundle);
    bench.put(&format!("state/suspect/{}/self", name.id), "not sealed");
    let report = bench.check(ReadData::None);
    assert!(
        report.notes.iter().any(|note| note.contains(&name.id.short()) && note.contains("suspect")),
        "{:?}",
        report.notes
    );
    assert!(said(&report).contains("state/suspect/"), "the record itself is damaged: {}", said(&report));
}

#[test]
fn pages_that_snapshots_share_are_read_once() {
    let bench = Bench::new();
    let repo = bench.open();
    let mut files = tree(3_000, 20);
    write_tree(&repo, &files, Layout::Bundle);
    // In another layout all pages are others.
    write_tree(&repo, &files, Layout::Chunks(20));
    let alone = bench.check(ReadData::None);
    for n in 0..10 {
        files.insert("d0000/f000000".to_owned(), Some(noise(20, 100_000 + n)));
        write_tree(&repo, &files, Layout::Chunks(20));
    }
    let all = bench.check(ReadData::None);
    assert_clean(&all);
    assert_eq!(all.snapshots, 12);
    // The page of the changed file for each snapshot, and where a cut moved with it the one behind.
    assert!(alone.pages >= 2 && all.pages <= alone.pages + 20, "{} pages, then {}", alone.pages, all.pages);
}

#[test]
fn without_a_table_the_index_in_the_store_gives_the_same_verdict() {
    let bench = Bench::new();
    let absent = BlobRef { id: BlobId::new([9; 32]), raw_len: 300 };
    let repo = bench.open();
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let mut entries = entries(&repo, &writer, &tree(60, 500), Layout::Chunks(500));
    entries.push(file("e-absent", 300, Content::Chunks(vec![absent])));
    write_entries(&session, &writer, &entries);
    let with = bench.check(ReadData::All);
    let mut options = bench.vault.options();
    options.limits = Limits { table_blobs: 10, ..options.limits };
    let repo = Repository::open(bench.vault.store(), &Vault::credential(), options).unwrap();
    let without = check_heard(&repo, ReadData::All, &Silent).unwrap();
    assert_eq!(without.errors, with.errors);
    assert_eq!(with.num_errors, 1);
}

#[test]
fn requests_grow_with_the_packs_and_not_with_the_blobs() {
    let bench = Bench::new();
    let repo = bench.open();
    write_tree(&repo, &tree(2_000, 100), Layout::Chunks(100));
    for n in 0..20u64 {
        write_tree(&repo, &BTreeMap::from([("x".to_owned(), Some(noise(100, n)))]), Layout::Bundle);
    }
    let repo = bench.open();
    let before = repo.store().requests();
    assert_clean(&check_heard(&repo, ReadData::None, &Silent).unwrap());
    let after = repo.store().requests();
    let gets = after.get - before.get;
    // A GET for each session record, segment, snapshot; a few for pages; config and slot.
    assert!(gets <= 21 * 4 + 20, "{gets} reads of 2,000 blobs in 21 snapshots");
}

#[test]
fn a_part_of_the_data_is_read_when_a_part_is_asked_for() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(40, 20_000), Layout::Chunks(20_000));
    let all = bench.check(ReadData::None).packs;
    assert!(all >= 8, "{all} packs");
    let read = |read_data| {
        let report = bench.check(read_data);
        assert_clean(&report);
        report.packs_read
    };
    assert_eq!((1..=3).map(|n| read(ReadData::Subset { n, t: 3 })).sum::<u64>(), all);
    assert_eq!(read(ReadData::Percent(50.0)), all / 2);
    assert_eq!(read(ReadData::Percent(0.1)), 1);
    assert_eq!(read(ReadData::Size(ByteSize(1))), 1);
    assert_eq!(read(ReadData::Size(ByteSize::mib(100))), all);
}

#[test]
fn a_check_that_is_asked_to_stop_stops() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(3, 10), Layout::Bundle);
    let (progress, stop) = (Progress::default(), Stop::new());
    stop.request();
    let watch = Watch { observer: &Silent, progress: &progress, stop: &stop };
    let options = CheckOptions { read_data: ReadData::All };
    let error = maintenance::check(&bench.open(), &options, &watch).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

#[test]
fn the_summary_has_the_members_that_restic_has() {
    let json = serde_json::to_value(Bench::new().check(ReadData::None)).unwrap();
    assert_eq!(json["num_errors"], 0);
    assert_eq!(json["broken_packs"], serde_json::json!([]));
    assert_eq!(json["suggest_repair_index"], false);
    assert_eq!(json["suggest_prune"], false);
}

#[test]
fn checks_with_a_budget_note_what_they_read_and_go_on_from_there() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(60, 7000), Layout::Chunks(3000));
    let hours = |hours| ReadData::Budget(std::time::Duration::from_hours(hours));
    let first = bench.check(hours(24 * 30));
    assert_clean(&first);
    let coverage = first.coverage.unwrap();
    assert_eq!((coverage.read, coverage.within, coverage.oldest), (9, 9, None));
    let again = bench.check(hours(24 * 30)).coverage.unwrap();
    assert_eq!((again.read, again.within), (1, 10));
    assert_eq!(bench.keys("state/verified/").len(), 1);
    assert_eq!(bench.check(ReadData::None).notes, [] as [String; 0]);
}

#[test]
fn a_part_with_a_damaged_pack_is_read_again_the_next_time() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(60, 7000), Layout::Chunks(3000));
    bench.damage(&bench.keys("packs/")[0]);
    // A day is assumed before the first one: more than the whole hour.
    let report = bench.check(ReadData::Budget(std::time::Duration::from_hours(1)));
    assert_eq!((report.packs_read, report.broken_packs.len()), (report.packs, 1));
    let coverage = report.coverage.unwrap();
    assert_eq!((coverage.read, coverage.within), (256, 255));
    let report = bench.check(ReadData::Budget(std::time::Duration::from_hours(1)));
    assert_eq!((report.broken_packs.len(), report.coverage.unwrap().read), (1, 1));
}

#[test]
fn a_lost_pack_of_many_files_names_some_and_counts_the_rest() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(1000, 20), Layout::Bundle);
    let kinds = bench.kinds_of_packs();
    bench.delete(kinds.iter().find(|(_, kind)| **kind == BlobKind::Data).map(|(key, _)| key.as_str()).unwrap());
    let report = bench.check(ReadData::None);
    let files = report.errors.iter().filter(|error| error.contains(", file ")).count();
    assert_eq!((report.affected_files, files), (1000, 100), "{}", report.errors.len());
    assert!(report.num_errors > 1000);
    assert!(report.notes.iter().any(|note| note.contains("900 more files")), "{:?}", report.notes);
}
