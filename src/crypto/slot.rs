//! Key slots: a password or a raw key that unwraps the master key. Spec: `docs/format.md` section 5.

use std::time::Duration;

use aes_gcm::aead::{AeadInOut, KeyInit};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RepoId;
use crate::limits;
use crate::secret::{Credential, Key32, Password};

use super::keys::{KeyRing, MasterKey};
use super::object::TAG_LEN;

/// Least memory of a password slot outside tests: OWASP's floor.
const MEMORY_MIN_KIB: u32 = 19 << 10;
/// Most memory, passes and lanes that a reader accepts: a planted slot must not eat the machine.
const MEMORY_MAX_KIB: u32 = 4 << 20;
const PASSES_MAX: u32 = 32;
const LANES_MAX: u32 = 16;

/// What a slot opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotKind {
    /// A password, through Argon2id.
    Argon2id,
    /// 32 random bytes.
    Key32,
}

/// Cost of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdfParams {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

impl KdfParams {
    /// The cheapest parameters that a reader outside tests accepts.
    pub const LEAST: Self = Self { m_kib: MEMORY_MIN_KIB, t: 1, p: 1 };

    /// Parameters that take about one second on this machine: 4 lanes, a quarter of `memory` (the machine's or
    /// the control group's, whichever is less) between 64 MiB and 1 GiB, and as many passes from 3 on as fit.
    pub fn calibrate(memory: u64, clock: &dyn Clock) -> Result<Self> {
        const TARGET: Duration = Duration::from_secs(1);
        let quarter = u32::try_from(memory / 4 / 1024).unwrap_or(u32::MAX);
        let mut params = Self { m_kib: quarter.clamp(64 << 10, 1 << 20), t: 1, p: 4 };
        let one_pass = loop {
            let start = clock.elapsed();
            derive_password(&Password::new(b"calibration".to_vec()), &[0; 32], params)?;
            let took = clock.elapsed().saturating_sub(start);
            // Three passes must fit into the second; memory is given up first, down to the floor.
            if took * 3 <= TARGET || params.m_kib <= 64 << 10 {
                break took;
            }
            params.m_kib = (params.m_kib / 2).max(64 << 10);
        };
        let passes = TARGET.as_millis() / one_pass.as_millis().max(1);
        params.t = u32::try_from(passes).unwrap_or(PASSES_MAX).clamp(3, PASSES_MAX);
        Ok(params)
    }

    fn check(self) -> Result<()> {
        let floor = if cfg!(any(test, debug_assertions)) { 8 } else { MEMORY_MIN_KIB };
        if self.m_kib < floor
            || self.m_kib > MEMORY_MAX_KIB
            || !(1..=PASSES_MAX).contains(&self.t)
            || !(1..=LANES_MAX).contains(&self.p)
        {
            return Err(Error::corrupt(format!(
                "key slot asks for an unreasonable password hash (m={} KiB, t={}, p={})",
                self.m_kib, self.t, self.p
            )));
        }
        Ok(())
    }
}

/// Who made a slot, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotLabel {
    /// Host name.
    pub host: String,
    /// User name.
    pub user: String,
    /// A free text.
    pub label: String,
    /// RFC 3339 time.
    pub created: String,
}

/// One key slot as it is stored.
#[derive(Clone, Debug)]
pub struct Slot {
    line: String,
    fields: Fields,
    wrapped: [u8; 48],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fields {
    v: u32,
    repo: String,
    kind: SlotKind,
    #[serde(default)]
    label: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kdf: Option<KdfParams>,
    salt: String,
    commit: String,
}

impl Slot {
    /// Wraps the master key of `keys` for `credential`; `params` is the cost for a password.
    pub fn seal(keys: &KeyRing, credential: &Credential, params: KdfParams, label: SlotLabel) -> Result<Self> {
        let salt: [u8; 32] = keys.fresh_salt(b"slot")?;
        let (kind, kdf) = match credential {
            Credential::Password(_) => (SlotKind::Argon2id, Some(params)),
            Credential::Key(_) => (SlotKind::Key32, None),
        };
        let material = derive(credential, &salt, kdf)?;
        let fields = Fields {
            v: 1,
            repo: keys.repo().to_hex(),
            kind,
            label: label.label,
            host: label.host,
            user: label.user,
            created: label.created,
            kdf,
            salt: hex::encode(salt),
            commit: hex::encode(material.commitment),
        };
        let line = serde_json::to_string(&fields).map_err(|cause| Error::bug("write a key slot").with_source(cause))?;
        let mut body = Zeroizing::new(*keys.master().0.expose());
        let tag = aes_gcm::Aes256Gcm::new(material.kek.expose().into())
            .encrypt_inout_detached(&[0u8; 12].into(), line.as_bytes(), body.as_mut_slice().into())
            .map_err(|_| Error::bug("seal a key slot"))?;
        let mut wrapped = [0u8; 48];
        for (place, byte) in wrapped.iter_mut().zip(body.iter().chain(tag.iter())) {
            *place = *byte;
        }
        Ok(Self { line, fields, wrapped })
    }

