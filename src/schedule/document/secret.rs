//! Secrets and `ConfigMap`s, from documents, directories and the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

use super::base64;
use super::fields::Fields;
use crate::environment::Environment;
use crate::error::{Attempt, Error, Result};

/// Largest value, as in Kubernetes.
const VALUE_MAX: u64 = 1 << 20;

/// Keys and their values, which are never shown.
#[derive(Clone, Default)]
pub struct Keys(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Keys {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(|value| value.as_slice())
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    fn put(&mut self, key: &str, value: Vec<u8>) {
        self.0.insert(key.to_owned(), Zeroizing::new(value));
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `data` and `stringData`; where both have a key, the latter counts.
pub(super) fn read_secret(mut document: Fields<'_>) -> Result<Keys> {
    let mut keys = Keys::default();
    for (key, text) in document.texts("data")? {
        let value = base64::decode(text).ok_or_else(|| {
            Error::invalid(format!("data.{key} is not base64")).with_hint("values as they are go under stringData")
        })?;
        keys.put(key, value);
    }
    for (key, text) in document.texts("stringData")? {
        keys.put(key, text.as_bytes().to_vec());
    }
    document.text("type")?;
    document.truth("immutable")?;
    document.finish()?;
    Ok(keys)
}

pub(super) fn read_config_map(mut document: Fields<'_>) -> Result<Keys> {
    let mut keys = Keys::default();
    for (key, text) in document.texts("data")? {
        keys.put(key, text.as_bytes().to_vec());
    }
    for (key, text) in document.texts("binaryData")? {
        let value = base64::decode(text).ok_or_else(|| Error::invalid(format!("binaryData.{key} is not base64")))?;
        keys.put(key, value);
    }
    document.truth("immutable")?;
    document.finish()?;
    Ok(keys)
}

/// Where a Secret is that stands in no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A directory with a file for each key, as Kubernetes mounts them.
    Directory(PathBuf),
    /// The variables of this process that begin so, without that beginning.
    Variables(String),
}

impl FromStr for SecretSource {
    type Err = Error;

    /// `env`, `env:PREFIX_`, or a directory.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            _ if text == "env" => Ok(Self::Variables(String::new())),
            Some(("env", prefix)) => Ok(Self::Variables(prefix.to_owned())),
            _ if text.is_empty() => Err(Error::invalid("there is no directory")),
            _ => Ok(Self::Directory(PathBuf::from(text))),
        }
    }
}

impl SecretSource {
    /// Reads it.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be read, or a file is larger than a value may be.
    pub fn read(&self, environment: &Environment) -> Result<Keys> {
        match self {
            Self::Directory(directory) => of_directory(directory),
            Self::Variables(prefix) => {
                let mut keys = Keys::default();
                for (name, value) in environment.for_store() {
                    if let Some(key) = name.strip_prefix(prefix.as_str()).filter(|key| !key.is_empty()) {
                        keys.put(key, value.into_bytes());
                    }
                }
                Ok(keys)
            }
        }
    }
}

fn of_directory(directory: &Path) -> Result<Keys> {
    let said = |path: &Path| format!("read {}", path.display());
    let mut keys = Keys::default();
    for entry in std::fs::read_dir(directory).attempt(|| said(directory))? {
        let path = entry.attempt(|| said(directory))?.path();
        // Kubernetes keeps what is behind the links in directories whose names begin with dots.
        let Some(key) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let status = std::fs::metadata(&path).attempt(|| said(&path))?;
        if !status.is_file() {
            continue;
        }
        if status.len() > VALUE_MAX {
            return Err(Error::invalid(format!("{} is larger than 1 MiB", path.display())));
        }
        let mut value = std::fs::read(&path).attempt(|| said(&path))?;
        // Editors end a file with a line end; nothing that a Secret for a mover holds needs it.
        if value.ends_with(b"\n") && !value.trim_ascii_end().contains(&b'\n') {
            value.truncate(value.trim_ascii_end().len());
        }
        keys.put(key, value);
    }
    Ok(keys)
}
