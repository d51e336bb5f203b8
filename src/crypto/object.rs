//! Sealed objects: header, parts, tags. Spec: `docs/format.md` section 3.
//!
//! The nonce of a part is its offset in the object, and an [`ObjectWriter`] only ever appends: no code can use a
//! nonce twice under one key.

use std::fmt;
use std::ops::Range;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{BlobId, ObjectHash, PackRef, RepoId};

use super::keys::{BlobKind, KeyRing};

/// Length of the header of every sealed object.
pub const HEADER_LEN: usize = 80;
/// Length of the tag behind every sealed part.
pub const TAG_LEN: usize = 16;

const MAGIC: &[u8; 8] = b"volvault";
const FORMAT: u16 = 1;
const SUITE: u8 = 1;
/// Bytes of the header that go into the key derivation.
const BOUND_LEN: usize = 48;

/// What a sealed object is. The number stands in its header, the name is the purpose of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of docs/format.md section 3")]
pub enum ObjectKind {
    DataPack = 1,
    TreePack = 2,
    Index = 3,
    Config = 4,
    Snapshot = 5,
    Session = 6,
    Condemned = 7,
    Suspect = 8,
    Dropped = 9,
    Forgotten = 10,
    Pruned = 11,
    Verified = 12,
    Marks = 13,
}

impl ObjectKind {
    /// The pack kind for blobs of `kind`.
    pub const fn pack_of(kind: BlobKind) -> Self {
        match kind {
            BlobKind::Data => Self::DataPack,
            BlobKind::Tree => Self::TreePack,
        }
    }

    /// The number in the header.
    pub const fn code(self) -> u8 {
        self as u8
    }

    pub(super) const fn purpose(self) -> &'static str {
        match self {
            Self::DataPack => "data",
            Self::TreePack => "tree",
            Self::Index => "index",
            Self::Config => "config",
            Self::Snapshot => "snapshot",
            Self::Session => "session",
            Self::Condemned => "condemned",
            Self::Suspect => "suspect",
            Self::Dropped => "dropped",
            Self::Forgotten => "forgotten",
            Self::Pruned => "pruned",
            Self::Verified => "verified",
            Self::Marks => "marks",
        }
    }
}

/// A part of an object, with what its tag binds beside the bytes.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// The payload of a small object, at this key.
    Small {
        /// The object's key, as text.
        key: &'a str,
    },
    /// A blob.
    Blob {
        /// Its id.
        id: BlobId,
        /// Length of its plaintext.
        raw_len: u32,
        /// Codec number.
        codec: u8,
    },
    /// The directory of a pack.
    Directory {
        /// Length of the whole object.
        total: u64,
        /// Number of blobs.
        blobs: u32,
    },
    /// The padding of a pack.
    Padding,
    /// A block of an index segment.
    Block {
        /// Its number, from 0.
        number: u32,
    },
    /// The filter of an index segment.
    Filter,
    /// The footer of an index segment.
    Footer {
        /// Length of the whole object.
        total: u64,
        /// Number of blocks.
        blocks: u32,
    },
}

impl Part<'_> {
    const fn code(&self) -> u8 {
        match self {
            Part::Small { .. } => 0x00,
            Part::Blob { .. } => 0x01,
            Part::Directory { .. } => 0x02,
            Part::Padding => 0x03,
            Part::Block { .. } => 0x10,
            Part::Filter => 0x11,
            Part::Footer { .. } => 0x12,
        }
    }

    pub(super) fn nonce(&self, offset: u32) -> [u8; 12] {
        let [a, b, c, d] = offset.to_be_bytes();
        [self.code(), 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
    }

    fn aad(&self, repo: RepoId) -> Vec<u8> {
        let mut aad = Vec::with_capacity(64);
        aad.push(self.code());
        aad.extend_from_slice(repo.as_bytes());
        match self {
            Part::Small { key } => aad.extend_from_slice(key.as_bytes()),
            Part::Blob { id, raw_len, codec } => {
                aad.extend_from_slice(id.as_bytes());
                aad.extend_from_slice(&raw_len.to_le_bytes());
                aad.push(*codec);
            }
            Part::Directory { total, blobs: count } | Part::Footer { total, blocks: count } => {
                aad.extend_from_slice(&total.to_le_bytes());
                aad.extend_from_slice(&count.to_le_bytes());
            }
            Part::Block { number } => aad.extend_from_slice(&number.to_le_bytes()),
            Part::Padding | Part::Filter => {}
        }
        aad
    }
}

/// A finished object: its bytes and their hash.
#[derive(Debug)]
pub struct Sealed {
    /// The bytes to store.
    pub bytes: Vec<u8>,
    /// BLAKE3 of the bytes.
    pub hash: ObjectHash,
}

