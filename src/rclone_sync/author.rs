//! Who has pushed to a prefix last: a program that publishes generations, or one that knows nothing of them.
//!
//! rclone replaces objects and leaves the manifest, which then speaks of objects that are gone: a pull that goes by it would find nothing new, for ever.
//! Movers of `VolSync` replace `permissions.facl` with each push, so that object shows who was there last, for one request or two.

use super::facl::{FACL, HEAD, MARK};
use super::layout::Places;
use crate::error::{ErrorKind, Result};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// A push of ours.
    Ours,
    /// A mover that knows no generations.
    Another,
    /// Nobody can say: there is no such object.
    Unknown,
}

impl Author {
    /// Looks at `permissions.facl`: at its metadata, or at how it begins, where the store keeps none.
    pub fn of(places: &Places) -> Result<Self> {
        let found = match places.block(places.data.info(FACL)) {
            // A directory that nobody has made yet.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            found => found?,
        };
        let Some((info, attributes)) = found else { return Ok(Self::Unknown) };
        if attributes.more.iter().any(|(name, _)| name == MARK) {
            return Ok(Self::Ours);
        }
        let length = info.size.min(HEAD.len() as u64);
        match places.block(places.data.get_range(FACL, 0..length)) {
            Ok(head) if head == HEAD.as_bytes() => Ok(Self::Ours),
            Ok(_) => Ok(Self::Another),
            // Replaced or removed since the look at it: by a program that does that.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(Self::Another),
            Err(error) => Err(error),
        }
    }
}
