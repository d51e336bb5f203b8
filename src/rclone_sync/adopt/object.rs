//! One object of the prefix becomes an entry.

use std::sync::Arc;

use super::super::key::path_of_key;
use super::super::layout::{LINK_END, Places};
use super::{AdoptOptions, Adoption, PIECE, Times, time_of};
use crate::catalog::{Content, Entry, FileNode, Metadata, Node, ObjectAt, StoredObject, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Progress;
use crate::id::ObjectHash;
use crate::path::{PATH_MAX, TreePath};
use crate::secret::decode_base64;
use crate::storage::{Attributes, ObjectInfo};
use crate::volume::EntryKind;

/// What became of an object.
pub(super) enum Adopted {
    Entry(Box<Entry>),
    LeftOut { key: String, why: Error },
}

/// What all reads have in common.
pub(super) struct Reading<'a> {
    pub(super) places: &'a Places,
    pub(super) options: &'a AdoptOptions,
    pub(super) adoption: &'a Adoption<'a>,
}

impl Reading<'_> {
    /// Fails only if the store does, or if the object is another one meanwhile.
    pub(super) async fn adopt(&self, mut object: ObjectInfo) -> Result<Adopted> {
        let key = object.key.clone();
        let path = match self.path(&object) {
            Ok(path) => path,
            Err(why) => return Ok(Adopted::LeftOut { key, why }),
        };
        let is_file = !key.ends_with('/') && !key.ends_with(LINK_END);
        let nothing = Attributes::default();
        if is_file && let Some(known) = self.beside(&path, &object, (object.pin.md5(), &nothing)) {
            return Ok(known);
        }
        let mut attributes = Attributes::default();
        if self.options.times == Times::Metadata {
            let found = self.places.data.info(&key).await?;
            let (now, found) = found.filter(|(now, _)| now.size == object.size).ok_or_else(|| changed(&key))?;
            (object, attributes) = (now, found);
        }
        // An object that was stored in parts has no MD5 for its tag; rclone keeps it beside it.
        if is_file && let Some(known) = self.beside(&path, &object, (md5_of(&attributes), &attributes)) {
            return Ok(known);
        }
        let mtime = attributes.mtime.as_deref().and_then(seconds).unwrap_or_else(|| time_of(object.modified));
        let node = if key.ends_with('/') {
            Node::Directory
        } else if key.ends_with(LINK_END) {
            match self.link(&object).await? {
                Some(target) => Node::Symlink { target },
                None => return Ok(Adopted::LeftOut { key, why: Error::invalid("it is no target of a link") }),
            }
        } else {
            self.file(&object).await?
        };
        Ok(self.done((path, node), (mtime, &attributes)))
    }

    /// The entry of a file that the directory beside has, by its MD5.
    fn beside(&self, path: &TreePath, object: &ObjectInfo, of: (Option<[u8; 16]>, &Attributes)) -> Option<Adopted> {
        let (md5, attributes) = of;
        let (hash, mtime) = self.adoption.beside.as_ref()?.holds(path, object.size, md5?)?;
        let content = content_of(object, Some(hash))?;
        let node = Node::File(FileNode { size: object.size, content, extents: None, incomplete: false });
        Progress::add(&self.adoption.watch.progress.bytes_done, object.size);
        Some(self.done((path.clone(), node), (mtime, attributes)))
    }

    /// The entry of an object that was looked at.
    fn done(&self, what: (TreePath, Node), described: (Timestamp, &Attributes)) -> Adopted {
        let ((path, node), (mtime, attributes)) = (what, described);
        let mode = match node {
            Node::Directory => 0o755,
            Node::Symlink { .. } => 0o777,
            _ => 0o644,
        };
        let meta = self.adoption.metadata(mode, mtime);
        let mut meta = self.adoption.describe(&path, EntryKind::of(&node), meta);
        follow(attributes, &mut meta);
        let progress = self.adoption.watch.progress;
        Progress::add(&progress.files_done, 1);
        Adopted::Entry(Box::new(Entry { path, meta, node, link: None }))
    }

    /// The path of a file, a link or a directory's marker.
    fn path(&self, object: &ObjectInfo) -> Result<TreePath> {
        let key = &object.key;
        let name = match key.strip_suffix('/') {
            Some(_) if object.size > 0 => {
                return Err(Error::invalid("it is the marker of a directory, but has content"));
            }
            Some(name) => name,
            None => key.strip_suffix(LINK_END).unwrap_or(key),
        };
        let path = path_of_key(name)?;
        if self.places.is_reserved(&path) {
            return Err(Error::invalid("it lies where the mirror keeps its own objects"));
        }
        Ok(path)
    }

    async fn link(&self, object: &ObjectInfo) -> Result<Option<Vec<u8>>> {
        if object.size == 0 || object.size > PATH_MAX as u64 {
            return Ok(None);
        }
        let target = self.places.data.get_pinned(&object.key, 0..object.size, object.size, &object.pin).await?;
        Ok(Some(target.to_vec()).filter(|target| !target.contains(&0)))
    }

    async fn file(&self, object: &ObjectInfo) -> Result<Node> {
        let hash = if self.options.read && object.size > 0 { Some(self.hash(object).await?) } else { None };
        let content = content_of(object, hash).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("{}: the store gives no entity tag", object.key))
                .with_hint("push the tree with volvault instead")
        })?;
        Ok(Node::File(FileNode { size: object.size, content, extents: None, incomplete: false }))
    }

    /// Reads all of it.
    async fn hash(&self, object: &ObjectInfo) -> Result<ObjectHash> {
        let (key, size) = (&object.key, object.size);
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < size {
            if self.adoption.watch.stop.requested() {
                return Err(Error::new(ErrorKind::Interrupted, "stopped before anything was published"));
            }
            let end = size.min(at + PIECE);
            hasher.update(&self.places.data.get_pinned(key, at..end, size, &object.pin).await?);
            Progress::add(&self.adoption.watch.progress.bytes_done, end - at);
            at = end;
        }
        Ok(ObjectHash::new(*hasher.finalize().as_bytes()))
    }
}

