//! What an entry of the mirror asks for, beside what stands in the target.

use crate::catalog::{Content, Entry, FileNode, Node, StoredObject};
use crate::error::Result;
use crate::path::TreePath;
use crate::volume::{EntryKind, Found, Stat};

use super::super::proof::Proof;
use super::context::Pull;

/// Read at once to hash a local file.
const PIECE: usize = 256 << 10;

/// What stands in the target.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) found: Found,
    /// It is known to have no attributes that a mirror decides on.
    pub(super) bare: bool,
}

/// What is to be done with an entry that is no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it should be.
    Same,
    /// It stays as it is, because the options say so or nothing can be done.
    Leave,
    /// Its content is as it should be, its metadata is not.
    Describe,
    /// It is made, from nothing but the entry.
    Make,
    /// Its content is fetched.
    Fetch,
}

impl Verdict {
    /// How something comes into being.
    pub(super) fn anew(entry: &Entry) -> Self {
        if object_of(entry).is_some() { Self::Fetch } else { Self::Make }
    }
}

/// The object that holds the content of an entry, if it has any.
pub(super) fn object_of(entry: &Entry) -> Option<&StoredObject> {
    match &entry.node {
        Node::File(FileNode { content: Content::Object(object), .. }) => Some(object),
        _ => None,
    }
}

/// Decides by what the walk saw, and by the content where that leaves it open.
pub(super) fn judge(pull: &Pull<'_>, entry: &Entry, local: Option<&Local>) -> Result<Verdict> {
    let kind = EntryKind::of(&entry.node);
    if local.is_some_and(|local| is_left(pull, entry, &local.found.stat)) {
        return Ok(Verdict::Leave);
    }
    let Some(Local { found, bare }) = local.filter(|local| local.found.stat.kind == kind) else {
        return Ok(make(pull, entry, kind));
    };
    let stands = match &entry.node {
        Node::File(file) => {
            if pull.options.size_only && found.stat.size == file.size {
                return Ok(Verdict::Leave);
            }
            has_content(pull, entry, file, &found.stat)?
        }
        node => pull.target()?.has_special(&entry.path, node, &found.stat)?,
    };
    if !stands {
        return Ok(make(pull, entry, kind));
    }
    if pull.has_metadata(entry, &found.stat, *bare)? {
        return Ok(Verdict::Same);
    }
    // What has other names that the mirror does not know of is not ours to change.
    let is_shared = found.stat.nlink > 1 && entry.link.is_none();
    Ok(if is_shared { make(pull, entry, kind) } else { Verdict::Describe })
}

/// Whether the options say that what stands at the place of `entry` is left, whatever the entry is.
pub(super) fn is_left(pull: &Pull<'_>, entry: &Entry, stands: &Stat) -> bool {
    let options = pull.options;
    let is_newer = options.update && matches!(entry.node, Node::File(_)) && stands.mtime > entry.meta.mtime;
    stands.kind != EntryKind::Directory && (options.ignore_existing || is_newer)
}

fn make(pull: &Pull<'_>, entry: &Entry, kind: EntryKind) -> Verdict {
    if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) && !pull.may_make_devices() {
        pull.counts.not_set().nodes += 1;
        return Verdict::Leave;
    }
    pull.foresee(entry);
    Verdict::anew(entry)
}

fn has_content(pull: &Pull<'_>, entry: &Entry, file: &FileNode, stat: &Stat) -> Result<bool> {
    if stat.size != file.size {
        return Ok(false);
    }
    let same_time = stat.mtime == entry.meta.mtime;
    match object_of(entry) {
        None => Ok(same_time || file.size == 0),
        Some(_) if same_time && !pull.options.checksum => Ok(true),
        Some(object) => holds(pull, &entry.path, object),
    }
}

/// Whether the local file at `path` has the content of an object, as far as that is known. One that cannot be read has not.
pub(super) fn holds(pull: &Pull<'_>, path: &TreePath, object: &StoredObject) -> Result<bool> {
    let Ok(local) = pull.target()?.read_file(path) else { return Ok(false) };
    let (mut proof, mut buffer, mut at) = (Proof::of(object), vec![0; PIECE], 0);
    loop {
        pull.check()?;
        let Ok(count) = local.read_full_at(&mut buffer, at) else { return Ok(false) };
        proof.update(buffer.get(..count).unwrap_or_default());
        at += u64::try_from(count).unwrap_or(u64::MAX);
        if count < buffer.len() {
            return Ok(proof.finish() == Some(true));
        }
    }
}
