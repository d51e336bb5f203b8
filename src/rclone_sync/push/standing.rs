//! What a listing of the mirror shows, for a push that cannot go by the last generation alone: there is none yet, or a push was cut off
//! and may have replaced objects that it never told of.
//!
//! In memory as a whole, about 50 bytes an object (see [`Listed`]): such pushes are rare, and a listing comes in another order than the source does. The keys
//! that are to be deleted come to their own length, and 24 bytes, each.

use crate::catalog::{Content, Entry, Node, Timestamp};
use crate::error::{ErrorKind, Result};
use crate::storage::Pin;
use crate::volume::EntryKind;

use super::super::destination::Destination;
use super::super::facl::FACL;
use super::super::key::path_of_key;
use super::super::layout::{CONTROL, LINK_END};
use super::listed::Listed;
use super::options::PushOptions;

/// An object as the listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stood {
    pub(super) size: u64,
    pub(super) pin: Pin,
    /// When it was stored.
    pub(super) time: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Standing(Listed);

/// What is known of the object at a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum There {
    /// It is the one that the last generation names, or there is none.
    #[default]
    AsNamed,
    /// It was listed.
    Listed(Stood),
    /// The listing does not have it.
    Missing,
}

impl Standing {
    /// Lists the mirror: one request for each thousand objects.
    pub(super) fn list(destination: &Destination) -> Result<Self> {
        let places = &destination.places;
        let mut objects = Listed::default();
        let mut pages = places.data.list_objects("")?;
        loop {
            let page = match places.block(pages.next()) {
                // The directory or the bucket comes with the first write.
                Err(error) if error.kind() == ErrorKind::NotFound && objects.is_empty() => break,
                answer => answer?,
            };
            let Some(page) = page else { break };
            for object in page {
                if is_control(&object.key) {
                    continue;
                }
                let modified = object.modified;
                let time = Timestamp { seconds: modified.timestamp(), nanos: modified.timestamp_subsec_nanos() };
                objects.add(object.key, Stood { size: object.size, pin: object.pin, time });
            }
        }
        objects.end();
        Ok(Self(objects))
    }

    /// Before the next pass: nothing is known to be needed.
    pub(super) fn forget(&mut self) {
        self.0.forget();
    }

    /// The new generation has an entry with this key: what is there, and whether it is not what the old entry says.
    pub(super) fn meet(&mut self, key: &str, old: Option<&Entry>) -> (There, bool) {
        match self.0.need(key) {
            None => (There::Missing, old.is_some()),
            Some(stood) => {
                let is_other = old.is_some_and(|old| !is_as_named(&stood, old));
                (There::Listed(stood), is_other)
            }
        }
    }

    /// Keys that no entry needs, and that the filter does not leave out.
    pub(super) fn orphans(&self, options: &PushOptions) -> Vec<String> {
        let mut orphans = Vec::new();
        self.0.unneeded(&mut |key, stood| {
            if is_ours(key, stood, options) {
                orphans.push(key.to_owned());
            }
        });
        orphans.sort_unstable();
        // What was listed twice, far apart, is there twice.
        orphans.dedup();
        orphans
    }
}

/// What control areas hold.
const CONTROLS: [&str; 8] = ["root", "roots", "segments", "blocks", "packs", "stage", "push", "garbage"];

/// Whether this lies in the control area of a mirror: in ours, where the mirror is a whole bucket, or in that of another mirror below it.
fn is_control(key: &str) -> bool {
    let mut names = key.split('/');
    names.any(|name| name.ends_with(CONTROL))
        && names.next().is_some_and(|name| CONTROLS.contains(&name) || name.starts_with("probe-"))
}

/// Whether a file of this key would be part of the push. Keys that no file has, such as those of directory markers, are left alone.
fn is_ours(key: &str, stood: &Stood, options: &PushOptions) -> bool {
    if options.facl && key == FACL {
        return false;
    }
    let (key, kind) = match key.strip_suffix(LINK_END) {
        Some(key) => (key, EntryKind::Symlink),
        None => (key, EntryKind::File),
    };
    path_of_key(key).is_ok_and(|path| {
        let goes = options.delete_excluded && options.filter.reaches(&path, kind);
        goes || options.filter.includes(&path, kind, stood.size, stood.time)
    })
}

fn is_as_named(stood: &Stood, old: &Entry) -> bool {
    match &old.node {
        Node::Symlink { target } => stood.size == target.len() as u64,
        Node::File(file) => match &file.content {
            Content::Object(object) => stood.size == file.size && same_tag(stood.pin.etag.as_deref(), &object.etag),
            _ => stood.size == file.size,
        },
        _ => true,
    }
}

/// Whether two entity tags are the same; weak ones are compared by what they say.
fn same_tag(listed: Option<&str>, named: &str) -> bool {
    let plain = |tag: &str| tag.trim_start_matches("W/").trim_matches('"').to_owned();
    listed.is_none_or(|listed| plain(listed) == plain(named))
}
