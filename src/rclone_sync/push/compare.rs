//! The change rule: an entry of the source beside that of the last generation. Pure: reads nothing.

use crate::catalog::{Content, Entry, FileNode, LinkGroup, Node};
use crate::volume::{EntryKind, Stat};

use super::options::PushOptions;

/// A name of a file that has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Which file: derived from the path of its first name, so that the same tree has the same groups everywhere.
    pub(super) group: LinkGroup,
    /// The first name in catalogue order: the only one that has the content.
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
    let first = side.link.is_none_or(|link| link.first);
    let has_object = matches!(file.content, Content::Object(_));
    // A name that was a further one of its file has an object, but nobody knows which.
    if file.size != stat.size || side.displaced || (first && stat.size > 0 && !has_object) {
        return Verdict::New;
    }
    let same_time = old.meta.mtime == stat.mtime;
    match (options.size_only, options.checksum) {
        (true, _) => Verdict::Content,
        // What is not compared by content goes by its time: empty files, and further names, whose first name is compared.
        (false, true) if !has_object && same_time => Verdict::Content,
        (false, true) => Verdict::Read,
        (false, false) if same_time => Verdict::Content,
        // Without a hash to compare with, another time is another content.
        (false, false) if has_object || stat.size == 0 => Verdict::Read,
        (false, false) => Verdict::New,
    }
}

/// Whether the description is that of the last generation, extended attributes aside. Names of owners are not compared: they are this
/// machine's.
pub(super) fn same_description(old: &Entry, side: &Side<'_>) -> bool {
    let (meta, stat) = (&old.meta, side.stat);
    meta.mtime == stat.mtime
        && meta.mode == stat.mode
        && (meta.uid, meta.gid) == (stat.uid, stat.gid)
        && old.link == side.link.map(|link| link.group)
}

/// The key of the object that an entry has, if it has one.
pub(super) fn object_key(entry: &Entry) -> Option<String> {
    use super::super::key::key_of;
    use super::super::layout::LINK_END;
    match &entry.node {
        Node::File(_) => Some(key_of(&entry.path)),
        Node::Symlink { .. } => Some(key_of(&entry.path) + LINK_END),
        Node::Directory | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => None,
    }
}

/// The same for what was found.
pub(super) fn key_for(path: &crate::path::TreePath, kind: EntryKind) -> Option<String> {
    use super::super::key::key_of;
    use super::super::layout::LINK_END;
    match kind {
        EntryKind::File => Some(key_of(path)),
        EntryKind::Symlink => Some(key_of(path) + LINK_END),
        EntryKind::Directory | EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Socket => {
            None
        }
    }
}
