//! `mirror adopt`.

use serde::Serialize;

use crate::cli::App;
use crate::cli::args::AdoptArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::mirror::Planned;
use crate::cli::output::mirror::size;
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::{RemoteSettings, count};
use crate::error::Result;
use crate::rclone_sync::adopt::{AdoptOptions, AdoptReport, Foreseen, Times, adopt, survey};

use super::reach::{Reach, means};

/// The end, as JSON.
#[derive(Serialize)]
struct Summary {
    message_type: &'static str,
    exit_code: u8,
    dry_run: bool,
    /// Published; 0 when nothing was.
    generation: u64,
    objects: u64,
    bytes: u64,
    left_out: u64,
    permissions_facl: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    planned: Option<Planned>,
}

/// Makes the first generation of what is there.
pub(super) fn run(app: &App<'_>, args: &AdoptArgs) -> Result<Outcome> {
    let remote = RemoteSettings::new(&args.remote, app.environment);
    let transfers = count(args.transfers, app.environment, ("--transfers", "RCLONE_TRANSFERS"))?;
    let mirror = Reach::new(app, &remote)?.destination(&args.location)?;
    let defaults = AdoptOptions::new(means(app, &remote)?);
    let times = if args.use_server_modtime { Times::Stored } else { Times::Metadata };
    let (read, transfers) = (args.read, transfers.unwrap_or(defaults.transfers));
    let options = AdoptOptions { read, times, transfers, ..defaults };
    if args.dry_run {
        let Foreseen { objects, bytes, requests, read } = survey(&mirror, &options)?;
        let line = format!(
            "{objects} objects, {}, would be adopted with about {requests} requests, and {} of them read",
            size(bytes),
            size(read)
        );
        let planned = Some(Planned { requests, bytes: read });
        let summary = Summary { planned, ..summary((0, true), (objects, bytes), &AdoptReport::default()) };
        return Ok(tell(app, &summary, &line));
    }
    let stop = app.signals.stop_in_good_order();
    let report =
        watched(app.console, app.clock.as_ref(), (Kind::Check, stop), |watch| adopt(&mirror, &options, watch))?;
    let AdoptReport { entries, files, bytes, left_out, facl, .. } = report;
    let permissions = if facl { ", owners and modes from permissions.facl" } else { "" };
    let rest = if left_out > 0 { format!(", {left_out} objects left out") } else { String::new() };
    let line = format!("generation 1: {entries} entries, {files} files, {}{permissions}{rest}", size(bytes));
    let code = u8::from(left_out > 0);
    Ok(tell(app, &summary((code, false), (files, bytes), &report), &line))
}

fn summary((exit_code, dry_run): (u8, bool), (objects, bytes): (u64, u64), report: &AdoptReport) -> Summary {
    Summary {
        message_type: "summary",
        exit_code,
        dry_run,
        generation: u64::from(!dry_run),
        objects,
        bytes,
        left_out: report.left_out,
        permissions_facl: report.facl,
        planned: None,
    }
}

fn tell(app: &App<'_>, summary: &Summary, line: &str) -> Outcome {
    if app.console.settings().json {
        app.console.json(summary);
    } else {
        app.console.say(line);
    }
    Outcome::Told(summary.exit_code)
}
