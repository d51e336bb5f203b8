//! Reads the files that rules are in, and makes the filter of a run.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::Timestamp;
use crate::cli::App;
use crate::cli::settings::FilterSettings;
use crate::error::{Attempt, Error, Result};
use crate::path::escape;
use crate::rclone_sync::filter::{Filter, FilterOptions};
use crate::rclone_sync::{Includes, amounts};

/// Longest file of rules or names: a million long lines.
const FILE_MAX: u64 = 256 << 20;

/// The filter that the settings describe.
///
/// # Errors
/// What reading the files gives rise to, `Invalid` for a rule that is none.
pub(super) fn filter(app: &App<'_>, settings: &FilterSettings) -> Result<Arc<dyn Includes>> {
    let now = app.clock.now();
    let moment = |age: &Option<String>, name: &str| -> Result<Option<Timestamp>> {
        let moment =
            age.as_deref().map_or(Ok(None), |age| amounts::moment(age, now).attempt(|| format!("option {name}")))?;
        Ok(moment.map(|moment| Timestamp { seconds: moment.timestamp(), nanos: moment.timestamp_subsec_nanos() }))
    };
    let read = |paths: &[PathBuf]| paths.iter().map(|path| contents(path)).collect::<Result<Vec<_>>>();
    Ok(Arc::new(Filter::new(FilterOptions {
        include: settings.include.clone(),
        include_from: read(&settings.include_from)?,
        exclude: settings.exclude.clone(),
        exclude_from: read(&settings.exclude_from)?,
        filter: settings.filter.clone(),
        filter_from: read(&settings.filter_from)?,
        files_from: read(&settings.files_from)?,
        files_from_raw: read(&settings.files_from_raw)?,
        files_from0: read(&settings.files_from0)?,
        min_size: settings.min_size,
        max_size: settings.max_size,
        modified_from: moment(&settings.max_age, "--max-age")?,
        modified_until: moment(&settings.min_age, "--min-age")?,
        max_depth: settings.max_depth,
        ignore_case: settings.ignore_case,
        ..FilterOptions::default()
    })?))
}

/// A whole file; `-` is standard input, as with rclone.
fn contents(path: &Path) -> Result<Vec<u8>> {
    let said = || format!("read rules from {}", escape(path.as_os_str().as_encoded_bytes()));
    let mut bytes = Vec::new();
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).attempt(said)?)
    };
    input.take(FILE_MAX + 1).read_to_end(&mut bytes).attempt(said)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(Error::invalid(format!("{}: it is longer than 256 MiB", said())));
    }
    Ok(bytes)
}
