//! What the store copies by itself: files that were renamed, and further names of files that have several.

use std::sync::Arc;

use crate::catalog::{Content, Entry, FileNode, Node, ObjectAt, StoredObject, Timestamp};
use crate::error::{ErrorKind, Result};
use crate::id::ObjectHash;
use crate::storage::{Attributes, Pin};
use crate::volume::{Found, Stat};

use super::super::key::key_of;
use super::compare::Link;
use super::moved::{COPY_FROM, Origin};
use super::read::metadata;
use super::send::{Sender, Wanted, attributes_of, pin_of};
use super::shared::lock;
use super::standing::There;

/// Largest object that S3 copies by one request.
const COPY_MAX: u64 = 5 << 30;

/// Files of several names that are remembered; about 500 bytes each.
const LINKED_MAX: usize = 50_000;

/// A first name of a file that has several, as it was pushed.
#[derive(Debug, Clone)]
pub(super) struct Linked {
    /// The file as the walk saw it.
    stat: Stat,
    node: FileNode,
    key: String,
}

impl Sender<'_> {
    /// The first name of a file: others of the same file need not be read and sent.
    pub(super) fn remember(&self, found: &Found, link: Option<Link>, entry: &Entry) {
        let Some(link) = link.filter(|link| link.first) else { return };
        let Node::File(node) = &entry.node else { return };
        if (COPY_FROM..=COPY_MAX).contains(&node.size) {
            let linked = Linked { stat: found.stat.clone(), node: node.clone(), key: key_of(&entry.path) };
            let mut all = lock(&self.linked);
            if all.len() < LINKED_MAX {
                all.insert(link.group, linked);
            }
        }
    }

    /// A further name of a file whose first name is in the store by now: a copy of that, unread. None if it is to be read.
    pub(super) fn further_name(&self, wanted: &Wanted<'_>) -> Result<Option<Entry>> {
        let is_new = wanted.kept.is_none() && !matches!(wanted.there, There::Listed(_));
        let Some(link) = wanted.link.filter(|link| !link.first && is_new) else { return Ok(None) };
        let Some(first) = lock(&self.linked).get(&link.group).cloned() else { return Ok(None) };
        let Content::Object(object) = &first.node.content else { return Ok(None) };
        if !first.stat.same_content(&wanted.found.stat) {
            return Ok(None);
        }
        let meta = metadata(self.shared, wanted.found);
        let key = key_of(&wanted.found.path);
        let origin = Origin { key: first.key.clone(), pin: pin_of(object), mtime: meta.mtime };
        let Some(pin) = self.copy(&origin, &key, (first.node.size, &attributes_of(&meta)))? else { return Ok(None) };
        self.wants.pass_over(&wanted.found.path);
        let (etag, version) = (pin.etag.unwrap_or_default().into(), pin.version.map(Into::into));
        let copied = StoredObject { etag, version, at: ObjectAt::Plain, ..StoredObject::clone(object) };
        let node = Node::File(FileNode { content: Content::Object(Arc::new(copied)), ..first.node });
        Ok(Some(Entry { path: wanted.found.path.clone(), meta, node, link: Some(link.group) }))
    }

    /// Copies the content inside the store, if it lies there under a name that is about to go. None if it has to be sent.
    pub(super) fn rename(
        &self,
        key: &str,
        hash: &ObjectHash,
        attributes: &Attributes,
        (mtime, size): (Timestamp, u64),
    ) -> Result<Option<Pin>> {
        let Some(origin) = self.moved.find(hash, mtime).filter(|_| size <= COPY_MAX) else { return Ok(None) };
        let copied = self.copy(origin, key, (size, attributes))?;
        if copied.is_some() {
            self.count_renamed();
        }
        Ok(copied)
    }

    /// None if the store does not copy it.
    fn copy(&self, origin: &Origin, key: &str, (size, attributes): (u64, &Attributes)) -> Result<Option<Pin>> {
        self.hold.ensure()?;
        if !self.hold.copies()?.whole {
            return Ok(None);
        }
        let places = &self.destination.places;
        let copied = places.block(places.data.copy_pinned(&origin.key, &origin.pin, key, attributes));
        match copied {
            // A store that overlooks the condition has copied whatever lay there.
            Ok(pin) if origin.pin.md5().is_some() && pin.md5().is_some() && origin.pin.md5() != pin.md5() => Ok(None),
            // Without a tag nobody could ever pin it.
            Ok(Pin { etag: None, .. }) => Ok(None),
            Ok(pin) => {
                self.is_under_its_key(key)?;
                self.count_copied(size);
                Ok(Some(pin))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied) => Err(error),
            // Whatever a store has against a copy, it has nothing against the file.
            Err(_) => Ok(None),
        }
    }
}
