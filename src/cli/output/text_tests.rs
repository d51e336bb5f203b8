//! Literal lines that wrappers look for.

use std::sync::Arc;

use super::*;
use crate::catalog::Metadata;
use crate::id::SessionId;
use crate::path::TreePath;

fn entry(node: Node, mode: u16) -> Entry {
    let stamp = Timestamp::default();
    let meta = Metadata {
        mode,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime: stamp,
        ctime: stamp,
        inode: 1,
        xattrs: Arc::new([]),
    };
    Entry { path: TreePath::root(), meta, node, link: None }
}

#[test]
fn times_and_parts_are_short() {
    for (seconds, expected) in [(0, "0:00"), (59, "0:59"), (61, "1:01"), (3723, "1:02:03")] {
        assert_eq!(in_minutes(Duration::from_secs(seconds)), expected);
    }
    assert_eq!((percent(1, 3).as_str(), percent(0, 0).as_str(), percent(4, 3).as_str()), ("33.33%", "", "100.00%"));
}

#[test]
fn permissions_are_shown_as_ls_shows_them_and_numbered_as_go_numbers_them() {
    for (node, mode, shown, go) in [
        (Node::Directory, 0o755, "drwxr-xr-x", 0x8000_01ed),
        (Node::Directory, 0o1777, "drwxrwxrwt", 0x8010_01ff),
        (Node::Fifo, 0o4644, "prwSr--r--", 0x0280_01a4),
        (Node::Symlink { target: b"x".to_vec() }, 0o777, "lrwxrwxrwx", 0x0800_01ff),
        (Node::CharDevice { major: 1, minor: 3 }, 0o2755, "crwxr-sr-x", 0x0460_01ed),
    ] {
        let entry = entry(node, mode);
        assert_eq!((permissions(&entry).as_str(), go_mode(&entry)), (shown, go));
    }
}

#[test]
fn the_end_of_a_backup_is_restics() {
    let summary = Summary {
        files_new: 12,
        dirs_new: 3,
        data_blobs: 4,
        tree_blobs: 2,
        data_added: 1536,
        data_added_packed: 700,
        total_files_processed: 25,
        total_bytes_processed: 3 << 20,
        ..Summary::default()
    };
    let mut report = BackupReport {
        snapshot: Some(SessionId::new([0x0f; 16])),
        stored: None,
        status: Status::Complete,
        summary,
        problems: 0,
        parent: None,
    };
    let expected = "
Files:          12 new,     0 changed,     0 unmodified
Dirs:            3 new,     0 changed,     0 unmodified
Added to the repository: 1.500 KiB (700 B stored)

processed 25 files, 3.000 MiB in 0:12
snapshot 0f0f0f0f saved";
    let plain = Told::default();
    assert_eq!(backup_report(&report, Told { took: Duration::from_secs(12), ..plain }), expected);
    assert!(
        backup_report(&report, Told { verbose: true, ..plain })
            .contains("\nData Blobs:      4 new\nTree Blobs:      2 new\n")
    );
    report.status = Status::Partial;
    assert!(backup_report(&report, plain).contains("partial snapshot 0f0f0f0f saved"));
    report.snapshot = None;
    assert!(backup_report(&report, plain).ends_with("skipped creating snapshot"));
    assert!(backup_report(&report, Told { dry_run: true, ..plain }).contains("Would add to the repository: 1.500 KiB"));
}

#[test]
fn the_end_of_a_restore_is_restics() {
    let mut report = RestoreReport {
        files_restored: 5,
        files_total: 5,
        bytes_restored: 2048,
        bytes_total: 2048,
        ..RestoreReport::default()
    };
    let took = Duration::from_secs(3);
    assert_eq!(restore_report(&report, took, false), "Summary: Restored 5 files/dirs (2.000 KiB) in 0:03");
    report.files_restored = 3;
    report.bytes_restored = 1024;
    report.files_skipped = 2;
    report.bytes_skipped = 1024;
    report.files_deleted = 1;
    assert_eq!(
        restore_report(&report, took, false),
        "Summary: Restored 3 / 5 files/dirs (1.000 KiB / 2.000 KiB) in 0:03, skipped 2 files/dirs 1.000 KiB, deleted 1 files/dirs"
    );
}
