//! What prunes noted of the pages that they read is as good as the pages, and is not believed where it does not fit.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use volvault::catalog::{BlobRef, ChildRef, ChunkList, Content, InnerPage, ListItem, TreeWriter};
use volvault::events::{Event, Observer};
use volvault::path::TreePath;
use volvault::repo::{BlobKind, Form, Mark};

use super::*;
use crate::support::repo::{file, publish, store_page};

/// Small files that fill several pages, and a big one whose chunks fill lists.
fn wide(changed: impl Iterator<Item = u64>, big: u64) -> (Tree, Tree) {
    let mut small: Tree = (0..3000u64).map(|n| (format!("d/small-{n:05}"), Some(n.to_le_bytes().to_vec()))).collect();
    small.extend(changed.map(|n| (format!("d/small-{n:05}"), Some((n + 1_000_000).to_le_bytes().to_vec()))));
    (small, Tree::from([("big".to_owned(), Some(noise(30_000, big)))]))
}

/// Files of the first tree in a bundle, those of the second in chunks of 16 bytes.
fn write(repo: &Repository, (small, big): &(Tree, Tree)) -> SessionId {
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let mut all = entries(repo, &writer, small, Layout::Bundle);
    all.extend(entries(repo, &writer, big, Layout::Chunks(16)));
    all.sort_by(|left, right| left.path.cmp(&right.path));
    write_entries(&session, &writer, &all).id
}

/// A tree of two levels above its leaves, with a part for each of `parts`, which has packs of its own; in each part a file whose chunks stand in
/// lists of so many levels.
fn write_deep(repo: &Repository, parts: &[u64], depth: u8) -> SessionId {
    let mut children = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let session = repo.write_session().unwrap();
        let writer = BlobWriter::new(&session, false);
        let list = |depth: u8, chunks: Vec<ListItem>| {
            let stored = store_page(&writer, &ChunkList { depth, chunks }.encode()).unwrap();
            BlobRef { id: stored.id, raw_len: stored.raw_len }
        };
        let chunks = |of: u64| {
            let put = |n: u64| writer.put(BlobKind::Data, &noise(100, part * 1000 + of * 10 + n)).unwrap().blob;
            (0..5).map(put).map(|blob| ListItem { id: blob.id, len: 100 }).collect::<Vec<_>>()
        };
        let mut lists: Vec<ListItem> = (0..3).map(|of| ListItem { id: list(0, chunks(of)).id, len: 500 }).collect();
        for depth in 1..depth {
            lists = vec![ListItem { id: list(depth, lists).id, len: 1500 }];
        }
        let content = Content::Lists { depth, lists: vec![list(depth, lists)] };
        let mut pages = TreeWriter::new(repo.keys().page_cut());
        let path = format!("p{number:03}");
        pages.push(&file(&path, 1500, content), &mut |page| store_page(&writer, page)).unwrap();
        let inner = pages.finish(&mut |page| store_page(&writer, page)).unwrap();
        let stored = store_page(&writer, &inner.encode()).unwrap();
        let first = TreePath::parse(path.as_str()).unwrap();
        children.push(ChildRef { id: stored.id, raw_len: stored.raw_len, entries: 1, first, hint: None });
        writer.finish().unwrap();
        if number + 1 == parts.len() {
            return publish(&session, &writer, InnerPage { level: 2, children }).id;
        }
        session.end("one part of several");
    }
    unreachable!("there are parts")
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn on(&self, event: &Event<'_>) {
        if let Event::Note { text } = event {
            self.0.lock().unwrap().push((*text).to_owned());
        }
    }
}

/// What a prune did.
struct Pruned {
    report: PruneReport,
    /// Pages that it read.
    pages: u64,
    /// Whether what had been noted fitted.
    fits: bool,
}

fn watched(bench: &Bench, options: &PruneOptions) -> Result<Pruned> {
    let (progress, stop, told) = (Progress::default(), Stop::new(), Told::default());
    let watch = Watch { observer: &told, progress: &progress, stop: &stop };
    let mut pages = 0;
    let report = maintenance::prune(&bench.open(), options, &watch, &mut |_| {
        pages = progress.files_done.load(Ordering::Relaxed);
    })?;
    let fits = !told.0.lock().unwrap().iter().any(|text| text.contains("does not fit"));
    Ok(Pruned { report, pages, fits })
}

