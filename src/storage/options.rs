//! What the command or the environment says about a store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::retry::Patience;
use super::throttle::Bandwidth;
use crate::error::{Error, Result};
use crate::size::ByteSize;

/// How a store is reached. The environment is passed in; proxies, AWS profiles, SSO and metadata services are
/// looked for by libraries that read the environment of the process themselves.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// The environment: credentials, regions and endpoints by their usual names.
    pub variables: BTreeMap<String, String>,
    /// Files of PEM certificates that are trusted beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// Accept any certificate.
    pub insecure_tls: bool,
    /// Bytes per second sent at most, on average.
    pub limit_upload: Option<ByteSize>,
    /// Bytes per second received at most.
    pub limit_download: Option<ByteSize>,
    /// A limit that this store shares with others, instead of the two above.
    pub bandwidth: Option<Bandwidth>,
    /// Most requests in flight; without it the store's answers decide, up to 128.
    pub connections: Option<usize>,
    /// Extended options as restic writes them: `s3.region`, `s3.storage-class` and so on.
    pub extended: BTreeMap<String, String>,
    /// The `User-Agent` of requests.
    pub user_agent: Option<String>,
    /// How long the store is waited for.
    pub patience: Option<Patience>,
}

/// The extended options that mean something here; `connections` is also read for the other kinds of stores.
const KNOWN: [&str; 9] = [
    "s3.region",
    "s3.storage-class",
    "s3.bucket-lookup",
    "s3.unsafe-anonymous-auth",
    "s3.connections",
    "s3.bulk-delete",
    "gs.connections",
    "azure.connections",
    "local.connections",
];

impl StoreOptions {
    /// A variable of the environment that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The first of several variables that is set.
    pub(super) fn first_variable(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.variable(name))
    }

    /// The variables that are set, not empty, and have names with this beginning.
    pub(super) fn set_variables(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let set = self.variables.iter().filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty());
        set.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// An extended option that is set and not empty.
    pub(super) fn extended(&self, name: &str) -> Option<&str> {
        self.extended.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// An extended option that is `true` or `false`.
    pub(super) fn switch(&self, name: &str, otherwise: bool) -> Result<bool> {
        match self.extended(name) {
            None => Ok(otherwise),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some("false" | "0" | "no" | "off") => Ok(false),
            Some(other) => Err(Error::invalid(format!("option {name} is neither true nor false but {other:?}"))),
        }
    }

    /// Most requests in flight, from the options or from `-o <kind>.connections`.
    pub(super) fn connections(&self, kind: &str) -> Result<Option<usize>> {
        let name = format!("{kind}.connections");
        let Some(text) = self.extended(&name) else { return Ok(self.connections) };
        let refuse = || Error::invalid(format!("option {name} is not a positive number but {text:?}"));
        text.parse().ok().filter(|count| *count > 0).map(Some).ok_or_else(refuse)
    }

    /// Refuses extended options that nobody reads: a mistyped storage class would cost money.
    pub(super) fn refuse_unknown(&self) -> Result<()> {
        match self.extended.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(format!("option {name} is not known"))
                .with_hint(format!("known are {}", KNOWN.join(", ")))),
        }
    }
}

impl fmt::Debug for StoreOptions {
    /// Names of variables only: their values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("variables", &self.variables.keys())
            .field("ca_files", &self.ca_files)
            .field("insecure_tls", &self.insecure_tls)
            .field("limit_upload", &self.limit_upload)
            .field("limit_download", &self.limit_download)
            .field("bandwidth", &self.bandwidth)
            .field("connections", &self.connections)
            .field("extended", &self.extended)
            .field("user_agent", &self.user_agent)
            .field("patience", &self.patience)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_secret_and_unknown_options_are_refused() {
        let mut options = StoreOptions::default();
        options.variables.insert("AWS_SECRET_ACCESS_KEY".into(), "hunter2".into());
        assert!(!format!("{options:?}").contains("hunter2"));
        options.extended.insert("s3.connections".into(), "5".into());
        assert_eq!(options.connections("s3").unwrap(), Some(5));
        options.refuse_unknown().unwrap();
        options.extended.insert("s3.storageclass".into(), "GLACIER".into());
        assert!(options.refuse_unknown().unwrap_err().chain().contains("s3.storageclass"));
        options.extended.insert("s3.connections".into(), "0".into());
        assert!(options.connections("s3").is_err());
    }
}
