//! Repairs: after random damage, what could be read is still readable, what is lost is named, and a kill at any write leaves nothing worse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use object_store::memory::InMemory;
use volvault::Result;
use volvault::catalog::{Entry, Node};
use volvault::clock::SystemClock;
use volvault::events::{Progress, Stop, Watch};
use volvault::id::BlobId;
use volvault::maintenance::repair::{self, Heal, Mode, RepairIndex, RepairReport, RepairSnapshots};
use volvault::maintenance::{self, PruneOptions, ReadData};
use volvault::path::TreePath;
use volvault::repo::{BlobKind, BlobWriter, Repository, SnapshotName, Trash};

use crate::support::faults::{At, Fault, FaultPlan, FaultStore, Op, When};
use crate::support::repo::{Bench, Layout, Tree, check, publish, write_tree};
use crate::support::vault::{Ear, Vault, file_bytes, latest, noise};

/// Content by snapshot and path, of every file that can be read.
type Files = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// Three snapshots that share some of their files, in packs of 64 KiB, and one of a file in many chunks.
fn filled() -> Bench {
    let bench = Bench::new();
    let repo = bench.open();
    for round in 0..3u64 {
        let mut tree = Tree::new();
        for n in 0..30u64 {
            tree.insert(format!("d{}", n % 4), None);
            let seed = if n % 3 == round { 1000 * round + n } else { n };
            tree.insert(format!("d{}/f{n}", n % 4), Some(noise(9000, seed)));
        }
        write_tree(&repo, &tree, Layout::Chunks(3000));
    }
    write_tree(&repo, &Tree::from([("big".to_owned(), Some(noise(100 * 900, 77)))]), Layout::Chunks(900));
    bench
}

/// As [`filled`], with index segments that were merged, and those that the merged one supersedes, which could not be removed.
fn merged() -> Bench {
    let bench = filled();
    let repo = bench.open();
    for n in 0..9u64 {
        write_tree(&repo, &Tree::from([(format!("small{n}"), Some(noise(500, 900 + n)))]), Layout::Bundle);
    }
    let before: Vec<_> = bench.keys("state/index/").into_iter().map(|key| (bench.get(&key), key)).collect();
    let session = repo.write_session().unwrap();
    session.places(BlobKind::Data, &BlobId::new([0; 32])).unwrap();
    assert!(session.compact_index().unwrap() >= 7);
    session.end("done");
    for (bytes, key) in before {
        bench.put(&key, bytes);
    }
    bench
}

fn fork(bench: &Bench) -> Bench {
    Bench::over(bench.objects.fork())
}

/// Every file that can be read, whatever else cannot.
fn readable(vault: &Vault) -> Files {
    let mut files = Files::new();
    let Ok(repo) = vault.open() else { return files };
    let Ok(session) = repo.observe() else { return files };
    for name in session.snapshots() {
        let Ok(snapshot) = session.load(name) else { continue };
        // A page that cannot be read ends the list; what comes before it counts.
        for entry in session.reader().tree(&snapshot.root, None).map_while(Result::ok) {
            if let (Node::File(_), Ok(bytes)) = (&entry.node, file_bytes(&session, &entry)) {
                files.insert((name.id.to_hex(), entry.path.as_bytes().to_vec()), bytes);
            }
        }
    }
    files
}

fn watched<T>(work: impl FnOnce(&Watch<'_>) -> Result<T>) -> Result<T> {
    let (progress, stop) = (Progress::default(), Stop::new());
    work(&Watch { observer: &Ear::default(), progress: &progress, stop: &stop })
}

fn index(repo: &Repository, mode: Mode) -> Result<RepairReport> {
    watched(|watch| repair::repair_index(repo, RepairIndex { mode, read_all_packs: false }, watch))
}

fn packs(repo: &Repository, mode: Mode) -> Result<RepairReport> {
    watched(|watch| repair::repair_packs(repo, &[], mode, watch))
}

fn snapshots(repo: &Repository, forget: bool, mode: Mode) -> Result<RepairReport> {
    let options = RepairSnapshots { forget, mode, ..RepairSnapshots::default() };
    watched(|watch| repair::repair_snapshots(repo, &options, watch))
}

fn heal_with(bench: &Bench, copy: &Bench, all: bool, mode: Mode) -> Result<RepairReport> {
    let (here, copy, runtime) = (bench.vault.store(), copy.vault.store(), bench.vault.runtime.handle());
    let trash = Trash::new(&here, runtime, &SystemClock::new())?;
    let options = Heal { here: &here, copy: &copy, runtime, all, mode };
    watched(|watch| repair::heal(&options, &trash, watch))
}

/// Numbers that follow from a seed.
struct Dice(u64, u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.1 += 1;
        let bytes = noise(8, self.0 * 1_000_003 + self.1);
        usize::try_from(u64::from_le_bytes(bytes.try_into().unwrap()) % sides as u64).unwrap()
    }
}

