//! The manifest: what a generation of a mirror holds, as one stream put together from a base and deltas. Spec: `docs/mirror.md` section 4.

use std::fs::File;
use std::io::Read as _;

use super::layout::{Places, segment_key};
use super::merge::{Entries, Merge};
use super::root::Root;
use super::segment::{SegmentReader, SegmentRef, Written};
use crate::error::{Attempt, Result};
use crate::storage::{Attributes, Condition};

/// Bytes of all segments that are on their way or wait to be decoded: 3 ranges of 1 MiB for each of five, or of 64 KiB for each of eighty.
const AHEAD: u64 = 15 << 20;
/// Largest range: about what a link moves in two round trips.
const WINDOW_MAX: u64 = 1 << 20;
/// Smallest range.
const WINDOW_MIN: u64 = 64 << 10;
/// A larger segment is sent in parts of this size, one at a time: a few requests more for a base of hundreds of thousands of files, and little memory.
const PART: u64 = 8 << 20;

/// All entries of the generation of `root`, in catalogue order: the base with its deltas, read from the store as they are wanted.
/// Nothing is certain before the stream has ended without an error.
pub fn entries(places: &Places, root: &Root) -> Entries {
    let mut layers = vec![&root.base];
    layers.extend(root.deltas.iter().map(|delta| &delta.segment));
    Merge::of(readers(places, &layers)).entries_of(root)
}

/// All entries of the generation of `root`, from a local copy of those of `seen`, an earlier root. None if the deltas of `root` do not lead from there.
pub fn entries_onto(places: &Places, root: &Root, local: SegmentReader, seen: &Root) -> Option<Entries> {
    let deltas = root.deltas_since(seen)?;
    let mut layers = vec![local];
    layers.extend(readers(places, &deltas.iter().collect::<Vec<_>>()));
    Some(Merge::of(layers).entries_of(root))
}

/// What the generations after that of `seen` changed, each path once with what became of it. None if the deltas of `root` do not lead from there.
pub fn changes_since(places: &Places, root: &Root, seen: &Root) -> Option<Merge> {
    let deltas = root.deltas_since(seen)?;
    Some(Merge::of(readers(places, &deltas.iter().collect::<Vec<_>>())))
}

fn readers(places: &Places, segments: &[&SegmentRef]) -> Vec<SegmentReader> {
    let share = AHEAD / 3 / (segments.len() as u64).max(1);
    let window = share.clamp(WINDOW_MIN, WINDOW_MAX);
    segments.iter().map(|segment| SegmentReader::of_object(places, segment, window)).collect()
}

/// Stores a segment at its name. A part of it is in memory at a time.
pub fn store_segment(places: &Places, written: &Written) -> Result<()> {
    store(places, written).attempt(|| format!("store segment {} of the manifest", written.hash.short()))
}