/// The MD5 that rclone stores beside what it stores in parts.
fn md5_of(attributes: &Attributes) -> Option<[u8; 16]> {
    let (_, text) = attributes.more.iter().find(|(name, _)| name == "md5chksum")?;
    decode_base64(text)
}

/// The content of the file that an object holds; none where the store gives no entity tag, by which it could be read later.
fn content_of(object: &ObjectInfo, hash: Option<ObjectHash>) -> Option<Content> {
    if object.size == 0 {
        return Some(Content::Empty);
    }
    let etag = object.pin.etag.as_deref()?.into();
    let version = object.pin.version.as_deref().map(Into::into);
    Some(Content::Object(Arc::new(StoredObject { hash, etag, version, at: ObjectAt::Plain, blocks: false })))
}

fn changed(key: &str) -> Error {
    Error::new(ErrorKind::Changed, format!("{key} is another object meanwhile"))
        .with_hint("stop the tool that writes there, then adopt again")
}

/// Seconds since 1970 with decimals, as rclone writes them.
pub(super) fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = decimals.chars().chain("000000000".chars()).take(9).collect();
    let (seconds, nanos): (i64, u32) = (whole.parse().ok()?, digits.parse().ok()?);
    if !whole.starts_with('-') || nanos == 0 {
        return Some(Timestamp { seconds, nanos });
    }
    // Entries count nanoseconds from the second before.
    Some(Timestamp { seconds: seconds.checked_sub(1)?, nanos: 1_000_000_000 - nanos })
}

/// What `rclone --metadata` stores beside the time: the mode in octal digits, owner and group in decimal ones.
fn follow(attributes: &Attributes, meta: &mut Metadata) {
    for (name, value) in &attributes.more {
        match name.as_str() {
            "mode" => {
                if let Ok(mode) = u32::from_str_radix(value, 8) {
                    meta.mode = u16::try_from(mode & 0o7777).unwrap_or(meta.mode);
                }
            }
            "uid" => meta.uid = value.parse().unwrap_or(meta.uid),
            "gid" => meta.gid = value.parse().unwrap_or(meta.gid),
            _ => {}
        }
    }
}
