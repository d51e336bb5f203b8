//! `mirror pull`.

use std::time::Duration;

use crate::cli::App;
use crate::cli::args::PullArgs;
use crate::cli::exit::{INTERRUPTED, Outcome};
use crate::cli::output::json::mirror::{Planned, PullSummary, Stats};
use crate::cli::output::mirror::{self, ErrorNote, Told};
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::{TransferSettings, duration, switch};
use crate::error::Result;
use crate::rclone_sync::Tally;
use crate::rclone_sync::pull::{PullOptions, PullReport, Pulled, pull};

use super::filter::filter;
use super::push::NO_TRANSFER;
use super::reach::{Reach, means};

/// Brings a directory to a generation.
pub(super) fn run(app: &App<'_>, args: &PullArgs) -> Result<Outcome> {
    let start = app.clock.elapsed();
    let settings = TransferSettings::new(&args.transfer, app.environment)?;
    let options = options(app, args, &settings)?;
    let source = Reach::limited(app, &settings.remote, settings.bwlimit.as_deref())?.destination(&args.source)?;
    let stop = app.signals.stop_in_good_order();
    let kind = Kind::Mirror { dry_run: settings.dry_run, every: settings.stats_interval };
    let report =
        watched(app.console, app.clock.as_ref(), (kind, stop), |watch| pull(&source, &args.target, &options, watch))?;
    let code = match &report {
        _ if stop.requested() => INTERRUPTED,
        PullReport { problems: 1.., .. } => 1,
        PullReport { tally: Tally { transfers: 0, .. }, .. } if settings.error_on_no_transfer => NO_TRANSFER,
        _ => 0,
    };
    tell(app, (&source.name, &report), code, app.clock.elapsed().saturating_sub(start));
    Ok(Outcome::Told(code))
}

fn options(app: &App<'_>, args: &PullArgs, settings: &TransferSettings) -> Result<PullOptions> {
    let defaults = PullOptions::new(means(app, &settings.remote)?);
    let variable = || app.environment.raw("RCLONE_BACKUP_DIR").map(std::path::PathBuf::from);
    Ok(PullOptions {
        filter: filter(app, &settings.files)?,
        checksum: settings.checksum,
        size_only: settings.size_only,
        update: settings.update,
        ignore_existing: settings.ignore_existing,
        delete_excluded: settings.delete_excluded,
        max_delete: settings.max_delete,
        transfers: settings.transfers.unwrap_or(defaults.transfers),
        checkers: settings.checkers.unwrap_or(defaults.checkers),
        one_file_system: switch(args.one_file_system, app.environment, "RCLONE_ONE_FILE_SYSTEM")?,
        dry_run: settings.dry_run,
        backup_dir: args.backup_dir.clone().or_else(variable),
        allow_empty: settings.allow_empty,
        wait: args.wait.as_deref().map_or(Ok(defaults.wait), |text| duration(text, "--wait"))?,
        trust_target: args.trust_target,
        strict: args.strict,
        generation: args.generation,
        ..defaults
    })
}

fn tell(app: &App<'_>, of: (&str, &PullReport), code: u8, took: Duration) {
    let (name, report) = of;
    let tally = Tally { errors: report.tally.errors.max(report.problems), ..report.tally };
    if app.console.settings().json {
        app.console.json(&PullSummary {
            message_type: "summary",
            exit_code: code,
            dry_run: report.outcome == Pulled::Planned,
            status: match report.outcome {
                Pulled::Unchanged => "unchanged",
                Pulled::Applied => "applied",
                Pulled::Planned => "planned",
            },
            before: report.before,
            generation: report.generation,
            went_back: report.went_back,
            finished_first: report.finished_first,
            not_set: report.not_set.sum(),
            problems: report.problems,
            requests: report.requests,
            planned: (report.outcome == Pulled::Planned)
                .then_some(Planned { requests: report.planned, bytes: tally.bytes_total }),
            stats: Stats::new(&tally, took),
        });
        return;
    }
    if report.finished_first {
        app.console.say("finished a pull that was interrupted");
    }
    if tally.transfers == 0 && report.outcome != Pulled::Planned && tally.errors == 0 {
        app.console.say("There was nothing to transfer");
    }
    app.console.say(mirror::stats(&tally, took, ErrorNote::Retry).trim_end());
    app.console.say("");
    let told = match report.outcome {
        Pulled::Unchanged => Told::Unchanged(report.generation),
        Pulled::Applied => Told::Changed(report.before, report.generation),
        Pulled::Planned => Told::Planned(report.generation),
    };
    if report.outcome == Pulled::Planned {
        let (requests, bytes) = (report.planned, mirror::size(tally.bytes_total));
        app.console.say(&format!("{name}: its files would take about {requests} requests and at most {bytes}"));
    }
    app.console.say(&mirror::told(name, told, report.requests.total(), code));
}