/// Damages about one in `rate` of these objects; returns their keys.
fn damage(bench: &Bench, keys: &[String], rate: usize, dice: &mut Dice) -> BTreeSet<String> {
    let mut damaged = BTreeSet::new();
    for key in keys {
        if dice.roll(rate) > 0 {
            continue;
        }
        let mut bytes = bench.get(key).to_vec();
        let at = dice.roll(bytes.len());
        match dice.roll(6) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(b"more"),
            2 => bytes[at..].fill(0),
            3 => bytes.clear(),
            4 => {
                bench.delete(key);
                damaged.insert(key.clone());
                continue;
            }
            _ => bytes[at] ^= 1 << dice.roll(8),
        }
        bench.put(key, bytes);
        damaged.insert(key.clone());
    }
    damaged
}

fn assert_no_worse(before: &Files, after: &Files, what: &str) {
    for (name, bytes) in before {
        let (snapshot, path) = (&name.0[..8], String::from_utf8_lossy(&name.1));
        assert!(after.get(name) == Some(bytes), "{what}: {path} of snapshot {snapshot} was readable before");
    }
}

/// What is wrong, apart from files and pages that are lost.
fn index_errors(repo: &Repository) -> Vec<String> {
    let errors = check(repo, ReadData::All).unwrap().errors;
    errors.into_iter().filter(|error| !error.starts_with("snapshot ")).collect()
}

#[test]
fn a_sound_repository_needs_no_repair_and_gets_none() {
    let bench = filled();
    let copy = fork(&bench);
    let before = bench.vault.objects_listed();
    let repo = bench.open();
    for mode in [Mode::Plan, Mode::Apply] {
        for report in [index(&repo, mode), packs(&repo, mode), heal_with(&bench, &copy, true, mode)] {
            let report = report.unwrap();
            assert_eq!((report.steps.as_slice(), report.lost.as_slice()), ([].as_slice(), [].as_slice()));
        }
    }
    assert_eq!(bench.vault.objects_listed(), before);
}

#[test]
fn a_plan_changes_nothing() {
    let bench = filled();
    let copy = fork(&bench);
    bench.damage(&bench.keys("state/index/")[0]);
    bench.damage(&bench.keys("packs/")[0]);
    let before = bench.vault.objects_listed();
    let repo = bench.open();
    assert!(!index(&repo, Mode::Plan).unwrap().steps.is_empty());
    assert!(!heal_with(&bench, &copy, false, Mode::Plan).unwrap().steps.is_empty());
    let said = packs(&repo, Mode::Plan).unwrap_err();
    assert!(said.hint().unwrap().contains("repair index"), "{}", said.chain());
    assert_eq!(bench.vault.objects_listed(), before);
}

#[test]
fn a_lost_index_is_written_anew_from_the_packs() {
    let bench = filled();
    let before = readable(&bench.vault);
    for key in bench.keys("state/index/") {
        bench.delete(&key);
    }
    let repo = bench.open();
    let report = index(&repo, Mode::Apply).unwrap();
    assert_eq!(report.steps.len(), bench.keys("packs/").len(), "{report:?}");
    assert_eq!(check(&repo, ReadData::All).unwrap().errors, [] as [String; 0]);
    assert_no_worse(&before, &readable(&bench.vault), "index");
    assert_eq!(index(&repo, Mode::Apply).unwrap().steps, [] as [String; 0]);
}

