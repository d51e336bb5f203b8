//! A time zone: the machine's, or one by its name.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Local, Offset, TimeZone};
use chrono_tz::Tz;

use crate::error::{Error, Result};

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The machine's.
    Machine,
    /// One of the IANA database, which is built in: images and small machines have none.
    Named(Tz),
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self::Named(Tz::UTC);

    /// The zone that Go's `LoadLocation` knows by this name.
    ///
    /// # Errors
    /// `Invalid` for an unknown name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "" => Ok(Self::UTC),
            "Local" => Ok(Self::Machine),
            name => Tz::from_str(name).map(Self::Named).map_err(|_| {
                Error::invalid(format!("there is no time zone {name:?}"))
                    .with_hint("write it like Europe/Berlin or UTC")
            }),
        }
    }

    /// Seconds by which its clocks are ahead of UTC at a moment.
    pub(super) fn offset(self, unix: i64) -> i64 {
        let Some(moment) = DateTime::from_timestamp(unix, 0) else { return 0 };
        let utc = moment.naive_utc();
        let offset = match self {
            Self::Machine => Local.offset_from_utc_datetime(&utc).fix(),
            Self::Named(zone) => zone.offset_from_utc_datetime(&utc).fix(),
        };
        i64::from(offset.local_minus_utc())
    }
}

impl FromStr for Zone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::named(text)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("Local"),
            Self::Named(zone) => f.write_str(zone.name()),
        }
    }
}
