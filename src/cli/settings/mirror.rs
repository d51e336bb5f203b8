//! What the options of `mirror` mean, and the variables that rclone has for them: an option comes first, then `RCLONE_*`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::cli::args::{MirrorFilterArgs, RemoteArgs, TransferArgs};
use crate::environment::Environment;
use crate::error::{Attempt, Error, Result};
use crate::rclone_sync::amounts;
use crate::rclone_sync::filter::csv;
use crate::size::ByteSize;

/// As often as rclone prints its statistics.
const STATS_INTERVAL: Duration = Duration::from_mins(1);

/// How mirrors are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteSettings {
    /// In this directory is kept what is known of mirrors; `None` when nothing can be kept.
    pub(crate) state: Option<PathBuf>,
    /// rclone's configuration; `None` when there is no place where it could be.
    pub(crate) rclone_config: Option<PathBuf>,
    /// Whether that file was named, so that it has to be there.
    pub(crate) is_named: bool,
}

/// Rules that choose files, in rclone's grammar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilterSettings {
    /// Include patterns.
    pub(crate) include: Vec<String>,
    /// Files of include patterns.
    pub(crate) include_from: Vec<PathBuf>,
    /// Exclude patterns.
    pub(crate) exclude: Vec<String>,
    /// Files of exclude patterns.
    pub(crate) exclude_from: Vec<PathBuf>,
    /// Rules.
    pub(crate) filter: Vec<String>,
    /// Files of rules.
    pub(crate) filter_from: Vec<PathBuf>,
    /// Files of names, a line each.
    pub(crate) files_from: Vec<PathBuf>,
    /// The same, every line as it stands.
    pub(crate) files_from_raw: Vec<PathBuf>,
    /// The same, ended by zero bytes.
    pub(crate) files_from0: Vec<PathBuf>,
    /// The smallest files.
    pub(crate) min_size: Option<ByteSize>,
    /// The largest files.
    pub(crate) max_size: Option<ByteSize>,
    /// An age, or a time: only files that are older.
    pub(crate) min_age: Option<String>,
    /// An age, or a time: only files that are younger.
    pub(crate) max_age: Option<String>,
    /// How deep.
    pub(crate) max_depth: Option<usize>,
    /// Whether upper and lower case are the same.
    pub(crate) ignore_case: bool,
}

/// What push and pull have in common.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
pub(crate) struct TransferSettings {
    /// How the mirror is reached.
    pub(crate) remote: RemoteSettings,
    /// Which files are looked at.
    pub(crate) files: FilterSettings,
    /// Whether contents are compared.
    pub(crate) checksum: bool,
    /// Whether sizes alone are compared.
    pub(crate) size_only: bool,
    /// Whether newer files are left alone.
    pub(crate) update: bool,
    /// Whether existing files are left alone.
    pub(crate) ignore_existing: bool,
    /// Most deletions.
    pub(crate) max_delete: Option<u64>,
    /// Whether an empty sending side is no mistake.
    pub(crate) allow_empty: bool,
    /// Whether nothing is written.
    pub(crate) dry_run: bool,
    /// Whether what the rules leave out is deleted.
    pub(crate) delete_excluded: bool,
    /// Files moved at once.
    pub(crate) transfers: Option<usize>,
    /// Threads that walk and compare.
    pub(crate) checkers: Option<usize>,
    /// Bandwidth, as it was written.
    pub(crate) bwlimit: Option<String>,
    /// How often the statistics are printed; `None` for never.
    pub(crate) stats_interval: Option<Duration>,
    /// Whether a run that had nothing to do says so with its exit code.
    pub(crate) error_on_no_transfer: bool,
}

