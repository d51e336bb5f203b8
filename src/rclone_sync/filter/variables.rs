//! The filter flags as rclone reads them from `RCLONE_*`, for runs that have no command line.

use std::path::PathBuf;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset};

use super::super::amounts;
use super::FilterOptions;
use crate::catalog::Timestamp;
use crate::environment::Environment;
use crate::error::{Attempt, Error, ErrorKind, Result};

/// Longest file of rules or names.
const FILE_MAX: u64 = 256 << 20;

/// What the variables say; `now` is what ages are counted from.
///
/// # Errors
/// `Invalid` for a value that makes no sense, and what reading the files that are named gives rise to.
pub fn from_variables(environment: &Environment, now: DateTime<FixedOffset>) -> Result<FilterOptions> {
    let list = |name: &str| -> Result<Vec<String>> {
        let quote = || Error::invalid(format!("variable {name} has a quote that does not end"));
        environment.text(name)?.map_or(Ok(Vec::new()), |text| csv(text).ok_or_else(quote))
    };
    let files = |name: &str| -> Result<Vec<Vec<u8>>> {
        list(name)?.into_iter().map(|path| contents(&PathBuf::from(path), name)).collect()
    };
    let size = |name: &str| environment.text(name)?.map_or(Ok(None), |text| amounts::size(text).attempt(|| said(name)));
    let moment = |name: &str| -> Result<Option<Timestamp>> {
        let Some(age) = environment.text(name)? else { return Ok(None) };
        let moment = amounts::moment(age, now).attempt(|| said(name))?;
        Ok(moment.map(|at| Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos() }))
    };
    if environment.raw("RCLONE_EXCLUDE_IF_PRESENT").is_some() {
        return Err(Error::new(ErrorKind::Unsupported, "variable RCLONE_EXCLUDE_IF_PRESENT is not followed")
            .with_hint("exclude the directories by name: RCLONE_EXCLUDE_FROM, RCLONE_FILTER"));
    }
    let depth =
        environment.text("RCLONE_MAX_DEPTH")?.map(|text| number::<i64>(text, "RCLONE_MAX_DEPTH")).transpose()?;
    Ok(FilterOptions {
        include: list("RCLONE_INCLUDE")?,
        include_from: files("RCLONE_INCLUDE_FROM")?,
        exclude: list("RCLONE_EXCLUDE")?,
        exclude_from: files("RCLONE_EXCLUDE_FROM")?,
        filter: list("RCLONE_FILTER")?,
        filter_from: files("RCLONE_FILTER_FROM")?,
        files_from: files("RCLONE_FILES_FROM")?,
        files_from_raw: files("RCLONE_FILES_FROM_RAW")?,
        files_from0: files("RCLONE_FILES_FROM0")?,
        exclude_if_present: Vec::new(),
        min_size: size("RCLONE_MIN_SIZE")?,
        max_size: size("RCLONE_MAX_SIZE")?,
        modified_from: moment("RCLONE_MAX_AGE")?,
        modified_until: moment("RCLONE_MIN_AGE")?,
        max_depth: depth.and_then(|depth| usize::try_from(depth).ok()),
        ignore_case: environment.switch_named("RCLONE_IGNORE_CASE")?,
    })
}

fn said(name: &str) -> String {
    format!("variable {name}")
}

/// A number from a variable.
///
/// # Errors
/// `Invalid` for anything else.
pub fn number<T: FromStr>(text: &str, name: &str) -> Result<T> {
    text.trim().parse().map_err(|_| Error::invalid(format!("variable {name} is not a number but {text:?}")))
}

fn contents(path: &std::path::Path, name: &str) -> Result<Vec<u8>> {
    let said = || format!("read {}, which {name} names", path.display());
    if std::fs::metadata(path).attempt(said)?.len() > FILE_MAX {
        return Err(Error::invalid(format!("{}: it is longer than 256 MiB", said())));
    }
    std::fs::read(path).attempt(said)
}

/// The fields of a line of comma-separated values, as Go's `encoding/csv` reads it; `None` for a quote that does not end.
pub fn csv(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        let field = fields.last_mut()?;
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    (!quoted).then_some(fields)
}
