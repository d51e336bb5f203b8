//! Packs: many sealed blobs in one object. Spec: `docs/format.md` section 6.

use std::borrow::Cow;

use crate::catalog::{BlobRef, Codec};
use crate::crypto::{BlobKind, HEADER_LEN, KeyRing, ObjectKind, ObjectWriter, Opener, Part, TAG_LEN};
use crate::error::{Error, Result};
use crate::id::{BlobId, ObjectHash, PackRef};
use crate::limits::{BLOB_MAX, PACK_MAX};

const ENTRY_LEN: usize = 46;
const TRAILER_LEN: usize = 24;
const MAGIC: &[u8; 8] = b"vvpack01";

/// One blob of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// Its id.
    pub id: BlobId,
    /// Where it starts in the object.
    pub offset: u32,
    /// Bytes it takes there, tag included.
    pub stored_len: u32,
    /// Bytes of its plaintext.
    pub raw_len: u32,
    /// How it is compressed.
    pub codec: Codec,
}

/// The key that a pack is stored at.
pub fn pack_key(name: &ObjectHash) -> String {
    let name = name.to_hex();
    format!("packs/{}/{name}", name.get(..2).unwrap_or("00"))
}

/// A pack being filled.
#[derive(Debug)]
pub(super) struct PackBuilder {
    kind: BlobKind,
    writer: ObjectWriter,
    entries: Vec<PackEntry>,
}

/// A pack ready to be stored.
#[derive(Debug)]
pub(super) struct FinishedPack {
    pub(super) kind: BlobKind,
    pub(super) pack: PackRef,
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<PackEntry>,
}

impl PackBuilder {
    pub(super) fn new(keys: &KeyRing, kind: BlobKind, buffer: Vec<u8>) -> Result<Self> {
        Ok(Self { kind, writer: ObjectWriter::reusing(keys, ObjectKind::pack_of(kind), buffer)?, entries: Vec::new() })
    }

    /// What the blobs in it are.
    pub(super) const fn kind(&self) -> BlobKind {
        self.kind
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.writer.len()
    }

    /// Seals one blob into the pack.
    pub(super) fn add(&mut self, blob: BlobRef, codec: Codec, bytes: &[u8]) -> Result<()> {
        let BlobRef { id, raw_len } = blob;
        let part = Part::Blob { id, raw_len, codec: codec.as_u8() };
        let place = self.writer.append(&part, bytes)?;
        let length = |n: usize| u32::try_from(n).map_err(|_| Error::bug("a pack of more than 4 GiB"));
        self.entries.push(PackEntry {
            id,
            offset: length(place.start)?,
            stored_len: length(place.len())?,
            raw_len,
            codec,
        });
        Ok(())
    }

    /// Pads, adds directory and trailer, and names the pack.
    pub(super) fn finish(mut self) -> Result<FinishedPack> {
        let count = u32::try_from(self.entries.len()).map_err(|_| Error::bug("blobs in a pack"))?;
        let mut directory = Vec::with_capacity(self.entries.len() * ENTRY_LEN);
        for entry in &self.entries {
            directory.extend_from_slice(entry.id.as_bytes());
            directory.extend_from_slice(&[entry.codec.as_u8(), 0]);
            for number in [entry.offset, entry.stored_len, entry.raw_len] {
                directory.extend_from_slice(&number.to_le_bytes());
            }
        }
        let directory_len = directory.len() + TAG_LEN;
        let least = self.writer.len() + TAG_LEN + directory_len + TRAILER_LEN;
        let total = padded(least as u64);
        let zeros = usize::try_from(total).map_err(|_| Error::bug("length of a pack"))? - least;
        self.writer.append(&Part::Padding, &vec![0; zeros])?;
        self.writer.append(&Part::Directory { total, blobs: count }, &directory)?;
        let mut trailer = Vec::with_capacity(TRAILER_LEN);
        trailer.extend_from_slice(
            &u32::try_from(directory_len).map_err(|_| Error::bug("directory of a pack"))?.to_le_bytes(),
        );
        trailer.extend_from_slice(&count.to_le_bytes());
        trailer.extend_from_slice(&total.to_le_bytes());
        trailer.extend_from_slice(MAGIC);
        self.writer.append_plain(&trailer);
        let unnamed = self.writer.pack_ref(ObjectHash::new([0; 32]));
        let sealed = self.writer.finish();
        debug_assert_eq!(sealed.bytes.len() as u64, total);
        Ok(FinishedPack {
            kind: self.kind,
            pack: PackRef { name: sealed.hash, ..unnamed },
            bytes: sealed.bytes,
            entries: self.entries,
        })
    }
}

/// The length that a pack of at least `len` bytes is padded to: at most 12 % more for the smallest, 16 KiB for large ones (docs/adr/0016).
fn padded(len: u64) -> u64 {
    let granule = if len < 4 << 20 {
        let exponent = len.ilog2();
        let mantissa = exponent.checked_ilog2().unwrap_or(0) + 1;
        exponent.saturating_sub(mantissa)
    } else {
        14
    };
    len.next_multiple_of(1 << granule)
}