impl RemoteSettings {
    /// The settings that the options and the environment make.
    pub(crate) fn new(args: &RemoteArgs, environment: &Environment) -> Self {
        let path = |name: &str| environment.raw(name).map(PathBuf::from);
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        let home = path("HOME");
        let below_home = |folder: &str| home.as_deref().map(|home| home.join(folder));
        let state = || {
            let base = absolute("XDG_STATE_HOME").or_else(|| below_home(".local/state"))?;
            Some(base.join("volvault/mirror"))
        };
        let config = || {
            let usual = absolute("XDG_CONFIG_HOME").or_else(|| below_home(".config"))?.join("rclone/rclone.conf");
            let old = below_home(".rclone.conf").filter(|old| old.exists() && !usual.exists());
            Some(old.unwrap_or(usual))
        };
        Self {
            state: args.state_dir.clone().or_else(state),
            rclone_config: args.rclone_config.clone().or_else(|| path("RCLONE_CONFIG")).or_else(config),
            is_named: args.rclone_config.is_some(),
        }
    }
}

impl FilterSettings {
    /// The settings that the options and the environment make. As with rclone, a variable is one list with commas, and counts
    /// only when its option is not given.
    ///
    /// # Errors
    /// `Invalid` for a variable that is no such list.
    pub(crate) fn new(args: &MirrorFilterArgs, environment: &Environment) -> Result<Self> {
        let list = |given: &[String], name: &str| -> Result<Vec<String>> {
            match environment.text(name)? {
                Some(text) if given.is_empty() => {
                    csv(text).ok_or_else(|| Error::invalid(format!("variable {name} has a quote that does not end")))
                }
                Some(_) | None => Ok(given.to_vec()),
            }
        };
        let paths = |given: &[PathBuf], name: &str| -> Result<Vec<PathBuf>> {
            if given.is_empty() {
                Ok(list(&[], name)?.into_iter().map(PathBuf::from).collect())
            } else {
                Ok(given.to_vec())
            }
        };
        let size = |given: Option<&str>, name: &str| -> Result<Option<ByteSize>> {
            let words = text(given, environment, name)?;
            words.map_or(Ok(None), |words| amounts::size(&words).attempt(|| format!("{name} or its option")))
        };
        refuse(environment)?;
        let depth =
            args.max_depth.map_or_else(|| number::<i64>(environment, "RCLONE_MAX_DEPTH"), |depth| Ok(Some(depth)))?;
        Ok(Self {
            include: list(&args.include, "RCLONE_INCLUDE")?,
            include_from: paths(&args.include_from, "RCLONE_INCLUDE_FROM")?,
            exclude: list(&args.exclude, "RCLONE_EXCLUDE")?,
            exclude_from: paths(&args.exclude_from, "RCLONE_EXCLUDE_FROM")?,
            filter: list(&args.filter, "RCLONE_FILTER")?,
            filter_from: paths(&args.filter_from, "RCLONE_FILTER_FROM")?,
            files_from: paths(&args.files_from, "RCLONE_FILES_FROM")?,
            files_from_raw: paths(&args.files_from_raw, "RCLONE_FILES_FROM_RAW")?,
            files_from0: paths(&args.files_from0, "RCLONE_FILES_FROM0")?,
            min_size: size(args.min_size.as_deref(), "RCLONE_MIN_SIZE")?,
            max_size: size(args.max_size.as_deref(), "RCLONE_MAX_SIZE")?,
            min_age: text(args.min_age.as_deref(), environment, "RCLONE_MIN_AGE")?,
            max_age: text(args.max_age.as_deref(), environment, "RCLONE_MAX_AGE")?,
            max_depth: depth.and_then(|depth| usize::try_from(depth).ok()),
            ignore_case: switch(args.ignore_case, environment, "RCLONE_IGNORE_CASE")?,
        })
    }
}

