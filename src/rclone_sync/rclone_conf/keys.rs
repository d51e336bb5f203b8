//! Which settings of a remote are followed, which make no difference here, and which would: those are refused or said.

use super::Remote;
use crate::error::{Error, Result};

/// What is done about a setting.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// It is followed.
    Followed,
    /// It tunes or works around what is done differently here.
    Idle,
    /// It would change something, but no data: said.
    Said,
    /// Anything but its default would be something else than what was asked for.
    Refused(&'static [&'static str], &'static str),
}

/// Keys that all types have.
const COMMON: [(&str, Use); 2] = [("type", Use::Idle), ("description", Use::Idle)];

/// Goes through all settings of the remote; returns sentences on those that are not followed.
///
/// # Errors
/// `Unsupported` for a setting that cannot be followed and must not be overlooked.
pub(super) fn check(remote: &Remote<'_>, known: &[(&str, Use)]) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for (key, value) in remote.all() {
        match known.iter().chain(&COMMON).find(|(name, _)| *name == key).map(|(_, how)| *how) {
            Some(Use::Followed | Use::Idle) => {}
            Some(Use::Said) => said.push(format!("setting {key} of remote {} is not followed", remote.name)),
            None => said.push(format!("setting {key} of remote {} is not known", remote.name)),
            Some(Use::Refused(same, way_out)) => {
                if !is_off(&value) && !same.contains(&value.as_str()) {
                    return Err(Error::new(
                        crate::error::ErrorKind::Unsupported,
                        format!("setting {key} of remote {} is not supported", remote.name),
                    )
                    .with_hint(way_out));
                }
            }
        }
    }
    Ok(said)
}

fn is_off(value: &str) -> bool {
    matches!(value, "" | "false" | "False" | "FALSE" | "f" | "F" | "0" | "off" | "unset")
}

/// Types of remotes that are not spoken, with the way out; all others have the last one.
pub(super) fn foreign(kind: &str) -> Error {
    let way_out = match kind {
        "b2" => "use the S3 endpoint of B2: type = s3, provider = Other, endpoint = s3.REGION.backblazeb2.com",
        "swift" => "use the S3 endpoint of Swift (s3api): type = s3, provider = Other, endpoint = https://HOST",
        "oracleobjectstorage" => {
            "use its S3 endpoint: type = s3, provider = Other, endpoint = NAMESPACE.compat.objectstorage.REGION.oraclecloud.com"
        }
        "crypt" => "a mirror is not encrypted by volvault; `volvault backup` is",
        "sftp" | "ftp" | "smb" | "webdav" | "hdfs" => "mount it and give the directory",
        "union" | "combine" | "chunker" | "compress" | "hasher" | "cache" | "archive" => "name the remote below it",
        "" => "give the remote a type, such as s3",
        _ => "serve it with `rclone serve s3` and give the remote type = s3 with that endpoint",
    };
    let text = if kind.is_empty() {
        "remotes without a type are not supported".to_owned()
    } else {
        format!("rclone's remotes of type {kind} are not supported")
    };
    Error::new(crate::error::ErrorKind::Unsupported, text)
        .with_hint(format!("known are local, alias, s3, google cloud storage and azureblob; {way_out}"))
}
