//! `mirror push`.

use std::time::Duration;

use crate::cli::App;
use crate::cli::args::PushArgs;
use crate::cli::exit::{Codes, INTERRUPTED, Outcome};
use crate::cli::output::json::mirror::{DestinationResult, Planned, PushSummary, Stats};
use crate::cli::output::mirror::{self, ErrorNote, Told};
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::{TransferSettings, switch};
use crate::error::{Attempt as _, Error, ErrorKind, Result};
use crate::rclone_sync::amounts::size;
use crate::rclone_sync::push::{DestinationReport, Keep, PushOptions, PushReport, Pushed, push};
use crate::rclone_sync::{Destination, Tally};
use crate::size::ByteSize;
use crate::storage::RequestCounts;

use super::filter::filter;
use super::reach::{Reach, means};

/// Nothing was transferred, and somebody wants to know.
pub(super) const NO_TRANSFER: u8 = 9;
/// Larger files gain nothing from packs: an eighth of what one request moves.
const PACK_SMALL_MAX: u64 = 1 << 20;

/// Publishes a directory.
pub(super) fn run(app: &App<'_>, args: &PushArgs) -> Result<Outcome> {
    let start = app.clock.elapsed();
    let settings = TransferSettings::new(&args.transfer, app.environment)?;
    let quorum = quorum(args)?;
    let options = options(app, args, &settings)?;
    let reach = Reach::limited(app, &settings.remote, settings.bwlimit.as_deref())?;
    let (destinations, unreached) = destinations(&reach, args)?;
    let stop = app.signals.stop_in_good_order();
    let kind = Kind::Mirror { dry_run: settings.dry_run, every: settings.stats_interval };
    let mut report = if destinations.is_empty() {
        PushReport { destinations: Vec::new(), problems: 0, bytes_read: 0 }
    } else {
        watched(app.console, app.clock.as_ref(), (kind, stop), |watch| {
            push(&args.source, &destinations, &options, watch)
        })?
    };
    report.destinations.extend(unreached);
    let told = Push { report: &report, quorum, settings: &settings, interrupted: stop.requested() };
    told.tell(app, app.clock.elapsed().saturating_sub(start));
    Ok(Outcome::Told(told.code()))
}

fn quorum(args: &PushArgs) -> Result<usize> {
    let all = args.destinations.len();
    match args.quorum.unwrap_or(all) {
        quorum @ 1.. if quorum <= all => Ok(quorum),
        quorum => Err(Error::invalid(format!("--quorum {quorum} with {all} destinations"))
            .with_hint("give a number from 1 to the number of destinations")),
    }
}

fn options(app: &App<'_>, args: &PushArgs, settings: &TransferSettings) -> Result<PushOptions> {
    let defaults = PushOptions::new(means(app, &settings.remote)?);
    Ok(PushOptions {
        filter: filter(app, &settings.files)?,
        checksum: settings.checksum,
        size_only: settings.size_only,
        update: settings.update,
        ignore_existing: settings.ignore_existing,
        max_delete: settings.max_delete,
        transfers: settings.transfers.unwrap_or(defaults.transfers),
        checkers: settings.checkers.unwrap_or(defaults.checkers),
        dry_run: settings.dry_run,
        one_file_system: switch(args.one_file_system, app.environment, "RCLONE_ONE_FILE_SYSTEM")?,
        allow_empty: settings.allow_empty,
        delete_excluded: settings.delete_excluded,
        facl: args.facl,
        relist: args.relist,
        pack_small: args.pack_small.as_deref().map(pack_small).transpose()?,
        keep: Keep { generations: args.keep_generations, ..defaults.keep },
        ..defaults
    })
}

/// The largest file that goes into packs.
fn pack_small(text: &str) -> Result<u64> {
    let most = size(text).attempt(|| format!("option --pack-small={text}"))?.map_or(0, ByteSize::bytes);
    if (1..=PACK_SMALL_MAX).contains(&most) {
        return Ok(most);
    }
    Err(Error::invalid(format!("--pack-small={text}")).with_hint("give a size from 1B to 1M"))
}

/// The destinations, and those that cannot even be tried: without credentials, for instance. A mistyped one ends the run.
fn destinations(reach: &Reach<'_>, args: &PushArgs) -> Result<(Vec<Destination>, Vec<DestinationReport>)> {
    let (mut reached, mut unreached) = (Vec::new(), Vec::new());
    for text in &args.destinations {
        match reach.destination(text) {
            Ok(destination) => reached.push(destination),
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            Err(error) => unreached.push(DestinationReport {
                name: crate::path::escape(text.as_encoded_bytes()),
                before: None,
                result: Err(error),
                tally: Tally::default(),
                requests: RequestCounts::default(),
                held: 0,
            }),
        }
    }
    Ok((reached, unreached))
}