fn store(places: &Places, written: &Written) -> Result<()> {
    let (key, attributes) = (segment_key(&written.hash), Attributes::default());
    let read = || format!("read {}", written.path.display());
    let mut file = File::open(&written.path).attempt(read)?;
    if written.size <= PART {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).attempt(read)?;
        return places.block(places.control.put(&key, bytes.into()));
    }
    let upload = places.block(places.control.upload(&key, &attributes, written.size))?;
    for number in 1.. {
        let mut bytes = Vec::new();
        let part = (&mut file).take(PART).read_to_end(&mut bytes).attempt(read);
        let sent = match part {
            Ok(0) => break,
            Ok(_) => places.block(upload.part(number, bytes.into())),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // Best effort: the store's rule for unfinished uploads takes what is left.
            let _ = places.block(upload.abort());
            return Err(error);
        }
    }
    places.block(upload.finish(Condition::Any)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Entry, Metadata, Node, Timestamp};
    use crate::path::TreePath;
    use crate::rclone_sync::root::{Pusher, Totals};
    use crate::rclone_sync::segment::SegmentWriter;
    use crate::storage::{Location, Store};

    fn directory(path: &str, mode: u16) -> Entry {
        let time = Timestamp::default();
        let xattrs = std::sync::Arc::from([]);
        let meta =
            Metadata { mode, uid: 0, gid: 0, user: None, group: None, mtime: time, ctime: time, inode: 0, xattrs };
        Entry { path: TreePath::parse(path).expect("a path"), meta, node: Node::Directory, link: None }
    }

    struct Mirror {
        runtime: tokio::runtime::Runtime,
        dir: tempfile::TempDir,
        places: Places,
    }

    fn mirror() -> Mirror {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio");
        let memory = || {
            let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
            Store::from_object_store(objects, Location::Memory)
        };
        let places = Places::new(memory(), memory(), runtime.handle().clone());
        Mirror { runtime, dir: tempfile::tempdir().expect("a directory"), places }
    }

    fn written(mirror: &Mirror, name: &str, puts: &[Entry], removed: &[&str]) -> Written {
        let mut writer = SegmentWriter::create(&mirror.dir.path().join(name)).expect("a file");
        for entry in puts {
            writer.put(entry).expect("put");
        }
        for path in removed {
            writer.remove(&TreePath::parse(*path).expect("a path")).expect("removed");
        }
        let written = writer.finish().expect("finished");
        store_segment(&mirror.places, &written).expect("stored");
        written
    }

    fn root(base: SegmentRef) -> Root {
        let totals = Totals { entries: base.entries, ..Totals::default() };
        Root::first(base, Pusher::default(), "2026-11-20T17:00:00Z".parse().expect("a time"), totals)
    }

    fn paths(entries: impl Iterator<Item = Result<Entry>>) -> Result<Vec<String>> {
        entries.map(|entry| Ok(entry?.path.display())).collect()
    }

    /// Names that do not compress, so that the object is larger than one request takes.
    #[test]
    fn a_base_of_many_parts_and_ranges_comes_back_from_the_store() {
        let mirror = mirror();
        let name = |number: u32| {
            let mut name = vec![0; 250];
            blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut name);
            for byte in &mut name {
                *byte = if matches!(byte, 0 | b'/') { b'x' } else { *byte };
            }
            TreePath::parse(name).expect("a path")
        };
        let names: std::collections::BTreeSet<TreePath> = (0..70_000).map(name).collect();
        let entries: Vec<Entry> = names.into_iter().map(|path| Entry { path, ..directory("a", 0o755) }).collect();
        let base = written(&mirror, "base", &entries, &[]);
        assert!(base.size > 2 * PART, "{} bytes", base.size);
        let read: Result<Vec<Entry>> = super::entries(&mirror.places, &root(base.at(1))).collect();
        assert!(read.expect("read") == entries);
        drop(mirror.runtime);
    }

    #[test]
    fn deltas_are_laid_upon_what_they_name_and_nothing_else() {
        let mirror = mirror();
        let base = written(&mirror, "base", &[directory("a", 0o755), directory("b", 0o755)], &[]);
        let first = root(base.at(1));
        let delta = written(&mirror, "delta", &[directory("b", 0o700), directory("c", 0o755)], &["d"]);
        let mut second = first.next(b"", delta.at(2), None).expect("the next");
        second.totals.entries = 3;
        assert_eq!(paths(super::entries(&mirror.places, &second)).expect("read"), ["/a", "/b", "/c"]);

        let local = || SegmentReader::of_file(&base.path, &base.at(1)).expect("opened");
        let onto = |seen: &Root| entries_onto(&mirror.places, &second, local(), seen);
        assert_eq!(paths(onto(&first).expect("reached")).expect("read"), ["/a", "/b", "/c"]);
        let other = root(written(&mirror, "other", &[directory("x", 0o755)], &[]).at(1));
        assert!(onto(&other).is_none(), "another mirror of the same number");
        let changed: Result<Vec<_>> = changes_since(&mirror.places, &second, &first).expect("reached").collect();
        assert_eq!(changed.expect("read").len(), 3);

        second.totals.entries = 4;
        let error = paths(super::entries(&mirror.places, &second)).expect_err("another number of entries");
        assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt);
    }

    #[test]
    fn an_entry_in_no_directory_and_a_missing_segment_are_errors() {
        let mirror = mirror();
        for paths_of in [&["a/b"][..], &["a", "a/b/c"], &["a", "b", "c/d"]] {
            let entries: Vec<Entry> = paths_of.iter().map(|path| directory(path, 0o755)).collect();
            let base = written(&mirror, "base", &entries, &[]);
            let error = paths(super::entries(&mirror.places, &root(base.at(1)))).expect_err("no tree");
            assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt, "{paths_of:?}");
        }
        let mut gone = root(written(&mirror, "base", &[directory("a", 0o755)], &[]).at(1));
        gone.base.hash = crate::id::ObjectHash::new([9; 32]);
        let error = paths(super::entries(&mirror.places, &gone)).expect_err("missing");
        assert_eq!(error.kind(), crate::error::ErrorKind::NotFound);
    }
}