    /// The bytes to store and the name they go by.
    pub fn encode(&self) -> (String, Vec<u8>) {
        let bytes = format!("{}\n{}\n", self.line, hex::encode(self.wrapped)).into_bytes();
        let name = blake3::hash(&bytes).to_hex().chars().take(32).collect();
        (name, bytes)
    }

    /// Reads a stored slot and checks its name.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not those that were stored under this name, `Unsupported` for a newer version.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::corrupt(format!("key slot {name} {what}"));
        if bytes.len() as u64 > limits::SLOT_MAX {
            return Err(damaged("is too long"));
        }
        if !blake3::hash(bytes).to_hex().starts_with(name) || name.len() != 32 {
            return Err(damaged("does not have the hash that it is named by"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is not text"))?;
        let (line, rest) = text.split_once('\n').ok_or_else(|| damaged("is not two lines"))?;
        let fields: Fields = serde_json::from_str(line).map_err(|cause| damaged("is not JSON").with_source(cause))?;
        if fields.v != 1 {
            return Err(Error::new(ErrorKind::Unsupported, format!("key slot {name} has version {}", fields.v)));
        }
        let mut wrapped = [0u8; 48];
        hex::decode_to_slice(rest.trim_end_matches('\n'), &mut wrapped)
            .map_err(|cause| damaged("has no wrapped key").with_source(cause))?;
        // One way to write it: the format knows lower case only.
        if rest != format!("{}\n", hex::encode(wrapped)) {
            return Err(damaged("is not written as the format wants it"));
        }
        Ok(Self { line: line.to_owned(), fields, wrapped })
    }

    /// The repository this slot belongs to, as it says.
    pub fn repo(&self) -> Result<RepoId> {
        self.fields.repo.parse()
    }

    /// What the slot opens with.
    pub const fn kind(&self) -> SlotKind {
        self.fields.kind
    }

    /// Who made it.
    pub fn label(&self) -> SlotLabel {
        let fields = self.fields.clone();
        SlotLabel { host: fields.host, user: fields.user, label: fields.label, created: fields.created }
    }

    /// Cost of its password hash.
    pub const fn kdf(&self) -> Option<KdfParams> {
        self.fields.kdf
    }

    /// The master key, if `credential` is the right one; `None` if it is not. A password costs one Argon2id run.
    ///
    /// # Errors
    /// `Corrupt` for a slot that asks for more than the caps or does not decrypt although its commitment matches.
    pub fn open(&self, credential: &Credential) -> Result<Option<MasterKey>> {
        let kdf = match (self.fields.kind, credential) {
            (SlotKind::Argon2id, Credential::Password(_)) => {
                let params = self.fields.kdf.ok_or_else(|| Error::corrupt("password slot without parameters"))?;
                params.check()?;
                Some(params)
            }
            (SlotKind::Key32, Credential::Key(_)) => None,
            (SlotKind::Argon2id, Credential::Key(_)) | (SlotKind::Key32, Credential::Password(_)) => return Ok(None),
        };
        let mut salt = [0u8; 32];
        let mut commitment = [0u8; 32];
        hex::decode_to_slice(&self.fields.salt, &mut salt)
            .map_err(|cause| Error::corrupt("salt of a key slot").with_source(cause))?;
        hex::decode_to_slice(&self.fields.commit, &mut commitment)
            .map_err(|cause| Error::corrupt("commitment of a key slot").with_source(cause))?;
        let material = derive(credential, &salt, kdf)?;
        if aws_lc_rs::constant_time::verify_slices_are_equal(&material.commitment, &commitment).is_err() {
            return Ok(None);
        }
        let (body, tag) =
            self.wrapped.split_last_chunk::<TAG_LEN>().ok_or_else(|| Error::bug("length of a wrapped key"))?;
        let mut key = Zeroizing::new([0u8; 32]);
        for (place, byte) in key.iter_mut().zip(body) {
            *place = *byte;
        }
        aes_gcm::Aes256Gcm::new(material.kek.expose().into())
            .decrypt_inout_detached(&[0u8; 12].into(), self.line.as_bytes(), key.as_mut_slice().into(), tag.into())
            .map_err(|_| Error::corrupt("key slot was changed after it was made"))?;
        Ok(Some(MasterKey(Key32::new(*key))))
    }
}

struct Material {
    kek: Key32,
    commitment: [u8; 32],
}

fn derive(credential: &Credential, salt: &[u8; 32], kdf: Option<KdfParams>) -> Result<Material> {
    match (credential, kdf) {
        (Credential::Password(password), Some(params)) => derive_password(password, salt, params),
        (Credential::Key(key), _) => {
            let mut output = blake3::Hasher::new_derive_key("volvault v1 key32 slot")
                .update(key.expose())
                .update(salt)
                .finalize_xof();
            let mut bytes = Zeroizing::new([0u8; 64]);
            output.fill(bytes.as_mut_slice());
            Ok(split(&bytes))
        }
        (Credential::Password(_), None) => Err(Error::bug("a password without a password hash")),
    }
}

fn derive_password(password: &Password, salt: &[u8; 32], params: KdfParams) -> Result<Material> {
    let refuse =
        |cause: argon2::Error| Error::new(ErrorKind::Invalid, "hash the password").with_source(cause.to_string());
    let settings = argon2::Params::new(params.m_kib, params.t, params.p, Some(64)).map_err(refuse)?;
    let mut bytes = Zeroizing::new([0u8; 64]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, settings)
        .hash_password_into(password.expose(), salt, bytes.as_mut_slice())
        .map_err(refuse)?;
    Ok(split(&bytes))
}

fn split(bytes: &[u8; 64]) -> Material {
    let (left, right) = bytes.split_first_chunk::<32>().expect("64 bytes hold 32");
    Material { kek: Key32::new(*left), commitment: right.first_chunk().copied().expect("64 bytes hold twice 32") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: KdfParams = KdfParams { m_kib: 64, t: 1, p: 1 };

    fn keys() -> KeyRing {
        KeyRing::new(MasterKey::generate(&crate::crypto::SystemEntropy).unwrap(), RepoId::new([9; 16]))
    }

    fn password(text: &str) -> Credential {
        Credential::Password(Password::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_slot_opens_with_its_own_credential_only() {
        let keys = keys();
        for (right, wrong) in [
            (password("right"), vec![password("wrong"), password(""), Credential::Key(Key32::new([1; 32]))]),
            (Credential::Key(Key32::new([1; 32])), vec![Credential::Key(Key32::new([2; 32])), password("right")]),
        ] {
            let (name, bytes) = Slot::seal(&keys, &right, CHEAP, SlotLabel::default()).unwrap().encode();
            let slot = Slot::decode(&name, &bytes).unwrap();
            let master = slot.open(&right).unwrap().expect("the right credential opens");
            assert!(master.0 == keys.master().0);
            for credential in wrong {
                assert!(slot.open(&credential).unwrap().is_none());
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_slot_is_an_error() {
        let keys = keys();
        let credential = Credential::Key(Key32::new([1; 32]));
        let (name, bytes) = Slot::seal(&keys, &credential, CHEAP, SlotLabel::default()).unwrap().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Slot::decode(&name, &damaged).is_err(), "bit {bit}");
            // A store can rename what it changed: the wrapped key is bound to the whole first line.
            let renamed: String = blake3::hash(&damaged).to_hex().chars().take(32).collect();
            if let Ok(slot) = Slot::decode(&renamed, &damaged) {
                assert!(
                    !matches!(slot.open(&credential), Ok(Some(_))) || damaged.to_ascii_lowercase() == bytes,
                    "bit {bit}"
                );
            }
        }
        for len in 0..bytes.len() {
            assert!(Slot::decode(&name, &bytes[..len]).is_err());
        }
    }

    #[test]
    fn a_planted_slot_cannot_ask_for_terabytes() {
        let params = KdfParams { m_kib: u32::MAX, t: 1, p: 1 };
        assert_eq!(params.check().unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(KdfParams { m_kib: 1 << 10, t: 10_000, p: 1 }.check().is_err());
    }
}