fn dry() -> PruneOptions {
    PruneOptions { dry_run: true, ..thorough() }
}

fn fork(bench: &Bench) -> Bench {
    Bench::over(bench.objects.fork())
}

fn without_marks(bench: &Bench) -> Bench {
    let bench = fork(bench);
    for key in bench.keys("state/marks/") {
        bench.delete(&key);
    }
    bench
}

/// The plan must be the one that is made of the pages themselves, and what is noted must not change.
fn as_read(bench: &Bench) -> Pruned {
    let marks = |bench: &Bench| bench.keys("state/marks/").into_iter().map(|key| bench.get(&key)).collect::<Vec<_>>();
    let before = marks(bench);
    let noted = watched(bench, &dry()).unwrap();
    let read = watched(&without_marks(bench), &dry()).unwrap();
    assert_eq!(format!("{:?}", noted.report.plan), format!("{:?}", read.report.plan));
    assert!(noted.pages <= read.pages || !noted.fits, "{} of {} pages", noted.pages, read.pages);
    assert_eq!(marks(bench), before);
    noted
}

/// The same, where all that was noted must fit.
pub(super) fn assert_as_read(bench: &Bench) -> PruneReport {
    let noted = as_read(bench);
    assert!(noted.fits);
    noted.report
}

/// Every mark of the repository.
fn marks(session: &Session<'_>) -> Vec<Mark> {
    let mut all = Vec::new();
    session
        .read_marks(&session.listing().marks, &mut |_, marks| {
            all.extend(marks.unwrap());
            Ok(())
        })
        .unwrap();
    all.sort_by_key(|mark| mark.id);
    all
}

/// The same repository with other marks, each in an object of its own.
fn with_marks(bench: &Bench, change: impl Fn(Mark) -> Option<Mark>) -> Bench {
    let bench = fork(bench);
    let repo = bench.open();
    let session = repo.observe().unwrap();
    let old = bench.keys("state/marks/");
    let before = marks(&session);
    let after: Vec<Mark> = before.iter().cloned().filter_map(change).collect();
    assert_ne!(before, after);
    for (mark, number) in after.iter().zip(0..) {
        let mut bytes = Vec::new();
        mark.encode(&mut bytes);
        session.store_marks(mark.rank(), number, &bytes).unwrap();
    }
    for key in &old {
        bench.delete(key);
    }
    bench
}

#[test]
fn a_prune_reads_few_pages_that_one_has_read_before() {
    let bench = Bench::new();
    let repo = bench.open();
    let first = write_deep(&repo, &(0..60).collect::<Vec<_>>(), 1);
    let all = watched(&bench, &thorough()).unwrap();
    // An inner page, a leaf, a list of lists and three lists of each part.
    assert_eq!(all.pages, 60 * 6);
    let again = watched(&bench, &thorough()).unwrap();
    assert!(again.fits && (1..=16).contains(&again.pages), "{}", again.pages);
    let second = write_deep(&repo, &(1..60).chain([100]).collect::<Vec<_>>(), 1);
    // All paths but one have another part now, so all leaves and inner pages are new; the lists are not.
    let changed = watched(&bench, &thorough()).unwrap();
    assert!(changed.fits && changed.pages <= 60 * 2 + 4 + 16, "{}", changed.pages);
    forget(&repo, &[first]);
    let noted = as_read(&bench);
    assert!(noted.fits && noted.pages <= 16 && noted.report.plan.unused.count > 0, "{}", noted.pages);
    prune(&repo, &thorough()).unwrap();
    assert_eq!(assert_as_read(&bench).plan.unused.count, 0);
    assert!(repo.observe().unwrap().snapshots().iter().any(|name| name.id == second));
    assert_clean(&repo);
}

