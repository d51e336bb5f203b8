//! `mirror generations`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::cli::App;
use crate::cli::args::GenerationsArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::mirror::size;
use crate::cli::output::table::Table;
use crate::cli::output::text;
use crate::cli::settings::RemoteSettings;
use crate::error::{Error, Result};
use crate::rclone_sync::Root;
use crate::rclone_sync::look::{self, Generation};

use super::reach::Reach;

/// One generation in a list, as JSON.
#[derive(Serialize)]
struct GenerationInfo {
    message_type: &'static str,
    generation: u64,
    newest: bool,
    /// When it was published, by the pusher's clock; when it was stored, if its root cannot be read.
    time: String,
    #[serde(flatten)]
    content: Option<ContentInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a generation holds, as JSON.
#[derive(Serialize)]
struct ContentInfo {
    host: String,
    program: String,
    entries: u64,
    files: u64,
    bytes: u64,
}

impl ContentInfo {
    fn new(root: &Root) -> Self {
        let (pusher, totals) = (&root.pusher, root.totals);
        let (host, program) = (pusher.host.clone(), pusher.program.clone());
        Self { host, program, entries: totals.entries, files: totals.files, bytes: totals.bytes }
    }
}

impl GenerationInfo {
    fn new(generation: &Generation, newest: u64) -> Self {
        let root = generation.root.as_ref();
        let time = root.map_or(generation.stored, |root| root.time);
        Self {
            message_type: "generation",
            generation: generation.number,
            newest: generation.number == newest,
            time: rfc3339(time),
            content: root.ok().map(ContentInfo::new),
            error: root.err().map(Error::chain),
        }
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Lists the generations.
pub(super) fn generations(app: &App<'_>, args: &GenerationsArgs) -> Result<Outcome> {
    let remote = RemoteSettings::new(&args.remote, app.environment);
    let places = Reach::new(app, &remote)?.places(&args.location)?;
    let found = look::generations(&places, args.last)?;
    if app.console.settings().json {
        for generation in &found.listed {
            app.console.row(&crate::cli::output::json::line(&GenerationInfo::new(generation, found.newest)));
        }
        return Ok(Outcome::Complete);
    }
    let mut table = Table::new(&["Generation", "Published", "Pusher", "Files", "Size", "Changes"]);
    for generation in &found.listed {
        table.row(row(generation).into_iter().map(|cell| vec![cell]).collect());
    }
    let older = if found.older > 0 { format!(", {} older ones", found.older) } else { String::new() };
    table.footer(format!("{} generations{older}", found.listed.len()));
    for line in table.lines() {
        app.console.row(&line);
    }
    Ok(Outcome::Complete)
}

fn row(generation: &Generation) -> [String; 6] {
    let number = generation.number.to_string();
    match &generation.root {
        Ok(root) => [
            number,
            text::time(&root.time),
            text::name(&root.pusher.host),
            root.totals.files.to_string(),
            size(root.totals.bytes),
            changes(root),
        ],
        Err(error) => [number, text::time(&generation.stored), error.to_string(), "?".into(), "?".into(), "?".into()],
    }
}

/// What the generation changed: entries put, and paths removed.
fn changes(root: &Root) -> String {
    let delta = root.deltas.last().or(root.history.last()).map(|delta| &delta.segment);
    let delta = delta.filter(|segment| segment.generation == root.generation);
    delta.map_or_else(String::new, |segment| format!("+{} -{}", segment.entries, segment.removed))
}
