//! `prune`.

use std::collections::BTreeSet;

use crate::cli::App;
use crate::cli::args::{PruneArgs, PruneOptionArgs};
use crate::cli::exit::Outcome;
use crate::cli::output::json::PruneSummary;
use crate::cli::output::text;
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::prune_options;
use crate::error::Result;
use crate::id::SessionId;
use crate::maintenance::{self, PrunePlan, PruneReport};
use crate::repo::Repository;
use crate::size::ByteSize;

/// Removes what no snapshot needs.
pub(in crate::cli) fn run(app: &App<'_>, args: &PruneArgs) -> Result<Outcome> {
    let repository = app.open()?;
    app.tell_open(&repository);
    prune(app, &repository, &args.options, args.dry_run)
}

/// The same, for `forget --prune`.
pub(super) fn prune(app: &App<'_>, repository: &Repository, args: &PruneOptionArgs, dry_run: bool) -> Result<Outcome> {
    let options = prune_options(args, dry_run)?;
    let stop = app.signals.stop_in_good_order();
    let report = watched(app.console, app.clock.as_ref(), (Kind::Prune, stop), |watch| {
        maintenance::prune(repository, &options, watch, &mut |plan| tell_plan(app, plan))
    })?;
    tell(app, &report);
    if stop.requested() {
        return Ok(Outcome::Interrupted);
    }
    Ok(Outcome::Complete)
}

/// Only says what a prune will do once the snapshots `forgotten` are gone, for `forget --prune --dry-run`.
pub(super) fn foresee(
    app: &App<'_>,
    repository: &Repository,
    args: &PruneOptionArgs,
    forgotten: &BTreeSet<SessionId>,
) -> Result<Outcome> {
    let options = prune_options(args, true)?;
    let stop = app.signals.stop_in_good_order();
    let report = watched(app.console, app.clock.as_ref(), (Kind::Prune, stop), |watch| {
        maintenance::prune_without(repository, forgotten, &options, watch, &mut |plan| tell_plan(app, plan))
    })?;
    tell(app, &report);
    Ok(Outcome::Complete)
}

/// restic's words and numbers.
fn tell_plan(app: &App<'_>, plan: &PrunePlan) {
    if app.console.settings().json {
        return;
    }
    let blobs = |what: &str, count: u64, bytes: u64| {
        app.console.say(&format!("{what:<17} {count:>10} blobs / {}", ByteSize(bytes)));
    };
    app.console.detail(1, &format!("used: {} blobs / {}", plan.used.count, ByteSize(plan.used.bytes)));
    if plan.duplicate.count > 0 {
        app.console
            .detail(1, &format!("duplicates: {} blobs / {}", plan.duplicate.count, ByteSize(plan.duplicate.bytes)));
    }
    app.console.detail(1, &format!("unused: {} blobs / {}", plan.unused.count, ByteSize(plan.unused.bytes)));
    if plan.unreferenced_packs.count > 0 {
        let (count, size) = (plan.unreferenced_packs.count, ByteSize(plan.unreferenced_packs.bytes));
        app.console.say(&format!("unreferenced:     {count:>10} packs / {size}"));
    }
    blobs("to repack:", plan.repack.count, plan.repack.bytes);
    blobs("this removes:", plan.repack_remove.count, plan.repack_remove.bytes);
    blobs("to delete:", plan.remove.count, plan.remove.bytes + plan.unreferenced_packs.bytes);
    blobs("total prune:", plan.remove.count + plan.repack_remove.count, plan.freed());
    blobs("remaining:", plan.remain.count, plan.remain.bytes);
    let share = text::percent(plan.remain_unused, plan.remain.bytes);
    app.console.say(&format!("unused size after prune: {} ({share} of remaining size)", ByteSize(plan.remain_unused)));
}

fn tell(app: &App<'_>, report: &PruneReport) {
    if app.console.settings().json {
        app.console.json(&PruneSummary::new(report, app.requests()));
        return;
    }
    for id in &report.incomplete_snapshots {
        let id = id.get(..8).unwrap_or(id);
        app.console.warn(&format!(
            "snapshot {id} is marked as suspect and lacks something: its run was given up by a prune; see `volvault check`"
        ));
    }
    if report.dry_run {
        return;
    }
    let (packs, size) = (report.deleted_packs.count, ByteSize(report.deleted_packs.bytes));
    app.console.say(&format!("deleted {packs} packs, {size}; copied {}", ByteSize(report.copied.bytes)));
    if report.given_up > 0 {
        app.console.say(&format!("{} runs that gave no sign of life were not waited for", report.given_up));
    }
    if report.pending_packs > 0 {
        app.console.say(&format!(
            "{} packs are condemned and wait for {} runs that began before; the next prune deletes them",
            report.pending_packs, report.waits_for
        ));
    }
    app.console.say("done");
}
