//! Frozen files: a mirror of layout 1 with four generations, and what the last one holds (`tests/golden/mirror-v1.txt`). The reader in Python reads
//! the same files and has to say the same.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use volvault::catalog::{Content, Entry, Node, ObjectAt};
use volvault::id::ObjectHash;
use volvault::rclone_sync::blocks::{self, BLOCKS_OBJECT_MAX, BlockList};
use volvault::rclone_sync::layout::{ROOT, blocks_key, root_key};
use volvault::rclone_sync::root::ROOT_MAX;
use volvault::rclone_sync::{Places, Root, manifest};
use volvault::storage::{Location, Store};

use crate::support::vault::noise;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn mirror(runtime: &tokio::runtime::Runtime) -> Places {
    let open = |name| {
        let files = LocalFileSystem::new_with_prefix(golden("mirror-v1").join(name)).unwrap();
        Store::from_object_store(Arc::new(files), Location::Memory)
    };
    Places::new(open("data"), open("data.volvault"), runtime.handle().clone())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// All generations, the newest last.
fn generations(places: &Places) -> Vec<Root> {
    let root = |key: &str| Root::decode(&places.block(places.control.get(key, ROOT_MAX)).unwrap()).unwrap();
    let newest = root(ROOT);
    (1..newest.generation).map(|generation| root(&root_key(generation))).chain([newest.clone()]).collect()
}

/// Everything but printable ASCII as `\xNN`.
fn shown(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'!'..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").unwrap(),
        }
        text
    })
}

fn line(entry: &Entry) -> String {
    let meta = &entry.meta;
    let name = |name: &Option<Arc<[u8]>>| name.as_deref().map_or("-".to_owned(), shown);
    let mut text = format!(
        "\"{}\" {:04o} {}:{} {}:{} {}.{:09}",
        shown(entry.path.as_bytes()),
        meta.mode,
        meta.uid,
        meta.gid,
        name(&meta.user),
        name(&meta.group),
        meta.mtime.seconds,
        meta.mtime.nanos
    );
    for attribute in meta.xattrs.iter() {
        write!(text, " {}={}", shown(&attribute.name), shown(&attribute.value)).unwrap();
    }
    if let Some(link) = entry.link {
        write!(text, " links {}:{:016x}", link.device, link.inode).unwrap();
    }
    match &entry.node {
        Node::Directory => text.push_str(" directory"),
        Node::Symlink { target } => write!(text, " symlink {}", shown(target)).unwrap(),
        Node::Fifo => text.push_str(" fifo"),
        Node::CharDevice { major, minor } => write!(text, " char {major}:{minor}").unwrap(),
        Node::BlockDevice { major, minor } => write!(text, " block {major}:{minor}").unwrap(),
        Node::File(file) => {
            write!(text, " file {}", file.size).unwrap();
            for extent in file.extents.iter().flatten() {
                write!(text, " {}+{}", extent.offset, extent.len).unwrap();
            }
            if let Content::Object(object) = &file.content {
                let version = object.version.as_deref().unwrap_or("-");
                let at = match object.at {
                    ObjectAt::Plain => "plain".to_owned(),
                    ObjectAt::Staged => "staged".to_owned(),
                    ObjectAt::Packed { pack, offset } => format!("packed {pack} {offset}"),
                };
                let blocks = if object.blocks { " blocks" } else { "" };
                let etag = shown(object.etag.as_bytes());
                let hash = object.hash.map_or("-".to_owned(), |hash| hash.to_string());
                write!(text, " {hash} {etag} {version} {at}{blocks}").unwrap();
            }
        }
    }
    text
}

#[test]
fn a_mirror_of_layout_1_reads_as_it_did_when_it_was_written() {
    let runtime = runtime();
    let places = mirror(&runtime);
    let mut text = String::new();
    for root in generations(&places) {
        let pusher = &root.pusher;
        writeln!(
            text,
            "generation {} {} {} {} {} entries {} files {} bytes {} deltas {} history",
            root.generation,
            root.content(),
            root.time.format("%FT%TZ"),
            pusher.host,
            root.totals.entries,
            root.totals.files,
            root.totals.bytes,
            root.deltas.len(),
            root.history.len()
        )
        .unwrap();
        for entry in manifest::entries(&places, &root) {
            writeln!(text, "  {}", line(&entry.unwrap())).unwrap();
        }
    }
    let frozen = std::fs::read_to_string(golden("mirror-v1.txt")).unwrap_or_default();
    assert!(frozen == text, "mirror-v1.txt is not what it was; now it would be:\n{text}");
}

#[test]
fn changes_between_generations_lead_to_the_same_entries() {
    let runtime = runtime();
    let places = mirror(&runtime);
    let generations = generations(&places);
    let newest = generations.last().unwrap();
    for older in &generations {
        let older_entries: Vec<_> = manifest::entries(&places, older).map(Result::unwrap).collect();
        let mut made: std::collections::BTreeMap<_, _> =
            older_entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        for change in manifest::changes_since(&places, newest, older).unwrap() {
            match change.unwrap() {
                volvault::rclone_sync::Change::Put(entry) => drop(made.insert(entry.path.clone(), *entry)),
                volvault::rclone_sync::Change::Remove(path) => drop(made.remove(&path)),
            }
        }
        let newest_entries: Vec<_> = manifest::entries(&places, newest).map(Result::unwrap).collect();
        assert_eq!(made.into_values().collect::<Vec<_>>(), newest_entries, "from {}", older.generation);
    }
}

#[test]
fn a_block_list_of_layout_1_is_that_of_its_content() {
    let runtime = runtime();
    let places = mirror(&runtime);
    let bytes = noise(60_000, 6);
    let key = blocks_key(&ObjectHash::new(*blake3::hash(&bytes).as_bytes()));
    let list = BlockList::decode(&places.block(places.control.get(&key, BLOCKS_OBJECT_MAX)).unwrap(), 60_000).unwrap();
    let cut = blocks::cut(&mut bytes.as_slice(), list.average(), &mut |_, _, _| Ok(())).unwrap();
    assert_eq!(cut.list, list);
}
