//! Which of rclone's variables mean something to a mover: VolSync hands on every key of the Secret that begins with `RCLONE_`.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "RCLONE_";

/// How a variable says that it is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Off {
    /// By `false`.
    Switch,
    /// By being empty: `0` and `false` are names and patterns like any other.
    Text,
    /// By `off`, or a number below 0: none at all is what 0 allows.
    Limit,
}

/// What keeps data that would else go, or says which files and what of a link is data: not to follow these would lose what somebody relies on.
const REFUSED: [(&str, Off); 15] = [
    ("BACKUP_DIR", Off::Text),
    ("COMPARE_DEST", Off::Text),
    ("COPY_DEST", Off::Text),
    ("COPY_LINKS", Off::Switch),
    ("HASH_FILTER", Off::Text),
    ("IMMUTABLE", Off::Switch),
    ("LOCAL_COPY_LINKS", Off::Switch),
    ("MAX_DELETE_SIZE", Off::Limit),
    ("METADATA_EXCLUDE", Off::Text),
    ("METADATA_EXCLUDE_FROM", Off::Text),
    ("METADATA_FILTER", Off::Text),
    ("METADATA_FILTER_FROM", Off::Text),
    ("METADATA_INCLUDE", Off::Text),
    ("METADATA_INCLUDE_FROM", Off::Text),
    ("SUFFIX", Off::Text),
];

/// What is followed.
const FOLLOWED: [&str; 31] = [
    "BWLIMIT",
    "CA_CERT",
    "CHECKERS",
    "CHECKSUM",
    "CONFIG",
    "DELETE_EXCLUDED",
    "DEST_PATH",
    "DRY_RUN",
    "EXCLUDE",
    "EXCLUDE_FROM",
    "EXCLUDE_IF_PRESENT",
    "FILES_FROM",
    "FILES_FROM0",
    "FILES_FROM_RAW",
    "FILTER",
    "FILTER_FROM",
    "IGNORE_CASE",
    "IGNORE_EXISTING",
    "INCLUDE",
    "INCLUDE_FROM",
    "MAX_AGE",
    "MAX_DELETE",
    "MAX_DEPTH",
    "MAX_SIZE",
    "MIN_AGE",
    "MIN_SIZE",
    "SIZE_ONLY",
    "TRANSFERS",
    "UPDATE",
    "ONE_FILE_SYSTEM",
    "CREATE_EMPTY_SRC_DIRS",
];

/// What changes how rclone works, or what it shows, and nothing about the result. Those that end in `_` are the beginnings of names, among them the
/// settings of remotes, which are looked at with the remote.
const WITHOUT_EFFECT: [&str; 37] = [
    "AZUREBLOB_",
    "BUFFER_SIZE",
    "CONFIG_",
    "CONTIMEOUT",
    "DELETE_AFTER",
    "DELETE_BEFORE",
    "DELETE_DURING",
    "EXPECT_CONTINUE_TIMEOUT",
    "FAST_LIST",
    "GCS_",
    "LINKS",
    "LOCAL_LINKS",
    "LOCAL_NOUNC",
    "LOCAL_NO_CLONE",
    "LOCAL_NO_PREALLOCATE",
    "LOCAL_NO_SPARSE",
    "LOCAL_ONE_FILE_SYSTEM",
    "LOCAL_SKIP_LINKS",
    "LOG_",
    "LOW_LEVEL_RETRIES",
    "METADATA",
    "MULTI_THREAD_",
    "ORDER_BY",
    "PROGRESS",
    "RETRIES",
    "RETRIES_SLEEP",
    "S3_",
    "STATS",
    "STATS_",
    "TIMEOUT",
    "TPSLIMIT",
    "TPSLIMIT_BURST",
    "USER_AGENT",
    "USE_JSON_LOG",
    "USE_MMAP",
    "VERBOSE",
    "VOLVAULT_",
];

/// Sentences on variables that mean nothing here.
///
/// # Errors
/// `Unsupported` for one that keeps data.
pub(super) fn check(variables: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for (name, value) in variables {
        let Some(short) = name.strip_prefix(PREFIX) else { continue };
        if let Some((_, off)) = REFUSED.iter().find(|(refused, _)| *refused == short) {
            if off.is_said_by(value) {
                continue;
            }
            return Err(Error::new(ErrorKind::Unsupported, format!("variable {name} is not followed"))
                .with_hint("it keeps data that would be replaced or deleted without it: take it out of the Secret only if nobody relies on that"));
        }
        let says_nothing = Off::Switch.is_said_by(value) || FOLLOWED.contains(&short) || is_without_effect(short);
        if !says_nothing {
            said.push(format!("variable {name} is not followed"));
        }
    }
    Ok(said)
}

fn is_without_effect(short: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|known| if known.ends_with('_') { short.starts_with(known) } else { short == *known })
}

impl Off {
    fn is_said_by(self, value: &str) -> bool {
        let value = value.trim().to_ascii_lowercase();
        match self {
            Self::Switch => matches!(value.as_str(), "" | "0" | "f" | "false"),
            Self::Text => value.is_empty(),
            Self::Limit => matches!(value.as_str(), "" | "off") || value.starts_with('-'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> Result<Vec<String>> {
        check(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn what_keeps_data_is_refused_and_what_else_is_not_followed_is_said() {
        for (name, value) in [
            ("RCLONE_BACKUP_DIR", "m:bucket/old"),
            ("RCLONE_SUFFIX", ".old"),
            ("RCLONE_IMMUTABLE", "true"),
            ("RCLONE_SUFFIX", "0"),
            ("RCLONE_MAX_DELETE_SIZE", "1G"),
            ("RCLONE_MAX_DELETE_SIZE", "0"),
            ("RCLONE_COPY_LINKS", "1"),
            ("RCLONE_LOCAL_COPY_LINKS", "true"),
            ("RCLONE_METADATA_EXCLUDE", "*.tmp"),
            ("RCLONE_METADATA_INCLUDE_FROM", "/tmp/false"),
            ("RCLONE_HASH_FILTER", "0/4"),
        ] {
            assert_eq!(checked(name, value).unwrap_err().kind(), ErrorKind::Unsupported, "{name}");
        }
        for (name, value) in [
            ("RCLONE_IMMUTABLE", "false"),
            ("RCLONE_LOCAL_COPY_LINKS", "0"),
            ("RCLONE_BACKUP_DIR", ""),
            ("RCLONE_MAX_DELETE_SIZE", "-1"),
            ("RCLONE_MAX_DELETE_SIZE", "off"),
        ] {
            assert_eq!(checked(name, value).unwrap(), [""; 0], "{name}");
        }
        for name in ["NO_TRAVERSE", "METADATA_SET", "USE_SERVER_MODTIME", "LOCAL_TIME_TYPE", "PROGRESSES", "DELETE_X"] {
            let said = checked(&format!("RCLONE_{name}"), "x").unwrap();
            assert_eq!(said, [format!("variable RCLONE_{name} is not followed")]);
        }
        for name in [
            "TRANSFERS",
            "STATS",
            "STATS_ONE_LINE",
            "METADATA",
            "LOCAL_LINKS",
            "CONFIG_BUCKET_TYPE",
            "S3_REGION",
            "LOG_FILE",
        ] {
            assert_eq!(checked(&format!("RCLONE_{name}"), "1").unwrap(), [""; 0], "{name}");
        }
        assert_eq!(checked("OTHER", "1").unwrap(), [""; 0]);
    }
}
