//! `mirror diff`.

use serde::Serialize;

use crate::cli::App;
use crate::cli::args::MirrorDiffArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json;
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::{FilterSettings, RemoteSettings, switch};
use crate::error::{Error, Result};
use crate::path::{TreePath, escape};
use crate::rclone_sync::diff::{Difference, Differences, between, with_directory};
use crate::rclone_sync::look::root;
use crate::rclone_sync::manifest::entries;

use super::filter::filter;
use super::reach::Reach;

/// One path, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    message_type: &'static str,
    path: &'a str,
    /// `+`, `-`, `*` or `m`.
    modifier: &'static str,
}

/// The end, as JSON.
#[derive(Serialize)]
struct Summary {
    message_type: &'static str,
    exit_code: u8,
    added: u64,
    removed: u64,
    changed: u64,
    metadata: u64,
    same: u64,
    problems: u64,
}

/// Shows what differs: between two generations, or what a pull would change in a directory.
pub(super) fn run(app: &App<'_>, args: &MirrorDiffArgs) -> Result<Outcome> {
    let remote = RemoteSettings::new(&args.remote, app.environment);
    let files = FilterSettings::new(&args.files, app.environment)?;
    let filter = filter(app, &files)?;
    let one_file_system = switch(args.one_file_system, app.environment, "RCLONE_ONE_FILE_SYSTEM")?;
    let places = Reach::new(app, &remote)?.places(&args.location)?;
    let newer = root(&places, args.generation)?;
    let hear = &mut |path: &TreePath, difference: Difference| show(app, path, difference);
    let counts = if let Some(directory) = &args.directory {
        let stop = app.signals.stop_in_good_order();
        watched(app.console, app.clock.as_ref(), (Kind::Check, stop), |watch| {
            let scope = (filter.as_ref(), one_file_system);
            with_directory(directory, entries(&places, &newer), scope, watch, hear)
        })?
    } else {
        let before = args.from.or_else(|| newer.generation.checked_sub(1)).filter(|before| *before > 0);
        let before = before.ok_or_else(|| {
            Error::invalid("there is no generation before the first one").with_hint("name a directory to compare with")
        })?;
        let older = root(&places, Some(before))?;
        between(entries(&places, &older), entries(&places, &newer), filter.as_ref(), hear)?
    };
    // As `rclone check` has it: a directory that differs is a failure, two generations that do not differ would be odd.
    let code = u8::from(args.directory.is_some() && !counts.is_none());
    tell(app, &counts, code);
    Ok(Outcome::Told(code))
}

fn tell(app: &App<'_>, counts: &Differences, code: u8) {
    let Differences { added, removed, content, metadata, same, problems } = *counts;
    if app.console.settings().json {
        app.console.json(&Summary {
            message_type: "summary",
            exit_code: code,
            added,
            removed,
            changed: content,
            metadata,
            same,
            problems,
        });
        return;
    }
    app.console.say(&format!(
        "{added} added, {removed} removed, {content} changed, {metadata} with other metadata only, {same} the same"
    ));
}

const fn modifier(difference: Difference) -> &'static str {
    match difference {
        Difference::Added => "+",
        Difference::Removed => "-",
        Difference::Content => "*",
        Difference::Metadata => "m",
    }
}

fn show(app: &App<'_>, path: &TreePath, difference: Difference) {
    let modifier = modifier(difference);
    if app.console.settings().json {
        let path = json::path(path);
        app.console.row(&json::line(&Line { message_type: "change", path: &path, modifier }));
        return;
    }
    let name = if path.is_root() { ".".to_owned() } else { escape(path.as_bytes()) };
    app.console.row(&format!("{modifier} {name}"));
}
