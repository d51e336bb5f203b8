//! Blocks and lines as rclone 1.75.2 printed them.

use super::*;

#[test]
fn the_block_is_rclones() {
    let first = Tally {
        bytes: 700_003,
        bytes_total: 700_003,
        checks: 1,
        checks_total: 1,
        listed: 5,
        deleted_files: 1,
        deleted_dirs: 1,
        deleted_bytes: 4,
        transfers: 2,
        transfers_total: 2,
        ..Tally::default()
    };
    assert_eq!(
        stats(&first, Duration::from_millis(12), ErrorNote::Retry),
        "Transferred:   \t  683.597 KiB / 683.597 KiB, 100%, 0 B/s, ETA -\n\
         Checks:                 1 / 1, 100%, Listed 5\n\
         Deleted:                1 (files), 1 (dirs), 4 B (freed)\n\
         Transferred:            2 / 2, 100%\n\
         Elapsed time:         0.0s\n"
    );
    let unchanged = Tally { checks: 2, checks_total: 2, listed: 6, ..Tally::default() };
    assert_eq!(
        stats(&unchanged, Duration::from_millis(99), ErrorNote::Retry),
        "Transferred:   \t          0 B / 0 B, -, 0 B/s, ETA -\n\
         Checks:                 2 / 2, 100%, Listed 6\n\
         Elapsed time:         0.0s\n"
    );
    let failed = Tally { errors: 1, listed: 12, ..Tally::default() };
    assert_eq!(
        stats(&failed, Duration::ZERO, ErrorNote::Retry),
        "Transferred:   \t          0 B / 0 B, -, 0 B/s, ETA -\n\
         Errors:                 1 (retrying may help)\n\
         Checks:                 0 / 0, -, Listed 12\n\
         Elapsed time:         0.0s\n"
    );
    let copied =
        Tally { server_side_copies: 10, server_side_copy_bytes: 446, renamed: 3, errors: 4, ..Tally::default() };
    assert_eq!(
        stats(&copied, Duration::from_millis(65_250), ErrorNote::Fatal),
        "Transferred:   \t          0 B / 0 B, -, 0 B/s, ETA -\n\
         Errors:                 4 (fatal error encountered)\n\
         Renamed:                3\n\
         Server Side Copies:    10 @ 446 B\n\
         Elapsed time:       1m5.2s\n"
    );
    let uncounted = Tally { checks: 34, listed: 34, ..Tally::default() };
    assert!(stats(&uncounted, Duration::ZERO, ErrorNote::Retry).contains("34 / 34, 100%"));
    assert!(stats(&failed, Duration::ZERO, ErrorNote::NoRetry).contains("1 (no need to retry)"));
}

#[test]
fn a_run_on_its_way_says_how_fast_and_how_long() {
    let half = Tally { bytes: 5 << 20, bytes_total: 100 << 20, ..Tally::default() };
    let block = stats(&half, Duration::from_secs(10), ErrorNote::Retry);
    assert!(block.starts_with("Transferred:   \t        5 MiB / 100 MiB, 5%, 512 KiB/s, ETA 3m10s\n"), "{block}");
}

#[test]
fn sizes_times_and_parts_are_written_as_rclone_does() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.500 KiB"),
        (700_003, "683.597 KiB"),
        (3 << 30, "3 GiB"),
        ((1 << 40) + 1, "1.000 TiB"),
        (u64::MAX, "16.000 EiB"),
    ] {
        assert_eq!(size(bytes), text);
    }
    for (millis, text) in
        [(0, "0.0"), (59_999, "59.9"), (60_000, "1m0.0"), (3_605_200, "1h5.2"), (90_061_000, "1d1h1m1.0")]
    {
        assert_eq!(seconds(Duration::from_millis(millis)), text);
    }
    for (part, whole, text) in
        [(0, 0, "-"), (1, 3, "33%"), (2, 3, "67%"), (1, 200, "1%"), (1, 201, "0%"), (u64::MAX, u64::MAX, "100%")]
    {
        assert_eq!(percent(part, whole), text, "{part}/{whole}");
    }
    for (left, speed, text) in [(0, 5, "0s"), (10, 0, "-"), (694_861, 1, "1w1d1h")] {
        assert_eq!(eta(100, 100 + left, speed), text);
    }
}

#[test]
fn every_mirror_has_a_line_of_its_own() {
    for (what, requests, line) in [
        (Told::Unchanged(41), 1, "s3:b: unchanged, generation 41, 1 request, exit status 0"),
        (Told::Changed(None, 1), 12, "s3:b: generation 1, 12 requests, exit status 0"),
        (Told::Changed(Some(41), 42), 105, "s3:b: generation 41 -> 42, 105 requests, exit status 0"),
        (Told::Changed(Some(42), 42), 2, "s3:b: generation 42, 2 requests, exit status 0"),
        (Told::Planned(43), 3, "s3:b: generation 43, nothing was written, 3 requests, exit status 0"),
    ] {
        assert_eq!(told("s3:b", what, requests, 0), line);
    }
    assert!(ErrorNote::Fatal > ErrorNote::Retry && ErrorNote::Retry > ErrorNote::NoRetry);
    assert_eq!(ErrorNote::of(ErrorKind::Refused), ErrorNote::Fatal);
    assert_eq!(ErrorNote::of(ErrorKind::Unavailable), ErrorNote::Retry);
    assert_eq!(ErrorNote::of(ErrorKind::Denied), ErrorNote::NoRetry);
}

#[test]
fn files_are_told_of_in_rclones_words() {
    for (action, dry_run, text) in [
        (Action::New, false, "Copied (new)"),
        (Action::Modified, false, "Copied (replaced existing)"),
        (Action::Deleted, false, "Deleted"),
        (Action::New, true, "Skipped copy as --dry-run is set (size 683.594Ki)"),
        (Action::Deleted, true, "Skipped delete as --dry-run is set (size 683.594Ki)"),
        (Action::Unchanged, true, "Unchanged skipping"),
    ] {
        assert_eq!(happened(action, 700_000, dry_run), text);
    }
    assert_eq!(go_size(0), "0");
}
