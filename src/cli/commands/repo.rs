//! `repo`: the place where a repository lies or is to lie. Only `accept` needs a password.

mod accept;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::App;
use crate::cli::args::{ProbeArgs, RepoArgs, RepoCommand};
use crate::cli::exit::Outcome;
use crate::cli::output::table::Table;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::path::escape;
use crate::storage::{Finding, Location, ProbeReport, Verdict};
use crate::volume::durable::{Publish, publish};

/// Longest record that is read back.
const RECORD_MAX: u64 = 64 << 10;

/// Characters of a detail that the table shows.
const DETAIL: usize = 100;

/// What a probe found, as it is printed and kept. Kept for people, in the user's cache: nothing here reads it to decide.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    message_type: String,
    location: String,
    /// When it was found, RFC 3339.
    time: String,
    findings: Vec<Finding>,
    /// How far the store's clock is ahead of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_skew_ms: Option<i64>,
    put_ms: f64,
    get_ms: f64,
}

/// Does what is to be done with the place.
pub(in crate::cli) fn run(app: &App<'_>, args: &RepoArgs) -> Result<Outcome> {
    match &args.command {
        RepoCommand::Probe(args) => probe(app, args),
        RepoCommand::Accept => accept::run(app),
    }
}

fn probe(app: &App<'_>, args: &ProbeArgs) -> Result<Outcome> {
    let location = app.location()?;
    let kept_at = record_path(app, &location);
    let record = if args.last {
        let path = kept_at.ok_or_else(|| Error::invalid("without HOME no result is kept"))?;
        last(&path)?
    } else {
        let record = found(app, &location)?;
        if let Some(path) = &kept_at {
            keep(path, &record)?;
        }
        record
    };
    show(app, &record);
    let missing: Vec<String> = record
        .findings
        .iter()
        .filter(|finding| finding.needed && finding.found == Verdict::No)
        .map(|finding| finding.ability.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(Outcome::Complete);
    }
    let attempt = format!("{location} does not: {}", missing.join("; "));
    Err(Error::new(ErrorKind::Unsupported, attempt).with_hint("a repository needs this: use another store"))
}

fn found(app: &App<'_>, location: &Location) -> Result<Record> {
    let store = app.connect(location)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Error::bug("get random bytes").with_source(error.to_string()))?;
    let now = app.clock.now();
    let ProbeReport { findings, clock_skew, put, get } =
        app.runtime.block_on(store.probe(now, u64::from_le_bytes(random)))?;
    Ok(Record {
        message_type: "probe".to_owned(),
        location: location.to_string(),
        time: now.to_rfc3339(),
        findings,
        clock_skew_ms: clock_skew.map(|skew| skew.num_milliseconds()),
        put_ms: millis(put),
        get_ms: millis(get),
    })
}

fn show(app: &App<'_>, record: &Record) {
    if app.console.settings().json {
        app.console.json(record);
        return;
    }
    let mut table = Table::new(&["The store can", "Found", "Needed", ""]);
    for Finding { ability, needed, found, detail } in &record.findings {
        let found = match found {
            Verdict::Yes => "yes",
            Verdict::No => "no",
            Verdict::Unknown => "unknown",
        };
        let needed = if *needed { "yes" } else { "no" };
        table.row([&ability.to_string(), found, needed, &short(detail)].map(|text| vec![text.to_owned()]).into());
    }
    table.footer(format!(
        "a small object is put in {:.1} ms and read in {:.1} ms (medians)",
        record.put_ms, record.get_ms
    ));
    if let Some(skew) = record.clock_skew_ms {
        table.footer(clock(skew));
    }
    table.footer(format!("probed {} at {}; nothing of it is left there", record.location, record.time));
    for line in table.lines() {
        app.console.row(&line);
    }
}

/// The store tells whole seconds, as they were when its answer began.
fn clock(skew_ms: i64) -> String {
    let seconds = skew_ms.unsigned_abs() / 1000;
    match (seconds, skew_ms < 0) {
        (0 | 1, _) => "the store's clock agrees with ours to two seconds".to_owned(),
        (_, true) => format!("the store's clock is {seconds} s behind ours"),
        (_, false) => format!("the store's clock is {seconds} s ahead of ours"),
    }
}

/// What a column has room for; JSON has the whole.
fn short(detail: &str) -> String {
    let line: String = detail.chars().take(DETAIL).collect();
    if line.len() < detail.len() { format!("{line}…") } else { line }
}

/// Where results of this location are kept: below the user's cache directory, if there is one.
fn record_path(app: &App<'_>, location: &Location) -> Option<PathBuf> {
    let cache = app.environment.raw("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || app.environment.raw("HOME").map(|home| Path::new(home).join(".cache"));
    let name = match location {
        Location::Local(path) => std::path::absolute(path).ok()?.display().to_string(),
        Location::S3 { .. } | Location::Gcs { .. } | Location::Azure { .. } | Location::Memory => location.to_string(),
    };
    let hash = blake3::hash(name.as_bytes()).to_hex();
    Some(cache.or_else(home)?.join("volvault/probes").join(format!("{}.json", hash.get(..32)?)))
}

fn keep(path: &Path, record: &Record) -> Result<()> {
    let said = || format!("keep what was found in {}", escape(path.as_os_str().as_encoded_bytes()));
    let folder = path.parent().ok_or_else(|| Error::bug("a file without a directory"))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).attempt(said)?;
    let bytes = serde_json::to_vec(record).map_err(|error| Error::bug(said()).with_source(error))?;
    publish(path, &bytes, Publish::Replace).attempt(said)
}

fn last(path: &Path) -> Result<Record> {
    let said = || format!("read what was found last from {}", escape(path.as_os_str().as_encoded_bytes()));
    let meta = std::fs::metadata(path).attempt(said);
    let meta = meta.map_err(|error| error.with_hint("run `volvault repo probe` without --last"))?;
    if meta.len() > RECORD_MAX {
        return Err(Error::corrupt(said()));
    }
    let bytes = std::fs::read(path).attempt(said)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(said()).with_source(error))
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
