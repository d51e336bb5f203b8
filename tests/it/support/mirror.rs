//! A mirror in memory, and the smallest publisher: one base for each generation, one object for each file. It shares no code with `push`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::Runtime;
use volvault::Result;
use volvault::catalog::{Content, Entry, FileNode, LinkGroup, Metadata, Node, ObjectAt, StoredObject};
use volvault::clock::SystemClock;
use volvault::events::{Progress, Stop, Watch};
use volvault::id::ObjectHash;
use volvault::path::TreePath;
use volvault::rclone_sync::blocks::{average_for, cut};
use volvault::rclone_sync::key::key_of;
use volvault::rclone_sync::layout::{ROOT, blocks_key, pack_key, root_key};
use volvault::rclone_sync::pull::{PullOptions, PullReport, pull};
use volvault::rclone_sync::root::ROOT_MAX;
use volvault::rclone_sync::{Destination, Means, Places, Pusher, Root, SegmentWriter, Totals, Written, manifest};
use volvault::storage::{Attributes, Condition, Location, Pin, Store};
use volvault::volume::{EntryKind, Found, OwnerNames, Rules, Source, WalkItem, WalkOptions, walk};

use super::hasty;
use super::vault::Ear;

/// Source, mirror, target and state of a test, in one directory and two stores.
pub(crate) struct Mirror {
    pub(crate) runtime: Runtime,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) data: Arc<dyn ObjectStore>,
    pub(crate) control: Arc<dyn ObjectStore>,
}

impl Mirror {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(InMemory::new()), Arc::new(InMemory::new()))
    }

    pub(crate) fn over(data: Arc<dyn ObjectStore>, control: Arc<dyn ObjectStore>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { runtime, dir: tempfile::tempdir().unwrap(), data, control }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.at("source")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.at("target")
    }

    pub(crate) fn places(&self) -> Places {
        self.places_of(&self.data, &self.control)
    }

    pub(crate) fn places_of(&self, data: &Arc<dyn ObjectStore>, control: &Arc<dyn ObjectStore>) -> Places {
        let store = |objects: &Arc<dyn ObjectStore>| {
            Store::from_object_store_with(Arc::clone(objects), Location::Memory, hasty())
        };
        Places::new(store(data), store(control), self.runtime.handle().clone())
    }

    pub(crate) fn destination(&self) -> Destination {
        Destination { name: "mirror".to_owned(), places: self.places(), state: Some(self.at("state")) }
    }

    pub(crate) fn options(&self) -> PullOptions {
        PullOptions::new(Means {
            clock: SystemClock::new(),
            host: "test".to_owned(),
            program: "volvault test".to_owned(),
            id: "puller".to_owned(),
            scratch: self.dir.path().to_owned(),
        })
    }

    pub(crate) fn pull(&self) -> Result<PullReport> {
        self.pull_with(&self.options())
    }

    pub(crate) fn pull_with(&self, options: &PullOptions) -> Result<PullReport> {
        self.pull_from(&self.destination(), options, &Stop::new())
    }

    pub(crate) fn pull_from(&self, from: &Destination, options: &PullOptions, stop: &Stop) -> Result<PullReport> {
        let (progress, ear) = (Progress::default(), Ear::default());
        let report = pull(from, &self.target(), options, &Watch { observer: &ear, progress: &progress, stop });
        let heard = ear.problems.lock().unwrap();
        if let Ok(report) = &report {
            assert_eq!(u64::try_from(heard.len()).unwrap(), report.problems, "each problem is told: {heard:?}");
        }
        report
    }

    /// Publishes the source as the next generation.
    pub(crate) fn publish(&self) -> u64 {
        self.publish_with(false)
    }

    /// As [`Mirror::publish`], with the small files in a pack, too.
    pub(crate) fn publish_with(&self, pack: bool) -> u64 {
        let places = self.places();
        let before = root(&places);
        let old: BTreeMap<TreePath, Entry> = before.as_ref().map_or_else(BTreeMap::new, |(root, _, _)| {
            manifest::entries(&places, root)
                .map(|entry| entry.unwrap())
                .map(|entry| (entry.path.clone(), entry))
                .collect()
        });
        let mut entries = self.entries(&places, &old);
        if pack {
            self.pack(&places, &mut entries);
        }
        let new: BTreeMap<&TreePath, &Entry> = entries.iter().map(|entry| (&entry.path, entry)).collect();
        let mut delta = SegmentWriter::create(&self.at("delta")).unwrap();
        let mut paths: Vec<&TreePath> = old.keys().chain(new.keys().copied()).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            match new.get(path) {
                None => delta.remove(path).unwrap(),
                Some(entry) if old.get(path) != Some(*entry) => delta.put(entry).unwrap(),
                Some(_) => {}
            }
        }
        let mut base = SegmentWriter::create(&self.at("base")).unwrap();
        for entry in &entries {
            base.put(entry).unwrap();
        }
        let (base, delta) = (base.finish().unwrap(), delta.finish().unwrap());
        swap(&places, before.as_ref(), &base, &delta)
    }

    fn pack(&self, places: &Places, entries: &mut [Entry]) {
        let (mut bytes, mut members) = (Vec::new(), Vec::new());
        for entry in &mut *entries {
            if let Node::File(FileNode { content: Content::Object(object), size: 1..=4096, .. }) = &mut entry.node {
                members.push((object, u64::try_from(bytes.len()).unwrap()));
                bytes.extend(std::fs::read(self.source().join(entry.path.as_os_str())).unwrap());
            }
        }
        let pack = ObjectHash::new(*blake3::hash(&bytes).as_bytes());
        places.block(places.control.put(&pack_key(&pack), bytes.into())).unwrap();
        for (object, offset) in members {
            *object = Arc::new(StoredObject { at: ObjectAt::Packed { pack, offset }, ..StoredObject::clone(object) });
        }
    }

    fn entries(&self, places: &Places, old: &BTreeMap<TreePath, Entry>) -> Vec<Entry> {
        let source = Source { at: TreePath::root(), path: self.source(), explicit: true };
        let options = WalkOptions { rules: Arc::new(Rules::default()), threads: 0, attributes: false };
        let (names, mut groups, mut entries) = (OwnerNames::default(), BTreeMap::new(), Vec::new());
        walk(vec![source], &options, &Stop::new(), |batches| {
            for item in batches.flatten() {
                let WalkItem::Found(found) = item else { continue };
                let (meta, problem) = found.metadata(&names);
                assert!(problem.is_none(), "{problem:?}");
                let several = found.stat.nlink > 1 && found.stat.kind != EntryKind::Directory;
                let hash = blake3::hash(found.path.as_bytes());
                let own = u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap());
                let key = (found.stat.device, found.stat.inode);
                let first = !several || !groups.contains_key(&key);
                let link = several.then(|| LinkGroup { device: 0, inode: *groups.entry(key).or_insert(own) });
                let node = node(places, &found, first, old.get(&found.path));
                let meta = Metadata { ctime: meta.mtime, inode: 0, ..meta };
                entries.push(Entry { path: found.path.clone(), meta, node, link });
            }
        });
        entries
    }
}

