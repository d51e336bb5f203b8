//! rclone's remotes: its configuration file, the variables that override it, and `remote:path` become a location and the
//! options of its store.
//!
//! A setting is looked for beside the remote's name (`name,key=value:`), in `RCLONE_CONFIG_<NAME>_<KEY>`, in `RCLONE_<TYPE>_<KEY>`
//! and in the file, in this order. Types other than local, alias, s3, google cloud storage and azureblob are refused by name.
//! Pure: the file comes in as bytes, the environment as a map.

mod azure;
mod google;
mod ini;
mod keys;
mod s3;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::ini::Section;
use self::keys::Use;
use self::spec::{Spec, Target};
use crate::error::{Error, Result};
use crate::storage::{Location, StoreOptions};

/// Aliases that may stand behind each other.
const ALIASES_MAX: usize = 8;

/// The remotes of a configuration and of the environment.
#[derive(Clone)]
pub struct Remotes {
    sections: BTreeMap<String, Section>,
    variables: BTreeMap<String, String>,
}

/// Where a remote lies.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The place.
    pub location: Location,
    /// How it is reached.
    pub options: StoreOptions,
    /// Sentences on settings of the remote that are not followed.
    pub ignored: Vec<String>,
}

/// One remote, with its settings in order of precedence.
struct Remote<'a> {
    name: &'a str,
    kind: String,
    own: &'a Section,
    file: Option<&'a Section>,
    variables: &'a BTreeMap<String, String>,
}

impl std::fmt::Debug for Remotes {
    /// Names only: values are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remotes").field("sections", &self.sections.keys()).finish_non_exhaustive()
    }
}

impl Remotes {
    /// The remotes of a configuration file (empty if there is none) and of the environment.
    ///
    /// # Errors
    /// `Unsupported` for an encrypted file, `Invalid` for what is no such file.
    pub fn read(config: &[u8], variables: &BTreeMap<String, String>) -> Result<Self> {
        let variables = variables.iter().filter(|(name, _)| name.starts_with("RCLONE_"));
        let variables = variables.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Self { sections: ini::parse(config)?, variables })
    }

    /// The names of the file's remotes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// The place that `text` means and how it is reached: `base`, with what the remote says of it. `None` when `text` is no
    /// remote, or none of this name is configured.
    ///
    /// # Errors
    /// `Unsupported` for types and settings that are not spoken, `Invalid` for settings and paths that make no sense.
    pub fn resolve(&self, text: &str, base: &StoreOptions) -> Result<Option<Resolved>> {
        let mut text = text.to_owned();
        for _ in 0..=ALIASES_MAX {
            let Some(spec) = Spec::parse(&text)? else { return Ok(None) };
            let Some(remote) = self.find(&spec) else { return Ok(None) };
            if remote.kind != "alias" {
                return resolved(&remote, spec.path, base).map(Some);
            }
            keys::check(&remote, &[("remote", Use::Followed)])?;
            let next = behind(&remote, spec.path)?;
            let configured = Spec::parse(&next)?.is_some_and(|spec| self.find(&spec).is_some());
            if !configured {
                let location = plain_path(&next, remote.name)?;
                return Ok(Some(Resolved { location, options: base.clone(), ignored: Vec::new() }));
            }
            text = next;
        }
        Err(Error::invalid(format!("the aliases behind {text:?} lead in a circle, or through more than {ALIASES_MAX}")))
    }

    fn find<'a>(&'a self, spec: &'a Spec<'_>) -> Option<Remote<'a>> {
        let (name, file, kind) = match spec.target {
            Target::OfType(kind) => (kind, None, Some(kind.to_owned())),
            Target::Named(name) => (name, self.sections.get(name), None),
        };
        let variables = &self.variables;
        let mut remote = Remote { name, kind: String::new(), own: &spec.settings, file, variables };
        let kind = kind.or_else(|| remote.of_name("type").map(str::to_owned));
        remote.kind = kind.or_else(|| file.map(|file| file.get("type").cloned().unwrap_or_default()))?;
        Some(remote)
    }
}

