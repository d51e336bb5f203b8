//! The object `config`: what never changes about a repository. Spec: `docs/format.md` section 4.

use serde::{Deserialize, Serialize};

use crate::chunker;
use crate::crypto::{HEADER_LEN, KeyRing, ObjectKind};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RepoId;

use super::small;

/// Key of the object.
pub(super) const KEY: &str = "config";

/// What a repository fixed when it was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Format version.
    pub format: u32,
    /// The repository's id in hex.
    pub repo: String,
    /// RFC 3339 time.
    pub created: String,
    /// What a program must know.
    #[serde(default)]
    pub features: Features,
    /// How files are cut.
    pub chunker: chunker::Params,
    /// The program that made it.
    #[serde(default)]
    pub program: String,
}

/// Names of features; a program that does not know one in a list does not do what the list is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Features {
    /// Needed to read.
    #[serde(default)]
    pub read: Vec<String>,
    /// Needed to write.
    #[serde(default)]
    pub write: Vec<String>,
    /// Needed to prune and repair.
    #[serde(default)]
    pub maintain: Vec<String>,
}

impl Config {
    pub(super) fn seal(&self, keys: &KeyRing) -> Result<Vec<u8>> {
        Ok(small::seal(keys, ObjectKind::Config, KEY, self)?.bytes)
    }

    /// Opens `config` and checks that this program may read the repository.
    pub(super) fn open(keys: &KeyRing, bytes: &[u8]) -> Result<Self> {
        let config: Self = small::open(keys, ObjectKind::Config, KEY, bytes)?;
        if config.repo != keys.repo().to_hex() {
            return Err(Error::corrupt("config names another repository than its header"));
        }
        if config.format != 1 {
            return Err(unknown(&format!("format {}", config.format)));
        }
        config.features.read.first().map_or(Ok(()), |feature| Err(unknown(&format!("feature {feature:?}"))))?;
        Ok(config)
    }

    /// Whether this program may add to the repository.
    ///
    /// # Errors
    /// `Unsupported` when a feature is needed that it does not know.
    pub fn check_writable(&self) -> Result<()> {
        self.features.write.first().map_or(Ok(()), |feature| Err(unknown(&format!("feature {feature:?}"))))
    }
}

impl Config {
    /// Whether this program may take things away from the repository or put others in their place.
    ///
    /// # Errors
    /// `Unsupported` when a feature is needed that it does not know.
    pub fn check_maintainable(&self) -> Result<()> {
        self.check_writable()?;
        self.features.maintain.first().map_or(Ok(()), |feature| Err(unknown(&format!("feature {feature:?}"))))
    }
}

/// The repository id from the plain part of `config`.
///
/// # Errors
/// `Corrupt` when the object is too short or no object of ours.
pub(super) fn repo_id(bytes: &[u8]) -> Result<RepoId> {
    let id = bytes.get(HEADER_LEN..HEADER_LEN + RepoId::LEN).and_then(|id| id.first_chunk()).copied();
    match id {
        Some(id) if bytes.starts_with(b"volvault") => Ok(RepoId::new(id)),
        _ => Err(Error::corrupt("config is not that of a volvault repository")),
    }
}

fn unknown(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the repository uses {what}, which this version does not know"))
        .with_hint("use a newer version of volvault")
}
