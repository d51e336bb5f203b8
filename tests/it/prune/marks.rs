//! What prunes noted of the pages that they read is as good as the pages, and is not believed where it does not fit.

use volvault::catalog::{BlobRef, ChildRef, ChunkList, Content, InnerPage, ListItem, TreeWriter};
use volvault::path::TreePath;
use volvault::repo::{BlobKind, Form, Mark, MarksObject, Rank};

use crate::support::repo::{file, publish, store_page};

use super::*;

/// Names of small files in all parts of a tree of several pages, and a file whose chunks fill lists.
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

/// GETs of packs during a prune, and its report.
fn reads(bench: &Bench, options: &PruneOptions) -> (usize, PruneReport) {
    let store = FaultStore::new(bench.objects.clone(), FaultPlan::default());
    let report = prune(&Vault::over(store.clone()).open().unwrap(), options).unwrap();
    (
        store
            .trace()
            .iter()
            .filter(|(op, key)| matches!(op, Op::Get | Op::GetRange) && key.starts_with("packs/"))
            .count(),
        report,
    )
}

fn dry() -> PruneOptions {
    PruneOptions { dry_run: true, ..thorough() }
}

fn without_marks(bench: &Bench) -> Bench {
    let bench = Bench::over(bench.objects.fork());
    bench.keys("state/marks/").iter().for_each(|key| bench.delete(key));
    bench
}

/// The plan must be the one that is made of the pages themselves.
pub(super) fn assert_as_read(bench: &Bench) -> PruneReport {
    let (_, noted) = reads(bench, &dry());
    let (_, read) = reads(&without_marks(bench), &dry());
    assert_eq!(format!("{:?}", noted.plan), format!("{:?}", read.plan));
    noted
}

#[test]
fn a_prune_reads_only_pages_that_no_prune_has_read() {
    let bench = Bench::new();
    let repo = bench.open();
    let first = write(&repo, &wide(0..0, 1));
    let (all, _) = reads(&bench, &thorough());
    assert!(all > 0);
    let forms: Vec<Form> = marks(&repo.observe().unwrap()).into_iter().map(|mark| mark.form).collect();
    let count = |wanted: Form| forms.iter().filter(|form| **form == wanted).count();
    assert!(
        count(Form::Page(0)) > 1 && count(Form::List(0)) > 1 && forms.contains(&Form::Snapshot(1, None)),
        "{forms:?}"
    );
    let packs = bench.keys("packs/");
    let nothing = reads(&bench, &thorough());
    // Of what is noted a little is read all the same: a leaf page and, where lists are known by more than their names, a list.
    assert!(nothing.0 <= 2, "{}", nothing.0);
    assert_eq!(bench.keys("packs/"), packs);
    let second = write(&repo, &wide(100..102, 1));
    assert_as_read(&bench);
    let third = write(&repo, &wide(100..102, 2));
    forget(&repo, &[first]);
    let report = assert_as_read(&bench);
    assert!(report.plan.unused.count > 0);
    prune(&repo, &thorough()).unwrap();
    assert_as_read(&bench);
    forget(&repo, &[second]);
    assert!(assert_as_read(&bench).plan.unused.count > 1000);
    prune(&repo, &thorough()).unwrap();
    assert_eq!(assert_as_read(&bench).plan.unused.count, 0);
    assert_clean(&repo);
    let session = repo.observe().unwrap();
    let (small, big) = wide(100..102, 2);
    assert_holds(&session, third, &small.into_iter().chain(big).collect());
}

/// A tree of two levels above its leaves, with a part for each of `parts`; in each part a file whose chunks stand in lists of lists.
fn write_deep(repo: &Repository, parts: &[u64]) -> SessionId {
    let session = repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let list = |depth: u8, chunks: Vec<ListItem>| {
        let stored = store_page(&writer, &ChunkList { depth, chunks }.encode()).unwrap();
        BlobRef { id: stored.id, raw_len: stored.raw_len }
    };
    let mut children = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let chunks = |of: u64| {
            let put = |n: u64| writer.put(BlobKind::Data, &noise(100, part * 1000 + of * 10 + n)).unwrap().blob;
            (0..5).map(put).map(|blob| ListItem { id: blob.id, len: 100 }).collect::<Vec<_>>()
        };
        let lists: Vec<ListItem> = (0..3).map(|of| ListItem { id: list(0, chunks(of)).id, len: 500 }).collect();
        let content = Content::Lists { depth: 1, lists: vec![list(1, lists)] };
        let mut pages = TreeWriter::new(repo.keys().page_cut());
        let path = format!("p{number}");
        pages.push(&file(&path, 1500, content), &mut |page| store_page(&writer, page)).unwrap();
        let inner = pages.finish(&mut |page| store_page(&writer, page)).unwrap();
        let stored = store_page(&writer, &inner.encode()).unwrap();
        let first = TreePath::parse(path.as_str()).unwrap();
        children.push(ChildRef { id: stored.id, raw_len: stored.raw_len, entries: 1, first, hint: None });
    }
    publish(&session, &writer, InnerPage { level: 2, children }).id
}

