//! `check`.

use crate::cli::App;
use crate::cli::args::CheckArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::CheckSummary;
use crate::cli::output::text;
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::read_data;
use crate::error::{Error, ErrorKind, Result};
use crate::maintenance::{self, CheckOptions, CheckReport, Coverage};
use crate::size::ByteSize;

/// Checks that what the repository refers to is there and intact.
pub(in crate::cli) fn run(app: &App<'_>, args: &CheckArgs) -> Result<Outcome> {
    let options = CheckOptions { read_data: read_data(args)? };
    let repository = app.open()?;
    app.tell_open(&repository);
    let stop = app.signals.stop_in_good_order();
    let report = watched(app.console, app.clock.as_ref(), (Kind::Check, stop), |watch| {
        maintenance::check(&repository, &options, watch)
    })?;
    tell(app, &report);
    if stop.requested() {
        return Ok(Outcome::Interrupted);
    }
    if report.num_errors == 0 {
        return Ok(Outcome::Complete);
    }
    Err(Error::new(ErrorKind::Corrupt, "repository contains errors"))
}

/// The errors themselves were told as they were found.
fn tell(app: &App<'_>, report: &CheckReport) {
    if app.console.settings().json {
        let broken = &report.broken_packs;
        app.console.json(&CheckSummary {
            message_type: "summary",
            num_errors: report.num_errors,
            broken_packs: (!broken.is_empty()).then_some(broken),
            suggest_repair_index: report.suggest_repair_index,
            suggest_prune: report.suggest_prune,
            coverage: report.coverage.as_ref(),
            checksums: report.checksums.as_ref(),
            requests: app.requests(),
        });
        return;
    }
    for pack in &report.broken_packs {
        app.console.warn(&format!("broken pack: {pack}"));
    }
    if let Some(suggestion) = &report.suggest_repair {
        app.console.warn(suggestion);
    }
    let CheckReport { snapshots, packs, blobs, packs_read, .. } = report;
    app.console.say(&format!(
        "checked {snapshots} snapshots, {packs} packs with {blobs} blobs; read {packs_read} packs, {}",
        ByteSize(report.bytes_read)
    ));
    if let Some(checksums) = &report.checksums {
        app.console.say(&checksums.to_string());
    }
    if let Some(coverage) = &report.coverage {
        let oldest = coverage.oldest.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
        let oldest = oldest.map_or_else(|| "some never".to_owned(), |time| format!("all since {}", text::time(&time)));
        let Coverage { read, within, .. } = coverage;
        app.console.say(&format!("read {read} of 256 parts of the data; {within} were read in time, {oldest}"));
    }
    if report.unreferenced_packs > 0 {
        let what = if report.num_errors == 0 { "not an error" } else { "they may hold what is missing, so keep them" };
        let (count, size) = (report.unreferenced_packs, ByteSize(report.unreferenced_bytes));
        app.console.say(&format!("{count} packs of unfinished runs, {size}, are in no index: {what}"));
    }
    if report.num_errors == 0 {
        app.console.say("no errors were found");
    }
}
