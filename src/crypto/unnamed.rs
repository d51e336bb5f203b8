//! Decrypts a blob of which only the beginning of the id is known, so that its tag, which binds the whole id, cannot be checked first.
//!
//! For the salvage of packs whose directory is lost. What comes out is unproven bytes: the caller must compute the blob's id from them, compare
//! its beginning, and then open the blob with that id. Nothing else may use it.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use crate::error::{Error, Result};
use crate::id::PackRef;

use super::keys::KeyRing;
use super::object::{ObjectKind, Part, TAG_LEN, bound_header, key_material};

/// The bytes below the tag of the sealed blob that lies at `offset` of `pack`, decrypted and not authenticated.
///
/// # Errors
/// `Corrupt` when `sealed` is shorter than a tag.
pub fn decrypt_unproven(
    keys: &KeyRing,
    kind: ObjectKind,
    pack: &PackRef,
    (part, offset): (&Part<'_>, u32),
    sealed: &[u8],
) -> Result<Vec<u8>> {
    let (body, _) =
        sealed.split_last_chunk::<TAG_LEN>().ok_or_else(|| Error::corrupt("part is shorter than its tag"))?;
    let (key, _) = key_material(keys, kind, pack.epoch, &bound_header(kind, pack.epoch, &pack.salt));
    // GCM encrypts in counter mode; its first block of data has the counter 2 (NIST SP 800-38D, section 7.1).
    let mut counter = [0u8; 16];
    counter.iter_mut().zip(part.nonce(offset).into_iter().chain([0, 0, 0, 2])).for_each(|(to, from)| *to = from);
    let failed = |_| Error::bug("decrypt a part");
    let cipher = UnboundCipherKey::new(&AES_256, &key).and_then(DecryptingKey::ctr).map_err(failed)?;
    let mut plain = body.to_vec();
    cipher.decrypt(&mut plain, DecryptionContext::Iv128(FixedLength::from(counter))).map_err(failed)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{MasterKey, ObjectWriter};
    use crate::id::{BlobId, ObjectHash, RepoId};

    #[test]
    fn it_decrypts_what_was_sealed_whatever_the_id() {
        let keys = KeyRing::new(MasterKey::generate(&crate::crypto::SystemEntropy).unwrap(), RepoId::new([9; 16]));
        let mut writer = ObjectWriter::new(&keys, ObjectKind::DataPack, 0).unwrap();
        let part = |id| Part::Blob { id: BlobId::new([id; 32]), raw_len: 70, codec: 0 };
        writer.append(&part(1), &[5; 33]).unwrap();
        let place = writer.append(&part(2), &[7; 70]).unwrap();
        let pack = writer.pack_ref(ObjectHash::new([0; 32]));
        let bytes = writer.finish().bytes;
        let at = u32::try_from(place.start).unwrap();
        let plain = decrypt_unproven(&keys, ObjectKind::DataPack, &pack, (&part(9), at), &bytes[place]).unwrap();
        assert_eq!(plain, [7; 70]);
    }
}
