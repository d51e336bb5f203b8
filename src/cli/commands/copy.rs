//! `copy`.

use std::sync::OnceLock;

use serde::Serialize;

use crate::cli::App;
use crate::cli::args::CopyArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::text;
use crate::cli::settings::{Latest, choose, filter, source_settings};
use crate::error::Result;
use crate::events::{Progress, Silent, Watch};
use crate::id::SessionId;
use crate::maintenance;
use crate::repo::Snapshot;

/// The end, as JSON.
#[derive(Serialize)]
struct Summary {
    message_type: &'static str,
    copied_snapshots: usize,
    skipped_snapshots: usize,
}

/// One snapshot that was copied.
#[derive(Serialize)]
struct Copied {
    message_type: &'static str,
    snapshot_id: String,
    new_snapshot_id: String,
}

/// Copies snapshots from another repository.
pub(in crate::cli) fn run(app: &App<'_>, args: &CopyArgs) -> Result<Outcome> {
    let filter = filter(&args.filter, app.environment)?;
    let chosen = args.ids.iter().map(|id| Ok(choose(id, Latest::default())?.selector)).collect::<Result<Vec<_>>>()?;
    let settings = source_settings(args, app.settings, app.environment)?;
    let to = app.open()?;
    let other = App {
        console: app.console,
        settings: &settings,
        environment: app.environment,
        clock: app.clock.clone(),
        runtime: app.runtime.clone(),
        signals: app.signals.clone(),
        store: OnceLock::new(),
        followed: app.followed.clone(),
    };
    let from = other.open()?;
    app.tell_open(&to);
    app.console.say(&format!("copying from repository {}", from.id().short()));
    let progress = Progress::default();
    let watch = Watch { observer: &Silent, progress: &progress, stop: app.signals.stop_in_good_order() };
    let report =
        maintenance::copy(&from, &to, (&chosen, &filter), &watch, &mut |snapshot, new| tell(app, snapshot, new))?;
    for (name, error) in &report.unreadable {
        app.console.warn(&format!("ignoring snapshot {}: {}", name.id.short(), error.chain()));
    }
    let (copied, skipped) = (report.copied.len(), report.skipped.len());
    if app.console.settings().json {
        let summary = Summary { message_type: "summary", copied_snapshots: copied, skipped_snapshots: skipped };
        app.console.json(&summary);
    } else {
        app.console.say(&format!("copied {copied} snapshots, {skipped} were there already"));
    }
    for (snapshot, error) in &report.failed {
        app.console.warn(&format!("snapshot {} was not copied: {}", snapshot.id.short(), error.chain()));
    }
    let missing = report.failed.len() + report.unreadable.len();
    if missing > 0 {
        return Err(crate::Error::new(
            crate::error::ErrorKind::Corrupt,
            format!("{missing} snapshots could not be copied"),
        ));
    }
    Ok(Outcome::Complete)
}

fn tell(app: &App<'_>, snapshot: &Snapshot, new: Option<SessionId>) {
    let Some(new) = new else {
        app.console.detail(1, &format!("skipping {}, which was copied before", text::snapshot(snapshot)));
        return;
    };
    if app.console.settings().json {
        let (snapshot_id, new_snapshot_id) = (snapshot.id.to_hex(), new.to_hex());
        app.console.json(&Copied { message_type: "copied", snapshot_id, new_snapshot_id });
    } else {
        app.console.say(&text::snapshot(snapshot));
        app.console.say(&format!("snapshot {} saved", new.short()));
    }
}