impl TransferSettings {
    /// The settings that the options and the environment make.
    ///
    /// # Errors
    /// `Invalid` for a value that makes no sense.
    pub(crate) fn new(args: &TransferArgs, environment: &Environment) -> Result<Self> {
        let max_delete =
            args.max_delete.map_or_else(|| number::<i64>(environment, "RCLONE_MAX_DELETE"), |n| Ok(Some(n)))?;
        let size_only = switch(args.size_only, environment, "RCLONE_SIZE_ONLY")?;
        Ok(Self {
            remote: RemoteSettings::new(&args.remote, environment),
            files: FilterSettings::new(&args.files, environment)?,
            // An option is meant for this run, a variable for all of them.
            checksum: switch(args.checksum, environment, "RCLONE_CHECKSUM")? && !args.size_only,
            size_only: size_only && !args.checksum,
            update: switch(args.update, environment, "RCLONE_UPDATE")?,
            ignore_existing: switch(args.ignore_existing, environment, "RCLONE_IGNORE_EXISTING")?,
            // As with rclone: -1 is no limit.
            max_delete: max_delete.and_then(|count| u64::try_from(count).ok()),
            allow_empty: args.allow_empty,
            dry_run: switch(args.dry_run, environment, "RCLONE_DRY_RUN")?,
            delete_excluded: switch(args.delete_excluded, environment, "RCLONE_DELETE_EXCLUDED")?,
            transfers: count(args.transfers, environment, ("--transfers", "RCLONE_TRANSFERS"))?,
            checkers: count(args.checkers, environment, ("--checkers", "RCLONE_CHECKERS"))?,
            bwlimit: text(args.bwlimit.as_deref(), environment, "RCLONE_BWLIMIT")?,
            stats_interval: stats_interval(args.stats.as_deref(), environment)?,
            error_on_no_transfer: switch(args.error_on_no_transfer, environment, "RCLONE_ERROR_ON_NO_TRANSFER")?,
        })
    }
}

/// A switch, else a variable that Go reads as a truth.
///
/// # Errors
/// `Invalid` for a variable that is neither true nor false.
pub(crate) fn switch(given: bool, environment: &Environment, name: &str) -> Result<bool> {
    match environment.text(name)? {
        Some(_) if given => Ok(true),
        None => Ok(given),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(Error::invalid(format!("variable {name} is neither true nor false but {other:?}"))),
    }
}

/// A number above zero, from an option or else from a variable, by their names.
pub(crate) fn count(given: Option<usize>, environment: &Environment, names: (&str, &str)) -> Result<Option<usize>> {
    let (count, name) = match given {
        Some(_) => (given, names.0),
        None => (number::<usize>(environment, names.1)?, names.1),
    };
    if count == Some(0) {
        return Err(Error::invalid(format!("{name} is 0")).with_hint("give a number above 0, or leave it out"));
    }
    Ok(count)
}

fn text(given: Option<&str>, environment: &Environment, name: &str) -> Result<Option<String>> {
    let text = given.map_or_else(|| environment.text(name), |text| Ok(Some(text)))?;
    Ok(text.map(str::to_owned))
}

fn number<T: FromStr>(environment: &Environment, name: &str) -> Result<Option<T>> {
    let Some(text) = environment.text(name)? else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| Error::invalid(format!("variable {name} is not a number but {text:?}")))
}

fn stats_interval(given: Option<&str>, environment: &Environment) -> Result<Option<Duration>> {
    let interval = match (given, environment.text("RCLONE_STATS")?) {
        (Some(text), _) => duration(text, "--stats")?,
        (None, Some(text)) => duration(text, "RCLONE_STATS")?,
        (None, None) => STATS_INTERVAL,
    };
    Ok(Some(interval).filter(|interval| !interval.is_zero()))
}

/// Reads a length of time as rclone does; `off` is none, and neither is 0.
///
/// # Errors
/// `Invalid` for anything else, with the name of the option.
pub(crate) fn duration(text: &str, name: &str) -> Result<Duration> {
    Ok(amounts::duration(text.trim()).attempt(|| format!("option {name}"))?.unwrap_or_default())
}

/// Filters of rclone that are not offered: overlooked, they would move or delete what they spare.
fn refuse(environment: &Environment) -> Result<()> {
    for name in
        ["RCLONE_EXCLUDE_IF_PRESENT", "RCLONE_HASH_FILTER", "RCLONE_METADATA_INCLUDE", "RCLONE_METADATA_EXCLUDE"]
    {
        if environment.text(name)?.is_some() {
            return Err(Error::invalid(format!("{name} is set, and volvault has no such filter"))
                .with_hint("unset it, and say the same with --exclude or --filter"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
