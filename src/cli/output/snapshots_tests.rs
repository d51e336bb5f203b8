//! The table that wrappers cut.

use chrono::DateTime;

use super::*;
use crate::catalog::InnerPage;
use crate::id::SessionId;
use crate::repo::Summary;

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

fn shown(snapshots: &[Snapshot], compact: bool) -> Vec<String> {
    table(&snapshots.iter().map(Row::from).collect::<Vec<_>>(), compact).lines()
}

#[test]
fn the_first_words_of_a_line_with_the_path_are_id_date_and_time() {
    let mut partial = snapshot(2, "volsync", &["/data"]);
    partial.status = Status::Partial;
    partial.tags = vec!["a".into(), "b".into()];
    let lines = shown(&[snapshot(1, "volsync", &["/data"]), partial], false);
    let first = text::time(&snapshot(1, "", &[]).time);
    // As in `snapshots | grep /data | awk '{print $1,$2,$3}'`.
    let words: Vec<String> = lines
        .iter()
        .filter(|line| line.contains("/data"))
        .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(words[0], format!("01010101 {first}"));
    assert_eq!(words.len(), 2);
    assert_eq!(lines[0], "ID        Time                 Host        Tags           Paths  Size");
    assert!(lines[3].contains("a,b,(partial)  /data  1.500 KiB"), "{}", lines[3]);
    assert_eq!(lines.last().unwrap(), "2 snapshots");
}

#[test]
fn several_paths_stand_one_below_the_other() {
    let lines = shown(&[snapshot(1, "h", &["/a", "/b"]), snapshot(2, "h", &["/a"])], false);
    assert!(lines[2].contains("/a") && lines[3].trim_start().starts_with("/b") && lines[4].is_empty(), "{lines:#?}");
    let compact = shown(&[snapshot(1, "h", &["/a", "/b"])], true);
    assert!(compact.iter().all(|line| !line.contains("/a")), "{compact:#?}");
}

#[test]
fn reasons_stand_beside_what_stays() {
    let (first, second) = (snapshot(1, "h", &["/data"]), snapshot(2, "h", &["/data"]));
    let reasons = ["last snapshot".to_owned(), "daily snapshot".to_owned()];
    let rows = [Row::from(&first), Row { snapshot: &second, reasons: &reasons }];
    let lines = table(&rows, false).lines();
    assert_eq!(lines[0], "ID        Time                 Host        Tags        Reasons         Paths  Size");
    assert!(lines[3].contains("h                       last snapshot   /data"), "{}", lines[3]);
    assert_eq!(lines[4].trim(), "daily snapshot");
    assert!(!table(&rows, true).lines().concat().contains("daily"));
}