/// Builds one sealed object by appending parts.
pub struct ObjectWriter {
    buffer: Vec<u8>,
    cipher: LessSafeKey,
    repo: RepoId,
    epoch: u16,
    salt: [u8; 32],
}

impl ObjectWriter {
    /// Starts an object of `kind` with a fresh key; `capacity` is the expected length in bytes.
    pub fn new(keys: &KeyRing, kind: ObjectKind, capacity: usize) -> Result<Self> {
        Self::reusing(keys, kind, Vec::with_capacity(capacity.max(HEADER_LEN)))
    }

    /// As [`ObjectWriter::new`], in the memory of `buffer`, whose content is dropped.
    pub fn reusing(keys: &KeyRing, kind: ObjectKind, buffer: Vec<u8>) -> Result<Self> {
        let salt = keys.fresh_salt(&[kind.code()])?;
        Ok(Self::with_salt(keys, kind, salt, buffer))
    }

    fn with_salt(keys: &KeyRing, kind: ObjectKind, salt: [u8; 32], mut buffer: Vec<u8>) -> Self {
        let epoch = 0;
        let bound = bound_header(kind, epoch, &salt);
        let (cipher, commitment) = object_key(keys, kind, epoch, &bound);
        buffer.clear();
        buffer.extend_from_slice(&bound);
        buffer.extend_from_slice(&commitment);
        Self { buffer, cipher, repo: keys.repo(), epoch, salt }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing but the header is there.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() <= HEADER_LEN
    }

    /// What a reader needs to derive this object's key, under the name it will have.
    pub const fn pack_ref(&self, name: ObjectHash) -> PackRef {
        PackRef { name, epoch: self.epoch, salt: self.salt }
    }

    /// Seals `plain` and appends it; returns where it lies, tag included.
    ///
    /// # Errors
    /// `Bug` when the object would pass 4 GiB, where offsets, and with them nonces, end.
    pub fn append(&mut self, part: &Part<'_>, plain: &[u8]) -> Result<Range<usize>> {
        let start = self.buffer.len();
        let offset = u32::try_from(start)
            .ok()
            .filter(|_| start.saturating_add(plain.len()) < u32::MAX as usize)
            .ok_or_else(|| Error::bug("append to a sealed object of more than 4 GiB"))?;
        self.buffer.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(part.nonce(offset));
        let body = self.buffer.get_mut(start..).unwrap_or_default();
        let tag = self
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::from(part.aad(self.repo)), body)
            .map_err(|_| Error::bug("seal a part"))?;
        self.buffer.extend_from_slice(tag.as_ref());
        Ok(start..self.buffer.len())
    }

    /// Appends bytes in plain text: trailers, and the repository id in `config`.
    pub fn append_plain(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The finished object. Costs one BLAKE3 pass.
    pub fn finish(self) -> Sealed {
        let hash = ObjectHash::new(*blake3::hash(&self.buffer).as_bytes());
        Sealed { bytes: self.buffer, hash }
    }
}

impl fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectWriter({} bytes)", self.buffer.len())
    }
}

/// Opens the parts of one object.
pub struct Opener {
    cipher: LessSafeKey,
    /// The reference implementation, used for parts that are opened once in a run.
    reference: Box<aes_gcm::Aes256Gcm>,
    repo: RepoId,
    epoch: u16,
    salt: [u8; 32],
}

impl Opener {
    /// Reads the header at the start of `object`, which must be of `kind`, and checks the key commitment.
    ///
    /// # Errors
    /// `Corrupt` when it is no such header or was made with another key, `Unsupported` for another format or suite.
    pub fn from_header(keys: &KeyRing, kind: ObjectKind, object: &[u8]) -> Result<Self> {
        let header: &[u8; HEADER_LEN] =
            object.first_chunk().ok_or_else(|| Error::corrupt("object is shorter than its header"))?;
        let (epoch, salt) = read_header(header, kind)?;
        let bound = bound_header(kind, epoch, &salt);
        if header.first_chunk::<BOUND_LEN>() != Some(&bound) {
            return Err(Error::corrupt("header has unknown flags"));
        }
        let (cipher, reference, commitment) = opening_key(keys, kind, epoch, &bound);
        let stored = header.last_chunk::<32>().copied().unwrap_or_default();
        if aws_lc_rs::constant_time::verify_slices_are_equal(&stored, &commitment).is_err() {
            return Err(Error::corrupt("key commitment does not match: header damaged, or sealed with another key"));
        }
        Ok(Self { cipher, reference, repo: keys.repo(), epoch, salt })
    }

