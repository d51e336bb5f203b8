//! Who has pushed to a prefix last: a program that publishes generations, or one that knows nothing of them.
//!
//! rclone replaces objects and leaves the manifest, which then speaks of objects that are gone: a pull that goes by it would find nothing new, for ever.
//! Movers of `VolSync` replace `permissions.facl` with each push, so that object shows who was there last, for one request.

use super::facl::{FACL, MARK};
use super::layout::Places;
use crate::error::Result;
use crate::storage::Location;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// A push of ours.
    Ours,
    /// A mover that knows no generations.
    Another,
    /// Nobody can say: there is no such object, or the store keeps no metadata.
    Unknown,
}

impl Author {
    /// Looks at `permissions.facl`.
    pub fn of(places: &Places) -> Result<Self> {
        if matches!(places.data.location(), Location::Local(_)) {
            return Ok(Self::Unknown);
        }
        let found = places.block(places.data.info(FACL))?;
        Ok(match found {
            None => Self::Unknown,
            Some((_, attributes)) if attributes.more.iter().any(|(name, _)| name == MARK) => Self::Ours,
            Some(_) => Self::Another,
        })
    }
}