/// A segment that is gone, or that listings leave out, is not seen to be damaged. The snapshots that need it are whole.
#[test]
fn snapshots_are_not_repaired_while_packs_are_in_no_index_segment() {
    let pristine = filled();
    for key in pristine.keys("state/index/") {
        let bench = fork(&pristine);
        bench.delete(&key);
        let before = bench.vault.objects_listed();
        let repo = bench.open();
        for (forget, mode) in [(false, Mode::Plan), (false, Mode::Apply), (true, Mode::Plan), (true, Mode::Apply)] {
            let said = snapshots(&repo, forget, mode).unwrap_err();
            assert!(said.hint().unwrap().contains("repair index"), "{}", said.chain());
        }
        assert_eq!(bench.vault.objects_listed(), before);
        index(&repo, Mode::Apply).unwrap();
        assert_eq!(snapshots(&repo, true, Mode::Apply).unwrap().steps, [] as [String; 0]);
        assert_eq!(readable(&bench.vault), readable(&pristine.vault));
    }
}

/// A listing that has passed the index when a backup stores its segment, and then comes upon its snapshot.
#[test]
fn a_snapshot_whose_segment_came_after_the_listing_had_passed_is_whole() {
    let bench = filled();
    let plan = FaultPlan {
        script: vec![
            (At::Matching { op: Op::List, prefix: "state/index", from: 0, times: u64::MAX }, Fault::HideBelow("none/")),
            (
                At::Matching { op: Op::List, prefix: "state", from: 0, times: u64::MAX },
                Fault::HideBelow("state/index/"),
            ),
        ],
        ..FaultPlan::default()
    };
    let repo = Vault::over(FaultStore::new(bench.objects.clone(), plan)).open().unwrap();
    assert!(repo.listing().unwrap().segments.len() < bench.keys("state/index/").len());
    let report = check(&repo, ReadData::None).unwrap();
    assert_eq!((report.errors.as_slice(), report.unreferenced_packs), ([].as_slice(), 0));
    assert_eq!(snapshots(&repo, true, Mode::Apply).unwrap().steps, [] as [String; 0]);
}

#[test]
fn reading_all_packs_replaces_the_whole_index() {
    let bench = filled();
    let before = bench.keys("state/index/");
    let repo = bench.open();
    let options = RepairIndex { read_all_packs: true, mode: Mode::Apply };
    let report = watched(|watch| repair::repair_index(&repo, options, watch)).unwrap();
    let after = bench.keys("state/index/");
    assert!(before.iter().all(|key| !after.contains(key)) && !after.is_empty());
    let trash = report.trash.unwrap();
    assert!(before.iter().all(|key| bench.keys(&trash).contains(&format!("{trash}{key}"))));
    assert_eq!(check(&repo, ReadData::All).unwrap().errors, [] as [String; 0]);
}

/// A blob that lies in the only copy of a pack without a readable directory is found by the index, which knows the beginning of its id only.
#[test]
fn blobs_are_saved_from_a_pack_whose_directory_is_cut_off() {
    let bench = filled();
    let before = readable(&bench.vault);
    for key in bench.keys("packs/") {
        let bytes = bench.get(&key);
        bench.put(&key, bytes.slice(..bytes.len() - 24));
    }
    let repo = bench.open();
    let report = packs(&repo, Mode::Apply).unwrap();
    assert_eq!(report.lost, [] as [String; 0]);
    assert_eq!(check(&repo, ReadData::All).unwrap().errors, [] as [String; 0]);
    assert_eq!(readable(&bench.vault), before);
}

#[test]
fn a_damaged_record_that_keeps_every_session_from_starting_is_moved_aside() {
    let bench = filled();
    let session = "state/sessions/00112233445566778899aabbccddeeff/0";
    let prune = "00112233445566778899aabbccddeeff";
    for key in [format!("state/dropped/{prune}-0"), format!("state/condemned/{prune}-0"), session.to_owned()] {
        bench.put(&key, b"nothing".to_vec());
    }
    let repo = bench.open();
    for started in [repo.read_session(), repo.write_session(), repo.observe()] {
        let error = started.unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("volvault repair index")), "{error:?}");
    }
    let plan = index(&repo, Mode::Plan).unwrap();
    assert_eq!((plan.steps.len(), plan.notes.len()), (2, 1), "{plan:?}");
    assert_eq!(index(&repo, Mode::Apply).unwrap().steps.len(), 2);
    // The record of a run stops nobody, and says that there is one: it stays until that is over.
    let errors = check(&repo, ReadData::All).unwrap().errors;
    assert!(errors.len() == 1 && errors[0].contains(session), "{errors:?}");
    assert_eq!(bench.keys("trash/").len(), 2);
}

