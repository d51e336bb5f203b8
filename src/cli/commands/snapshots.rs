//! `snapshots`.

use std::collections::{BTreeMap, HashMap};

use crate::cli::App;
use crate::cli::args::SnapshotsArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::{self, SnapshotGroup, SnapshotInfo};
use crate::cli::output::snapshots::{Row, header, table};
use crate::cli::settings::{Chosen, Latest, choose, filter};
use crate::error::Result;
use crate::repo::{Session, Snapshot, SnapshotFilter};
use crate::retention::{GroupKey, Grouping};

/// Lists snapshots.
pub(in crate::cli) fn run(app: &App<'_>, args: &SnapshotsArgs) -> Result<Outcome> {
    let filter = filter(&args.filter, app.environment)?;
    let chosen = args.ids.iter().map(|id| choose(id, Latest::default())).collect::<Result<Vec<_>>>()?;
    let grouping = args.group_by.as_deref().map(str::parse::<Grouping>).transpose()?.unwrap_or_default();
    let repository = app.open()?;
    let mut snapshots = load(app, &repository.observe()?, &chosen, &filter)?;
    // Oldest first, as restic prints them.
    snapshots.sort_by_key(|snapshot| snapshot.time);
    if let Some(count) = args.latest.filter(|count| *count > 0) {
        newest_of_each(&mut snapshots, count);
    }
    let groups = groups(snapshots, grouping);
    if app.console.settings().json {
        print_json(app, &groups, grouping);
        return Ok(Outcome::Complete);
    }
    for (key, snapshots) in &groups {
        if let Some(header) = header(key) {
            app.console.row(&header);
        }
        let rows: Vec<Row<'_>> = snapshots.iter().map(Row::from).collect();
        for line in table(&rows, args.compact).lines() {
            app.console.row(&line);
        }
    }
    Ok(Outcome::Complete)
}

/// The chosen snapshots, or all that the filter means; those that cannot be read are told.
pub(super) fn load(
    app: &App<'_>,
    session: &Session<'_>,
    chosen: &[Chosen],
    filter: &SnapshotFilter,
) -> Result<Vec<Snapshot>> {
    if !chosen.is_empty() {
        return chosen.iter().map(|chosen| session.find(&chosen.selector, filter)).collect();
    }
    let (snapshots, unreadable) = session.load_all(filter)?;
    for (name, error) in unreadable {
        app.console.warn(&format!("ignoring snapshot {}: {}", name.id.short(), error.chain()));
    }
    Ok(snapshots)
}

/// Keeps the last `count` of each host and set of paths; `snapshots` are sorted by time.
fn newest_of_each(snapshots: &mut Vec<Snapshot>, count: usize) {
    let mut seen: HashMap<GroupKey, usize> = HashMap::new();
    let mut keep: Vec<bool> = snapshots
        .iter()
        .rev()
        .map(|snapshot| {
            let number = seen.entry(group_key(snapshot, Grouping::BY_SOURCE)).or_default();
            *number += 1;
            *number <= count
        })
        .collect();
    snapshots.retain(|_| keep.pop().unwrap_or(true));
}

/// Snapshots by what they have in common, in the order of that.
pub(super) fn groups(snapshots: Vec<Snapshot>, grouping: Grouping) -> BTreeMap<GroupKey, Vec<Snapshot>> {
    let mut groups: BTreeMap<GroupKey, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        groups.entry(group_key(&snapshot, grouping)).or_default().push(snapshot);
    }
    if groups.is_empty() && grouping == Grouping::default() {
        // A table without rows says more than nothing.
        groups.insert(GroupKey::default(), Vec::new());
    }
    groups
}

fn group_key(snapshot: &Snapshot, grouping: Grouping) -> GroupKey {
    grouping.key(&snapshot.host, &snapshot.paths, &snapshot.tags)
}

fn print_json(app: &App<'_>, groups: &BTreeMap<GroupKey, Vec<Snapshot>>, grouping: Grouping) {
    let infos = |snapshots: &'_ [Snapshot]| -> Vec<String> {
        snapshots.iter().map(|snapshot| json::line(&SnapshotInfo::new(snapshot, tree_id(snapshot)))).collect()
    };
    if grouping == Grouping::default() {
        let all: Vec<String> = groups.values().flat_map(|snapshots| infos(snapshots)).collect();
        app.console.line(&format!("[{}]", all.join(",")));
        return;
    }
    let groups: Vec<SnapshotGroup<'_>> = groups
        .iter()
        .map(|(key, snapshots)| SnapshotGroup {
            group_key: json::GroupKey::new(key),
            snapshots: snapshots.iter().map(|snapshot| SnapshotInfo::new(snapshot, tree_id(snapshot))).collect(),
        })
        .collect();
    app.console.line(&json::line(&groups));
}

/// A name for the content of a snapshot: equal trees have equal ones.
pub(super) fn tree_id(snapshot: &Snapshot) -> String {
    let mut hasher = blake3::Hasher::new();
    // Where the pages lie is not content.
    for child in &snapshot.root.children {
        hasher.update(child.id.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
