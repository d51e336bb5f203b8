//! Which of rclone's variables mean something to a mover: VolSync hands on every key of the Secret that begins with `RCLONE_`.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "RCLONE_";

/// What keeps data that would else go, or says what of a link is data: not to follow these would lose what somebody relies on.
const REFUSED: [&str; 7] =
    ["BACKUP_DIR", "COMPARE_DEST", "COPY_DEST", "COPY_LINKS", "IMMUTABLE", "MAX_DELETE_SIZE", "SUFFIX"];

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

/// What changes how rclone works, or what it shows, and nothing about the result; and settings of remotes, which are looked at with the remote.
const WITHOUT_EFFECT: [&str; 25] = [
    "AZUREBLOB_",
    "BUFFER_SIZE",
    "CONFIG_",
    "CONTIMEOUT",
    "DELETE_",
    "EXPECT_CONTINUE_TIMEOUT",
    "FAST_LIST",
    "GCS_",
    "LINKS",
    "LOCAL_",
    "LOG_",
    "LOW_LEVEL_RETRIES",
    "METADATA",
    "MULTI_THREAD_",
    "ORDER_BY",
    "PROGRESS",
    "RETRIES",
    "S3_",
    "STATS",
    "TIMEOUT",
    "TPSLIMIT",
    "USER_AGENT",
    "USE_",
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
        let is_off = matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "f" | "false" | "off");
        if is_off || FOLLOWED.contains(&short) {
            continue;
        }
        if REFUSED.contains(&short) {
            return Err(Error::new(ErrorKind::Unsupported, format!("variable {name} is not followed"))
                .with_hint("it keeps data that would be replaced or deleted without it: take it out of the Secret only if nobody relies on that"));
        }
        if !WITHOUT_EFFECT.iter().any(|prefix| short.starts_with(prefix)) {
            said.push(format!("variable {name} is not followed"));
        }
    }
    Ok(said)
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
            ("RCLONE_MAX_DELETE_SIZE", "1G"),
            ("RCLONE_COPY_LINKS", "1"),
        ] {
            assert_eq!(checked(name, value).unwrap_err().kind(), ErrorKind::Unsupported, "{name}");
        }
        assert_eq!(checked("RCLONE_IMMUTABLE", "false").unwrap(), [""; 0]);
        assert_eq!(
            checked("RCLONE_NO_TRAVERSE", "true").unwrap(),
            ["variable RCLONE_NO_TRAVERSE is not followed".to_owned()]
        );
        for name in ["RCLONE_TRANSFERS", "RCLONE_STATS", "RCLONE_CONFIG_BUCKET_TYPE", "RCLONE_S3_REGION", "OTHER"] {
            assert_eq!(checked(name, "1").unwrap(), [""; 0], "{name}");
        }
    }
}
