//! Blobs taken out of one pack and put into another as they are: opened and sealed anew, but neither decompressed nor compressed.
//!
//! A seal binds a blob to its place in its pack, so the bytes cannot be passed on untouched; the tag vouches for them.

use crate::catalog::BlobRef;
use crate::crypto::{ObjectKind, Opener, Part};
use crate::error::{Error, Result};

use super::index::PackInfo;
use super::pack::{PackEntry, directory_len, pack_key, read_directory};
use super::session::Session;
use super::writer::BlobWriter;

/// Longest range read at once: a fourth of what a restore reads, because several packs are read at the same time.
const RUN_MAX: u64 = 2 << 20;

impl Session<'_> {
    /// The directory of a pack, with all ids: one ranged read.
    ///
    /// # Errors
    /// `Corrupt` when it is not as it was written, naming the pack.
    pub fn directory(&self, info: &PackInfo) -> Result<Vec<PackEntry>> {
        let io = self.repo().io();
        let read = || -> Result<Vec<PackEntry>> {
            let len = directory_len(info.blobs)?;
            let start = info.size.checked_sub(len).ok_or_else(|| Error::corrupt("it is shorter than its directory"))?;
            let tail = io.block(io.store.get_range(&pack_key(&info.pack.name), start..info.size))?;
            let opener = Opener::for_pack(&io.keys, ObjectKind::pack_of(info.kind), &info.pack);
            read_directory(&opener, &tail, info.size)
        };
        read().map_err(|error| error.within(format!("read the directory of pack {}", info.pack.name)))
    }

    /// Stores blobs of a pack anew, through `writer`. Neighbours are read together; at most 2 MiB are in memory (or one blob).
    ///
    /// # Errors
    /// `Corrupt` when one of them is damaged, naming it.
    pub fn copy_blobs(&self, info: &PackInfo, entries: &[PackEntry], writer: &BlobWriter<'_>) -> Result<()> {
        let io = self.repo().io();
        let opener = Opener::for_pack(&io.keys, ObjectKind::pack_of(info.kind), &info.pack);
        let gap = self.repo().limits().read_gap.bytes();
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let (start, mut end) = (u64::from(first.offset), u64::from(first.offset) + u64::from(first.stored_len));
            let together = rest.iter().take_while(|entry| {
                let to = u64::from(entry.offset) + u64::from(entry.stored_len);
                let near = u64::from(entry.offset) <= end + gap && (to - start <= RUN_MAX || to <= end);
                if near {
                    end = end.max(to);
                }
                near
            });
            let (run, later) = rest.split_at(together.count().max(1));
            let bytes = io.block(io.store.get_range(&pack_key(&info.pack.name), start..end))?;
            for entry in run {
                let from = usize::try_from(u64::from(entry.offset) - start).unwrap_or(usize::MAX);
                let sealed = from.checked_add(entry.stored_len as usize).and_then(|to| bytes.get(from..to));
                let mut sealed = sealed.ok_or_else(|| Error::bug("a blob outside the range that was read"))?.to_vec();
                let part = Part::Blob { id: entry.id, raw_len: entry.raw_len, codec: entry.codec.as_u8() };
                let stored = opener
                    .open_in_place(&part, u64::from(entry.offset), &mut sealed)
                    .map_err(|error| error.within(format!("blob {} of pack {}", entry.id, info.pack.name)))?;
                writer.pass_on(info.kind, BlobRef { id: entry.id, raw_len: entry.raw_len }, entry.codec, stored)?;
            }
            rest = later;
        }
        Ok(())
    }
}