struct Trailer {
    directory_len: usize,
    blobs: u32,
}

impl Trailer {
    fn read(tail: &[u8], total: u64) -> Result<Self> {
        let damaged = || Error::corrupt("trailer of a pack");
        let trailer: &[u8; TRAILER_LEN] = tail.last_chunk().ok_or_else(damaged)?;
        let (numbers, magic) = trailer.split_first_chunk::<16>().ok_or_else(damaged)?;
        let [d0, d1, d2, d3, b0, b1, b2, b3, total_bytes @ ..] = numbers;
        let directory_len = u32::from_le_bytes([*d0, *d1, *d2, *d3]);
        let blobs = u32::from_le_bytes([*b0, *b1, *b2, *b3]);
        let said = u64::from_le_bytes(*total_bytes);
        let fits = u64::from(directory_len) == u64::from(blobs) * ENTRY_LEN as u64 + TAG_LEN as u64
            && u64::from(directory_len) + ((HEADER_LEN + TRAILER_LEN) as u64) <= total;
        if magic != MAGIC || said != total || total > PACK_MAX || !fits {
            return Err(damaged());
        }
        Ok(Self { directory_len: directory_len as usize, blobs })
    }
}

/// How many bytes of the end of a pack of `total` bytes hold its directory and trailer.
pub(super) fn tail_len(tail: &[u8], total: u64) -> Result<u64> {
    Trailer::read(tail, total).map(|trailer| (trailer.directory_len + TRAILER_LEN) as u64)
}

/// Bytes of the sealed directory of a pack of that many blobs, with the trailer behind it.
pub(super) fn directory_len(blobs: u32) -> Result<u64> {
    let len = (blobs as usize).checked_mul(ENTRY_LEN).map(|len| len + TAG_LEN + TRAILER_LEN);
    len.map(|len| len as u64).ok_or_else(|| Error::corrupt("number of blobs of a pack"))
}

/// The directory of a pack of `total` bytes from its end; `opener` is that of the pack's header.
///
/// # Errors
/// `Corrupt` when the directory is damaged or describes blobs that overlap or leave the pack.
pub(super) fn read_directory(opener: &Opener, tail: &[u8], total: u64) -> Result<Vec<PackEntry>> {
    let trailer = Trailer::read(tail, total)?;
    let damaged = || Error::corrupt("directory of a pack");
    let end = tail.len() - TRAILER_LEN;
    let start = end.checked_sub(trailer.directory_len).ok_or_else(damaged)?;
    let sealed = tail.get(start..end).ok_or_else(damaged)?;
    let offset = total - (TRAILER_LEN + trailer.directory_len) as u64;
    let plain = opener
        .open(&Part::Directory { total, blobs: trailer.blobs }, offset, sealed)
        .map_err(|error| error.within("directory of a pack"))?;
    let mut entries = Vec::with_capacity(plain.len() / ENTRY_LEN);
    let mut free = HEADER_LEN as u64;
    for record in plain.as_chunks::<ENTRY_LEN>().0 {
        let entry = read_entry(record)?;
        let ends = u64::from(entry.offset) + u64::from(entry.stored_len);
        if u64::from(entry.offset) < free || ends > offset || entry.raw_len as usize > BLOB_MAX || entry.raw_len == 0 {
            return Err(damaged());
        }
        free = ends;
        entries.push(entry);
    }
    Ok(entries)
}

fn read_entry(record: &[u8; ENTRY_LEN]) -> Result<PackEntry> {
    let damaged = || Error::corrupt("entry of a pack's directory");
    let (id, rest) = record.split_first_chunk::<32>().ok_or_else(damaged)?;
    let ([codec, _], rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let [offset, stored_len, raw_len] = rest.as_chunks::<4>().0 else { return Err(damaged()) };
    Ok(PackEntry {
        id: BlobId::new(*id),
        offset: u32::from_le_bytes(*offset),
        stored_len: u32::from_le_bytes(*stored_len),
        raw_len: u32::from_le_bytes(*raw_len),
        codec: Codec::try_from(*codec)?,
    })
}

/// Opens, decompresses and verifies one blob; `sealed` is overwritten.
///
/// # Errors
/// `Corrupt` when anything about it is not as it was sealed.
pub(super) fn open_blob(
    keys: &KeyRing,
    kind: BlobKind,
    opener: &Opener,
    entry: &PackEntry,
    sealed: &mut [u8],
) -> Result<Vec<u8>> {
    open_in_place(keys, kind, opener, entry, sealed).map(Cow::into_owned)
}

/// As [`open_blob`]; a blob that is not compressed stays where it is.
pub(super) fn open_in_place<'a>(
    keys: &KeyRing,
    kind: BlobKind,
    opener: &Opener,
    entry: &PackEntry,
    sealed: &'a mut [u8],
) -> Result<Cow<'a, [u8]>> {
    let part = Part::Blob { id: entry.id, raw_len: entry.raw_len, codec: entry.codec.as_u8() };
    let bytes = opener.open_in_place(&part, u64::from(entry.offset), sealed)?;
    let plain = super::codec::decode(entry.codec, bytes, entry.raw_len)?;
    if keys.blob_id(kind, &plain) != entry.id {
        return Err(Error::corrupt("content does not have the id it is stored under"));
    }
    Ok(plain)
}

