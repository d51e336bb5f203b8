//! The table that wrappers cut.

use super::*;

fn shown(snapshots: &[Snapshot], compact: bool) -> Vec<String> {
    table(&snapshots.iter().map(Row::from).collect::<Vec<_>>(), compact).lines()
}

#[test]
fn the_first_words_of_a_line_with_the_path_are_id_date_and_time() {
    let mut partial = Snapshot::sample(2, "volsync", &["/data"]);
    partial.status = Status::Partial;
    partial.tags = vec!["a".into(), "b".into()];
    let lines = shown(&[Snapshot::sample(1, "volsync", &["/data"]), partial], false);
    let first = text::time(&Snapshot::sample(1, "", &[]).time);
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
    let lines = shown(&[Snapshot::sample(1, "h", &["/a", "/b"]), Snapshot::sample(2, "h", &["/a"])], false);
    assert!(lines[2].contains("/a") && lines[3].trim_start().starts_with("/b") && lines[4].is_empty(), "{lines:#?}");
    let compact = shown(&[Snapshot::sample(1, "h", &["/a", "/b"])], true);
    assert!(compact.iter().all(|line| !line.contains("/a")), "{compact:#?}");
}

#[test]
fn reasons_stand_beside_what_stays() {
    let (first, second) = (Snapshot::sample(1, "h", &["/data"]), Snapshot::sample(2, "h", &["/data"]));
    let reasons = ["last snapshot".to_owned(), "daily snapshot".to_owned()];
    let rows = [Row::from(&first), Row { snapshot: &second, reasons: &reasons }];
    let lines = table(&rows, false).lines();
    assert_eq!(lines[0], "ID        Time                 Host        Tags        Reasons         Paths  Size");
    assert!(lines[3].contains("h                       last snapshot   /data"), "{}", lines[3]);
    assert_eq!(lines[4].trim(), "daily snapshot");
    assert!(!table(&rows, true).lines().concat().contains("daily"));
}