/// Stores the segments, then the root.
fn swap(places: &Places, before: Option<&(Root, Vec<u8>, Pin)>, base: &Written, delta: &Written) -> u64 {
    let totals = Totals { entries: base.entries, files: base.files, bytes: base.bytes };
    manifest::store_segment(places, base).unwrap();
    let root = if let Some((root, text, _)) = before {
        let generation = root.generation + 1;
        manifest::store_segment(places, delta).unwrap();
        let mut next = root.next(text, delta.at(generation), Some(base.at(generation))).unwrap();
        next.totals = totals;
        next
    } else {
        Root::first(base.at(1), Pusher::default(), "2026-11-20T17:00:00Z".parse().unwrap(), totals)
    };
    let text = bytes::Bytes::from(root.encode().unwrap());
    let control = &places.control;
    places.block(control.put(&root_key(root.generation), text.clone())).unwrap();
    let condition = before.map_or(Condition::New, |(_, _, pin)| Condition::Match(pin));
    places.block(control.put_with(ROOT, text, &Attributes::default(), condition)).unwrap();
    root.generation
}

fn root(places: &Places) -> Option<(Root, Vec<u8>, Pin)> {
    let (text, pin) = places.block(places.control.get_with_pin(ROOT, ROOT_MAX)).ok()?;
    Some((Root::decode(&text).unwrap(), text.to_vec(), pin))
}

fn node(places: &Places, found: &Found, first: bool, old: Option<&Entry>) -> Node {
    let (major, minor) = found.stat.rdev;
    match found.stat.kind {
        EntryKind::Directory => Node::Directory,
        EntryKind::Symlink => Node::Symlink { target: found.link_target().unwrap() },
        EntryKind::Fifo => Node::Fifo,
        EntryKind::CharDevice => Node::CharDevice { major, minor },
        EntryKind::BlockDevice => Node::BlockDevice { major, minor },
        EntryKind::Socket => unreachable!("the walk gives no sockets"),
        EntryKind::File => {
            let extents = found.open().unwrap().extents().unwrap();
            let size = found.stat.size;
            let content = if first && size > 0 { store(places, found, old) } else { Content::Empty };
            Node::File(FileNode { size, content, extents, incomplete: false })
        }
    }
}

/// Stores a file, unless the last generation has the same bytes at the same path.
fn store(places: &Places, found: &Found, old: Option<&Entry>) -> Content {
    let mut bytes = vec![0; usize::try_from(found.stat.size).unwrap()];
    let mut file = found.open().unwrap();
    let mut filled = 0;
    while filled < bytes.len() {
        filled += file.read(&mut bytes[filled..]).unwrap();
    }
    let hash = ObjectHash::new(*blake3::hash(&bytes).as_bytes());
    if let Some(Node::File(FileNode { content: content @ Content::Object(object), .. })) = old.map(|old| &old.node)
        && object.hash == Some(hash)
    {
        return content.clone();
    }
    let copy = bytes.clone();
    let pin = places
        .block(places.data.put_with(&key_of(&found.path), bytes.into(), &Attributes::default(), Condition::Any))
        .unwrap();
    let average = average_for(found.stat.size);
    if let Some(average) = average {
        let list = cut(&mut copy.as_slice(), average, &mut |_, _, _| Ok(())).unwrap().list;
        places.block(places.control.put(&blocks_key(&hash), list.encode().unwrap().into())).unwrap();
    }
    let object = StoredObject {
        hash: Some(hash),
        etag: pin.etag.unwrap().into(),
        version: pin.version.map(Into::into),
        at: ObjectAt::Plain,
        blocks: average.is_some(),
    };
    Content::Object(Arc::new(object))
}

/// Writes a file below `root`, with the directories above it.
pub(crate) fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), bytes).unwrap();
}
