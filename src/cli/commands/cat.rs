//! `cat`.

use serde::Serialize;

use crate::cli::App;
use crate::cli::args::{CatArgs, CatWhat};
use crate::cli::exit::Outcome;
use crate::cli::output::json::{KeyInfo, SnapshotInfo};
use crate::cli::settings::{Latest, choose};
use crate::error::{Error, ErrorKind, Result};
use crate::repo::{Config, Repository, SnapshotFilter};

use super::key;

/// Prints a record of the repository.
pub(in crate::cli) fn run(app: &App<'_>, args: &CatArgs) -> Result<Outcome> {
    let repository = app.open()?;
    match &args.what {
        CatWhat::Config => {
            let config = repository.config();
            print(app, &ConfigInfo { version: config.format, id: &config.repo, config })?;
        }
        CatWhat::Snapshot { id } => {
            let chosen = choose(id, Latest { include_partial: true, ..Latest::default() })?;
            let snapshot = repository.observe()?.find(&chosen.selector, &SnapshotFilter::default())?;
            print(app, &SnapshotInfo::new(&snapshot, super::snapshots::tree_id(&snapshot)))?;
        }
        CatWhat::Key { id } => print(app, &find_key(&repository, &id.to_ascii_lowercase())?)?,
    }
    Ok(Outcome::Complete)
}

/// `config` with the names that restic's wrappers look for.
#[derive(Serialize)]
struct ConfigInfo<'a> {
    version: u32,
    id: &'a str,
    #[serde(flatten)]
    config: &'a Config,
}

fn print(app: &App<'_>, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::bug("encode a record").with_source(error))?;
    app.console.line(&text);
    Ok(())
}

fn find_key(repository: &Repository, prefix: &str) -> Result<KeyInfo> {
    let slots = repository.slots()?;
    let mut found = slots.into_iter().filter(|(name, _)| !prefix.is_empty() && name.starts_with(prefix));
    match (found.next(), found.next()) {
        (Some((name, slot)), None) => Ok(key::info(&name, &slot?, name == repository.current_slot())),
        (None, _) => Err(Error::new(ErrorKind::NotFound, format!("no key starts with {prefix:?}"))),
        (Some(_), Some(_)) => Err(Error::invalid(format!("several keys start with {prefix:?}"))),
    }
}