#[test]
fn a_damaged_record_that_stops_a_prune_is_named_with_the_way_out() {
    let bench = filled();
    let prune =
        |repo: &Repository| watched(|watch| maintenance::prune(repo, &PruneOptions::default(), watch, &mut |_| ()));
    let repo = bench.open();
    let id = "00112233445566778899aabbccddeeff";
    for key in [format!("state/forgotten/{id}"), format!("state/pruned/{id}-0")] {
        bench.put(&key, b"nothing".to_vec());
        let error = prune(&repo).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("volvault repair index")), "{error:?}");
        assert_eq!(index(&repo, Mode::Apply).unwrap().steps.len(), 1);
        prune(&repo).unwrap();
    }
}

/// R25, and more kinds of damage: what comes back is byte for byte what was there, and what was in its place is kept.
#[test]
fn objects_come_back_from_a_copy_without_keys() {
    let pristine = filled();
    for seed in 0..20 {
        let bench = fork(&pristine);
        let keys = bench.keys("");
        let (packs, rest): (Vec<String>, Vec<String>) = keys
            .into_iter()
            .filter(|key| !key.starts_with("state/sessions/"))
            .partition(|key| key.starts_with("packs/"));
        let mut dice = Dice(seed, 0);
        let mut damaged = damage(&bench, &packs, 4, &mut dice);
        damaged.extend(damage(
            &bench,
            &rest.into_iter().filter(|key| key != "config").collect::<Vec<_>>(),
            3,
            &mut dice,
        ));
        if seed % 4 == 0 {
            bench.delete("config");
            damaged.insert("config".to_owned());
        }
        let kept: Vec<_> = bench.keys("").into_iter().filter(|key| damaged.contains(key)).collect();
        let kept: Vec<_> = kept.iter().map(|key| (key, bench.get(key))).collect();
        let report = heal_with(&bench, &pristine, true, Mode::Apply).unwrap();
        assert_eq!(report.lost, [] as [String; 0], "seed {seed}");
        for key in &damaged {
            assert!(bench.get(key) == pristine.get(key), "seed {seed}: {key}");
        }
        for (key, bytes) in kept {
            assert!(bench.get(&format!("{}{key}", report.trash.as_ref().unwrap())) == bytes, "seed {seed}: {key}");
        }
        assert_eq!(check(&bench.open(), ReadData::All).unwrap().errors, [] as [String; 0], "seed {seed}");
    }
}

#[test]
fn what_is_damaged_in_the_copy_too_is_not_taken_from_it() {
    let bench = filled();
    let copy = fork(&bench);
    let key = bench.keys("packs/").remove(0);
    bench.damage(&key);
    copy.damage(&key);
    let before = bench.get(&key);
    let report = heal_with(&bench, &copy, false, Mode::Apply).unwrap();
    assert!(report.lost[0].contains(&key) && report.lost[0].contains("in the copy, too"), "{report:?}");
    assert_eq!(bench.get(&key), before);
}

#[test]
fn another_repository_is_no_copy() {
    let (bench, other) = (filled(), Bench::new());
    let error = heal_with(&bench, &other, false, Mode::Apply).unwrap_err();
    assert!(error.chain().contains("is no copy of"), "{}", error.chain());
}

/// What was forgotten or merged on purpose since the copy was made stays away.
#[test]
fn snapshots_that_only_the_copy_has_come_back_only_when_asked_for() {
    let bench = filled();
    let copy = fork(&bench);
    let key = bench.keys("state/snapshots/").remove(0);
    bench.delete(&key);
    let report = heal_with(&bench, &copy, false, Mode::Apply).unwrap();
    assert_eq!((report.steps.len(), report.notes.len()), (0, 1));
    assert_eq!(heal_with(&bench, &copy, true, Mode::Apply).unwrap().steps.len(), 1);
    assert!(bench.get(&key) == copy.get(&key));
}

