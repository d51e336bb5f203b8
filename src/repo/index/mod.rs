//! The index: from blob id to place. Immutable sorted segments, read by range. Spec: `docs/format.md` section 7.
//!
//! A cold process answers "is this blob here?" from about 1.2 bytes of filter a blob, and one ranged read a positive.

mod build;
mod filter;
mod scan;
mod segment;
mod tables;

use std::collections::HashSet;
use std::sync::Arc;

use crate::catalog::{Codec, Place};
use crate::crypto::BlobKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, ObjectHash, PackRef};

pub(super) use build::SegmentBuilder;
pub use scan::IndexRow;
pub(super) use segment::{Segment, segment_key};

use super::listing::Listing;
use super::repository::Io;

/// Bytes of a blob id that an entry holds: 160 bits (docs/adr/0006).
pub const PREFIX_LEN: usize = 20;
/// Bytes of an entry.
pub(super) const ENTRY_LEN: usize = 34;
/// Entries of a full block.
pub(super) const BLOCK_ENTRIES: u16 = 128;

/// How often a listing is repeated when segments are merged while they are opened.
const LISTED_AGAIN_MAX: usize = 5;

/// A pack as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackInfo {
    /// Name and key material.
    pub pack: PackRef,
    /// What its blobs are.
    pub kind: BlobKind,
    /// Bytes of the object.
    pub size: u64,
    /// Number of blobs.
    pub blobs: u32,
}

/// Where one copy of a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// First bytes of its id.
    pub prefix: [u8; PREFIX_LEN],
    /// Its place.
    pub place: Place,
    /// Bytes of its plaintext.
    pub raw_len: u32,
    /// What it is.
    pub kind: BlobKind,
}

/// The live index as one session sees it.
#[derive(Debug)]
pub(super) struct Index {
    segments: Vec<Arc<Segment>>,
    /// Packs that count as not there: condemned or dropped.
    absent: HashSet<ObjectHash>,
}

impl Index {
    /// Opens the segments that were listed: one ranged read each. Where one has been merged away since, lists again.
    pub(super) fn open(io: &Io, listed: &[(ObjectHash, u64)], absent: HashSet<ObjectHash>) -> Result<Self> {
        let mut listed = listed.to_vec();
        for _ in 0..LISTED_AGAIN_MAX {
            match Segment::open_all(io, &listed)? {
                Some(segments) => return Ok(Self::of(segments.into_iter().map(Arc::new).collect(), absent)),
                None => listed = Listing::segments_now(io)?,
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "index segments vanish faster than they can be read")
            .with_hint("run the command again"))
    }

    /// The index that these segments make, superseded ones among them or not.
    pub(super) fn of(mut segments: Vec<Arc<Segment>>, absent: HashSet<ObjectHash>) -> Self {
        let superseded: HashSet<ObjectHash> =
            segments.iter().flat_map(|segment| segment.supersedes().iter().copied()).collect();
        segments.retain(|segment| !superseded.contains(&segment.name()));
        Self { segments, absent }
    }

    pub(super) fn add(&mut self, segment: Segment) {
        self.segments.push(Arc::new(segment));
    }

    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// All places where the blob lies, those in absent packs left out. Costs nothing for most ids that are not there.
    pub(super) fn find(&self, io: &Io, kind: BlobKind, id: &BlobId) -> Result<Vec<IndexEntry>> {
        let mut found = Vec::new();
        for segment in &self.segments {
            if let Some(entry) = segment.find(io, id)?
                && entry.kind == kind
                && !self.absent.contains(&entry.place.pack.name)
            {
                found.push(entry);
            }
        }
        Ok(found)
    }
}

/// Whether a segment that was listed may be gone by now: another process merged it into a newer one.
pub(super) fn merged_away(error: &crate::error::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

pub(super) fn kind_code(kind: BlobKind) -> u8 {
    crate::crypto::ObjectKind::pack_of(kind).code()
}

pub(super) fn kind_of(code: u8) -> Option<BlobKind> {
    [BlobKind::Data, BlobKind::Tree].into_iter().find(|kind| kind_code(*kind) == code)
}

pub(super) fn codec_of(code: u8) -> Option<Codec> {
    Codec::try_from(code).ok()
}
