//! Big files.

use std::sync::Arc;

use crate::catalog::{Content, Entry, FileNode, Node};
use crate::error::Result;
use crate::id::ObjectHash;

use super::super::key::key_of;
use super::read::{EXTENTS_KEPT, changed, steady};
use super::send::{Sender, Wanted, attributes, stored};

impl Sender<'_> {
    /// A file that is sent as a whole, whatever of it has changed.
    pub(super) fn big(&self, wanted: &Wanted<'_>) -> Result<Option<Entry>> {
        match self.read_big(wanted) {
            Ok((entry, bytes)) => self.settle_big(wanted, entry, bytes).map(Some),
            Err(error) => {
                self.shared.problem("push", &wanted.found.display(), &error);
                Ok(None)
            }
        }
    }

    fn read_big(&self, wanted: &Wanted<'_>) -> Result<(Entry, Vec<u8>)> {
        let found = wanted.found;
        let mut file = found.open()?;
        let before = file.stat().clone();
        let mut bytes = vec![0; usize::try_from(before.size).unwrap_or(usize::MAX)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest)? {
                0 => return Err(changed(found)),
                count => filled += count,
            }
        }
        let extents = file.extents()?.filter(|extents| extents.len() <= EXTENTS_KEPT);
        let (xattrs, problem) = file.xattrs();
        if let Some(error) = problem {
            self.shared.problem("push", &format!("{} (attributes)", found.display()), &error);
        }
        if !before.same_content(&file.stat_now()?) {
            return Err(changed(found));
        }
        let meta = steady(self.shared.names.metadata(&before, xattrs));
        let node = FileNode { size: before.size, content: Content::Empty, extents, incomplete: false };
        let link = wanted.link.map(|link| link.group);
        Ok((Entry { path: found.path.clone(), meta, node: Node::File(node), link }, bytes))
    }

    fn settle_big(&self, wanted: &Wanted<'_>, mut entry: Entry, bytes: Vec<u8>) -> Result<Entry> {
        let key = key_of(&entry.path);
        let hash = ObjectHash::new(*blake3::hash(&bytes).as_bytes());
        let size = bytes.len() as u64;
        let content = match wanted.kept.map(|kept| &kept.content) {
            Some(Content::Object(object)) if object.hash == hash => Content::Object(Arc::clone(object)),
            _ => {
                let pin = if let Some(pin) = self.rename(&key, &hash, entry.meta.mtime, size)? {
                    pin
                } else {
                    self.count(size);
                    self.put(&key, &bytes.into(), &attributes(entry.meta.mtime), wanted.expected.clone())?
                };
                Content::Object(Arc::new(stored(&self.destination.name, hash, &pin, false)?))
            }
        };
        if let Node::File(file) = &mut entry.node {
            file.content = content;
        }
        Ok(entry)
    }
}