/// What came of a push.
struct Push<'a> {
    report: &'a PushReport,
    quorum: usize,
    settings: &'a TransferSettings,
    interrupted: bool,
}

impl Push<'_> {
    fn succeeded(&self) -> usize {
        self.report.destinations.iter().filter(|destination| destination.result.is_ok()).count()
    }

    fn code(&self) -> u8 {
        let mut failures = self.report.destinations.iter().filter_map(|destination| destination.result.as_ref().err());
        match failures.next() {
            _ if self.interrupted => INTERRUPTED,
            Some(error) if self.succeeded() < self.quorum => Codes::Rclone.of_error(error.kind()),
            _ if self.report.problems > 0 => 1,
            _ if self.settings.error_on_no_transfer && self.total().transfers == 0 => NO_TRANSFER,
            _ => 0,
        }
    }

    /// The numbers of all destinations together.
    fn total(&self) -> Tally {
        let mut total = Tally { errors: self.report.problems, ..Tally::default() };
        for destination in &self.report.destinations {
            total += destination.tally;
            total.errors += u64::from(destination.result.is_err());
        }
        total
    }

    fn note(&self) -> ErrorNote {
        let kinds = self.report.destinations.iter().filter_map(|one| one.result.as_ref().err()).map(Error::kind);
        kinds.map(ErrorNote::of).max().unwrap_or(ErrorNote::Retry)
    }

    fn tell(&self, app: &App<'_>, took: Duration) {
        if app.console.settings().json {
            for destination in &self.report.destinations {
                app.console.json(&as_json(destination, took));
            }
            app.console.json(&PushSummary {
                message_type: "summary",
                exit_code: self.code(),
                dry_run: self.settings.dry_run,
                destinations: self.report.destinations.len(),
                succeeded: self.succeeded(),
                quorum: self.quorum,
                problems: self.report.problems,
                stats: Stats::new(&self.total(), took),
            });
            return;
        }
        let total = self.total();
        if total.transfers == 0 && !self.settings.dry_run && total.errors == 0 {
            app.console.say("There was nothing to transfer");
        }
        app.console.say(mirror::stats(&total, took, self.note()).trim_end());
        app.console.say("");
        for destination in &self.report.destinations {
            tell_one(app, destination);
        }
        if let (all, succeeded @ 1..) = (self.report.destinations.len(), self.succeeded())
            && succeeded < all
        {
            let quorum = self.quorum;
            let what = if succeeded >= quorum { "are enough" } else { "are needed" };
            app.console.warn(&format!("{succeeded} of {all} destinations have the generation, {quorum} {what}"));
        }
    }
}

/// What a run to this destination alone would end with. Files that it did not get, or that could not be read, are errors of it.
fn code_of(destination: &DestinationReport) -> u8 {
    match &destination.result {
        Ok(_) => u8::from(destination.tally.errors > 0),
        Err(error) => Codes::Rclone.of_error(error.kind()),
    }
}

fn tell_one(app: &App<'_>, destination: &DestinationReport) {
    let DestinationReport { name, before, result, requests, .. } = destination;
    let code = code_of(destination);
    match result {
        Ok(Pushed::Planned { generation, requests, bytes }) => {
            let bytes = mirror::size(*bytes);
            app.console.say(&format!(
                "{name}: generation {generation} would take about {requests} requests and at most {bytes}, exit status {code}"
            ));
        }
        Ok(Pushed::Unchanged { generation }) => {
            app.console.say(&mirror::told(name, Told::Unchanged(*generation), requests.total(), code));
        }
        Ok(Pushed::Published { generation }) => {
            app.console.say(&mirror::told(name, Told::Changed(*before, *generation), requests.total(), code));
        }
        Err(error) => {
            app.console.warn(&format!("{name}: failed, exit status {code}: {}", error.chain()));
            if let Some(hint) = error.hint() {
                app.console.warn(&format!("hint: {hint}"));
            }
        }
    }
}

fn as_json(destination: &DestinationReport, took: Duration) -> DestinationResult<'_> {
    let (status, generation, planned) = match &destination.result {
        Ok(Pushed::Unchanged { generation }) => ("unchanged", Some(*generation), None),
        Ok(Pushed::Published { generation }) => ("published", Some(*generation), None),
        Ok(Pushed::Planned { generation, requests, bytes }) => {
            ("planned", Some(*generation), Some(Planned { requests: *requests, bytes: *bytes }))
        }
        Err(_) => ("failed", None, None),
    };
    let error = destination.result.as_ref().err();
    DestinationResult {
        message_type: "destination",
        name: &destination.name,
        status,
        exit_code: code_of(destination),
        before: destination.before,
        generation,
        requests: destination.requests,
        planned,
        stats: Stats::new(&destination.tally, took),
        message: error.map(crate::Error::chain),
        hint: error.and_then(crate::Error::hint).map(str::to_owned),
    }
}