#[test]
fn what_is_noted_leads_to_the_same_plans_as_the_pages() {
    let bench = Bench::new();
    let repo = bench.open();
    let first = write(&repo, &wide(0..0, 1));
    prune(&repo, &thorough()).unwrap();
    let forms: Vec<Form> = marks(&repo.observe().unwrap()).into_iter().map(|mark| mark.form).collect();
    let count = |wanted: Form| forms.iter().filter(|form| **form == wanted).count();
    assert!(count(Form::Page(0)) > 0 && count(Form::List(0)) > 0 && count(Form::Snapshot(1, None)) == 1, "{forms:?}");
    let second = write(&repo, &wide(100..102, 1));
    assert_as_read(&bench);
    let third = write(&repo, &wide(100..102, 2));
    forget(&repo, &[first]);
    assert!(assert_as_read(&bench).plan.unused.count > 0);
    prune(&repo, &thorough()).unwrap();
    assert_as_read(&bench);
    forget(&repo, &[second]);
    assert!(assert_as_read(&bench).plan.unused.count > 1000);
    prune(&repo, &thorough()).unwrap();
    assert_eq!(assert_as_read(&bench).plan.unused.count, 0);
    assert_clean(&repo);
    let (small, big) = wide(100..102, 2);
    assert_holds(&repo.observe().unwrap(), third, &small.into_iter().chain(big).collect());
}

#[test]
fn inner_pages_and_lists_of_lists_are_noted_too() {
    let bench = Bench::new();
    let repo = bench.open();
    let first = write_deep(&repo, &[1, 2, 3], 2);
    prune(&repo, &thorough()).unwrap();
    let forms: Vec<Form> = marks(&repo.observe().unwrap()).into_iter().map(|mark| mark.form).collect();
    let lists = [(Form::List(2), 3), (Form::List(1), 3), (Form::List(0), 9)];
    for (wanted, count) in
        [(Form::Snapshot(2, None), 1), (Form::Page(1), 3), (Form::Page(0), 3)].into_iter().chain(lists)
    {
        assert_eq!(forms.iter().filter(|form| **form == wanted).count(), count, "{wanted:?}");
    }
    let second = write_deep(&repo, &[1, 4, 3], 2);
    assert_eq!(assert_as_read(&bench).plan.unused.count, 0);
    forget(&repo, &[first]);
    // A page, its inner page, five lists, and fifteen chunks.
    assert_eq!(assert_as_read(&bench).plan.unused.count, 22);
    prune(&repo, &thorough()).unwrap();
    write_deep(&repo, &[4, 5], 2);
    forget(&repo, &[second]);
    // The two parts that are not there any more, and two pages of the one that has another path now.
    assert_eq!(assert_as_read(&bench).plan.unused.count, 46);
    prune(&repo, &thorough()).unwrap();
    assert_eq!(assert_as_read(&bench).plan.unused.count, 0);
    assert_clean(&repo);
    let of = |mark: &Mark| match mark.form {
        Form::Snapshot(..) => 0,
        Form::Page(level) => 1 + usize::from(level),
        Form::List(depth) => 3 + usize::from(depth),
    };
    // Whatever of the marks is missing.
    for missing in 1..1u32 << 6 {
        let bench = with_marks(&bench, |mark| (missing & 1 << of(&mark) == 0).then_some(mark));
        as_read(&bench);
        let repo = bench.open();
        prune(&repo, &thorough()).unwrap();
        assert_eq!(as_read(&bench).report.plan.unused.count, 0);
        assert_clean(&repo);
    }
}

#[test]
fn marks_that_are_damaged_or_missing_are_made_up_for() {
    let bench = Bench::new();
    let repo = bench.open();
    let gone = write(&repo, &wide(0..0, 1));
    write(&repo, &wide(5..9, 2));
    prune(&repo, &thorough()).unwrap();
    let last = write(&repo, &wide(5..300, 2));
    forget(&repo, &[gone]);
    let keys = bench.keys("state/marks/");
    assert_eq!(keys.len(), 3, "{keys:?}");
    let (small, big) = wide(5..300, 2);
    let expected: Tree = small.into_iter().chain(big).collect();
    for key in &keys {
        for harm in [Bench::damage as fn(&Bench, &str), Bench::delete] {
            let bench = fork(&bench);
            harm(&bench, key);
            as_read(&bench);
            let repo = bench.open();
            prune(&repo, &thorough()).unwrap();
            assert!(!bench.keys("state/marks/").contains(key), "what is damaged goes");
            assert_as_read(&bench);
            assert_clean(&repo);
            assert_holds(&repo.observe().unwrap(), last, &expected);
        }
    }
}

