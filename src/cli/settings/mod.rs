//! What the words and the environment mean: checked once, here, by pure functions; the commands see nothing else.
//!
//! For every setting the options come first, then `VOLVAULT_*`, then `RESTIC_*`. A value that does not make sense is an error, never
//! a silent default: a mistyped limit or compression should not show after a month.

mod backup;
mod check;
mod credential;
mod find;
mod forget;
mod mirror;
mod monitor;
mod prune;
mod restore;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::repo::Compression;
use crate::size::ByteSize;
use crate::storage::{Location, StoreOptions};

use super::args::{CopyArgs, GlobalArgs};
use crate::environment::{Environment, PREFIXES};

pub(crate) use backup::{BackupSettings, Excludes, NameFormat, NameList, WhatToSave};
pub(crate) use check::read_data;
pub(crate) use credential::CredentialSource;
pub(crate) use find::{Chosen, Latest, choose, filter};
pub(crate) use forget::forget_options;
pub(crate) use mirror::{FilterSettings, RemoteSettings, TransferSettings, count, duration, switch};
pub(crate) use monitor::monitor;
pub(crate) use prune::prune_options;
pub(crate) use restore::{RestoreSettings, Wanted};

/// Where the repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a location that was given.
    Given(Location),
    /// In a file that holds the location.
    File(PathBuf),
    /// Nothing was given: below the user's data directory.
    Default(DefaultPlace),
    /// The command has nothing to do with repositories.
    Nowhere,
}

/// The repository that is used when none was named, and the key made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DefaultPlace {
    /// The repository.
    pub(crate) repository: PathBuf,
    /// A file with the key that opens it.
    pub(crate) key: PathBuf,
}

/// How and how much is printed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct OutputSettings {
    /// JSON, in restic's shapes.
    pub(crate) json: bool,
    /// Only errors and what was asked for.
    pub(crate) quiet: bool,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
    /// Updates of the progress display a second, if that was set.
    pub(crate) updates_per_second: Option<f64>,
    /// Print the requests at the end.
    pub(crate) stats: bool,
}

/// What every command needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the repository is.
    pub(crate) place: Place,
    /// What opens it.
    pub(crate) credential: CredentialSource,
    /// How its store is reached.
    pub(crate) store: StoreOptions,
    /// How new data is compressed.
    pub(crate) compression: Compression,
    /// Size of new packs, if that was set.
    pub(crate) pack_size: Option<ByteSize>,
    /// Whether what was sealed is opened once more before it is sent.
    pub(crate) extra_verify: bool,
    /// How and how much is printed.
    pub(crate) output: OutputSettings,
}

impl Settings {
    /// The settings that the options and the environment make.
    ///
    /// # Errors
    /// `Invalid` for a value that makes no sense, and for two that contradict each other at the same level.
    pub(crate) fn new(args: &GlobalArgs, environment: &Environment) -> Result<Self> {
        let compression = choice(args.compression.as_deref(), "--compression", environment, "COMPRESSION")?;
        Ok(Self {
            place: place(
                args.repo.as_deref().map(|text| (text, "--repo")),
                args.repository_file.as_ref(),
                environment,
            )?,
            credential: CredentialSource::new(args, environment)?,
            store: store(args, environment)?,
            compression: compression.unwrap_or(Compression::Auto),
            pack_size: pack_size(args, environment)?,
            extra_verify: !args.no_extra_verify,
            output: output(args, environment)?,
        })
    }

    /// The settings of a command that has nothing to do with repositories: what is said of one is not looked at.
    ///
    /// # Errors
    /// `Invalid` for a value that makes no sense.
    pub(crate) fn without_repository(args: &GlobalArgs, environment: &Environment) -> Result<Self> {
        Ok(Self {
            place: Place::Nowhere,
            credential: CredentialSource::Unset,
            store: store(args, environment)?,
            compression: Compression::Auto,
            pack_size: None,
            extra_verify: true,
            output: output(args, environment)?,
        })
    }
}

fn output(args: &GlobalArgs, environment: &Environment) -> Result<OutputSettings> {
    // 0 stands for "as usual", as restic has it.
    let updates_per_second = environment.parsed::<f64>("PROGRESS_FPS")?.filter(|rate| *rate != 0.0);
    if updates_per_second.is_some_and(|rate| !rate.is_finite() || rate < 0.0) {
        return Err(Error::invalid("variable .._PROGRESS_FPS is not a positive number"));
    }
    Ok(OutputSettings {
        json: args.json,
        quiet: args.quiet,
        verbosity: args.verbose,
        updates_per_second,
        stats: args.stats.is_some(),
    })
}

/// The settings of the repository that `copy` reads: those of the command, but for where it is and what opens it.
///
/// # Errors
/// `Invalid` when it is not given.
pub(crate) fn source_settings(args: &CopyArgs, settings: &Settings, environment: &Environment) -> Result<Settings> {
    let source = environment.of_source();
    let text = args.from_repo.as_deref().map(|text| (text, "--from-repo"));
    let place = place(text, args.from_repository_file.as_ref(), &source)?;
    if matches!(place, Place::Default(_)) {
        return Err(Error::invalid("no repository to copy from is given")
            .with_hint("give --from-repo or set VOLVAULT_FROM_REPOSITORY"));
    }
    let files = (args.from_key_file.clone(), args.from_password_file.clone());
    let credential = CredentialSource::of(files, args.from_password_command.clone(), &source)?;
    Ok(Settings { place, credential, ..settings.clone() })
}