    /// Opens parts of a pack of which only a range is at hand.
    pub fn for_pack(keys: &KeyRing, kind: ObjectKind, pack: &PackRef) -> Self {
        let bound = bound_header(kind, pack.epoch, &pack.salt);
        let (cipher, reference, _) = opening_key(keys, kind, pack.epoch, &bound);
        Self { cipher, reference, repo: keys.repo(), epoch: pack.epoch, salt: pack.salt }
    }

    /// What a reader needs to derive this object's key, under its name.
    pub const fn pack_ref(&self, name: ObjectHash) -> PackRef {
        PackRef { name, epoch: self.epoch, salt: self.salt }
    }

    /// Opens, in place, the part that lies at `offset` of the object; returns its plaintext.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not what was sealed as this part at this place.
    pub fn open_in_place<'a>(&self, part: &Part<'_>, offset: u64, sealed: &'a mut [u8]) -> Result<&'a mut [u8]> {
        let nonce = part.nonce(u32::try_from(offset).map_err(|_| Error::corrupt("part lies beyond 4 GiB"))?);
        self.cipher
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(part.aad(self.repo)), sealed)
            .map_err(|_| Error::corrupt("authentication tag does not match"))
    }

    /// Opens the part that lies at `offset` of the object, with the reference implementation.
    ///
    /// # Errors
    /// As [`Opener::open_in_place`].
    pub fn open(&self, part: &Part<'_>, offset: u64, sealed: &[u8]) -> Result<Vec<u8>> {
        let nonce = part.nonce(u32::try_from(offset).map_err(|_| Error::corrupt("part lies beyond 4 GiB"))?);
        let (body, tag) =
            sealed.split_last_chunk::<TAG_LEN>().ok_or_else(|| Error::corrupt("part is shorter than its tag"))?;
        let mut plain = body.to_vec();
        self.reference
            .decrypt_inout_detached(&nonce.into(), &part.aad(self.repo), plain.as_mut_slice().into(), tag.into())
            .map_err(|_| Error::corrupt("authentication tag does not match"))?;
        Ok(plain)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(..)")
    }
}

pub(super) fn bound_header(kind: ObjectKind, epoch: u16, salt: &[u8; 32]) -> [u8; BOUND_LEN] {
    let mut header = [0u8; BOUND_LEN];
    let fields: [&[u8]; 7] =
        [MAGIC, &FORMAT.to_le_bytes(), &[SUITE], &[kind.code()], &[0, 0], &epoch.to_le_bytes(), salt];
    for (place, byte) in header.iter_mut().zip(fields.iter().flat_map(|field| field.iter())) {
        *place = *byte;
    }
    header
}

fn read_header(header: &[u8; HEADER_LEN], kind: ObjectKind) -> Result<(u16, [u8; 32])> {
    let (magic, rest) = header.split_first_chunk::<8>().ok_or_else(|| Error::bug("header length"))?;
    let ([f0, f1, suite, code, _, _, e0, e1], rest) =
        rest.split_first_chunk::<8>().ok_or_else(|| Error::bug("header length"))?;
    if magic != MAGIC {
        return Err(Error::corrupt("not an object of this program (magic number)"));
    }
    let format = u16::from_le_bytes([*f0, *f1]);
    if format != FORMAT || *suite != SUITE {
        return Err(Error::new(ErrorKind::Unsupported, format!("format {format}, suite {suite} is not known"))
            .with_hint("use a newer version of volvault"));
    }
    if *code != kind.code() {
        return Err(Error::corrupt(format!(
            "object has kind {code} where {} ({}) belongs",
            kind.code(),
            kind.purpose()
        )));
    }
    let salt = rest.first_chunk::<32>().copied().unwrap_or_default();
    Ok((u16::from_le_bytes([*e0, *e1]), salt))
}

pub(super) fn key_material(
    keys: &KeyRing,
    kind: ObjectKind,
    epoch: u16,
    bound: &[u8; BOUND_LEN],
) -> ([u8; 32], [u8; 32]) {
    let mut output = blake3::Hasher::new_keyed(keys.sealing(kind, epoch).expose())
        .update(b"volvault v1 object")
        .update(bound)
        .finalize_xof();
    let (mut key, mut commitment) = ([0u8; 32], [0u8; 32]);
    output.fill(&mut key);
    output.fill(&mut commitment);
    (key, commitment)
}

fn object_key(keys: &KeyRing, kind: ObjectKind, epoch: u16, bound: &[u8; BOUND_LEN]) -> (LessSafeKey, [u8; 32]) {
    let (key, commitment) = key_material(keys, kind, epoch, bound);
    (fast_cipher(&key), commitment)
}

