//! Small sealed objects: a JSON payload under a key that its tag binds. Spec: `docs/format.md` section 3.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crypto::{HEADER_LEN, KeyRing, ObjectKind, ObjectWriter, Opener, Part, Sealed};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RepoId;
use crate::limits::OBJECT_MAX;

/// Payloads are padded to a multiple of this with spaces, so that their length says little.
const GRANULE: usize = 256;

/// An error of reading a record of `state/` that `volvault repair index` moves aside, with that way out where it is damaged.
pub(super) fn with_way_out(error: Error) -> Error {
    if error.kind() == ErrorKind::Corrupt {
        return error.with_hint("run `volvault repair index`: it moves records aside that cannot be read");
    }
    error
}

/// Seals `value` for the object at `key`.
pub(super) fn seal<T: Serialize>(keys: &KeyRing, kind: ObjectKind, key: &str, value: &T) -> Result<Sealed> {
    let mut writer = ObjectWriter::new(keys, kind, 1024)?;
    if kind == ObjectKind::Config {
        writer.append_plain(keys.repo().as_bytes());
    }
    writer.append(&Part::Small { key }, &payload(value)?)?;
    let sealed = writer.finish();
    if sealed.bytes.len() as u64 > OBJECT_MAX {
        return Err(Error::invalid(format!(
            "{key} would have {} bytes, more than the format allows ({OBJECT_MAX})",
            sealed.bytes.len()
        )));
    }
    Ok(sealed)
}

fn payload<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut payload = serde_json::to_vec(value).map_err(|cause| Error::bug("write JSON").with_source(cause))?;
    payload.resize(payload.len().next_multiple_of(GRANULE), b' ');
    Ok(payload)
}

/// Opens the object that was sealed for `key`.
///
/// # Errors
/// `Corrupt` (or `Unsupported`), naming the object.
pub(super) fn open<T: DeserializeOwned>(keys: &KeyRing, kind: ObjectKind, key: &str, bytes: &[u8]) -> Result<T> {
    let open = || -> Result<T> {
        let opener = Opener::from_header(keys, kind, bytes)?;
        let start = if kind == ObjectKind::Config { HEADER_LEN + RepoId::LEN } else { HEADER_LEN };
        let sealed = bytes.get(start..).ok_or_else(|| Error::corrupt("object is shorter than its header"))?;
        let payload = opener.open(&Part::Small { key }, start as u64, sealed)?;
        serde_json::from_slice(&payload)
            .map_err(|cause| Error::corrupt("payload is not what this object holds").with_source(cause))
    };
    open().map_err(|error| error.within(format!("open {key}")))
}
