//! Hard links: which entry is the first name of its inode, and which local inode that is.

use std::collections::{HashMap, HashSet};

use crate::catalog::{Content, Entry, FileNode, LinkGroup, Node};
use crate::error::{Error, Result};
use crate::id::ObjectHash;
use crate::volume::{EntryKind, Stat};

use super::verdict::object_of;

/// What is known of the groups so far, in catalogue order. About 130 bytes for each inode with several names, here or in the
/// mirror.
#[derive(Debug, Default)]
pub(super) struct Links {
    heads: HashMap<LinkGroup, Head>,
    /// Local inodes with several names that a file of the mirror has already.
    inodes: HashSet<(u64, u64)>,
    /// Groups that get a name, and whose first name is not in the plan.
    wanting: HashSet<LinkGroup>,
}

#[derive(Debug)]
struct Head {
    kind: EntryKind,
    /// Size and hash of its content.
    content: Option<(u64, Option<ObjectHash>)>,
    /// The local inode that is kept; `None` when it is made anew.
    kept: Option<(u64, u64)>,
    /// The content, while no name of the group that is covered has come.
    orphan: Option<Box<FileNode>>,
}

impl Head {
    fn new(entry: &Entry, orphan: Option<Box<FileNode>>) -> Self {
        Self { kind: EntryKind::of(&entry.node), content: content_of(entry), kept: None, orphan }
    }

    /// Whether an entry has the same content, as far as both say.
    fn may_be(&self, entry: &Entry) -> bool {
        match (self.content, content_of(entry)) {
            (Some((size, Some(hash))), Some((own_size, Some(own_hash)))) => (size, hash) == (own_size, own_hash),
            (Some((size, _)), Some((own_size, _))) => size == own_size,
            _ => true,
        }
    }
}

fn content_of(entry: &Entry) -> Option<(u64, Option<ObjectHash>)> {
    match &entry.node {
        Node::File(file) => Some((file.size, object_of(entry).and_then(|object| object.hash))),
        _ => None,
    }
}

/// What an entry is among the names of its inode.
#[derive(Debug)]
pub(super) enum Role {
    /// The only or the first name that is covered. It has the content, which may have been that of a name that is not covered.
    First,
    /// A further name.
    Further {
        /// The local inode that it must be, if the first name keeps one.
        kept: Option<(u64, u64)>,
    },
}

impl Links {
    /// An entry that is not covered: its content may be that of others.
    pub(super) fn pass_over(&mut self, entry: &Entry) {
        if let (Some(group), Node::File(node)) = (entry.link, &entry.node) {
            self.heads.entry(group).or_insert_with(|| Head::new(entry, Some(Box::new(node.clone()))));
        }
    }

    /// An entry that is covered; it is given the content of a first name that is not.
    ///
    /// # Errors
    /// `Corrupt` when its group is of another kind.
    pub(super) fn meet(&mut self, entry: &mut Entry) -> Result<Role> {
        let Some(group) = entry.link else { return Ok(Role::First) };
        let kind = EntryKind::of(&entry.node);
        let Some(head) = self.heads.get_mut(&group) else {
            self.heads.insert(group, Head::new(entry, None));
            return Ok(Role::First);
        };
        if head.kind != kind {
            let (kind, other) = (kind.name(), head.kind.name());
            return Err(Error::corrupt(format!("the mirror has this {kind} as another name of a {other}")));
        }
        if !head.may_be(entry) {
            // A group of an older generation that the pusher could not look at again: a file of its own.
            entry.link = None;
            return Ok(Role::First);
        }
        if let Some(node) = head.orphan.take() {
            if matches!(&entry.node, Node::File(own) if matches!(own.content, Content::Empty)) {
                entry.node = Node::File(*node);
            }
            return Ok(Role::First);
        }
        Ok(Role::Further { kept: head.kept })
    }

    /// Whether a local inode may stay what it is for this first name: no other file of the mirror has it.
    pub(super) fn may_keep(&mut self, stat: &Stat) -> bool {
        if stat.nlink < 2 || stat.kind == EntryKind::Directory {
            return true;
        }
        self.inodes.insert((stat.device, stat.inode))
    }

    /// The first name of a group keeps this local inode.
    pub(super) fn keep(&mut self, entry: &Entry, stat: &Stat) {
        if let Some(head) = entry.link.and_then(|group| self.heads.get_mut(&group)) {
            head.kept = Some((stat.device, stat.inode));
        }
    }

    /// A further name of the group is made. When its first name is kept, somebody has to say where that is.
    pub(super) fn wants_head(&mut self, entry: &Entry, head_is_planned: bool) {
        if let Some(group) = entry.link.filter(|_| !head_is_planned) {
            self.wanting.insert(group);
        }
    }

    /// Whether this entry is the one that a new name is to be linked to. True once for each group.
    pub(super) fn is_wanted(&mut self, entry: &Entry) -> bool {
        entry.link.is_some_and(|group| self.wanting.remove(&group))
    }

    pub(super) fn any_wanted(&self) -> bool {
        !self.wanting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::{Metadata, ObjectAt, StoredObject, Timestamp};
    use crate::path::TreePath;

    fn name(path: &str, hash: u8, size: u64) -> Entry {
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
        let object = StoredObject {
            hash: Some(ObjectHash::new([hash; 32])),
            etag: "e".into(),
            version: None,
            at: ObjectAt::Plain,
            blocks: false,
        };
        let content = Content::Object(Arc::new(object));
        let node = Node::File(FileNode { size, content, extents: None, incomplete: false });
        let link = Some(LinkGroup { device: 0, inode: 1 });
        Entry { path: TreePath::parse(path).expect("a path"), meta, node, link }
    }

    #[test]
    fn names_of_a_group_with_other_content_are_files_of_their_own() {
        let mut links = Links::default();
        assert!(matches!(links.meet(&mut name("a", 1, 5)), Ok(Role::First)));
        assert!(matches!(links.meet(&mut name("b", 1, 5)), Ok(Role::Further { kept: None })));
        for mut other in [name("c", 2, 5), name("d", 1, 6)] {
            assert!(matches!(links.meet(&mut other), Ok(Role::First)));
            assert_eq!(other.link, None);
        }
    }

    #[test]
    fn a_name_whose_first_name_is_left_out_has_the_content_itself() {
        let mut links = Links::default();
        links.pass_over(&name("a", 1, 5));
        assert!(matches!(links.meet(&mut name("b", 1, 5)), Ok(Role::First)));
        assert!(matches!(links.meet(&mut name("c", 1, 5)), Ok(Role::Further { .. })));
    }
}
