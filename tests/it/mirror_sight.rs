//! What a pull remembers of how the target looked: a target that looks the same is not looked into, and whatever is changed in it is found all the same.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};
use volvault::catalog::Timestamp;
use volvault::rclone_sync::filter::{Filter, FilterOptions};
use volvault::rclone_sync::pull::{PullOptions, Pulled};

use crate::mirror_pull::{assert_alike, grow};
use crate::support::mirror::{Mirror, write};
use crate::support::trees::look;

/// The only file of that name in the state.
fn state_file(mirror: &Mirror, start: &str) -> PathBuf {
    let holders = fs::read_dir(mirror.at("state")).unwrap().map(|entry| entry.unwrap().path());
    let files = holders.filter(|path| path.is_dir()).flat_map(|holder| fs::read_dir(holder).unwrap());
    let named = files.map(|entry| entry.unwrap().path());
    named.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start)).max().unwrap()
}

fn set(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut f| std::io::Write::write_all(&mut f, bytes))
        .unwrap();
}

/// A pull that has to look at nothing but the inodes: the remembered entries cannot be read.
fn assert_unchanged_at_a_glance(mirror: &Mirror, what: &str) {
    let manifest = state_file(mirror, "manifest-");
    let entries = fs::read(&manifest).unwrap();
    set(&manifest, &vec![0; entries.len()]);
    let report = mirror.pull().unwrap();
    assert_eq!((report.outcome, report.requests.total()), (Pulled::Unchanged, 1), "{what}");
    set(&manifest, &entries);
    assert_alike(&mirror.source(), &mirror.target(), what);
}

fn set_mtime(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 5 };
    utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)
        .unwrap();
}

#[test]
fn an_unchanged_target_is_known_at_a_glance_after_each_pull() {
    let mirror = Mirror::new();
    for seed in 1..=3 {
        fs::remove_dir_all(mirror.source()).ok();
        grow(&mirror.source(), seed, 60);
        mirror.publish();
        assert_eq!(mirror.pull().unwrap().outcome, Pulled::Applied);
        // What has several names is known only by a pull that finds nothing to do.
        assert_eq!(mirror.pull().unwrap().outcome, Pulled::Unchanged);
        assert_unchanged_at_a_glance(&mirror, &format!("seed {seed}"));
    }
    write(&mirror.source(), "one more", b"file");
    mirror.publish();
    assert_eq!(mirror.pull().unwrap().outcome, Pulled::Applied);
    assert_unchanged_at_a_glance(&mirror, "one file was added");
}

type Change = fn(&Path);

const CHANGES: [(&str, Change); 11] = [
    ("a mode", |at| fs::set_permissions(at.join("a/file"), Permissions::from_mode(0o600)).unwrap()),
    ("a time", |at| set_mtime(&at.join("a/file"), 77)),
    ("an attribute", |at| rustix::fs::setxattr(at.join("a/file"), "user.x", b"y", XattrFlags::empty()).unwrap()),
    ("an attribute of a directory", |at| {
        rustix::fs::setxattr(at.join("a"), "user.x", b"y", XattrFlags::empty()).unwrap();
    }),
    ("the mode of the top", |at| fs::set_permissions(at, Permissions::from_mode(0o711)).unwrap()),
    ("content of the same length", |at| set(&at.join("a/file"), b"CONTENT")),
    ("a file less", |at| fs::remove_file(at.join("a/file")).unwrap()),
    ("a file more", |at| write(at, "a/another", b"x")),
    ("a link elsewhere", |at| {
        fs::remove_file(at.join("a/link")).unwrap();
        symlink("elsewhere", at.join("a/link")).unwrap();
    }),
    ("another kind", |at| {
        fs::remove_file(at.join("a/file")).unwrap();
        fs::create_dir(at.join("a/file")).unwrap();
    }),
    ("a name moved", |at| rustix::fs::rename(at.join("a/file"), at.join("b/file")).unwrap()),
];

#[test]
fn each_change_in_the_target_is_found_and_put_right() {
    let mirror = Mirror::new();
    for (path, content) in [("a/file", &b"content"[..]), ("a/other", b"more"), ("b/c/d", b"deep")] {
        write(&mirror.source(), path, content);
    }
    symlink("file", mirror.source().join("a/link")).unwrap();
    mirror.publish();
    mirror.pull().unwrap();
    for (what, change) in CHANGES {
        assert_unchanged_at_a_glance(&mirror, what);
        change(&mirror.target());
        assert_ne!(look(&mirror.target()), look(&mirror.source()), "{what}");
        assert_eq!(mirror.pull().unwrap().outcome, Pulled::Applied, "{what}");
        assert_alike(&mirror.source(), &mirror.target(), what);
    }
}

