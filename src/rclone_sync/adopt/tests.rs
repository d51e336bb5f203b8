use std::sync::Arc;

use object_store::memory::InMemory;
use tokio::runtime::Runtime;

use super::object::seconds;
use super::*;
use crate::catalog::{Content, ObjectAt};
use crate::clock::SystemClock;
use crate::events::{Silent, Stop};
use crate::rclone_sync::{Places, manifest};
use crate::storage::{Location, Store};

struct Prefix {
    _runtime: Runtime,
    mirror: Destination,
    options: AdoptOptions,
    scratch: tempfile::TempDir,
}

impl Prefix {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = || Store::from_object_store(Arc::new(InMemory::new()), Location::Memory);
        let places = Places::new(store(), store(), runtime.handle().clone());
        let scratch = tempfile::tempdir().unwrap();
        let means = Means {
            clock: SystemClock::new(),
            host: "h".into(),
            program: "p".into(),
            id: "i".into(),
            scratch: scratch.path().join("scratch"),
        };
        let options = AdoptOptions { owner: (7, 8), transfers: 3, ..AdoptOptions::new(means) };
        let mirror = Destination { name: "m".into(), places, state: None };
        Self { _runtime: runtime, mirror, options, scratch }
    }

    fn put(&self, key: &str, bytes: &[u8], mtime: Option<&str>, more: &[(&str, &str)]) {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let attributes = Attributes { mtime: mtime.map(str::to_owned), more, ..Attributes::default() };
        let places = &self.mirror.places;
        let bytes = Bytes::copy_from_slice(bytes);
        places.block(places.data.put_with(key, bytes, &attributes, Condition::Any)).unwrap();
    }

    fn adopt(&self) -> Result<AdoptReport> {
        let (progress, stop) = (Progress::default(), Stop::new());
        adopt(&self.mirror, &self.options, &Watch { observer: &Silent, progress: &progress, stop: &stop })
    }

    fn entries(&self) -> Vec<Entry> {
        let places = &self.mirror.places;
        let (text, _) = places.block(places.control.get_with_pin(ROOT, 1 << 20)).unwrap();
        manifest::entries(places, &Root::decode(&text).unwrap()).collect::<Result<_>>().unwrap()
    }
}