/// Reads a whole pack: checks its name, its directory and every blob, and hands each blob's plaintext to `each`.
///
/// # Errors
/// `Corrupt` at the first thing that is wrong, naming the pack.
pub fn read_pack(
    keys: &KeyRing,
    kind: BlobKind,
    name: &ObjectHash,
    bytes: &mut [u8],
    each: &mut dyn FnMut(&PackEntry, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let check = || -> Result<(Opener, Vec<PackEntry>)> {
        if blake3::hash(bytes).as_bytes() != name.as_bytes() {
            return Err(Error::corrupt("bytes do not have the hash that names them"));
        }
        let opener = Opener::from_header(keys, ObjectKind::pack_of(kind), bytes)?;
        let entries = read_directory(&opener, bytes, bytes.len() as u64)?;
        Ok((opener, entries))
    };
    let within = |error: Error| error.within(format!("pack {name}"));
    let (opener, entries) = check().map_err(within)?;
    for entry in entries {
        let start = entry.offset as usize;
        let sealed = bytes
            .get_mut(start..start + entry.stored_len as usize)
            .ok_or_else(|| within(Error::corrupt("blob leaves the pack")))?;
        let plain = open_blob(keys, kind, &opener, &entry, sealed)
            .map_err(|error| within(error.within(format!("blob {}", entry.id))))?;
        each(&entry, plain)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;
    use crate::id::RepoId;

    fn keys() -> KeyRing {
        KeyRing::new(MasterKey::generate(&crate::crypto::SystemEntropy).unwrap(), RepoId::new([9; 16]))
    }

    fn pack(keys: &KeyRing, blobs: &[&[u8]]) -> FinishedPack {
        let mut builder = PackBuilder::new(keys, BlobKind::Data, Vec::new()).unwrap();
        for blob in blobs {
            let id = keys.blob_id(BlobKind::Data, blob);
            builder.add(BlobRef { id, raw_len: u32::try_from(blob.len()).unwrap() }, Codec::Stored, blob).unwrap();
        }
        builder.finish().unwrap()
    }

    fn read(keys: &KeyRing, name: &ObjectHash, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut blobs = Vec::new();
        read_pack(keys, BlobKind::Data, name, &mut bytes.to_vec(), &mut |_, plain| {
            blobs.push(plain);
            Ok(())
        })?;
        Ok(blobs)
    }

    #[test]
    fn a_pack_gives_its_blobs_back_and_its_length_says_little() {
        let keys = keys();
        let blobs: Vec<&[u8]> = vec![b"one", b"two", &[7; 5000]];
        let pack = pack(&keys, &blobs);
        assert_eq!(pack.bytes.len() as u64, padded(pack.bytes.len() as u64));
        assert_eq!(read(&keys, &pack.pack.name, &pack.bytes).unwrap(), blobs);
    }

    #[test]
    fn padding_costs_at_most_an_eighth_and_a_thousandth_of_a_full_pack() {
        for len in (1..200_000).chain([4 << 20, (4 << 20) + 1, (16 << 20) - 7]) {
            let padded = padded(len);
            assert!(padded >= len && (padded - len) * 8 <= len + 8, "{len} {padded}");
            assert!(len < 4 << 20 || padded - len < 16 << 10, "{len} {padded}");
        }
    }

    /// A store can rename what it changed, so the name is made to fit: the seals must notice by themselves.
    #[test]
    fn every_truncation_and_every_flipped_bit_of_a_small_pack_is_an_error() {
        let keys = keys();
        let pack = pack(&keys, &[b"one", b"two"]);
        let renamed = |bytes: &[u8]| ObjectHash::new(*blake3::hash(bytes).as_bytes());
        for len in 0..pack.bytes.len() {
            let cut = &pack.bytes[..len];
            assert!(read(&keys, &renamed(cut), cut).is_err(), "length {len}");
        }
        let last = pack.entries.last().unwrap();
        let padding =
            (last.offset + last.stored_len) as usize..pack.bytes.len() - TRAILER_LEN - 2 * ENTRY_LEN - TAG_LEN;
        for bit in 0..pack.bytes.len() * 8 {
            let mut damaged = pack.bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&keys, &pack.pack.name, &damaged).is_err(), "bit {bit}");
            // Padding holds nothing: only the name vouches for it.
            if !padding.contains(&(bit / 8)) {
                assert!(read(&keys, &renamed(&damaged), &damaged).is_err(), "bit {bit}, renamed");
            }
        }
    }
}
