//! `repair`.

use serde::Serialize;

use crate::cli::App;
use crate::cli::args::{ApplyArgs, RepairArgs, RepairCommand};
use crate::cli::exit::Outcome;
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::{self, Latest, choose};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Watch;
use crate::maintenance::repair::{self, Heal, Mode, RepairIndex, RepairReport, RepairSnapshots};
use crate::repo::{Repository, Trash};
use crate::storage::Location;

/// Mends the repository, or tells what would be done.
pub(in crate::cli) fn run(app: &App<'_>, args: &RepairArgs) -> Result<Outcome> {
    match &args.command {
        None => heal(app, args),
        Some(RepairCommand::Index { read_all_packs, apply }) => {
            let options = RepairIndex { read_all_packs: *read_all_packs, mode: mode(*apply) };
            with_repository(app, *apply, |repo, watch| repair::repair_index(repo, options, watch))
        }
        Some(RepairCommand::Packs { packs, apply }) => {
            let names: Vec<String> = packs.iter().map(|name| name.to_ascii_lowercase()).collect();
            with_repository(app, *apply, |repo, watch| repair::repair_packs(repo, &names, mode(*apply), watch))
        }
        Some(RepairCommand::Snapshots { ids, filter, forget, apply }) => {
            let choose = |id: &String| choose(id, Latest::default()).map(|chosen| chosen.selector);
            let options = RepairSnapshots {
                chosen: ids.iter().map(choose).collect::<Result<_>>()?,
                filter: settings::filter(filter, app.environment)?,
                forget: *forget,
                mode: mode(*apply),
            };
            with_repository(app, *apply, |repo, watch| repair::repair_snapshots(repo, &options, watch))
        }
    }
}

const fn mode(args: ApplyArgs) -> Mode {
    if args.apply { Mode::Apply } else { Mode::Plan }
}

fn with_repository(
    app: &App<'_>,
    args: ApplyArgs,
    work: impl FnOnce(&Repository, &Watch<'_>) -> Result<RepairReport>,
) -> Result<Outcome> {
    let repository = app.open()?;
    app.tell_open(&repository);
    let stop = app.signals.stop_in_good_order();
    let report = watched(app.console, app.clock.as_ref(), (Kind::Check, stop), |watch| work(&repository, watch))?;
    tell(app, args, &report)
}

/// Opens no repository: the keys may be what is damaged.
fn heal(app: &App<'_>, args: &RepairArgs) -> Result<Outcome> {
    let text = args.from.as_deref().unwrap_or_default();
    let from: Location = text.parse().map_err(|error: Error| error.within("the copy's location from --from"))?;
    let location = app.location()?;
    if from == location {
        return Err(Error::invalid(format!("--from names the repository itself, {location}"))
            .with_hint("give the location of another copy"));
    }
    let (here, copy) = (app.connect(&location)?, app.connect(&from)?);
    let trash = Trash::new(&here, &app.runtime, &app.clock)?;
    let options = Heal { here: &here, copy: &copy, runtime: &app.runtime, all: args.all, mode: mode(args.apply) };
    let stop = app.signals.stop_in_good_order();
    let report =
        watched(app.console, app.clock.as_ref(), (Kind::Check, stop), |watch| repair::heal(&options, &trash, watch))?;
    tell(app, args.apply, &report)
}

/// `summary` of a repair.
#[derive(Serialize)]
struct Summary<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    report: &'a RepairReport,
}

/// A plan that was not carried out is a failure unless it was only asked for: a script that means to repair must not believe that it did.
fn tell(app: &App<'_>, args: ApplyArgs, report: &RepairReport) -> Result<Outcome> {
    let console = app.console;
    if console.settings().json {
        console.json(&Summary { message_type: "summary", report });
    } else {
        let verb = if report.applied { "done" } else { "to do" };
        report.steps.iter().for_each(|step| console.row(&format!("{verb}: {step}")));
        report.lost.iter().chain(&report.marked).for_each(|lost| console.row(&format!("lost: {lost}")));
        console.flush();
        if let Some(trash) = &report.trash {
            console.say(&format!("what was taken out lies in {trash} of the repository; delete that when all is well"));
        }
        if report.steps.is_empty() && report.lost.is_empty() && report.marked.is_empty() {
            console.say("nothing to repair");
        }
    }
    if !report.applied && !report.steps.is_empty() && !args.dry_run {
        return Err(Error::new(ErrorKind::Invalid, "nothing was changed: this is what would be done")
            .with_hint("run it again with --apply to do it, or with --dry-run if the plan is all you want"));
    }
    if (report.lost.is_empty() && report.marked.is_empty()) || args.dry_run {
        return Ok(Outcome::Complete);
    }
    if report.lost.is_empty() {
        return Err(Error::new(ErrorKind::Corrupt, "what is left was saved, and some data is lost").with_hint(
            "what is lost may still be in another copy of the repository, or in the sources: `volvault backup --force` reads them again",
        ));
    }
    Err(Error::new(ErrorKind::Corrupt, "some data could not be brought back").with_hint(
        "if there is another copy of the repository, `volvault repair --from` it; else `volvault repair snapshots` tells which files are affected",
    ))
}
