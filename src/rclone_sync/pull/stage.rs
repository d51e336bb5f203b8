//! The stage: a directory within the target, on its file system, in which everything is made ready before the target is touched.
//!
//! Order of writes: the plan, the contents, all of it synced, then [`READY`]: from that moment on the target is brought to the new
//! generation from here alone, also by a later run and without the store. `READY` goes before anything else of the stage does. A later run that was
//! told other things (what is left alone, what may be removed, where replaced files go) does not carry the plan out: it makes [`TORN`] of it, which
//! says until a plan is carried out as a whole that the target may be of two generations, and finds out anew what is to be done. So does a run that could do only a part of its plan, and one that finds a
//! `READY` that it cannot believe, because others may have written it or it is damaged.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::catalog::{Entry, StoredObject};
use crate::error::{Error, ErrorKind, Result};
use crate::path::TreePath;
use crate::volume::{DirHandle, EntryKind, Replace, Stat, Target};

use super::super::segment::{SegmentReader, SegmentRef};

/// Name of the stage in the root of the target.
pub(super) const STAGE: &str = ".volvault-pull";
/// Says that the stage is complete, and what belongs to it.
const READY: &str = "ready";
/// Says that a plan was begun, perhaps, and given up.
const TORN: &str = "torn";
/// Both: a target with one of them may be of two generations.
pub(in super::super) const TORN_IF: [&str; 2] = [READY, TORN];
/// Largest [`READY`].
const READY_MAX: usize = 64 << 10;
/// What this version writes into [`READY`].
const FORMAT: u32 = 1;

/// What is to be done to the target: three segments in the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    #[serde(rename = "volvault-pull")]
    format: u32,
    /// The generation that the target becomes.
    pub(super) generation: u64,
    /// Files whose content comes from the stage.
    pub(super) fetch: SegmentRef,
    /// What else is made or changed, the directories of all of it, and the paths that are removed.
    pub(super) set: SegmentRef,
    /// First names of hard-linked files that are as they should be and get further names.
    pub(super) heads: SegmentRef,
    /// Whether the paths are removed: not so when something could not be read.
    pub(super) removes: bool,
    /// Where replaced and removed files go.
    pub(super) backup: Option<PathBuf>,
    /// A digest of what the run was told that decided on it; none if it is another one each time.
    #[serde(default)]
    pub(super) rules: Option<String>,
}

impl Plan {
    pub(super) fn new(generation: u64, fetch: SegmentRef, set: SegmentRef, heads: SegmentRef) -> Self {
        Self { format: FORMAT, generation, fetch, set, heads, removes: true, backup: None, rules: None }
    }
}

/// The three segments of a [`Plan`], by file name.
pub(super) const FETCH: &str = "fetch";
pub(super) const SET: &str = "set";
pub(super) const HEADS: &str = "heads";

/// The stage of a target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage<'a> {
    target: &'a Target,
}

impl<'a> Stage<'a> {
    pub(super) fn of(target: &'a Target) -> Self {
        Self { target }
    }

    /// The root of the stage, in the target.
    pub(super) fn root() -> Result<TreePath> {
        TreePath::root().join(STAGE.as_bytes())
    }

    fn at(name: &str) -> Result<TreePath> {
        TreePath::parse(format!("{STAGE}/{name}"))
    }

    /// The stage as a directory that is ours alone, through which its files are reached by path: whoever may write into the target
    /// could put a link in its place.
    pub(super) fn handle(self) -> Result<DirHandle> {
        let handle = self.target.dir_handle(&Self::root()?)?;
        if is_ours(&handle.stat()?) {
            return Ok(handle);
        }
        Err(Error::new(ErrorKind::Denied, format!("{STAGE} in the target belongs to somebody else"))
            .with_hint("remove it, and pull again"))
    }

    /// Makes the stage, or takes the one that an earlier run left. What somebody else put there is removed: they could write
    /// into it. What an earlier plan said is not so any more, but it may have been begun, and that stays said.
    pub(super) fn create(self) -> Result<()> {
        let (root, is_torn) = (Self::root()?, self.is_torn()?);
        if let Some(stat) = self.target.stat(&root)?
            && !is_ours(&stat)
        {
            self.clear(&root, stat.kind)?;
        }
        self.target.create_dir(&root)?;
        if is_torn {
            self.tear()?;
        }
        for name in ["content", "new", "old"] {
            self.target.create_dir(&Self::at(name)?)?;
        }
        Ok(())
    }

    /// Where the content of a file waits. Two files of the same content have two places: each becomes a file of its own.
    pub(super) fn content(entry: &Entry, object: &StoredObject) -> Result<TreePath> {
        let mut hasher = blake3::Hasher::new();
        match &object.hash {
            Some(hash) => hasher.update(hash.as_bytes()),
            None => hasher.update(object.etag.as_bytes()),
        };
        hasher.update(entry.path.as_bytes());
        let hex = hasher.finalize().to_hex();
        Self::at(&format!("content/{hex}"))
    }

    /// Where a thing is made before it takes its place.
    pub(super) fn new_thing(number: u64) -> Result<TreePath> {
        Self::at(&format!("new/{number}"))
    }