/// Random damage to packs and index, without any copy: afterwards the index and all packs are sound, every file is readable that was, and every
/// one that would be if the index had been whole.
#[test]
fn after_random_damage_index_and_packs_are_sound_and_nothing_more_is_lost() {
    random_damage(&filled(), 0..60);
}

#[test]
fn segments_that_a_merge_left_behind_do_no_harm_to_a_repair() {
    random_damage(&merged(), 100..130);
}

fn random_damage(pristine: &Bench, seeds: std::ops::Range<u64>) {
    let all = readable(&pristine.vault);
    for seed in seeds {
        let bench = fork(pristine);
        let mut dice = Dice(seed, 0);
        damage(&bench, &bench.keys("packs/"), 5, &mut dice);
        // As good as it can be: with the whole index.
        let best = readable(&bench.vault);
        damage(&bench, &bench.keys("state/index/"), 3, &mut dice);
        let before = readable(&bench.vault);
        let repo = bench.open();
        index(&repo, Mode::Apply).unwrap();
        assert_no_worse(&before, &readable(&bench.vault), &format!("seed {seed}, index"));
        packs(&repo, Mode::Apply).unwrap();
        let after = readable(&bench.vault);
        assert_no_worse(&before, &after, &format!("seed {seed}, packs"));
        // A pack whose directory is damaged tells nothing without its segment.
        if bench.keys("trash/").iter().all(|key| !key.contains("/state/index/"))
            && bench.keys("state/index/").len() >= 4
        {
            assert_no_worse(&best, &after, &format!("seed {seed}, best"));
        }
        for (name, bytes) in &after {
            assert!(all.get(name) == Some(bytes), "seed {seed}: wrong bytes");
        }
        assert_eq!(index_errors(&repo), [] as [String; 0], "seed {seed}");
        assert_eq!(index(&repo, Mode::Plan).unwrap().steps, [] as [String; 0], "seed {seed}");
        assert_eq!(packs(&repo, Mode::Plan).unwrap().steps, [] as [String; 0], "seed {seed}");
    }
}

/// The loss of one blob of several in a file leaves the others where they were, and the file marked.
#[test]
fn what_is_left_of_a_file_stays_at_its_place_and_is_marked() {
    let bench = Bench::new();
    let repo = bench.open();
    let content = noise(1000, 7);
    let tree =
        |name: &str| Tree::from([(name.to_owned(), Some(content.clone())), ("z".to_owned(), Some(noise(50, 9)))]);
    // The second half lies in a pack of its own.
    write_tree(&repo, &Tree::from([("half".to_owned(), Some(content[500..].to_vec()))]), Layout::Chunks(500));
    let key = bench.keys("packs/").into_iter().find(|key| bench.get(key)[11] == 1).unwrap();
    let damaged = write_tree(&repo, &tree("file"), Layout::Chunks(500));
    bench.delete(&key);
    index(&repo, Mode::Apply).unwrap();
    let plan = snapshots(&repo, false, Mode::Plan).unwrap();
    assert_eq!((plan.steps.len(), plan.marked.len(), plan.notes.len()), (2, 2, 0), "{plan:?}");
    assert!(plan.marked.iter().any(|loss| loss.contains("a part of file /file (500 B of 1000 B)")), "{plan:?}");
    snapshots(&repo, false, Mode::Apply).unwrap();

    let (snapshot, seen) = latest(&repo).unwrap();
    assert_eq!((snapshot.original, snapshot.tags.as_slice()), (Some(damaged.id), ["repaired".to_owned()].as_slice()));
    let mut left = content.clone();
    left[500..].fill(0);
    assert!(seen[b"file".as_slice()].bytes == left && seen[b"z".as_slice()].bytes == noise(50, 9));
    let session = repo.observe().unwrap();
    let marked = |entry: &Entry| matches!(&entry.node, Node::File(file) if file.incomplete);
    let incomplete: Vec<bool> =
        session.reader().tree(&snapshot.root, None).map(|entry| marked(&entry.unwrap())).collect();
    assert_eq!(incomplete, [true, false]);
    // A second run has nothing to do, and removes the damaged ones only when it is told to.
    assert_eq!(snapshots(&repo, false, Mode::Apply).unwrap().steps, [] as [String; 0]);
    assert_eq!(snapshots(&repo, true, Mode::Apply).unwrap().steps.len(), 2);
    assert_eq!(check(&repo, ReadData::All).unwrap().errors, [] as [String; 0]);
    assert_eq!(latest(&repo).unwrap().0.id, snapshot.id);
}

