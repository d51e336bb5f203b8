//! Groups, and the newest of each.

use chrono::DateTime;

use super::*;
use crate::catalog::InnerPage;
use crate::id::SessionId;
use crate::repo::{Status, Summary};

fn snapshot(number: u8, host: &str, paths: &[&str]) -> Snapshot {
    Snapshot {
        id: SessionId::new([number; 16]),
        time: DateTime::parse_from_rfc3339(&format!("2024-03-0{number}T10:00:00Z")).unwrap(),
        host: host.into(),
        user: "root".into(),
        uid: 0,
        gid: 0,
        paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
        tags: Vec::new(),
        excludes: Vec::new(),
        parent: None,
        original: None,
        status: Status::Complete,
        root: InnerPage { level: 1, children: Vec::new() },
        program: "volvault 0.1.0".into(),
        summary: Summary { total_bytes_processed: 1536, ..Summary::default() },
        seq: 0,
        prev: None,
        sparse: Vec::new(),
    }
}

#[test]
fn the_newest_of_each_source_are_kept() {
    let mut snapshots: Vec<Snapshot> = [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "b")]
        .iter()
        .map(|(number, host)| snapshot(*number, host, &["/data"]))
        .collect();
    newest_of_each(&mut snapshots, 2);
    let left: Vec<String> = snapshots.iter().map(|snapshot| snapshot.id.short()).collect();
    assert_eq!(left, ["02020202", "03030303", "04040404", "05050505"]);
}

#[test]
fn groups_are_sorted_and_named() {
    let all = vec![snapshot(1, "b", &["/y", "/x"]), snapshot(2, "a", &["/x"]), snapshot(3, "b", &["/x", "/y"])];
    let made = groups(all, Grouping::BY_SOURCE);
    let headers: Vec<String> = made.keys().filter_map(header).collect();
    assert_eq!(headers, ["snapshots for (host [a], paths [/x]):", "snapshots for (host [b], paths [/x, /y]):"]);
    assert_eq!(made.values().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(groups(Vec::new(), Grouping::default()).len(), 1);
    assert!(groups(Vec::new(), Grouping::BY_SOURCE).is_empty());
}

#[test]
fn equal_trees_have_equal_names() {
    assert_eq!(tree_id(&snapshot(1, "a", &[])), tree_id(&snapshot(2, "b", &[])));
    assert_eq!(tree_id(&snapshot(1, "a", &[])).len(), 64);
}
