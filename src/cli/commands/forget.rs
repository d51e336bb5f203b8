//! `forget`.

use std::collections::BTreeSet;

use crate::cli::App;
use crate::cli::args::ForgetArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::{self, SnapshotInfo};
use crate::cli::output::snapshots::{Row, header, table};
use crate::cli::settings::{Chosen, Latest, choose, filter, forget_options, prune_options};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;
use crate::maintenance::{self, ForgetGroup, ForgetPlan};
use crate::repo::{Repository, Session};

use super::prune;
use super::snapshots::tree_id;

/// Removes snapshots: the named ones, or those that the policy does not keep.
pub(in crate::cli) fn run(app: &App<'_>, args: &ForgetArgs) -> Result<Outcome> {
    if args.ids.is_empty() { by_policy(app, args) } else { by_id(app, args) }
}

fn by_policy(app: &App<'_>, args: &ForgetArgs) -> Result<Outcome> {
    let options = forget_options(args, app.environment)?;
    prune_options(&args.prune_options, args.dry_run)?;
    let repository = app.open()?;
    let session = repository.observe()?;
    let plan = ForgetPlan::by_policy(&session, &options)?;
    for (name, error) in &plan.unreadable {
        app.console.warn(&format!("ignoring snapshot {}: {}", name.id.short(), error.chain()));
    }
    app.console.say(&format!("Applying Policy: {}", options.policy));
    plan.groups.iter().for_each(|group| tell(app, group, args.compact));
    let outcome = remove(app, (&session, args), &plan.removed(), &options.policy.to_string())?;
    if app.console.settings().json && !plan.groups.is_empty() {
        let info = |snapshot| SnapshotInfo::new(snapshot, tree_id(snapshot));
        let groups: Vec<_> = plan.groups.iter().map(|group| json::ForgetGroup::new(group, &info)).collect();
        app.console.json(&groups);
    }
    then_prune(app, (&repository, args), (outcome, &plan.removed()))
}

fn by_id(app: &App<'_>, args: &ForgetArgs) -> Result<Outcome> {
    let filter = filter(&args.filter(), app.environment)?;
    let chosen = args.ids.iter().map(|id| chosen(id)).collect::<Result<Vec<_>>>()?;
    prune_options(&args.prune_options, args.dry_run)?;
    let repository = app.open()?;
    let session = repository.observe()?;
    let mut ids = BTreeSet::new();
    for (text, chosen) in args.ids.iter().zip(chosen) {
        match session.find_name(&chosen.selector, &filter) {
            Ok(name) => drop(ids.insert(name.id)),
            // As restic: what is gone need not be removed, so that a script can be run again.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                app.console.warn(&format!("Ignoring {text:?}: {}", error.chain()));
            }
            Err(error) => return Err(error),
        }
    }
    let outcome = remove(app, (&session, args), &ids, "named")?;
    then_prune(app, (&repository, args), (outcome, &ids))
}

fn chosen(id: &str) -> Result<Chosen> {
    let chosen = choose(id, Latest::default())?;
    if chosen.subfolder.is_some() {
        return Err(Error::invalid(format!("{id:?} names a folder; a snapshot is removed as a whole")));
    }
    Ok(chosen)
}

fn tell(app: &App<'_>, group: &ForgetGroup, compact: bool) {
    let list = |what: &str, rows: &[Row<'_>]| {
        if !rows.is_empty() {
            app.console.say(&format!("{what} {} snapshots:", rows.len()));
            table(rows, compact).lines().iter().for_each(|line| app.console.say(line));
            app.console.say("");
        }
    };
    if let Some(header) = header(&group.key) {
        app.console.say(&header);
    }
    // Newest last, as in `snapshots`.
    let keep: Vec<_> = group.keep.iter().rev().map(|(snapshot, reasons)| Row { snapshot, reasons }).collect();
    list("keep", &keep);
    list("remove", &group.remove.iter().rev().map(Row::from).collect::<Vec<_>>());
}

fn remove(
    app: &App<'_>,
    (session, args): (&Session<'_>, &ForgetArgs),
    ids: &BTreeSet<SessionId>,
    reason: &str,
) -> Result<Outcome> {
    if ids.is_empty() {
        return Ok(Outcome::Complete);
    }
    if args.dry_run {
        let ids: Vec<String> = ids.iter().map(SessionId::short).collect();
        app.console.say(&format!("Would have removed the following snapshots:\n{{{}}}\n", ids.join(" ")));
        return Ok(Outcome::Complete);
    }
    let report = maintenance::forget(session, ids, reason)?;
    for (id, error) in &report.not_removed {
        app.console.warn(&format!("unable to remove snapshot {}: {}", id.short(), error.chain()));
    }
    app.console.say(&format!("{} of {} snapshots removed", report.removed, ids.len()));
    Ok(if report.not_removed.is_empty() { Outcome::Complete } else { Outcome::SomeNotRemoved })
}

/// Only after something was removed, and nothing failed.
fn then_prune(
    app: &App<'_>,
    (repository, args): (&Repository, &ForgetArgs),
    (outcome, removed): (Outcome, &BTreeSet<SessionId>),
) -> Result<Outcome> {
    if !args.prune || removed.is_empty() || outcome != Outcome::Complete {
        return Ok(outcome);
    }
    if args.dry_run {
        app.console.say(&format!("{} snapshots would be removed, running prune dry run", removed.len()));
        return prune::foresee(app, repository, &args.prune_options, removed);
    }
    app.console.say(&format!("{} snapshots have been removed, running prune", removed.len()));
    prune::prune(app, repository, &args.prune_options, false)
}
