//! What a machine remembers of one mirror: the root that it saw last, and all entries of that generation. Never needed and never trusted to be
//! right about the store: when it is missing or damaged, everything is fetched again.
//!
//! A directory for each pair of mirror and local path holds `state.json` and the segment that it names. Order of writes: the segment under a name that
//! holds its hash, synced; then `state.json`, replaced in one step; then older segments are removed. So a kill leaves the old state or the new.
//! One run at a time has the directory open. Directories that no run has opened for long go with a run that has something new to remember.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::idle::{self, Rules, UNUSED_MAX};
use super::root::Root;
use super::segment::{SegmentReader, SegmentRef, Written};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::path::escape;
use crate::storage::Pin;
use crate::volume::durable::{Publish, publish};

/// Name of the file that says which segment counts.
const FILE: &str = "state.json";
/// Largest `state.json`: the text of a root, escaped, and little else.
const FILE_MAX: u64 = 256 << 10;
/// Names of segments begin so.
const MANIFEST: &str = "manifest-";
/// What a pull keeps beside: how the target looked.
pub(super) const SEEN: &str = "seen";
/// Names of files that a killed run was publishing begin so.
const TEMPORARY: &str = ".volvault-";
/// The directory for what is being written; what a killed run left in it is removed by the next.
const SCRATCH: &str = "scratch";
/// The file that the run that uses the directory holds a lock on.
const LOCK: &str = "lock";

/// The memory of one mirror.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    lock: fs::File,
    key: String,
    kept: Option<Kept>,
    abilities: Option<serde_json::Value>,
}

/// One generation as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The root.
    pub root: Root,
    /// Its text.
    pub text: Vec<u8>,
    /// What the store said of it.
    pub pin: Pin,
    /// The segment of all entries, as a base of that generation.
    pub manifest: SegmentRef,
}

