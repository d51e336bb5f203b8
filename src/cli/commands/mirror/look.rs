//! `mirror status` and `mirror generations`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::cli::App;
use crate::cli::args::{GenerationsArgs, StatusArgs};
use crate::cli::exit::{Codes, Outcome};
use crate::cli::output::mirror::size;
use crate::cli::output::table::Table;
use crate::cli::output::text;
use crate::cli::settings::RemoteSettings;
use crate::error::{Error, Result};
use crate::path::escape;
use crate::rclone_sync::Root;
use crate::rclone_sync::claim::Seen;
use crate::rclone_sync::look::{self, Generation, Status};
use crate::storage::Abilities;

use super::reach::{Reach, random};

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

/// How a mirror is, as JSON.
#[derive(Serialize)]
struct StatusInfo {
    message_type: &'static str,
    name: String,
    generation: u64,
    time: String,
    #[serde(flatten)]
    content: ContentInfo,
    deltas: usize,
    manifest_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pushing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abilities: Option<Abilities>,
    /// Whether only the claim keeps two pushes apart, because the store overlooks conditional writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    weaker_fencing: Option<bool>,
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

impl StatusInfo {
    fn new(name: &str, status: &Status) -> Self {
        let root = &status.root;
        Self {
            message_type: "status",
            name: name.to_owned(),
            generation: root.generation,
            time: rfc3339(root.time),
            content: ContentInfo::new(root),
            deltas: root.deltas.len(),
            manifest_bytes: manifest_bytes(root),
            pushing: status.claim.as_ref().map(|claim| claim.pusher.host.clone()),
            abilities: status.abilities.as_ref().ok().copied(),
            weaker_fencing: status.abilities.as_ref().ok().map(|abilities| !abilities.conditional_replace),
        }
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// What a reader without an earlier generation fetches.
fn manifest_bytes(root: &Root) -> u64 {
    root.deltas.iter().fold(root.base.size, |sum, delta| sum.saturating_add(delta.segment.size))
}

/// Shows how mirrors are. One that cannot be looked at does not hide the others.
pub(super) fn status(app: &App<'_>, args: &StatusArgs) -> Result<Outcome> {
    let remote = RemoteSettings::new(&args.remote, app.environment);
    let reach = Reach::new(app, &remote)?;
    let probe = format!("probe-{}", random()?);
    let mut code = 0;
    for (number, location) in args.locations.iter().enumerate() {
        let name = escape(location.as_encoded_bytes());
        let looked = reach.places(location).and_then(|places| look::status(&places, &probe));
        match looked {
            Ok(status) if app.console.settings().json => app.console.json(&StatusInfo::new(&name, &status)),
            Ok(status) => {
                if number > 0 {
                    app.console.row("");
                }
                for line in lines(&name, &status) {
                    app.console.row(&line);
                }
            }
            Err(error) if args.locations.len() == 1 => return Err(error),
            Err(error) => {
                code = Codes::Rclone.of_error(error.kind());
                fail(app, &name, &error);
            }
        }
    }
    Ok(Outcome::Told(code))
}

fn lines(name: &str, status: &Status) -> Vec<String> {
    let Status { root, claim, abilities } = status;
    let (base, deltas) = (root.base.generation, root.deltas.len());
    let mut lines = vec![
        name.to_owned(),
        format!("  generation  {}, published {}", root.generation, text::time(&root.time)),
        format!("  pusher      {} with {}", text::name(&root.pusher.host), text::name(&root.pusher.program)),
        format!(
            "  holds       {} files, {} in {} entries",
            root.totals.files,
            size(root.totals.bytes),
            root.totals.entries
        ),
        format!("  manifest    {}: generation {base} and {deltas} deltas", size(manifest_bytes(root))),
    ];
    lines.push(match claim {
        None => "  push        none is under way".to_owned(),
        Some(claim) => format!("  push        {}", pushing(claim)),
    });
    match abilities {
        Ok(abilities) => {
            let missing = abilities.missing();
            let can = if missing.is_empty() {
                "all that is used".to_owned()
            } else {
                format!("all but {}", missing.join(", "))
            };
            lines.push(format!("  store       can do {can}"));
            lines.push(if abilities.conditional_replace {
                "  fencing     the root is swapped only if it is the one that was read".to_owned()
            } else {
                "  fencing     weaker: only the claim keeps two pushes apart, for the store overlooks conditional writes".to_owned()
            });
        }
        Err(error) => lines.push(format!("  store       not known: {}", error.chain())),
    }
    lines
}

fn pushing(claim: &Seen) -> String {
    let host = text::name(&claim.pusher.host);
    let since = text::time(&claim.since);
    if claim.is_unfinished {
        format!("that of {host}, begun {since}, did not come to its end; the next one mends it")
    } else {
        format!("{host} is pushing since {since}")
    }
}

fn fail(app: &App<'_>, name: &str, error: &Error) {
    let message = format!("{name}: {}", error.chain());
    if app.console.settings().json {
        let code = Codes::Rclone.of_error(error.kind());
        app.console.warn_json(&crate::cli::output::json::ExitError { message_type: "error", code, message: &message });
    } else {
        app.console.warn(&message);
    }
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