#[test]
fn a_check_names_marks_that_are_damaged() {
    let bench = Bench::new();
    let repo = bench.open();
    write(&repo, &wide(0..0, 1));
    prune(&repo, &thorough()).unwrap();
    let key = bench.keys("state/marks/").remove(0);
    bench.damage(&key);
    let errors = check(&repo, ReadData::None).unwrap().errors;
    assert!(errors.len() == 1 && errors[0].contains(&key), "{errors:?}");
    prune(&repo, &thorough()).unwrap();
    assert_clean(&repo);
}

/// A repository of one snapshot, and of twelve that were pruned one by one and are forgotten: so many objects of marks that the next prune joins them.
fn with_many_small() -> (Bench, SessionId, Tree) {
    let bench = Bench::new();
    let repo = bench.open();
    let stays = tree((0..6).map(|n| (n, u64::from(n))));
    let id = write_tree(&repo, &stays, Layout::Chunks(9000)).id;
    for round in 0..12u64 {
        write_tree(&repo, &tree((0..6).map(|n| (n, u64::from(n) + 100 * (round + 1)))), Layout::Chunks(9000));
        prune(&repo, &thorough()).unwrap();
        let others: Vec<SessionId> =
            repo.listing().unwrap().snapshots.iter().map(|name| name.id).filter(|it| *it != id).collect();
        if round == 11 {
            forget(&repo, &others);
        }
    }
    (bench, id, stays)
}

#[test]
fn a_mark_that_is_wrong_is_found_out() {
    let (few, id, stays) = {
        let bench = Bench::new();
        let stays = tree((0..6).map(|n| (n, u64::from(n))));
        let id = write_tree(&bench.open(), &stays, Layout::Chunks(9000)).id;
        prune(&bench.open(), &thorough()).unwrap();
        (bench, id, stays)
    };
    let (many, kept, kept_tree) = with_many_small();
    let wrongs: [fn(&mut Mark); 6] = [
        // A snapshot without its pages.
        |mark| {
            if mark.form != Form::Page(0) {
                mark.below.clear();
            }
        },
        // A page without a chunk, or without any.
        |mark| mark.keys.truncate(mark.keys.len().saturating_sub(1)),
        |mark| mark.keys.clear(),
        // What nobody stored, and lists that are none.
        |mark| {
            if mark.form == Form::Page(0) {
                mark.keys.push([9; 6]);
            }
        },
        |mark| {
            if mark.form == Form::Page(0) {
                mark.below.push([9; 16]);
            }
        },
        |mark| {
            if mark.form != Form::Page(0) {
                mark.form = Form::Snapshot(2, None);
            }
        },
    ];
    for (bench, id, tree) in [(&few, id, &stays), (&many, kept, &kept_tree)] {
        let right = {
            let fresh = without_marks(bench);
            prune(&fresh.open(), &thorough()).unwrap();
            marks(&fresh.open().observe().unwrap())
        };
        for wrong in wrongs {
            let bench = with_marks(bench, |mut mark| {
                wrong(&mut mark);
                Some(mark)
            });
            as_read(&bench);
            let repo = bench.open();
            prune(&repo, &thorough()).unwrap();
            assert_holds(&repo.observe().unwrap(), id, tree);
            assert_clean(&repo);
            // What was wrong went, and was noted anew.
            assert_eq!(marks(&repo.observe().unwrap()), right);
        }
    }
}

