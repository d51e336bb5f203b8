//! `snapshots`.

use std::collections::{BTreeMap, HashMap};

use crate::cli::App;
use crate::cli::args::SnapshotsArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::{self, SnapshotGroup, SnapshotInfo};
use crate::cli::output::table::Table;
use crate::cli::output::text;
use crate::cli::settings::{Chosen, Latest, choose, filter};
use crate::error::Result;
use crate::repo::{Session, Snapshot, SnapshotFilter, Status};
use crate::retention::{GroupKey, Grouping};
use crate::size::ByteSize;

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
        for line in table(snapshots, args.compact).lines() {
            app.console.row(&line);
        }
    }
    Ok(Outcome::Complete)
}

fn load(app: &App<'_>, session: &Session<'_>, chosen: &[Chosen], filter: &SnapshotFilter) -> Result<Vec<Snapshot>> {
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

fn groups(snapshots: Vec<Snapshot>, grouping: Grouping) -> BTreeMap<GroupKey, Vec<Snapshot>> {
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

fn header(key: &GroupKey) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(key.host.as_ref().map(|host| format!("host [{}]", text::name(host))));
    let tags = |tags: &Vec<String>| tags.iter().map(|tag| text::name(tag)).collect::<Vec<_>>().join(", ");
    parts.extend(key.tags.as_ref().map(|list| format!("tags [{}]", tags(list))));
    let paths =
        |paths: &Vec<Vec<u8>>| paths.iter().map(|path| crate::path::escape(path)).collect::<Vec<_>>().join(", ");
    parts.extend(key.paths.as_ref().map(|list| format!("paths [{}]", paths(list))));
    (!parts.is_empty()).then(|| format!("snapshots for ({}):", parts.join(", ")))
}

fn table(snapshots: &[Snapshot], compact: bool) -> Table {
    let full = ["ID", "Time", "Host      ", "Tags      ", "Paths", "Size"];
    let mut table = if compact { Table::new(&["ID", "Time", "Host", "Tags  ", "Size"]) } else { Table::new(&full) };
    for snapshot in snapshots {
        let mut tags: Vec<String> = snapshot.tags.iter().map(|tag| text::name(tag)).collect();
        if snapshot.status == Status::Partial {
            tags.push("(partial)".to_owned());
        }
        let paths: Vec<String> = snapshot.paths.iter().map(|path| crate::path::escape(path)).collect();
        let mut cells = vec![
            vec![snapshot.id.short()],
            vec![text::time(&snapshot.time)],
            vec![text::name(&snapshot.host)],
            if compact { tags } else { vec![tags.join(",")] },
        ];
        if !compact {
            cells.push(paths);
        }
        cells.push(vec![ByteSize(snapshot.summary.total_bytes_processed).to_string()]);
        table.row(cells);
    }
    table.spaced(!compact && snapshots.iter().any(|snapshot| snapshot.paths.len() > 1));
    table.footer(format!("{} snapshots", snapshots.len()));
    table
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