#[test]
fn objects_become_a_tree_with_rclones_times_and_metadata() {
    let mut prefix = Prefix::new();
    prefix.options.read = true;
    prefix.put("d/e/file", b"content", Some("1700000000.123456789"), &[("mode", "100600"), ("uid", "1000")]);
    prefix.put("d.txt", b"text", Some("1700000001.5"), &[]);
    prefix.put("d/zero", b"", None, &[]);
    prefix.put("d/link.rclonelink", b"e/file", Some("5"), &[]);
    let report = prefix.adopt().unwrap();
    assert_eq!((report.entries, report.files, report.bytes, report.left_out), (6, 3, 11, 0));
    let entries = prefix.entries();
    let paths: Vec<String> = entries.iter().map(|entry| entry.path.display()).collect();
    assert_eq!(paths, ["/d", "/d/e", "/d/e/file", "/d/link", "/d/zero", "/d.txt"]);
    let file = &entries[2];
    assert_eq!((file.meta.mode, file.meta.uid, file.meta.gid), (0o600, 1000, 8));
    assert_eq!(file.meta.mtime, Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 });
    let Node::File(node) = &file.node else { panic!("{file:?}") };
    let Content::Object(object) = &node.content else { panic!("{node:?}") };
    assert_eq!(object.hash.map(|hash| *hash.as_bytes()), Some(*blake3::hash(b"content").as_bytes()));
    assert!(object.at == ObjectAt::Plain && !object.etag.is_empty());
    assert_eq!(entries[3].node, Node::Symlink { target: b"e/file".to_vec() });
    assert_eq!(std::fs::read_dir(prefix.scratch.path().join("scratch")).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn times_may_be_those_at_which_objects_were_stored() {
    for (times, is_its_own) in [(Times::Metadata, true), (Times::Stored, false)] {
        let mut prefix = Prefix::new();
        (prefix.options.read, prefix.options.times) = (true, times);
        prefix.put("file", b"content", Some("1600000000"), &[]);
        prefix.adopt().unwrap();
        let entries = prefix.entries();
        let file = entries.iter().find(|entry| matches!(entry.node, Node::File(_))).unwrap();
        assert_eq!(file.meta.mtime.seconds == 1_600_000_000, is_its_own, "{times:?}");
        assert!(file.meta.mtime.seconds >= 1_600_000_000, "{times:?}");
    }
}

#[test]
fn permissions_come_from_the_file_that_the_mover_keeps() {
    let prefix = Prefix::new();
    prefix.put("d/f", b"x", None, &[]);
    prefix.put("g", b"y", None, &[]);
    prefix.put(
        FACL,
        b"# file: data\n# owner: 1\n# group: 2\nuser::rwx\ngroup::r-x\nother::---\n\n\
          # file: data/g\n# owner: 3\n# group: 4\nuser::rw-\nuser:1001:r--\ngroup::---\nmask::r--\nother::---\n\n\
          # file: data/d/f\n# owner: 5\n# group: 6\nuser::rw-\ngroup::r--\nother::---\n\n\
          # file: data/d\n# owner: 5\n# group: 6\n# flags: -s-\nuser::rwx\ngroup::rwx\nother::---\n",
        None,
        &[],
    );
    let report = prefix.adopt().unwrap();
    assert!(report.facl && report.files == 2);
    let said: Vec<(String, u16, u32, usize)> = prefix
        .entries()
        .iter()
        .map(|entry| (entry.path.display(), entry.meta.mode, entry.meta.uid, entry.meta.xattrs.len()))
        .collect();
    assert_eq!(
        said,
        [
            ("/".to_owned(), 0o750, 1, 0),
            ("/d".to_owned(), 0o2770, 5, 0),
            ("/d/f".to_owned(), 0o640, 5, 0),
            ("/g".to_owned(), 0o640, 3, 1)
        ]
    );
}

#[test]
fn nothing_but_links_is_read_when_listing_and_metadata_will_do() {
    let prefix = Prefix::new();
    prefix.put("big", &vec![7; 100_000], Some("1700000000"), &[]);
    prefix.put("link.rclonelink", b"big", None, &[]);
    let seen = survey(&prefix.mirror, &prefix.options).unwrap();
    assert_eq!((seen.objects, seen.bytes, seen.read), (2, 100_003, 3));
    let before = prefix.mirror.places.data.requests();
    assert_eq!(prefix.adopt().unwrap().bytes, 100_000);
    let took = prefix.mirror.places.data.requests().since(&before);
    assert!(took.bytes_down < 100 && took.total() + 3 <= seen.requests, "{took}, {seen:?}");
    let entries = prefix.entries();
    let Node::File(file) = &entries[0].node else { panic!("{entries:?}") };
    let Content::Object(object) = &file.content else { panic!("{file:?}") };
    assert_eq!((object.hash, file.size), (None, 100_000));
    let places = &prefix.mirror.places;
    let text = places.block(places.control.get(ROOT, 1 << 20)).unwrap();
    assert_eq!(Root::decode(&text).unwrap().features, ["unhashed"], "older versions are told");
}

#[test]
fn what_cannot_be_in_a_tree_is_left_out_and_told() {
    let prefix = Prefix::new();
    for key in ["a", "a/b", "ab", "ab.rclonelink", "long.rclonelink"] {
        prefix.put(key, if key.starts_with("long") { b"" } else { b"x" }, None, &[]);
    }
    let report = prefix.adopt().unwrap();
    assert_eq!((report.entries, report.left_out), (2, 3));
}

#[test]
fn neither_a_mirror_nor_nothing_is_adopted() {
    let prefix = Prefix::new();
    assert_eq!(prefix.adopt().unwrap_err().kind(), ErrorKind::NotFound);
    prefix.put("a", b"x", None, &[]);
    prefix.adopt().unwrap();
    let error = prefix.adopt().unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.hint().is_some(), "{error:?}");
}

#[test]
fn times_are_read_as_rclone_writes_them() {
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    assert_eq!(seconds("1700000000.123456789"), at(1_700_000_000, 123_456_789));
    assert_eq!(seconds("0"), at(0, 0));
    assert_eq!(seconds("1.5"), at(1, 500_000_000));
    assert_eq!(seconds("-1.25"), at(-2, 750_000_000));
    assert_eq!(seconds("-0.25"), at(-1, 750_000_000));
    assert_eq!(seconds("-3"), at(-3, 0));
    for text in ["", "x", "1.x", "1e9", "99999999999999999999"] {
        assert_eq!(seconds(text), None, "{text}");
    }
}
