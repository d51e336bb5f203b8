//! Chunk lists: in line, in lists, in lists of lists; stable under edits; checked against the size of the file.

use super::entry::{BlobRef, Content};
use super::list::{ChunkList, ChunkReader, ListItem, store_chunks};
use super::samples::{Pages, blob};
use crate::error::Result;
use crate::id::BlobId;

fn chunks(count: u64) -> Vec<BlobRef> {
    (0..count).map(|number| blob(number, 1000 + u32::try_from(number % 7).expect("small"))).collect()
}

fn total(chunks: &[BlobRef]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum()
}

fn read(content: &Content, len: u64, pages: &Pages) -> Result<Vec<BlobRef>> {
    let fetch = |ids: &[BlobId]| ids.iter().map(|id| pages.get(*id)).collect();
    ChunkReader::new(content.clone(), len, Box::new(fetch))?.collect()
}

#[test]
fn chunks_come_back_from_every_depth() {
    for (count, depth) in [(0, None), (1, None), (64, None), (65, Some(0)), (5_000, Some(0)), (200_000, Some(1))] {
        let chunks = chunks(count);
        let mut pages = Pages::default();
        let content = store_chunks(chunks.clone(), &mut |list| pages.put(list)).expect("store");
        match (&content, depth) {
            (Content::Lists { depth, lists }, Some(expected)) => {
                assert_eq!(*depth, expected, "{count}");
                assert!((1..=64).contains(&lists.len()));
            }
            (Content::Empty | Content::Chunks(_), None) => assert!(pages.0.is_empty()),
            _ => panic!("{count} chunks as {content:?}"),
        }
        assert_eq!(read(&content, total(&chunks), &pages).expect("read"), chunks);
        if count > 0 {
            assert!(read(&content, total(&chunks) - 1, &pages).is_err(), "too long");
            assert!(read(&content, total(&chunks) + 1, &pages).is_err(), "too short");
        }
    }
}

#[test]
fn an_edit_in_the_middle_changes_one_list() {
    let mut before = chunks(20_000);
    let mut pages = Pages::default();
    store_chunks(before.clone(), &mut |list| pages.put(list)).expect("store");
    let known = pages.0.len();
    before.splice(9_000..9_001, [blob(1 << 40, 5), blob(1 << 41, 6)]);
    store_chunks(before, &mut |list| pages.put(list)).expect("store");
    assert_eq!(pages.0.len() - known, 1);
}

#[test]
fn a_list_has_the_bytes_of_the_specification() {
    let item = |byte, len| ListItem { id: BlobId::new([byte; 32]), len };
    let list = ChunkList { depth: 0, chunks: vec![item(5, 300), item(6, 1)] };
    let mut expected = vec![3, 0, 2];
    expected.extend([5; 32]);
    expected.extend([0xac, 2]);
    expected.extend([6; 32]);
    expected.push(1);
    assert_eq!(list.encode(), expected);
    assert_eq!(ChunkList::decode(&expected).expect("list"), list);
    for len in 0..expected.len() {
        assert!(ChunkList::decode(&expected[..len]).is_err());
    }
    for (at, byte) in [(0, 1), (1, 5), (2, 3), (expected.len() - 1, 0)] {
        let mut wrong = expected.clone();
        wrong[at] = byte;
        assert!(ChunkList::decode(&wrong).is_err(), "byte {at}");
    }
}

#[test]
fn lists_that_differ_from_what_their_parent_says_are_refused() {
    let mut pages = Pages::default();
    let item = |stored: super::StoredPage, len| ListItem { id: stored.id, len };
    let leaf = ChunkList { depth: 0, chunks: vec![ListItem { id: BlobId::new([1; 32]), len: 10 }] };
    let leaf = pages.put(&leaf.encode()).expect("put");
    let content = |pages: &mut Pages, depth, list: &ChunkList| {
        let stored = pages.put(&list.encode()).expect("put");
        Content::Lists { depth, lists: vec![BlobRef { id: stored.id, raw_len: stored.raw_len }] }
    };
    let good = content(&mut pages, 1, &ChunkList { depth: 1, chunks: vec![item(leaf, 10)] });
    assert_eq!(read(&good, 10, &pages).expect("good").len(), 1);
    let longer = content(&mut pages, 1, &ChunkList { depth: 1, chunks: vec![item(leaf, 11)] });
    assert!(read(&longer, 11, &pages).is_err());
    let deeper = content(&mut pages, 2, &ChunkList { depth: 1, chunks: vec![item(leaf, 10)] });
    assert!(read(&deeper, 10, &pages).is_err());
    let flat = content(&mut pages, 2, &ChunkList { depth: 2, chunks: vec![item(leaf, 10)] });
    assert!(read(&flat, 10, &pages).is_err());
    let huge = ChunkList { depth: 1, chunks: vec![item(leaf, u64::MAX), item(leaf, u64::MAX)] };
    let huge = content(&mut pages, 1, &huge);
    assert!(read(&huge, 10, &pages).is_err());
}