#[test]
fn a_lost_page_costs_its_entries_and_the_directories_of_the_others_come_back() {
    let mut tree = Tree::new();
    for n in 0..6000u64 {
        tree.insert(format!("top/d{:02}", n / 60), None);
        tree.insert(format!("top/d{:02}/{}-{n:05}", n / 60, "long-name".repeat(4)), Some(noise(20, n)));
    }
    tree.insert("top".to_owned(), None);
    // The key of the repository decides where pages end. One is wanted after which a page begins in the middle of a directory.
    let built = (0..20).find_map(|_| {
        let bench = Bench::new();
        let repo = bench.open();
        write_tree(&repo, &tree, Layout::Bundle);
        let root = latest(&repo).unwrap().0.root;
        let is_inside = |at: &usize| root.children[at + 1].first.components().count() == 3;
        let at = (1..root.children.len().saturating_sub(1)).find(is_inside)?;
        Some((bench, repo, root, at))
    });
    let (_bench, repo, root, at) = built.expect("many pages");
    // A page of its own pack cannot be had here, so the snapshot is made to name one that nobody has.
    let lost = &root.children[at];
    let (from, until) = (lost.first.clone(), root.children[at + 1].first.clone());
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let mut broken = root.clone();
    broken.children[at].id = BlobId::new([7; 32]);
    broken.children[at].hint = None;
    publish(&session, &writer, broken);
    let report = snapshots(&repo, true, Mode::Apply).unwrap();
    let said = report.marked.join("\n");
    assert!(said.contains(&format!("{} entries from {}", lost.entries, from.display())), "{said}");
    assert!(said.contains("owner, mode and times of directory"), "{said}");
    assert_eq!(check(&repo, ReadData::All).unwrap().errors, [] as [String; 0]);
    let seen = latest(&repo).unwrap().1;
    for (path, content) in &tree {
        let path = TreePath::parse(path.as_str()).unwrap();
        let is_lost = path >= from && path < until;
        let found = seen.get(path.as_bytes());
        match content {
            Some(content) => {
                assert_eq!(found.map(|seen| &seen.bytes), (!is_lost).then_some(content), "{}", path.display());
            }
            None => assert!(is_lost || found.is_some(), "{}", path.display()),
        }
        let parent = path.parent().unwrap();
        assert!(found.is_none() || parent.is_root() || seen[parent.as_bytes()].kind == "dir");
    }
}

/// R20 with everything lost that can be: at the end `check` is clean, and all that could be read is in the new snapshots.
#[test]
fn after_all_repairs_check_is_clean_and_all_that_could_be_read_is_there() {
    let pristine = filled();
    for seed in 0..40 {
        let bench = fork(&pristine);
        let mut dice = Dice(seed + 500, 0);
        damage(&bench, &bench.keys("packs/"), 6, &mut dice);
        damage(&bench, &bench.keys("state/index/"), 8, &mut dice);
        damage(&bench, &bench.keys("state/snapshots/"), 8, &mut dice);
        let before = readable(&bench.vault);
        let repo = bench.open();
        index(&repo, Mode::Apply).unwrap();
        packs(&repo, Mode::Apply).unwrap();
        snapshots(&repo, true, Mode::Apply).unwrap();
        let report = check(&repo, ReadData::All).unwrap();
        assert_eq!(report.errors, [] as [String; 0], "seed {seed}");
        let session = repo.observe().unwrap();
        let loaded = |name: &SnapshotName| session.load(name).unwrap();
        let now: BTreeMap<String, String> = session
            .snapshots()
            .iter()
            .map(loaded)
            .map(|new| (new.original.unwrap_or(new.id).to_hex(), new.id.to_hex()))
            .collect();
        let after = readable(&bench.vault);
        for ((old, path), bytes) in &before {
            let new = now.get(old).unwrap_or_else(|| panic!("seed {seed}: {old} is gone"));
            let found = after.get(&(new.clone(), path.clone()));
            assert!(found == Some(bytes), "seed {seed}: {} of {old}", String::from_utf8_lossy(path));
        }
    }
}