#[test]
fn content_that_only_its_bytes_betray_is_found_by_a_checksum_as_before() {
    let mirror = Mirror::new();
    write(&mirror.source(), "file", b"content");
    mirror.publish();
    mirror.pull().unwrap();
    let file = mirror.target().join("file");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    set(&file, b"CONTENT");
    File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    assert_eq!(mirror.pull().unwrap().outcome, Pulled::Unchanged);
    let options = PullOptions { checksum: true, ..mirror.options() };
    assert_eq!(mirror.pull_with(&options).unwrap().outcome, Pulled::Applied);
    assert_alike(&mirror.source(), &mirror.target(), "read and compared");
}

#[test]
fn what_was_seen_counts_only_as_it_was_written_and_under_the_same_terms() {
    let mirror = Mirror::new();
    write(&mirror.source(), "a/file", b"content");
    mirror.publish();
    mirror.pull().unwrap();
    let seen = state_file(&mirror, "seen");
    let bytes = fs::read(&seen).unwrap();
    for damaged in [&bytes[..bytes.len() - 1], b"", b"vvseen1\n"] {
        set(&seen, damaged);
        assert_eq!(mirror.pull().unwrap().outcome, Pulled::Unchanged);
        assert_unchanged_at_a_glance(&mirror, "it is written anew");
    }
    // What the filter leaves out is to go with this option, and stayed without it.
    write(&mirror.target(), "lost", b"and not found");
    let options = PullOptions { dry_run: true, ..mirror.options() };
    assert_eq!(mirror.pull_with(&options).unwrap().outcome, Pulled::Planned);
    mirror.pull().unwrap();
    let options = PullOptions { delete_excluded: true, ..mirror.options() };
    assert_eq!(mirror.pull_with(&options).unwrap().outcome, Pulled::Unchanged);
}

#[test]
fn renamed_files_are_taken_from_where_they_were() {
    let mirror = Mirror::new();
    let big = crate::support::vault::noise(3 << 20, 9);
    for number in 0..20 {
        write(&mirror.source(), &format!("before/{number}"), format!("content {number}").as_bytes());
    }
    write(&mirror.source(), "before/big", &big);
    write(&mirror.source(), "one", b"one");
    write(&mirror.source(), "two", b"two");
    for (path, time) in ["one", "two", "before/big"].map(str::to_owned).into_iter().zip(100..) {
        set_mtime(&mirror.source().join(path), time);
    }
    for number in 0..20 {
        set_mtime(&mirror.source().join(format!("before/{number}")), 200 + number);
    }
    mirror.publish();
    mirror.pull().unwrap();
    rustix::fs::rename(mirror.source().join("before"), mirror.source().join("after")).unwrap();
    rustix::fs::rename(mirror.source().join("one"), mirror.source().join("three")).unwrap();
    rustix::fs::rename(mirror.source().join("two"), mirror.source().join("one")).unwrap();
    rustix::fs::rename(mirror.source().join("three"), mirror.source().join("two")).unwrap();
    mirror.publish();
    let report = mirror.pull().unwrap();
    assert_eq!((report.tally.transfers, report.tally.renamed), (0, 23));
    assert_eq!(report.tally.listed, 25, "the target is counted once");
    assert!(report.requests.total() <= 2, "{}", report.requests);
    assert_alike(&mirror.source(), &mirror.target(), "renamed");
}

#[test]
fn a_choice_by_age_leaves_nothing_behind_and_one_by_names_is_known_again() {
    let mirror = Mirror::new();
    let paths: Vec<String> = (0..50).map(|number| format!("file-{number}")).collect();
    for name in &paths {
        write(&mirror.source(), name, name.as_bytes());
    }
    mirror.publish();
    let pull_with = |filter: FilterOptions| {
        let options = PullOptions { filter: Arc::new(Filter::new(filter).unwrap()), ..mirror.options() };
        mirror.pull_with(&options).unwrap()
    };
    let of_today = Some(Timestamp { seconds: 5, nanos: 0 });
    let report = pull_with(FilterOptions { modified_from: of_today, ..FilterOptions::default() });
    assert_eq!((report.outcome, mirror.at("state").exists()), (Pulled::Applied, false));
    let named = || FilterOptions { files_from: vec![paths.join("\n").into_bytes()], ..FilterOptions::default() };
    pull_with(named());
    assert_eq!(pull_with(named()).requests.total(), 1);
    let states = fs::read_dir(mirror.at("state")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(states.count(), 1);
}
