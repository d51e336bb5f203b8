//! Groups, filters, and what is refused; the rules have their own tests in `retention`.

use super::*;
use crate::retention::Count;

fn snapshot(day: u8, host: &str, paths: &[&[u8]]) -> Snapshot {
    Snapshot { paths: paths.iter().map(|path| path.to_vec()).collect(), ..Snapshot::sample(day, host, &[]) }
}

fn partial(day: u8, host: &str) -> Snapshot {
    Snapshot { status: Status::Partial, ..snapshot(day, host, &[b"/data"]) }
}

fn keep_last() -> ForgetOptions {
    let policy = Policy { last: Count::UpTo(1), ..Policy::default() };
    let filter = SnapshotFilter::default();
    ForgetOptions { policy, grouping: Grouping::BY_SOURCE, filter, allow_remove_all: false }
}

/// Days that stay and days that go, group by group.
fn sorted_out(mut snapshots: Vec<Snapshot>, options: &ForgetOptions) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.time));
    let now = DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z").unwrap().to_utc();
    let doubtful = BTreeSet::from([SessionId::new([30; 16])]);
    let groups = sort_out(snapshots, &doubtful, options, now)?;
    let day = |snapshot: &Snapshot| snapshot.id.as_bytes()[0];
    Ok(groups
        .iter()
        .map(|group| {
            (group.keep.iter().map(|(snapshot, _)| day(snapshot)).collect(), group.remove.iter().map(day).collect())
        })
        .collect())
}

#[test]
fn each_group_is_judged_by_itself_and_groups_are_sorted() {
    let all = || {
        vec![
            snapshot(1, "b", &[b"/data"]),
            snapshot(2, "a", &[b"/data"]),
            snapshot(3, "b", &[b"/data"]),
            snapshot(4, "a", &[b"/other", b"/data"]),
            snapshot(5, "a", &[b"/data", b"/other"]),
        ]
    };
    let groups = sorted_out(all(), &keep_last()).unwrap();
    assert_eq!(groups, [(vec![2], vec![]), (vec![5], vec![4]), (vec![3], vec![1])]);
    let one = ForgetOptions { grouping: Grouping::default(), ..keep_last() };
    assert_eq!(sorted_out(all(), &one).unwrap(), [(vec![5], vec![4, 3, 2, 1])]);
}

#[test]
fn paths_that_only_look_alike_are_two_sources() {
    let all = vec![snapshot(1, "a", &[b"/\xff"]), snapshot(2, "a", &[b"/\xfe"])];
    assert_eq!(sorted_out(all, &keep_last()).unwrap().len(), 2);
}

#[test]
fn what_the_filter_does_not_mean_is_not_looked_at() {
    let all = vec![snapshot(1, "a", &[b"/data"]), snapshot(2, "b", &[b"/data"]), snapshot(3, "a", &[b"/data"])];
    let filter = SnapshotFilter { hosts: vec!["a".into()], ..SnapshotFilter::default() };
    let groups = sorted_out(all, &ForgetOptions { filter, ..keep_last() }).unwrap();
    assert_eq!(groups, [(vec![3], vec![1])]);
}

#[test]
fn a_policy_that_would_empty_a_group_is_refused() {
    let tags = vec![vec!["keep".to_owned()]];
    let options = ForgetOptions { policy: Policy { tags, ..Policy::default() }, ..keep_last() };
    let mut tagged = snapshot(1, "a", &[b"/data"]);
    tagged.tags = vec!["keep".to_owned()];
    assert_eq!(sorted_out(vec![tagged.clone()], &options).unwrap(), [(vec![1], vec![])]);
    let error = sorted_out(vec![tagged, snapshot(2, "b", &[b"/data", b"/x"])], &options).unwrap_err();
    assert!(error.to_string().contains(r#"snapshot group "host b, path [/data /x]""#), "{error}");
    // A partial one that stays is not what the group had.
    let left = vec![snapshot(1, "a", &[b"/data"]), partial(2, "a")];
    assert!(sorted_out(left, &options).is_err());
    // An empty policy is a wish of its own.
    let all = ForgetOptions { policy: Policy::default(), allow_remove_all: true, ..keep_last() };
    assert_eq!(sorted_out(vec![snapshot(1, "a", &[b"/data"])], &all).unwrap(), [(vec![], vec![1])]);
}

#[test]
fn partial_and_doubtful_snapshots_take_no_place() {
    let source = |day| snapshot(day, "a", &[b"/data"]);
    // Day 30 is of a session that a prune gave up.
    let groups = sorted_out(vec![source(1), source(2), partial(3, "a"), source(30)], &keep_last()).unwrap();
    assert_eq!(groups, [(vec![30, 3, 2], vec![1])]);
    let groups = sorted_out(vec![source(1), partial(2, "a"), source(3), source(30)], &keep_last()).unwrap();
    assert_eq!(groups, [(vec![30, 3], vec![2, 1])]);
    // A complete one of another source supersedes nothing, in whatever group they are.
    let one = ForgetOptions { grouping: Grouping::default(), ..keep_last() };
    let groups = sorted_out(vec![partial(1, "a"), snapshot(2, "b", &[b"/data"])], &one).unwrap();
    assert_eq!(groups, [(vec![2, 1], vec![])]);
    // Only partial ones: nothing is refused, and nothing goes.
    assert_eq!(sorted_out(vec![partial(1, "a"), partial(2, "a")], &keep_last()).unwrap(), [(vec![2, 1], vec![])]);
}

#[test]
fn a_later_complete_snapshot_counts_even_where_the_filter_leaves_it_out() {
    let mut tagged = partial(1, "a");
    tagged.tags = vec!["x".to_owned()];
    let filter = SnapshotFilter { tags: vec![vec!["x".to_owned()]], ..SnapshotFilter::default() };
    let all = vec![tagged, snapshot(2, "a", &[b"/data"])];
    assert_eq!(sorted_out(all, &ForgetOptions { filter, ..keep_last() }).unwrap(), [(vec![], vec![1])]);
}