#[test]
fn inner_pages_and_lists_of_lists_are_noted_too() {
    let bench = Bench::new();
    let repo = bench.open();
    let first = write_deep(&repo, &[1, 2, 3]);
    prune(&repo, &thorough()).unwrap();
    let forms: Vec<Form> = marks(&repo.observe().unwrap()).into_iter().map(|mark| mark.form).collect();
    let each =
        [(Form::Snapshot(2, None), 1), (Form::Page(1), 3), (Form::Page(0), 3), (Form::List(1), 3), (Form::List(0), 9)];
    for (wanted, count) in each {
        assert_eq!(forms.iter().filter(|form| **form == wanted).count(), count, "{wanted:?}");
    }
    let second = write_deep(&repo, &[1, 4, 3]);
    assert_eq!(assert_as_read(&bench).plan.unused.count, 0);
    forget(&repo, &[first]);
    // A page, its inner page, four lists, and fifteen chunks.
    assert_eq!(assert_as_read(&bench).plan.unused.count, 21);
    prune(&repo, &thorough()).unwrap();
    assert_as_read(&bench);
    let third = write_deep(&repo, &[4, 5]);
    forget(&repo, &[second]);
    // The two parts that are not there any more, and two pages of the one that has another path now.
    assert_eq!(assert_as_read(&bench).plan.unused.count, 44);
    prune(&repo, &thorough()).unwrap();
    assert_eq!(assert_as_read(&bench).plan.unused.count, 0);
    assert_clean(&repo);
    assert!(repo.observe().unwrap().snapshots().iter().any(|name| name.id == third));
    // Whatever of this is missing.
    for missing in [Form::Page(1), Form::Page(0), Form::List(1), Form::List(0)] {
        let bench = Bench::over(bench.objects.fork());
        let repo = bench.open();
        let session = repo.observe().unwrap();
        let old = bench.keys("state/marks/");
        for (mark, number) in marks(&session).into_iter().zip(0..).filter(|(mark, _)| mark.form != missing) {
            let mut bytes = Vec::new();
            mark.encode(&mut bytes);
            session.store_marks(mark.rank(), number, &bytes).unwrap();
        }
        old.iter().for_each(|key| bench.delete(key));
        assert_as_read(&bench);
        prune(&repo, &thorough()).unwrap();
        assert_as_read(&bench);
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
    for key in &keys {
        for harm in [Bench::damage as fn(&Bench, &str), Bench::delete] {
            let bench = Bench::over(bench.objects.fork());
            harm(&bench, key);
            assert_as_read(&bench);
            let repo = bench.open();
            prune(&repo, &thorough()).unwrap();
            assert!(!bench.keys("state/marks/").contains(key), "what is damaged goes");
            assert_as_read(&bench);
            assert_clean(&repo);
            assert_holds(&repo.observe().unwrap(), last, &{
                let (small, big) = wide(5..300, 2);
                small.into_iter().chain(big).collect()
            });
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

/// Every mark of the repository.
fn marks(session: &Session<'_>) -> Vec<Mark> {
    let objects: Vec<MarksObject> = session.listing().marks.clone();
    let mut all = Vec::new();
    session
        .read_marks(&objects, &mut |_, marks| {
            all.extend(marks.unwrap());
            Ok(())
        })
        .unwrap();
    all
}

/// The same repository, but a mark was computed wrongly.
fn with_wrong(bench: &Bench, wrong: impl Fn(&mut Mark) -> bool) -> Bench {
    let bench = Bench::over(bench.objects.fork());
    let repo = bench.open();
    let session = repo.observe().unwrap();
    let old = bench.keys("state/marks/");
    let mut count = 0;
    for (mut mark, number) in marks(&session).into_iter().zip(0..) {
        count += usize::from(wrong(&mut mark));
        let mut bytes = Vec::new();
        mark.encode(&mut bytes);
        session.store_marks(mark.rank(), number, &bytes).unwrap();
    }
    assert!(count > 0);
    old.iter().for_each(|key| bench.delete(key));
    bench
}

#[test]
fn a_mark_that_is_wrong_is_found_out() {
    let bench = Bench::new();
    let repo = bench.open();
    let tree = tree((0..6).map(|n| (n, u64::from(n))));
    let stays = write_tree(&repo, &tree, Layout::Chunks(9000)).id;
    prune(&repo, &thorough()).unwrap();
    let original = bench.open();
    let wrongs: [fn(&mut Mark) -> bool; 5] = [
        // A snapshot without its pages, a page without a chunk, or with one more.
        |mark| mark.form != Form::Page(0) && mark.below.pop().is_some(),
        |mark| mark.rank() == Rank::Leaf && mark.keys.pop().is_some(),
        |mark| {
            mark.rank() == Rank::Leaf
                && mark.keys.first().copied().is_some_and(|key| {
                    mark.keys.push(key);
                    true
                })
        },
        // What nobody stored, and a list that is none.
        |mark| {
            mark.rank() == Rank::Leaf && {
                mark.keys.push([9; 6]);
                true
            }
        },
        |mark| {
            mark.rank() == Rank::Leaf && {
                mark.below.push([9; 16]);
                true
            }
        },
    ];
    for wrong in wrongs {
        let bench = with_wrong(&bench, wrong);
        assert_as_read(&bench);
        let repo = bench.open();
        prune(&repo, &thorough()).unwrap();
        assert_holds(&repo.observe().unwrap(), stays, &tree);
        assert_clean(&repo);
        // What was wrong went, and was noted anew.
        let (mut right, mut now) = (marks(&original.observe().unwrap()), marks(&repo.observe().unwrap()));
        right.sort_by_key(|mark| mark.id);
        now.sort_by_key(|mark| mark.id);
        assert_eq!(now, right);
    }
}

#[test]
fn what_a_noted_page_needs_and_is_not_there_stops_a_prune() {
    let bench = Bench::new();
    let repo = bench.open();
    write(&repo, &wide(0..0, 1));
    let gone = write(&repo, &wide(0..10, 2));
    prune(&repo, &thorough()).unwrap();
    forget(&repo, &[gone]);
    for (key, _) in bench.kinds_of_packs() {
        let bench = Bench::over(bench.objects.fork());
        bench.delete(&key);
        let left = bench.keys("packs/");
        let outcome = prune(&bench.open(), &thorough());
        let read = prune(&without_marks(&bench).open(), &thorough());
        assert_eq!(outcome.is_ok(), read.is_ok(), "{key}");
        if let Err(error) = outcome {
            assert!(error.chain().contains("needs what is not there"), "{}", error.chain());
            assert_eq!(bench.keys("packs/"), left);
        }
    }
}

#[test]
fn a_store_that_takes_no_marks_is_pruned_all_the_same() {
    let bench = Bench::new();
    let repo = bench.open();
    let gone = write(&repo, &wide(0..0, 1));
    write(&repo, &wide(0..10, 2));
    forget(&repo, &[gone]);
    let refused = |op| {
        (
            At::Matching { op, prefix: "state/marks/", from: 0, times: u64::MAX },
            Fault::Fail(When::Before, Trouble::Denied),
        )
    };
    let plan = FaultPlan { script: vec![refused(Op::Put), refused(Op::PutIf)], ..FaultPlan::default() };
    let store = FaultStore::new(bench.objects.clone(), plan);
    let report = prune(&Vault::over(store).open().unwrap(), &thorough()).unwrap();
    assert!(report.deleted_packs.count > 0);
    assert_eq!(bench.keys("state/marks/"), [""; 0]);
    assert_clean(&repo);
}

#[test]
fn marks_do_not_pile_up() {
    let bench = Bench::new();
    let repo = bench.open();
    let mut last = None;
    for round in 0..30 {
        let id = write(&repo, &wide(0..round * 7, round));
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
    assert_clean(&repo);
}
