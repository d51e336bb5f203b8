//! Groups, and the newest of each.

use super::*;

#[test]
fn the_newest_of_each_source_are_kept() {
    let mut snapshots: Vec<Snapshot> = [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "b")]
        .iter()
        .map(|(number, host)| Snapshot::sample(*number, host, &["/data"]))
        .collect();
    newest_of_each(&mut snapshots, 2);
    let left: Vec<String> = snapshots.iter().map(|snapshot| snapshot.id.short()).collect();
    assert_eq!(left, ["02020202", "03030303", "04040404", "05050505"]);
}

#[test]
fn groups_are_sorted_and_named() {
    let all = vec![
        Snapshot::sample(1, "b", &["/y", "/x"]),
        Snapshot::sample(2, "a", &["/x"]),
        Snapshot::sample(3, "b", &["/x", "/y"]),
    ];
    let made = groups(all, Grouping::BY_SOURCE);
    let headers: Vec<String> = made.keys().filter_map(header).collect();
    assert_eq!(headers, ["snapshots for (host [a], paths [/x]):", "snapshots for (host [b], paths [/x, /y]):"]);
    assert_eq!(made.values().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(groups(Vec::new(), Grouping::default()).len(), 1);
    assert!(groups(Vec::new(), Grouping::BY_SOURCE).is_empty());
}

#[test]
fn equal_trees_have_equal_names() {
    assert_eq!(tree_id(&Snapshot::sample(1, "a", &[])), tree_id(&Snapshot::sample(2, "b", &[])));
    assert_eq!(tree_id(&Snapshot::sample(1, "a", &[])).len(), 64);
}