fn place(location: Option<(&str, &str)>, location_file: Option<&PathBuf>, environment: &Environment) -> Result<Place> {
    let given = |text: &str, from: &str| {
        let said = |error: Error| error.within(format!("the repository's location from {from}"));
        // A Secret made from a file often ends with a line end.
        if text.trim().is_empty() {
            return Err(said(
                Error::invalid("the location is empty").with_hint("set it, or leave it out for the local repository"),
            ));
        }
        text.trim().parse().map(Place::Given).map_err(said)
    };
    if let Some((text, from)) = location {
        return given(text, from);
    }
    if let Some(file) = location_file {
        return Ok(Place::File(file.clone()));
    }
    for prefix in PREFIXES {
        let (name, file_name) = (format!("{prefix}REPOSITORY"), format!("{prefix}REPOSITORY_FILE"));
        match (environment.text(&name)?, environment.raw(&file_name)) {
            (Some(_), Some(_)) => {
                return Err(
                    Error::invalid(format!("both {name} and {file_name} are set")).with_hint("unset one of them")
                );
            }
            (Some(text), None) => return given(text, &name),
            (None, Some(file)) => return Ok(Place::File(PathBuf::from(file))),
            (None, None) => {}
        }
    }
    default_place(environment).map(Place::Default)
}

fn default_place(environment: &Environment) -> Result<DefaultPlace> {
    // The specification of XDG_DATA_HOME has a relative path ignored.
    let data = environment.raw("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || environment.raw("HOME").map(|home| Path::new(home).join(".local/share"));
    let base = data.or_else(home).ok_or_else(|| {
        Error::invalid("no repository is given, and without HOME there is no place for one")
            .with_hint("give -r LOCATION or set VOLVAULT_REPOSITORY")
    })?;
    let base = base.join("volvault");
    Ok(DefaultPlace { repository: base.join("repository"), key: base.join("key") })
}

fn store(args: &GlobalArgs, environment: &Environment) -> Result<StoreOptions> {
    let ca_files = match environment.ours("CACERT")? {
        Some((_, list)) if args.cacert.is_empty() => list.split(',').map(PathBuf::from).collect(),
        Some(_) | None => args.cacert.clone(),
    };
    let environments_agent = || Ok::<_, Error>(environment.ours("HTTP_USER_AGENT")?.map(|(_, text)| text.to_owned()));
    Ok(StoreOptions {
        variables: environment.for_store(),
        ca_files,
        insecure_tls: args.insecure_tls,
        limit_upload: limit(args.limit_upload, "--limit-upload")?,
        limit_download: limit(args.limit_download, "--limit-download")?,
        extended: extended(&args.option)?,
        user_agent: args.http_user_agent.clone().map_or_else(environments_agent, |text| Ok(Some(text)))?,
        ..StoreOptions::default()
    })
}

/// 0 stands for no limit, as with restic.
fn limit(kib: Option<u64>, name: &str) -> Result<Option<ByteSize>> {
    let Some(kib) = kib.filter(|kib| *kib > 0) else { return Ok(None) };
    let bytes = kib.checked_mul(1024).ok_or_else(|| Error::invalid(format!("{name} {kib} is too large")))?;
    Ok(Some(ByteSize(bytes)))
}

fn extended(options: &[String]) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for option in options {
        // The value is not quoted: it might be a secret.
        let (key, value) =
            option.split_once('=').ok_or_else(|| Error::invalid("an option -o is not of the form KEY=VALUE"))?;
        let key = key.trim().to_ascii_lowercase();
        if map.insert(key.clone(), value.trim().to_owned()).is_some() {
            return Err(Error::invalid(format!("option {key} is given twice")));
        }
    }
    Ok(map)
}

fn pack_size(args: &GlobalArgs, environment: &Environment) -> Result<Option<ByteSize>> {
    let mib = match args.pack_size {
        Some(mib) => Some(mib),
        None => environment.parsed::<u32>("PACK_SIZE")?.filter(|mib| *mib > 0),
    };
    mib.map(Limits::pack_size_of).transpose()
}

/// An option, else the variable of either prefix, read as a `T`.
fn choice<T: FromStr<Err = Error>>(
    option: Option<&str>,
    flag: &str,
    environment: &Environment,
    suffix: &str,
) -> Result<Option<T>> {
    if let Some(text) = option {
        return text.parse().map(Some).map_err(|error: Error| error.within(format!("option {flag}")));
    }
    let Some((name, text)) = environment.ours(suffix)? else { return Ok(None) };
    text.parse().map(Some).map_err(|error: Error| error.within(format!("variable {name}")))
}

#[cfg(test)]
mod tests;
