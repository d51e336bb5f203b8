//! The change rule: an entry of the source beside that of the last generation. Pure: reads nothing.

use crate::catalog::{Content, Entry, FileNode, LinkGroup, Node, Timestamp};
use crate::path::TreePath;
use crate::volume::{EntryKind, Stat};

use super::super::key::key_of;
use super::super::layout::LINK_END;
use super::options::PushOptions;

/// A name of a file that has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Which file: derived from the path of its first name, so that the same tree has the same groups everywhere.
    pub(super) group: LinkGroup,
    /// The first name in catalogue order: the group is named after it.
    pub(super) first: bool,
}

/// What an entry of the source asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The entry of the last generation stands, whatever the source has.
    Keep,
    /// The content is that of the last generation; its description may differ.
    Content,
    /// The content has to be read, and is that of the last generation or not.
    Read,
    /// The content is new, or another kind of thing stands here now.
    New,
}

/// The source's side.
pub(super) struct Side<'a> {
    pub(super) stat: &'a Stat,
    pub(super) link: Option<Link>,
    /// The object in the store is not the one that the last generation names.
    pub(super) displaced: bool,
    /// Files of the last generation with this time or a later one may have changed once more within the same tick of the file system's clock,
    /// after they were read.
    pub(super) racy_from: Option<Timestamp>,
}

/// What is to be done about the content.
pub(super) fn judge(old: &Entry, side: &Side<'_>, options: &PushOptions) -> Verdict {
    let stat = side.stat;
    match (&old.node, stat.kind) {
        (Node::File(file), EntryKind::File) => judge_file(old, file, side, options),
        (Node::Symlink { target }, EntryKind::Symlink) => {
            let same = old.meta.mtime == stat.mtime && stat.size == target.len() as u64 && !side.displaced;
            if same { Verdict::Content } else { Verdict::Read }
        }
        (Node::Directory, EntryKind::Directory) | (Node::Fifo, EntryKind::Fifo) => Verdict::Content,
        (Node::CharDevice { major, minor }, EntryKind::CharDevice)
        | (Node::BlockDevice { major, minor }, EntryKind::BlockDevice) => {
            if (*major, *minor) == stat.rdev {
                Verdict::Content
            } else {
                Verdict::New
            }
        }
        _ => Verdict::New,
    }
}

fn judge_file(old: &Entry, file: &FileNode, side: &Side<'_>, options: &PushOptions) -> Verdict {
    let stat = side.stat;
    if options.ignore_existing || (options.update && old.meta.mtime > stat.mtime) {
        return if side.displaced { Verdict::New } else { Verdict::Keep };
    }
    let has_object = matches!(file.content, Content::Object(_));
    if file.size != stat.size || side.displaced || (stat.size > 0 && !has_object) {
        return Verdict::New;
    }
    let same_time = old.meta.mtime == stat.mtime;
    let is_racy = has_object && side.racy_from.is_some_and(|from| old.meta.mtime >= from);
    match (options.size_only, options.checksum) {
        (true, _) => Verdict::Content,
        (false, false) if same_time && !is_racy => Verdict::Content,
        // There is nothing to compare.
        (false, _) if stat.size == 0 => Verdict::Content,
        (false, _) => Verdict::Read,
    }
}

/// Whether the description is that of the last generation, extended attributes aside. Names of owners are not compared: they are this
/// machine's.
pub(super) fn same_description(old: &Entry, side: &Side<'_>, options: &PushOptions) -> bool {
    let (meta, stat) = (&old.meta, side.stat);
    (meta.mtime == stat.mtime || keeps_time(options, stat.kind))
        && meta.mode == stat.mode
        && (meta.uid, meta.gid) == (stat.uid, stat.gid)
        && old.link == side.link.map(|link| link.group)
}

/// Whether a file whose content was not compared keeps the time of the last generation: with the new time it would look as if it had been.
pub(super) fn keeps_time(options: &PushOptions, kind: EntryKind) -> bool {
    options.size_only && kind == EntryKind::File
}

/// The key of the object that an entry has, if it has one.
pub(super) fn object_key(entry: &Entry) -> Option<String> {
    match &entry.node {
        Node::File(_) => Some(key_of(&entry.path)),
        Node::Symlink { .. } => Some(key_of(&entry.path) + LINK_END),
        Node::Directory | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => None,
    }
}

/// The same for what was found.
pub(super) fn key_for(path: &TreePath, kind: EntryKind) -> Option<String> {
    match kind {
        EntryKind::File => Some(key_of(path)),
        EntryKind::Symlink => Some(key_of(path) + LINK_END),
        EntryKind::Directory | EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Socket => {
            None
        }
    }
}

/// The group of the names of a file: it is named after the first of them, so that the same tree has the same groups everywhere.
pub(super) fn group_of(first: &TreePath) -> LinkGroup {
    let hash = blake3::hash(first.as_bytes());
    LinkGroup { device: 0, inode: hash.as_bytes().first_chunk().map_or(0, |head| u64::from_le_bytes(*head)) }
}
