//! `tag`.

use serde::Serialize;

use crate::cli::App;
use crate::cli::args::TagArgs;
use crate::cli::exit::Outcome;
use crate::cli::settings::{Latest, choose, filter};
use crate::error::{Error, Result};
use crate::events::{Progress, Silent, Watch};
use crate::maintenance::{self, TagChange};

/// One snapshot that was changed, in restic's shape.
#[derive(Serialize)]
struct Changed {
    message_type: &'static str,
    old_snapshot_id: String,
    new_snapshot_id: String,
}

/// The end.
#[derive(Serialize)]
struct Summary {
    message_type: &'static str,
    changed_snapshots: usize,
}

/// Changes the tags of snapshots.
pub(in crate::cli) fn run(app: &App<'_>, args: &TagArgs) -> Result<Outcome> {
    let list = |lists: &[String]| -> Vec<String> {
        lists.iter().flat_map(|list| list.split(',')).map(|tag| tag.trim().to_owned()).collect()
    };
    let set = (!args.set.is_empty()).then(|| list(&args.set));
    let change = TagChange { set, add: list(&args.add), remove: list(&args.remove) };
    if change.set.is_none() && change.add.is_empty() && change.remove.is_empty() {
        return Err(Error::invalid("nothing to do").with_hint("give --set, --add or --remove"));
    }
    let filter = filter(&args.filter, app.environment)?;
    let chosen = args.ids.iter().map(|id| Ok(choose(id, Latest::default())?.selector)).collect::<Result<Vec<_>>>()?;
    let repository = app.open()?;
    app.tell_open(&repository);
    let (progress, stop) = (Progress::default(), app.signals.stop_in_good_order());
    let watch = Watch { observer: &Silent, progress: &progress, stop };
    let report = maintenance::tag(&repository, (&chosen, &filter), &change, &watch)?;
    for (name, error) in &report.unreadable {
        app.console.warn(&format!("ignoring snapshot {}: {}", name.id.short(), error.chain()));
    }
    if app.console.settings().json {
        for (old, new) in &report.changed {
            let (old_snapshot_id, new_snapshot_id) = (old.to_hex(), new.to_hex());
            app.console.json(&Changed { message_type: "changed", old_snapshot_id, new_snapshot_id });
        }
        app.console.json(&Summary { message_type: "summary", changed_snapshots: report.changed.len() });
    } else if report.changed.is_empty() {
        app.console.say("no snapshots were modified");
    } else {
        app.console.say(&format!("modified tags on {} snapshots", report.changed.len()));
    }
    Ok(if stop.requested() { Outcome::Interrupted } else { Outcome::Complete })
}
