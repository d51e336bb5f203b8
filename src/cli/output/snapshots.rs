//! Snapshots for people: groups and tables as restic prints them.

use super::table::Table;
use super::text;
use crate::path::escape;
use crate::repo::{Snapshot, Status};
use crate::retention::GroupKey;
use crate::size::ByteSize;

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// What it tells of.
    pub(crate) snapshot: &'a Snapshot,
    /// Why it stays, where that is told.
    pub(crate) reasons: &'a [String],
}

impl<'a> From<&'a Snapshot> for Row<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, reasons: &[] }
    }
}

/// The line above a group; none where nothing is grouped by.
pub(crate) fn header(key: &GroupKey) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(key.host.as_ref().map(|host| format!("host [{}]", text::name(host))));
    let tags = |tags: &Vec<String>| tags.iter().map(|tag| text::name(tag)).collect::<Vec<_>>().join(", ");
    parts.extend(key.tags.as_ref().map(|list| format!("tags [{}]", tags(list))));
    let paths = |paths: &Vec<Vec<u8>>| paths.iter().map(|path| escape(path)).collect::<Vec<_>>().join(", ");
    parts.extend(key.paths.as_ref().map(|list| format!("paths [{}]", paths(list))));
    (!parts.is_empty()).then(|| format!("snapshots for ({}):", parts.join(", ")))
}

/// The table of these rows; `compact` leaves reasons and paths out.
pub(crate) fn table(rows: &[Row<'_>], compact: bool) -> Table {
    let reasoned = !compact && rows.iter().any(|row| !row.reasons.is_empty());
    let mut table = if compact {
        Table::new(&["ID", "Time", "Host", "Tags  ", "Size"])
    } else if reasoned {
        Table::new(&["ID", "Time", "Host      ", "Tags      ", "Reasons", "Paths", "Size"])
    } else {
        Table::new(&["ID", "Time", "Host      ", "Tags      ", "Paths", "Size"])
    };
    for Row { snapshot, reasons } in rows {
        let mut tags: Vec<String> = snapshot.tags.iter().map(|tag| text::name(tag)).collect();
        if snapshot.status == Status::Partial {
            tags.push("(partial)".to_owned());
        }
        let mut cells = vec![
            vec![snapshot.id.short()],
            vec![text::time(&snapshot.time)],
            vec![text::name(&snapshot.host)],
            if compact { tags } else { vec![tags.join(",")] },
        ];
        if reasoned {
            // A tag may be part of a reason.
            cells.push(reasons.iter().map(|reason| text::name(reason)).collect());
        }
        if !compact {
            cells.push(snapshot.paths.iter().map(|path| escape(path)).collect());
        }
        cells.push(vec![ByteSize(snapshot.summary.total_bytes_processed).to_string()]);
        table.row(cells);
    }
    table.spaced(!compact && rows.iter().any(|row| row.snapshot.paths.len() > 1));
    table.footer(format!("{} snapshots", rows.len()));
    table
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