fn opening_key(
    keys: &KeyRing,
    kind: ObjectKind,
    epoch: u16,
    bound: &[u8; BOUND_LEN],
) -> (LessSafeKey, Box<aes_gcm::Aes256Gcm>, [u8; 32]) {
    let (key, commitment) = key_material(keys, kind, epoch, bound);
    (fast_cipher(&key), Box::new(aes_gcm::Aes256Gcm::new(&key.into())), commitment)
}

/// AES-256-GCM by aws-lc-rs: three times as fast as `aes-gcm` on this class of machines (docs/adr/0002), same bytes.
fn fast_cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes fits AES-256"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;

    fn keys() -> KeyRing {
        KeyRing::new(MasterKey::generate(&crate::crypto::SystemEntropy).unwrap(), RepoId::new([9; 16]))
    }

    fn parts() -> Vec<(Part<'static>, Vec<u8>)> {
        let id = BlobId::new([1; 32]);
        vec![
            (Part::Blob { id, raw_len: 10, codec: 0 }, b"0123456789".to_vec()),
            (Part::Blob { id, raw_len: 10, codec: 0 }, b"0123456789".to_vec()),
            (Part::Blob { id, raw_len: 70_000, codec: 1 }, vec![7; 70_000]),
            (Part::Padding, vec![0; 100]),
            (Part::Directory { total: 5, blobs: 3 }, vec![1, 2, 3]),
        ]
    }

    #[test]
    fn both_implementations_open_what_was_sealed_and_only_at_its_place() {
        let keys = keys();
        let mut writer = ObjectWriter::new(&keys, ObjectKind::DataPack, 0).unwrap();
        let places: Vec<_> = parts().iter().map(|(part, plain)| writer.append(part, plain).unwrap()).collect();
        let name = ObjectHash::new([0; 32]);
        let pack = writer.pack_ref(name);
        let sealed = writer.finish();
        let openers = [
            Opener::from_header(&keys, ObjectKind::DataPack, &sealed.bytes).unwrap(),
            Opener::for_pack(&keys, ObjectKind::DataPack, &pack),
        ];
        for opener in openers {
            for ((part, plain), place) in parts().iter().zip(&places) {
                let offset = place.start as u64;
                let mut bytes = sealed.bytes[place.clone()].to_vec();
                assert_eq!(&opener.open(part, offset, &bytes).unwrap(), plain);
                assert!(opener.open(part, offset + 1, &bytes).is_err());
                assert!(opener.open(&Part::Filter, offset, &bytes).is_err());
                assert_eq!(opener.open_in_place(part, offset, &mut bytes).unwrap(), plain.as_slice());
            }
        }
    }

    #[test]
    fn the_fast_cipher_writes_the_bytes_of_the_reference() {
        let keys = keys();
        let salt = [5; 32];
        for (part, plain) in parts() {
            let mut writer = ObjectWriter::with_salt(&keys, ObjectKind::TreePack, salt, Vec::new());
            let place = writer.append(&part, &plain).unwrap();
            let bound = bound_header(ObjectKind::TreePack, 0, &salt);
            let (_, reference, _) = opening_key(&keys, ObjectKind::TreePack, 0, &bound);
            let mut expected = plain.clone();
            let nonce = part.nonce(u32::try_from(HEADER_LEN).unwrap());
            let tag = reference
                .encrypt_inout_detached(&nonce.into(), &part.aad(keys.repo()), expected.as_mut_slice().into())
                .unwrap();
            expected.extend_from_slice(&tag);
            assert_eq!(writer.finish().bytes[place], expected);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let keys = keys();
        let mut writer = ObjectWriter::new(&keys, ObjectKind::Index, 0).unwrap();
        writer.append(&Part::Filter, b"x").unwrap();
        let sealed = writer.finish().bytes;
        for bit in 0..HEADER_LEN * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Opener::from_header(&keys, ObjectKind::Index, &damaged).is_err(), "bit {bit}");
        }
        for len in 0..HEADER_LEN {
            assert!(Opener::from_header(&keys, ObjectKind::Index, &sealed[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn an_object_of_another_repository_or_kind_does_not_open() {
        let keys = keys();
        let sealed = ObjectWriter::new(&keys, ObjectKind::Snapshot, 0).unwrap().finish().bytes;
        assert!(Opener::from_header(&keys, ObjectKind::Session, &sealed).is_err());
        let other = KeyRing::new(keys.master().clone(), RepoId::new([8; 16]));
        assert!(Opener::from_header(&other, ObjectKind::Snapshot, &sealed).is_err());
    }
}