/// Kills `work` at every write, before and after it is done, and looks at what is left.
fn killed_everywhere(base: &Arc<InMemory>, work: &dyn Fn(&Repository) -> Result<()>, look: &dyn Fn(&Bench, &str)) {
    let run = |plan: FaultPlan| {
        let inner = Arc::new(base.fork());
        let faulty = FaultStore::new(inner.clone(), plan);
        let outcome = Vault::over(faulty.clone()).open().and_then(|repo| work(&repo));
        (inner, faulty.numbered(), outcome)
    };
    let (_, writes, outcome) = run(FaultPlan::default());
    outcome.unwrap();
    assert!(writes >= 4, "{writes} writes");
    for number in 0..writes {
        for when in [When::Before, When::After] {
            let (inner, _, _) = run(FaultPlan::kill(number, when));
            look(&Bench { vault: Vault::over(inner.clone()), objects: inner }, &format!("write {number} {when:?}"));
        }
    }
}

#[test]
fn a_repair_killed_at_any_write_leaves_nothing_worse_and_the_next_one_completes() {
    let bench = filled();
    let mut dice = Dice(3, 0);
    bench.damage(&bench.keys("state/index/")[1]);
    bench.delete(&bench.keys("state/index/")[2]);
    bench.delete(&bench.keys("packs/")[1]);
    let broken = damage(&bench, &bench.keys("packs/"), 3, &mut dice);
    assert!(broken.len() >= 2, "{broken:?}");
    let before = readable(&bench.vault);
    let base = Arc::new(bench.objects.fork());
    let whole = |repo: &Repository| {
        index(repo, Mode::Apply)?;
        packs(repo, Mode::Apply)?;
        snapshots(repo, false, Mode::Apply).map(drop)
    };
    let count = bench.keys("state/snapshots/").len();
    killed_everywhere(&base, &whole, &|left, what| {
        assert_no_worse(&before, &readable(&left.vault), what);
        let repo = left.open();
        whole(&repo).unwrap_or_else(|error| panic!("{what}: {}", error.chain()));
        assert_no_worse(&before, &readable(&left.vault), what);
        assert_eq!(index_errors(&repo), [] as [String; 0], "{what}");
        snapshots(&repo, true, Mode::Apply).unwrap();
        assert_eq!(check(&repo, ReadData::All).unwrap().errors, [] as [String; 0], "{what}");
        assert!(left.keys("state/snapshots/").len() <= count, "{what}");
    });
}

#[test]
fn a_healing_killed_at_any_write_leaves_every_object_in_one_piece() {
    let pristine = filled();
    let bench = fork(&pristine);
    let damaged = damage(&bench, &bench.keys("packs/"), 2, &mut Dice(5, 0));
    let before = readable(&bench.vault);
    let mut number = 0;
    loop {
        for when in [When::Before, When::After] {
            let inner = Arc::new(bench.objects.fork());
            let faulty = FaultStore::new(inner.clone(), FaultPlan::kill(number, when));
            let killed = Bench { vault: Vault::over(faulty.clone()), objects: inner.clone() };
            let outcome = heal_with(&killed, &pristine, false, Mode::Apply);
            let left = Bench { vault: Vault::over(inner.clone()), objects: inner };
            assert_no_worse(&before, &readable(&left.vault), &format!("write {number} {when:?}"));
            heal_with(&left, &pristine, false, Mode::Apply).unwrap();
            for key in &damaged {
                assert!(left.get(key) == pristine.get(key));
            }
            if outcome.is_ok() {
                assert!(number >= 4);
                return;
            }
        }
        number += 1;
    }
}
