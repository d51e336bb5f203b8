//! Trees of several levels: written, read whole and in part, and read with lies in them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::entry::{Codec, Entry, Node, Place};
use super::inner::{ChildRef, InnerPage};
use super::samples::{CUT_KEY, Pages, bundled, many, metadata, path};
use super::tree::{TreeReader, TreeWriter};
use crate::error::{ErrorKind, Result};
use crate::id::{ObjectHash, PackRef};
use crate::path::TreePath;

fn write(entries: &[Entry], pages: &mut Pages) -> InnerPage {
    let mut writer = TreeWriter::new(CUT_KEY);
    for entry in entries {
        writer.push(entry, &mut |page| pages.put(page)).expect("push");
    }
    writer.finish(&mut |page| pages.put(page)).expect("finish")
}

fn fetch(pages: &Pages, children: &[ChildRef]) -> Result<Vec<Vec<u8>>> {
    children.iter().map(|child| pages.get(child.id)).collect()
}

fn read(root: &InnerPage, within: &str, pages: &Pages) -> Result<Vec<Entry>> {
    TreeReader::within(root.clone(), path(within), Box::new(|children| fetch(pages, children))).collect()
}

/// Entries with paths of 2 KiB that share little: few fit into a page, so that small trees get several levels.
fn wide(count: u32) -> Vec<Entry> {
    let stem = ["x".repeat(200).as_str(); 9].join("/");
    let entry = |number: u32| {
        let text = format!("{:04}/{number:06}/{stem}", number / 10);
        Entry { path: path(&text), meta: metadata(u64::from(number)), node: Node::Fifo, link: None }
    };
    (0..count).map(entry).collect()
}

#[test]
fn a_small_tree_is_one_root_of_leaf_pages() {
    let mut pages = Pages::default();
    let entries = many(20_000);
    let root = write(&entries, &mut pages);
    assert_eq!((root.level, root.entries()), (1, 20_000));
    assert_eq!(root.children.len(), pages.0.len());
    assert_eq!(read(&root, "", &pages).expect("tree"), entries);
    let empty = write(&[], &mut pages);
    assert_eq!((empty.level, empty.children.len()), (1, 0));
    assert_eq!(InnerPage::decode(&empty.encode()).expect("root"), empty);
    assert_eq!(read(&empty, "", &pages).expect("no entries"), []);
}

#[test]
fn a_large_tree_nests_and_its_root_stays_small() {
    let mut pages = Pages::default();
    let entries = wide(40_000);
    let root = write(&entries, &mut pages);
    assert!(root.level >= 2, "{}", root.level);
    assert!(root.children.len() <= 256 && root.encode().len() < 300 << 10);
    assert_eq!(root.entries(), 40_000);
    assert_eq!(InnerPage::decode(&root.encode()).expect("root"), root);
    assert_eq!(read(&root, "", &pages).expect("tree"), entries);
    let mut changed = entries.clone();
    changed[30_000].meta.inode += 1;
    let known: HashSet<_> = pages.0.keys().copied().collect();
    let after = write(&changed, &mut pages);
    assert_eq!(after.level, root.level);
    assert_eq!(pages.0.len() - known.len(), usize::from(root.level), "one page a level");
}

#[test]
fn a_subtree_is_read_from_the_pages_that_hold_it() {
    let mut pages = Pages::default();
    let entries = wide(40_000);
    let root = write(&entries, &mut pages);
    for within in ["0000", "3000", "3999", "nowhere", "0", "30000", "3000/none"] {
        let within = path(within);
        let asked = AtomicUsize::new(0);
        let counted = |children: &[ChildRef]| {
            asked.fetch_add(children.len(), Ordering::Relaxed);
            fetch(&pages, children)
        };
        let reader = TreeReader::within(root.clone(), within.clone(), Box::new(counted));
        let found: Vec<Entry> = reader.collect::<Result<_>>().expect("subtree");
        let expected: Vec<Entry> = entries.iter().filter(|entry| entry.path.starts_with(&within)).cloned().collect();
        assert_eq!(found, expected, "{within}");
        let asked = asked.into_inner();
        assert!(asked <= 2 * usize::from(root.level), "{within}: {asked} pages");
    }
}

#[test]
fn every_subtree_of_a_small_tree_is_found() {
    let mut pages = Pages::default();
    let entries = many(20_000);
    let root = write(&entries, &mut pages);
    for at in (0..20_000).step_by(211) {
        for within in [entries[at].path.clone(), entries[at].path.parent().expect("parent")] {
            let found = TreeReader::within(root.clone(), within.clone(), Box::new(|children| fetch(&pages, children)));
            let expected = entries.iter().filter(|entry| entry.path.starts_with(&within));
            assert!(found.map(|entry| entry.expect("entry")).eq(expected.cloned()), "{within}");
        }
    }
}

#[test]
fn a_parent_that_lies_about_a_page_is_caught() {
    let mut pages = Pages::default();
    let root = write(&many(5_000), &mut pages);
    let lies: [fn(&mut InnerPage); 5] = [
        |root| root.children[1].entries += 1,
        |root| root.children[1].first = TreePath::parse("project/dir-0000/x").expect("path"),
        |root| root.children[1].id = root.children[0].id,
        |root| root.level = 2,
        |root| root.children[0].first = TreePath::root(),
    ];
    for (number, lie) in lies.iter().enumerate() {
        let mut root = root.clone();
        lie(&mut root);
        let error = read(&root, "", &pages).expect_err("lie");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "lie {number}");
    }
    let mut doubled = root.clone();
    doubled.children.insert(1, root.children[0].clone());
    assert!(read(&doubled, "", &pages).is_err());
}

#[test]
fn the_reader_ends_after_an_error_and_hints_can_come_late() {
    let mut pages = Pages::default();
    let mut root = write(&many(5_000), &mut pages);
    let mut reader = TreeReader::new(root.clone(), Box::new(|_| Err(crate::error::Error::corrupt("gone"))));
    assert!(reader.next().is_some_and(|entry| entry.is_err()));
    assert!(reader.next().is_none());
    let place = Place {
        pack: PackRef { name: ObjectHash::new([1; 32]), epoch: 0, salt: [2; 32] },
        offset: 80,
        stored_len: 50,
        codec: Codec::Zstd,
    };
    root.fill_hints(&|_| Some(place));
    assert_eq!(InnerPage::decode(&root.encode()).expect("root"), root);
}

#[test]
fn a_writer_refuses_disorder() {
    let mut pages = Pages::default();
    let mut writer = TreeWriter::new(CUT_KEY);
    writer.push(&bundled("b", 1), &mut |page| pages.put(page)).expect("first");
    let error = writer.push(&bundled("a", 1), &mut |page| pages.put(page)).expect_err("disorder");
    assert_eq!(error.kind(), ErrorKind::Bug);
}
