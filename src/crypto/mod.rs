//! Keys, content ids, seal and open: the only room that touches key bytes.
//!
//! Knows nothing of storage, packs or files; hands out sealed bytes and takes them back. It must never print, log or
//! compare a secret in variable time. Spec: `docs/format.md` sections 2, 3 and 5.

mod entropy;
mod keys;
mod object;
mod slot;
mod unnamed;

pub use entropy::{Entropy, SharedEntropy, SystemEntropy, random};
pub use keys::{BlobKind, KeyRing, MasterKey};
pub use object::{HEADER_LEN, ObjectKind, ObjectWriter, Opener, Part, Sealed, TAG_LEN};
pub use slot::{KdfParams, Slot, SlotKind, SlotLabel};
pub use unnamed::decrypt_unproven;