    /// Where a directory goes that makes room for something else.
    pub(super) fn old_thing(self) -> Result<TreePath> {
        for number in 0..u64::MAX {
            let path = Self::at(&format!("old/{number}"))?;
            if self.target.stat(&path)?.is_none() {
                return Ok(path);
            }
        }
        Err(Error::bug("the stage has no name left"))
    }

    /// The stage is complete and on the disk, and so is what says so.
    pub(super) fn seal(self, plan: &Plan) -> Result<()> {
        let text = serde_json::to_vec(plan).map_err(|cause| Error::bug("write the plan").with_source(cause))?;
        let (new, ready) = (Self::at("new/ready")?, Self::at(READY)?);
        let file = self.target.create_file(&new, Replace::Anything)?;
        file.write_all_at(&text, 0)?;
        drop(file);
        self.target.sync()?;
        self.target.rename(&new, &ready)?;
        self.target.sync_dir(&Self::root()?)
    }

    /// The plan of a stage that is complete; `None` when there is none.
    pub(super) fn sealed(self) -> Result<Option<Plan>> {
        let root = Self::root()?;
        if !self.target.stat(&root)?.is_some_and(|stat| is_ours(&stat)) {
            return Ok(None);
        }
        let file = match self.target.read_file(&Self::at(READY)?) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = vec![0; READY_MAX];
        let len = file.read_full_at(&mut text, 0)?;
        let plan: Option<Plan> = serde_json::from_slice(text.get(..len).unwrap_or_default()).ok();
        // Of another version, or damaged: what it was to become is found out anew.
        Ok(plan.filter(|plan| plan.format == FORMAT && self.is_whole(plan)))
    }

    /// Whether all of the plan can be read: nothing of it is done otherwise.
    fn is_whole(self, plan: &Plan) -> bool {
        [(FETCH, &plan.fetch), (SET, &plan.set), (HEADS, &plan.heads)].into_iter().all(|(name, segment)| {
            self.read(name, segment).is_ok_and(|mut changes| changes.all(|change| change.is_ok()))
        })
    }

    /// Reads a segment of the plan.
    pub(super) fn read(self, name: &str, segment: &SegmentRef) -> Result<SegmentReader> {
        SegmentReader::of_file(&self.handle()?.path(name), segment)
    }

    /// Removes the stage, what says that it is complete first.
    pub(super) fn remove(self) -> Result<()> {
        let root = Self::root()?;
        if self.target.stat(&root)?.is_none() {
            return Ok(());
        }
        self.unseal()?;
        self.target.remove(&root)
    }

    /// The plan will not be carried out, but may have been begun.
    pub(super) fn give_up(self) -> Result<()> {
        self.tear()
    }

    /// The plan was carried out in part. Of the stage stays what says so.
    pub(super) fn leave_torn(self) -> Result<()> {
        self.tear()?;
        let root = Self::root()?;
        for (name, _) in self.target.list(&root)? {
            if name != TORN.as_bytes() {
                self.target.remove(&root.join(&name)?)?;
            }
        }
        Ok(())
    }

    /// Whether a plan that is not carried out may have been begun, and none was carried out since.
    pub(super) fn is_torn(self) -> Result<bool> {
        for name in TORN_IF {
            if self.target.stat(&Self::at(name)?)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Directories that made room for something else and are still in the stage, the newest first.
    pub(super) fn set_aside(self) -> Result<Vec<TreePath>> {
        let mut all = Vec::new();
        for number in 0..u64::MAX {
            let path = Self::at(&format!("old/{number}"))?;
            if self.target.stat(&path)?.is_none() {
                break;
            }
            all.push(path);
        }
        all.reverse();
        Ok(all)
    }

    /// [`TORN`] is there, and [`READY`] is not.
    fn tear(self) -> Result<()> {
        let (ready, torn) = (Self::at(READY)?, Self::at(TORN)?);
        if self.target.stat(&ready)?.is_some() {
            self.target.rename(&ready, &torn)?;
        } else if self.target.stat(&torn)?.is_none() {
            self.target.create_file(&torn, Replace::Anything)?;
        }
        self.target.sync_dir(&Self::root()?)
    }

    /// Removes a stage that is not ours. What says that the target may be of two generations goes last: until it is said again it is a moment.
    fn clear(self, root: &TreePath, kind: EntryKind) -> Result<()> {
        if kind == EntryKind::Directory {
            let names = self.target.list(root)?.into_iter().map(|(name, _)| name);
            for name in names.filter(|name| !TORN_IF.iter().any(|said| said.as_bytes() == name.as_slice())) {
                self.target.remove(&root.join(&name)?)?;
            }
        }
        self.target.remove(root)
    }

    /// The stage is not complete any more: nothing will be done from it alone.
    fn unseal(self) -> Result<()> {
        self.target.remove(&Self::at(READY)?)
    }
}

/// Whether nobody else can have written into it.
fn is_ours(stat: &Stat) -> bool {
    let others = stat.mode & 0o077;
    stat.kind == EntryKind::Directory && stat.uid == rustix::process::geteuid().as_raw() && others == 0
}