#[derive(Serialize, Deserialize)]
struct Json {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<KeptJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    abilities: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct KeptJson {
    root: String,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    version: Option<String>,
    manifest: SegmentRef,
}

impl State {
    /// The state of what `key` names (mirror and local path), below `holder`. The directory is made, with mode 0700: names of files are in it.
    /// What is there and cannot be read counts as nothing.
    ///
    /// # Errors
    /// `Unavailable` while another run has it open.
    pub fn open(holder: &Path, key: &str) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name: String = blake3::hash(key.as_bytes()).to_hex().chars().take(32).collect();
        let dir = holder.join(name);
        let make = |dir: &Path| {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.attempt(|| format!("make the state directory {}", shown(dir)))
        };
        make(holder)?;
        let gate = idle::enter(holder).attempt(|| format!("begin in the state directory {}", shown(holder)))?;
        make(&dir)?;
        let lock = lock(&dir)?;
        gate.as_ref().map(idle::leave);
        let scratch = dir.join(SCRATCH);
        match fs::remove_dir_all(&scratch) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cause),
            _ => fs::create_dir(&scratch),
        }
        .attempt(|| format!("clear {}", shown(&scratch)))?;
        let mut state = Self { dir, lock, key: key.to_owned(), kept: None, abilities: None };
        if let Some(json) = state.read() {
            state.abilities = json.abilities;
            state.kept = json.kept.and_then(|kept| state.check(kept));
        }
        Ok(state)
    }

    /// The generation that was seen last.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// Its entries. The reader's first error means that the state is damaged: call [`State::forget`] and fetch.
    pub fn manifest(&self) -> Option<Result<SegmentReader>> {
        self.kept.as_ref().map(|kept| SegmentReader::of_file(&self.manifest_path(&kept.manifest), &kept.manifest))
    }

    /// Where to write the next manifest, for [`State::save`].
    pub fn scratch(&self) -> PathBuf {
        self.scratch_file("manifest")
    }

    /// A file of this run alone, gone with this value.
    pub fn scratch_file(&self, name: &str) -> PathBuf {
        self.dir.join(SCRATCH).join(name)
    }

    /// What the store was found to be able to do, in the finder's own words.
    pub fn abilities(&self) -> Option<&serde_json::Value> {
        self.abilities.as_ref()
    }

    /// Remembers what the store can do.
    pub fn set_abilities(&mut self, abilities: serde_json::Value) -> Result<()> {
        self.abilities = Some(abilities);
        self.publish()
    }

    /// Remembers a generation: `text` is its root, as it was read or written with `pin`; `manifest` is a segment of all its entries in this
    /// state's directory ([`State::scratch`]), which is taken over.
    pub fn save(&mut self, text: &[u8], pin: &Pin, manifest: &Written) -> Result<()> {
        let root = Root::decode(text)?;
        let segment = manifest.at(root.generation);
        let said = || format!("save the manifest in {}", shown(&self.dir));
        fs::File::open(&manifest.path).and_then(|file| file.sync_all()).attempt(said)?;
        let place = self.manifest_path(&segment);
        rustix::fs::renameat(CWD, &manifest.path, CWD, &place).map_err(std::io::Error::from).attempt(said)?;
        self.kept = Some(Kept { root, text: text.to_vec(), pin: pin.clone(), manifest: segment });
        self.publish()?;
        self.tidy(&place);
        self.sweep(UNUSED_MAX);
        Ok(())
    }

    /// The root was seen again with another `ETag` or version; the generation is the same.
    pub fn seen_again(&mut self, pin: &Pin) -> Result<()> {
        match &mut self.kept {
            Some(kept) if kept.pin != *pin => kept.pin = pin.clone(),
            _ => return Ok(()),
        }
        self.publish()
    }

    /// Drops what is remembered of the generation, but for what the store can do.
    pub fn forget(&mut self) -> Result<()> {
        self.kept = None;
        self.publish()
    }

    /// A file that is kept beside, for whoever remembers more.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn read(&self) -> Option<Json> {
        let path = self.dir.join(FILE);
        if fs::metadata(&path).ok()?.len() > FILE_MAX {
            return None;
        }
        let json: Json = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (json.key == self.key).then_some(json)
    }

    fn check(&self, kept: KeptJson) -> Option<Kept> {
        let root = Root::decode(kept.root.as_bytes()).ok()?;
        let size = fs::metadata(self.manifest_path(&kept.manifest)).ok()?.len();
        let is_whole = kept.manifest.generation == root.generation
            && kept.manifest.removed == 0
            && kept.manifest.entries == root.totals.entries
            && kept.manifest.size == size;
        let KeptJson { root: text, etag, version, manifest } = kept;
        is_whole.then(|| Kept { root, text: text.into_bytes(), pin: Pin { etag, version }, manifest })
    }

    /// The file of them.
    pub(super) fn manifest_file(&self) -> Option<PathBuf> {
        self.kept.as_ref().map(|kept| self.manifest_path(&kept.manifest))
    }

    fn manifest_path(&self, segment: &SegmentRef) -> PathBuf {
        self.dir.join(format!("{MANIFEST}{}", segment.hash))
    }

    fn publish(&self) -> Result<()> {
        let kept = self.kept.as_ref().map(|kept| KeptJson {
            root: String::from_utf8_lossy(&kept.text).into_owned(),
            etag: kept.pin.etag.clone(),
            version: kept.pin.version.clone(),
            manifest: kept.manifest.clone(),
        });
        let json = Json { key: self.key.clone(), kept, abilities: self.abilities.clone() };
        let bytes = serde_json::to_vec(&json).map_err(|cause| Error::bug("write the state").with_source(cause))?;
        publish(&self.dir.join(FILE), &bytes, Publish::Replace)
    }

    /// Removes older manifests. A failure costs space, and the next run tries again.
    fn tidy(&self, place: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            if entry.path() != place && entry.file_name().as_encoded_bytes().starts_with(MANIFEST.as_bytes()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes what is remembered of other mirrors that nobody has asked for in so long. A failure costs space, too.
    fn sweep(&self, unused: Duration) {
        let rules = Rules { lock: LOCK, is_ours: is_kept, unused };
        let _ = self.dir.parent().map(|holder| {
            idle::touch(&self.lock)?;
            idle::sweep(holder, &self.lock, &rules)
        });
    }
}

/// Whether a file of this name may lie in a state.
fn is_kept(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    [FILE, LOCK, SCRATCH, SEEN].iter().any(|ours| ours.as_bytes() == name)
        || name.starts_with(MANIFEST.as_bytes())
        || name.starts_with(TEMPORARY.as_bytes())
}

impl Drop for State {
    fn drop(&mut self) {
        // What stays is removed by the next run.
        let _ = fs::remove_dir_all(self.dir.join(SCRATCH));
        idle::leave(&self.lock);
    }
}

/// Takes the directory for one run. Whatever it holds is changed by one at a time: two runs at once would each take back what the other has
/// noted before its first write.
fn lock(dir: &Path) -> Result<fs::File> {
    let said = || format!("lock the state directory {}", shown(dir));
    let file = fs::File::create(dir.join(LOCK)).attempt(said)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => idle::touch(&file).map_err(std::io::Error::from).attempt(said).map(|()| file),
        Err(Errno::WOULDBLOCK) => Err(Error::new(
            ErrorKind::Unavailable,
            "another run for the same directory and the same mirror is under way",
        )
        .with_hint("wait for its end")),
        Err(error) => Err(std::io::Error::from(error)).attempt(said),
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Entry, Metadata, Node, Timestamp};
    use crate::path::TreePath;
    use crate::rclone_sync::root::{Pusher, Totals};
    use crate::rclone_sync::segment::SegmentWriter;

    fn directory(path: &str) -> Entry {
        let meta = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            inode: 0,
            xattrs: std::sync::Arc::from([]),
        };
        Entry { path: TreePath::parse(path).expect("a path"), meta, node: Node::Directory, link: None }
    }

    fn pin(etag: &str) -> Pin {
        Pin { etag: Some(etag.to_owned()), version: None }
    }

    fn save(state: &mut State, names: &[&str], etag: &str) -> Vec<u8> {
        let mut writer = SegmentWriter::create(&state.scratch()).expect("a file");
        for name in names {
            writer.put(&directory(name)).expect("put");
        }
        let written = writer.finish().expect("finished");
        let totals = Totals { entries: written.entries, ..Totals::default() };
        let time = "2026-11-20T17:00:00Z".parse().expect("a time");
        let text = Root::first(written.at(1), Pusher::default(), time, totals).encode().expect("a root");
        state.save(&text, &pin(etag), &written).expect("saved");
        text
    }

    fn names(state: &State) -> Vec<String> {
        let reader = state.manifest().expect("kept").expect("opened");
        reader.map(|change| change.expect("whole").into_entry().expect("a base").path.display()).collect()
    }

    #[test]
    fn a_generation_is_remembered_until_the_next_and_for_its_own_mirror_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = State::open(dir.path(), "s3://b/p > /data").expect("opened");
        assert!(state.kept().is_none());
        state.set_abilities(serde_json::json!({"pinned_reads": true})).expect("saved");
        for (entries, etag) in [(&["a", "b"][..], "one"), (&["a", "b", "c"], "two")] {
            let text = save(&mut state, entries, etag);
            let before = state.kept().cloned();
            drop(state);
            let again = State::open(dir.path(), "s3://b/p > /data").expect("opened");
            assert_eq!(again.kept(), before.as_ref());
            let kept = again.kept().expect("kept");
            assert_eq!((&kept.text, kept.pin.etag.as_deref()), (&text, Some(etag)));
            assert_eq!(names(&again), entries.iter().map(|name| format!("/{name}")).collect::<Vec<_>>());
            assert_eq!(again.abilities(), Some(&serde_json::json!({"pinned_reads": true})));
            assert_eq!(fs::read_dir(&again.dir).expect("listed").count(), 4, "the older manifest is removed");
            state = again;
        }
        state.seen_again(&pin("three")).expect("saved");
        let other = State::open(dir.path(), "s3://b/q > /data").expect("opened");
        assert!(other.kept().is_none());
        drop(state);
        let mut again = State::open(dir.path(), "s3://b/p > /data").expect("opened");
        assert_eq!(again.kept().and_then(|kept| kept.pin.etag.as_deref()), Some("three"));
        again.forget().expect("saved");
        drop(again);
        assert!(State::open(dir.path(), "s3://b/p > /data").expect("opened").kept().is_none());
    }

    #[test]
    fn one_run_at_a_time_has_a_state_and_clears_what_a_killed_one_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let one = State::open(dir.path(), "k").expect("opened");
        let error = State::open(dir.path(), "k").expect_err("busy");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        drop(State::open(dir.path(), "another").expect("opened"));
        let left = one.scratch();
        drop(one);
        fs::create_dir(left.parent().expect("it has one")).expect("left by a killed run");
        fs::File::create(&left).expect("with a file in it");
        drop(State::open(dir.path(), "k").expect("opened"));
        assert!(!left.exists());
    }

    #[test]
    fn runs_that_begin_and_sweeps_that_take_all_they_can_do_not_hurt_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let runs: Vec<_> = ["one", "two"]
                .map(|key| {
                    let holder = dir.path();
                    scope.spawn(move || {
                        for _ in 0..300 {
                            let mut state = State::open(holder, key).expect("nobody else opens it");
                            State::open(holder, key).expect_err("it is ours");
                            state.set_abilities(serde_json::Value::Null).expect("it is there");
                            assert!(state.scratch().parent().is_some_and(Path::exists));
                        }
                    })
                })
                .into();
            scope.spawn(|| {
                let state = State::open(dir.path(), "sweeper").expect("opened");
                while !over.load(std::sync::atomic::Ordering::SeqCst) {
                    state.sweep(Duration::ZERO);
                }
            });
            let done: Vec<_> = runs.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            over.store(true, std::sync::atomic::Ordering::SeqCst);
            assert!(done.iter().all(Result::is_ok), "a run failed");
        });
    }

    #[test]
    fn what_other_runs_left_long_ago_goes_when_a_generation_is_saved() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut old = State::open(dir.path(), "old").expect("opened");
        save(&mut old, &["a"], "one");
        fs::File::create(old.file(SEEN)).expect("written");
        let (place, lock) = (old.dir.clone(), old.dir.join(LOCK));
        drop(old);
        let file = fs::File::open(&lock).expect("opened");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set");
        let mut state = State::open(dir.path(), "new").expect("opened");
        assert!(place.exists());
        save(&mut state, &["a"], "one");
        assert!(!place.exists() && state.kept().is_some());
        drop(State::open(dir.path(), "old").expect("it begins anew"));
    }

    #[test]
    fn a_damaged_state_counts_as_none_or_fails_when_it_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = State::open(dir.path(), "k").expect("opened");
        save(&mut state, &["a", "b"], "one");
        let (json, manifest) = (state.dir.join(FILE), state.manifest_path(&state.kept().expect("kept").manifest));
        drop(state);
        let (good_json, good) = (fs::read(&json).expect("read"), fs::read(&manifest).expect("read"));
        for at in 0..good_json.len() {
            publish(&json, &good_json[..at], Publish::Replace).expect("written");
            assert!(State::open(dir.path(), "k").expect("opened").kept().is_none(), "cut at {at}");
        }
        publish(&json, &good_json, Publish::Replace).expect("written");
        publish(&manifest, &good[1..], Publish::Replace).expect("written");
        assert!(State::open(dir.path(), "k").expect("opened").kept().is_none(), "a manifest of another size");
        let mut flipped = good.clone();
        flipped[20] ^= 1;
        publish(&manifest, &flipped, Publish::Replace).expect("written");
        let state = State::open(dir.path(), "k").expect("opened");
        let read: Result<Vec<_>> = state.manifest().expect("kept").expect("opened").collect();
        assert_eq!(read.expect_err("damaged").kind(), ErrorKind::Corrupt);
        drop(state);
        fs::remove_file(&manifest).expect("removed");
        assert!(State::open(dir.path(), "k").expect("opened").kept().is_none(), "no manifest");
    }
}
