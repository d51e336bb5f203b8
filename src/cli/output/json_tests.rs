//! Literal lines, worked out by hand from restic's documentation.

use super::*;

#[test]
fn a_status_leaves_out_what_is_zero_but_the_fraction() {
    let empty = BackupStatus { message_type: "status", ..BackupStatus::default() };
    assert_eq!(line(&empty), r#"{"message_type":"status","percent_done":0.0}"#);
    let full = BackupStatus {
        message_type: "status",
        seconds_elapsed: 3,
        seconds_remaining: 9,
        percent_done: 0.25,
        total_files: 8,
        files_done: 2,
        total_bytes: 400,
        bytes_done: 100,
        error_count: 1,
        current_files: vec!["/a".into()],
    };
    assert_eq!(
        line(&full),
        concat!(
            r#"{"message_type":"status","seconds_elapsed":3,"seconds_remaining":9,"percent_done":0.25,"total_files":8,"#,
            r#""files_done":2,"total_bytes":400,"bytes_done":100,"error_count":1,"current_files":["/a"]}"#
        )
    );
    let restore = RestoreStatus {
        message_type: "status",
        percent_done: 0.5,
        total_files: 2,
        files_restored: 1,
        ..Default::default()
    };
    assert_eq!(line(&restore), r#"{"message_type":"status","percent_done":0.5,"total_files":2,"files_restored":1}"#);
}

#[test]
fn the_summary_of_a_backup_is_restics() {
    let counters = Summary {
        backup_start: "2024-03-01T10:00:00Z".into(),
        backup_end: "2024-03-01T10:00:02Z".into(),
        files_new: 1,
        files_changed: 2,
        files_unmodified: 3,
        dirs_new: 4,
        dirs_changed: 5,
        dirs_unmodified: 6,
        data_blobs: 7,
        tree_blobs: 8,
        data_added: 9,
        data_added_packed: 10,
        total_files_processed: 11,
        total_bytes_processed: 12,
        errors: 0,
    };
    let summary =
        BackupSummary { total_duration: 2.5, snapshot_id: Some("12ab".into()), ..BackupSummary::new(&counters) };
    let expected = concat!(
        r#"{"message_type":"summary","files_new":1,"files_changed":2,"files_unmodified":3,"dirs_new":4,"dirs_changed":5,"#,
        r#""dirs_unmodified":6,"data_blobs":7,"tree_blobs":8,"data_added":9,"data_added_packed":10,"#,
        r#""total_files_processed":11,"total_bytes_processed":12,"total_duration":2.5,"#,
        r#""backup_start":"2024-03-01T10:00:00Z","backup_end":"2024-03-01T10:00:02Z","snapshot_id":"12ab"}"#
    );
    assert_eq!(line(&summary), expected);
    let skipped = BackupSummary {
        dry_run: true,
        status: Some("partial"),
        requests: Some(RequestCounts::default()),
        ..BackupSummary::new(&counters)
    };
    let text = line(&skipped);
    assert!(text.starts_with(r#"{"message_type":"summary","dry_run":true,"files_new":1,"#), "{text}");
    assert!(text.contains(r#""backup_end":"2024-03-01T10:00:02Z","status":"partial","requests":{"get":0,"#), "{text}");
}

#[test]
fn messages_of_single_items_are_restics() {
    let item = BackupItem {
        message_type: "verbose_status",
        action: "new",
        item: "/a",
        duration: 0.0,
        data_size: 5,
        data_size_in_repo: 0,
        metadata_size: 0,
        metadata_size_in_repo: 0,
        total_files: 0,
    };
    assert_eq!(
        line(&item),
        concat!(
            r#"{"message_type":"verbose_status","action":"new","item":"/a","duration":0.0,"data_size":5,"#,
            r#""data_size_in_repo":0,"metadata_size":0,"metadata_size_in_repo":0,"total_files":0}"#
        )
    );
    let item = RestoreItem { message_type: "verbose_status", action: "restored", item: "/a", size: 5 };
    assert_eq!(line(&item), r#"{"message_type":"verbose_status","action":"restored","item":"/a","size":5}"#);
    let error = ItemError { message_type: "error", error: Message { message: "no" }, during: "archival", item: "/a" };
    assert_eq!(line(&error), r#"{"message_type":"error","error":{"message":"no"},"during":"archival","item":"/a"}"#);
    let exit = ExitError { message_type: "exit_error", code: 10, message: "a\nb" };
    assert_eq!(line(&exit), r#"{"message_type":"exit_error","code":10,"message":"a\nb"}"#);
}

#[test]
fn the_other_commands_print_restics_shapes() {
    let summary = RestoreSummary {
        message_type: "summary",
        total_files: 2,
        files_restored: 1,
        files_skipped: 1,
        ..Default::default()
    };
    assert_eq!(line(&summary), r#"{"message_type":"summary","total_files":2,"files_restored":1,"files_skipped":1}"#);
    let check = |broken_packs| CheckSummary {
        message_type: "summary",
        num_errors: 0,
        broken_packs,
        suggest_repair_index: false,
        suggest_prune: false,
        coverage: None,
        checksums: None,
        requests: None,
    };
    assert_eq!(
        line(&check(None)),
        r#"{"message_type":"summary","num_errors":0,"broken_packs":null,"suggest_repair_index":false,"suggest_prune":false}"#
    );
    let broken = vec!["12".to_owned()];
    assert!(line(&check(Some(&broken))).contains(r#""broken_packs":["12"]"#));
    let made = Initialized { message_type: "initialized", id: "12", repository: "/r" };
    assert_eq!(line(&made), r#"{"message_type":"initialized","id":"12","repository":"/r"}"#);
    let key = KeyInfo {
        current: true,
        id: "12".into(),
        user_name: "u".into(),
        host_name: "h".into(),
        created: "2024-03-01 10:00:00".into(),
        kind: "key32",
        label: String::new(),
    };
    assert_eq!(
        line(&key),
        r#"{"current":true,"id":"12","userName":"u","hostName":"h","created":"2024-03-01 10:00:00","kind":"key32"}"#
    );
    let group = GroupKey { hostname: "h", paths: Some(vec!["/a".into()]), tags: None };
    assert_eq!(line(&group), r#"{"hostname":"h","paths":["/a"],"tags":null}"#);
}

#[test]
fn a_node_is_flat_and_says_twice_what_it_is() {
    let node = NodeInfo {
        name: "b".into(),
        kind: "file",
        path: "/a/b".into(),
        uid: 0,
        gid: 5,
        size: Some(0),
        mode: 0o644,
        permissions: "-rw-r--r--".into(),
        mtime: "2024-03-01T10:00:00Z".into(),
        atime: "2024-03-01T10:00:00Z".into(),
        ctime: "2024-03-01T10:00:00Z".into(),
        inode: 7,
        linktarget: None,
    };
    assert_eq!(
        line(&Messaged { value: node, message_type: "node", struct_type: "node" }),
        concat!(
            r#"{"name":"b","type":"file","path":"/a/b","uid":0,"gid":5,"size":0,"mode":420,"permissions":"-rw-r--r--","#,
            r#""mtime":"2024-03-01T10:00:00Z","atime":"2024-03-01T10:00:00Z","ctime":"2024-03-01T10:00:00Z","inode":7,"#,
            r#""message_type":"node","struct_type":"node"}"#
        )
    );
}
