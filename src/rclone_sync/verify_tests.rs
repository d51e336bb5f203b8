//! A mirror made by hand, and what is found when one of its objects is not what it was.

use std::sync::Arc;

use object_store::memory::InMemory;
use tokio::runtime::Runtime;

use super::*;
use crate::catalog::{FileNode, Metadata, ObjectAt, Timestamp};
use crate::events::{Silent, Stop};
use crate::id::ObjectHash;
use crate::path::TreePath;
use crate::rclone_sync::layout::{ROOT, root_key};
use crate::rclone_sync::{Pusher, SegmentRef, SegmentWriter, Totals};
use crate::storage::{Attributes, Condition, Location};

const FILES: [(&str, &[u8]); 3] = [("a", b"first"), ("d/b", b"second"), ("d/c", b"")];

struct Mirror {
    runtime: Runtime,
    places: Places,
    root: Root,
    _scratch: tempfile::TempDir,
}

impl Mirror {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = || Store::from_object_store(Arc::new(InMemory::new()), Location::Memory);
        let places = Places::new(store(), store(), runtime.handle().clone());
        let scratch = tempfile::tempdir().unwrap();
        let mut segment = SegmentWriter::create(&scratch.path().join("base")).unwrap();
        segment.put(&entry("", Node::Directory)).unwrap();
        for (path, bytes) in FILES {
            if path == "d/b" {
                segment.put(&entry("d", Node::Directory)).unwrap();
            }
            let pin = put(&places, path, bytes);
            let etag = pin.etag.unwrap().into();
            let hash = ObjectHash::new(*blake3::hash(bytes).as_bytes());
            let object =
                StoredObject { hash: Some(hash), etag, version: None, at: ObjectAt::Plain, blocks: path == "a" };
            let content = if bytes.is_empty() { Content::Empty } else { Content::Object(Arc::new(object)) };
            let file = FileNode { size: bytes.len() as u64, content, extents: None, incomplete: false };
            segment.put(&entry(path, Node::File(file))).unwrap();
        }
        put(&places, "e.rclonelink", b"a");
        segment.put(&entry("e", Node::Symlink { target: b"a".to_vec() })).unwrap();
        let written = segment.finish().unwrap();
        manifest::store_segment(&places, &written).unwrap();
        let blocks = blocks_key(&ObjectHash::new(*blake3::hash(b"first").as_bytes()));
        runtime.block_on(places.control.put(&blocks, b"list".as_slice().into())).unwrap();
        let totals = Totals { entries: written.entries, files: written.files, bytes: written.bytes };
        let time = "2026-11-20T17:00:00Z".parse().unwrap();
        let root = Root::first(written.at(1), Pusher::default(), time, totals);
        let text: bytes::Bytes = root.encode().unwrap().into();
        for key in [ROOT.to_owned(), root_key(1)] {
            runtime.block_on(places.control.put(&key, text.clone())).unwrap();
        }
        Self { runtime, places, root, _scratch: scratch }
    }

    fn verify(&self, read: bool) -> VerifyReport {
        let (progress, stop) = (Progress::default(), Stop::new());
        let watch = Watch { observer: &Silent, progress: &progress, stop: &stop };
        verify(&self.places, VerifyOptions { read, at_once: 2 }, &watch).unwrap()
    }

    fn delete(&self, key: &str) {
        self.runtime.block_on(self.places.data.delete(key)).unwrap();
    }
}

fn put(places: &Places, key: &str, bytes: &'static [u8]) -> Pin {
    let attributes = Attributes::default();
    places.block(places.data.put_with(key, bytes.into(), &attributes, Condition::Any)).unwrap()
}

fn entry(path: &str, node: Node) -> Entry {
    let meta = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
        inode: 0,
        xattrs: Arc::default(),
    };
    Entry { path: TreePath::parse(path).unwrap(), meta, node, link: None }
}

#[test]
fn a_whole_mirror_has_nothing_to_complain_of() {
    let mirror = Mirror::new();
    let whole = VerifyReport { generation: 1, objects: 4, bytes: 12, ..VerifyReport::default() };
    assert_eq!(mirror.verify(false), whole);
    assert_eq!(mirror.verify(true), VerifyReport { bytes_read: 11, ..whole });
}

#[test]
fn what_is_missing_replaced_or_unknown_is_counted_apart() {
    let mirror = Mirror::new();
    mirror.delete("d/c");
    mirror.delete("e.rclonelink");
    put(&mirror.places, "a", b"FIRST");
    put(&mirror.places, "f", b"by another tool");
    for read in [false, true] {
        let report = mirror.verify(read);
        assert_eq!((report.missing, report.changed, report.unknown, report.damaged), (2, 1, 1, 0), "{read}");
        assert!(!report.is_whole());
    }
}

#[test]
fn a_missing_block_list_is_found() {
    let mirror = Mirror::new();
    let key = blocks_key(&ObjectHash::new(*blake3::hash(b"first").as_bytes()));
    mirror.runtime.block_on(mirror.places.control.delete(&key)).unwrap();
    assert_eq!(mirror.verify(false).missing, 1);
}

#[test]
fn a_push_in_between_is_no_damage() {
    let mirror = Mirror::new();
    mirror.delete("a");
    let (progress, stop) = (Progress::default(), Stop::new());
    let watch = Watch { observer: &Silent, progress: &progress, stop: &stop };
    let report = VerifyReport { missing: 1, ..VerifyReport::default() };
    let check = Check { places: &mirror.places, root: &mirror.root, watch: &watch, report };
    check.still_published().unwrap();
    let newer = mirror.root.next(b"text", SegmentRef { generation: 2, ..mirror.root.base.clone() }, None).unwrap();
    let text: bytes::Bytes = newer.encode().unwrap().into();
    mirror.places.block(mirror.places.control.put(ROOT, text)).unwrap();
    assert_eq!(check.still_published().unwrap_err().kind(), ErrorKind::Changed);
}

#[test]
fn generations_are_listed_newest_first_and_an_unknown_one_is_named() {
    let mirror = Mirror::new();
    let found = look::generations(&mirror.places, 5).unwrap();
    assert_eq!((found.newest, found.older, found.listed.len()), (1, 0, 1));
    assert_eq!(found.listed[0].root.as_ref().unwrap(), &mirror.root);
    assert_eq!(look::generations(&mirror.places, 0).unwrap().older, 1);
    let error = look::root(&mirror.places, Some(7)).unwrap_err();
    assert_eq!((error.kind(), error.chain().contains("generation 7")), (ErrorKind::NotFound, true), "{error:?}");
    assert_eq!(look::root(&mirror.places, Some(1)).unwrap(), mirror.root);
    mirror.runtime.block_on(mirror.places.control.delete(ROOT)).unwrap();
    assert!(look::root(&mirror.places, None).unwrap_err().hint().unwrap().contains("mirror push"));
}