impl Remote<'_> {
    /// A setting that is set and not empty.
    fn get(&self, key: &str) -> Option<&str> {
        let file = || self.file.and_then(|file| file.get(key)).map(String::as_str);
        let of_type =
            || self.variables.get(&format!("{}{}", self.type_prefix(), key.to_uppercase())).map(String::as_str);
        let own = self.own.get(key).map(String::as_str);
        own.or_else(|| self.of_name(key))
            .or_else(|| of_type().filter(|value| !value.is_empty()))
            .or_else(file)
            .filter(|value| !value.is_empty())
    }

    /// A setting that is on or off, as Go reads it.
    fn switch(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(Some(false)),
            Some(_) => Err(Error::invalid(format!("setting {key} of remote {} is neither true nor false", self.name))),
        }
    }

    /// The value of `RCLONE_CONFIG_<NAME>_<KEY>`.
    fn of_name(&self, key: &str) -> Option<&str> {
        let variable = format!("{}{}", self.name_prefix(), key.to_uppercase());
        self.variables.get(&variable).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn name_prefix(&self) -> String {
        format!("RCLONE_CONFIG_{}_", self.name.to_uppercase())
    }

    fn type_prefix(&self) -> String {
        let prefix = if self.kind == "google cloud storage" { "gcs" } else { &self.kind };
        format!("RCLONE_{}_", prefix.to_uppercase())
    }

    /// All settings, each once, with the value that counts.
    fn all(&self) -> BTreeMap<String, String> {
        let (of_name, of_type) = (self.name_prefix(), self.type_prefix());
        let from_variables = self.variables.keys().filter_map(|name| {
            let key = name.strip_prefix(of_name.as_str()).or_else(|| name.strip_prefix(of_type.as_str()))?;
            Some(key.to_lowercase())
        });
        let keys = self.file.into_iter().flat_map(Section::keys).chain(self.own.keys()).cloned().chain(from_variables);
        keys.filter_map(|key| self.get(&key).map(str::to_owned).map(|value| (key, value))).collect()
    }
}

fn resolved(remote: &Remote<'_>, path: &str, base: &StoreOptions) -> Result<Resolved> {
    match remote.kind.as_str() {
        "local" => Ok(Resolved {
            location: plain_path(path, remote.name)?,
            options: base.clone(),
            ignored: keys::check(remote, &LOCAL)?,
        }),
        "s3" => s3::resolve(remote, path, base),
        "google cloud storage" | "gcs" => google::resolve(remote, path, base),
        "azureblob" => azure::resolve(remote, path, base),
        other => Err(keys::foreign(other)),
    }
    .map_err(|error| error.within(format!("use the rclone remote {}", remote.name)))
}

/// The settings of rclone's local files that would store something else.
const LOCAL: [(&str, Use); 12] = [
    ("copy_links", Use::Refused(&[], "links are kept as links; name what they point to")),
    ("links", Use::Idle),
    ("skip_links", Use::Idle),
    ("skip_specials", Use::Idle),
    ("nounc", Use::Idle),
    ("no_clone", Use::Idle),
    ("no_preallocate", Use::Idle),
    ("no_sparse", Use::Idle),
    ("metadata_restore_special_bits", Use::Idle),
    ("hashes", Use::Idle),
    ("unicode_normalization", Use::Refused(&[], "names are kept as they are; remove the setting")),
    ("encoding", Use::Refused(&["Slash,Dot"], "names are kept as they are; remove the setting")),
];

/// What an alias stands for, with the path behind it.
fn behind(remote: &Remote<'_>, path: &str) -> Result<String> {
    let target = remote.get("remote").ok_or_else(|| {
        Error::invalid(format!("the alias {} says nothing", remote.name)).with_hint("set its key `remote`")
    })?;
    let path = path.trim_start_matches('/');
    let slash = if target.ends_with([':', '/']) || path.is_empty() { "" } else { "/" };
    Ok(format!("{target}{slash}{path}"))
}

fn plain_path(path: &str, name: &str) -> Result<Location> {
    if path.is_empty() {
        return Err(
            Error::invalid(format!("the remote {name} names no directory")).with_hint(format!("write {name}:/path"))
        );
    }
    Ok(Location::Local(PathBuf::from(path)))
}

/// Bucket and prefix of the path behind a remote's name.
fn bucket_and_prefix(remote: &Remote<'_>, path: &str) -> Result<(String, String)> {
    let refuse = || {
        Error::invalid(format!("{}:{path} names no bucket", remote.name))
            .with_hint(format!("write {}:BUCKET or {}:BUCKET/PREFIX", remote.name, remote.name))
    };
    match format!("gs://{}", path.trim_matches('/')).parse::<Location>() {
        Ok(Location::Gcs { bucket, prefix }) => Ok((bucket, prefix)),
        Ok(_) => Err(refuse()),
        Err(error) => Err(refuse().with_source(error)),
    }
}

/// A copy of `base` without the variables that speak of other credentials: the remote brings its own.
fn without_ambient(base: &StoreOptions, prefixes: &[&str]) -> StoreOptions {
    let mut options = base.clone();
    options.variables.retain(|name, _| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
    options
}

/// A path with `~` for the user's directory, as the file may hold it.
fn expanded(path: &str, options: &StoreOptions) -> String {
    match (path.strip_prefix("~/"), options.variables.get("HOME")) {
        (Some(rest), Some(home)) => Path::new(home).join(rest).display().to_string(),
        _ => path.to_owned(),
    }
}