#[test]
fn what_a_noted_page_needs_and_is_not_there_stops_a_prune() {
    let bench = Bench::new();
    let repo = bench.open();
    write_deep(&repo, &[1, 2, 3], 1);
    let gone = write_deep(&repo, &[1, 2, 4], 1);
    prune(&repo, &thorough()).unwrap();
    forget(&repo, &[gone]);
    let mut stopped = 0;
    for (key, _) in bench.kinds_of_packs() {
        let bench = fork(&bench);
        bench.delete(&key);
        let left = bench.keys("packs/");
        let outcome = prune(&bench.open(), &thorough());
        let read = prune(&without_marks(&bench).open(), &thorough());
        assert_eq!(outcome.is_ok(), read.is_ok(), "{key}");
        if let Err(error) = outcome {
            assert!(error.chain().contains("needs what is not there"), "{}", error.chain());
            assert_eq!(bench.keys("packs/"), left);
            stopped += 1;
        }
    }
    assert!(stopped > 5, "{stopped}");
}

#[test]
fn a_store_that_takes_no_marks_is_pruned_all_the_same() {
    let bench = Bench::new();
    let repo = bench.open();
    let gone = write(&repo, &wide(0..0, 1));
    write(&repo, &wide(0..10, 2));
    forget(&repo, &[gone]);
    let refused = |op| {
        let at = At::Matching { op, prefix: "state/marks/", from: 0, times: u64::MAX };
        (at, Fault::Fail(When::Before, Trouble::Denied))
    };
    let plan = FaultPlan { script: vec![refused(Op::Put), refused(Op::PutIf)], ..FaultPlan::default() };
    let store = FaultStore::new(bench.objects.clone(), plan);
    let report = prune(&Vault::over(store).open().unwrap(), &thorough()).unwrap();
    assert!(report.deleted_packs.count > 0);
    assert_eq!(bench.keys("state/marks/"), [""; 0]);
    assert_clean(&repo);
}

#[test]
fn marks_that_are_wrong_go_before_anything_else_does() {
    let bench = Bench::new();
    let gone = write(&bench.open(), &wide(0..0, 1));
    write(&bench.open(), &wide(0..10, 2));
    prune(&bench.open(), &thorough()).unwrap();
    forget(&bench.open(), &[gone]);
    let bench = with_marks(&bench, |mut mark| {
        mark.keys.clear();
        mark.below.clear();
        Some(mark)
    });
    let before: Vec<String> = bench.keys("packs/");
    let plan = FaultPlan::some(Op::Delete, "state/marks/", u64::MAX, Fault::Fail(When::Before, Trouble::Denied));
    let vault = Vault::over(FaultStore::new(bench.objects.clone(), plan));
    assert!(prune(&vault.open().unwrap(), &thorough()).is_err());
    assert_eq!((bench.keys("packs/"), bench.keys("state/condemned/")), (before, Vec::new()));
    // When they can be deleted, none is left, and all is noted anew.
    let wrong: Vec<String> = bench.keys("state/marks/");
    assert!(!watched(&bench, &thorough()).unwrap().fits);
    assert!(
        !bench.keys("state/marks/").is_empty() && bench.keys("state/marks/").iter().all(|key| !wrong.contains(key))
    );
    assert_clean(&bench.open());
    assert_as_read(&bench);
}

#[test]
fn marks_do_not_pile_up() {
    let bench = Bench::new();
    let repo = bench.open();
    let mut last = None;
    for round in 0..30 {
        // In the end there is no big file, and nothing that lists are needed for.
        let (small, big) = wide(0..round * 7, round);
        let id = write(&repo, &(small, if round < 28 { big } else { Tree::new() }));
        forget(&repo, &last.replace(id).into_iter().collect::<Vec<_>>());
        prune(&repo, &thorough()).unwrap();
        assert!(bench.keys("state/marks/").len() <= 3 * 10, "{round}");
        assert_as_read(&bench);
    }
    let held: usize = bench.keys("state/marks/").iter().map(|key| bench.get(key).len()).sum();
    let fresh = without_marks(&bench);
    prune(&fresh.open(), &thorough()).unwrap();
    let needed: usize = fresh.keys("state/marks/").iter().map(|key| fresh.get(key).len()).sum();
    assert!(held <= 4 * needed + 10_000, "{held} bytes of marks where {needed} would do");
    let left = marks(&repo.observe().unwrap());
    assert!(left.iter().all(|mark| !matches!(mark.form, Form::List(_))), "nothing needs the lists any more");
    assert_clean(&repo);
}
