//! Restoring snapshots that were written by hand: contents, metadata, what is left alone, what is repaired.

pub(crate) mod fixture;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use volvault::ErrorKind;
use volvault::catalog::{Node, Timestamp};
use volvault::events::{Action, Stop};
use volvault::repo::Status;
use volvault::restore::{Overwrite, RestoreOptions};
use volvault::volume::rules::{Selection, SelectionOptions};

use fixture::{Arena, Fixture, Maker, TIME, is_root, meta, noise, tree_path, xattr};

/// One of everything.
fn zoo(make: &mut Maker<'_>) {
    make.dir("").meta.mode = 0o750;
    make.dir("a").meta.mode = 0o500;
    make.bundle(&[("a/one", "first"), ("a/two", "second file"), ("a/zero", "")]);
    make.dir("b");
    make.chunked("b/big", &noise(900_000, 1), 100_000).meta.mode = 0o4755;
    make.chunked("b/huge", &noise(3_000_000, 2), 10_000);
    make.symlink("b/link", "../a/one");
    make.add("b/pipe", 0o620, Node::Fifo);
    make.sparse("b/sparse", 10_000_000, &[(4096, 8192), (1 << 20, 100_000), (5_000_000, 1)], &noise(108_193, 3));
    make.file("c", b"with attributes").meta.xattrs = vec![xattr("user.test", b"value")].into();
    make.file("d", b"linked").link = Some(volvault::catalog::LinkGroup { device: 1, inode: 77 });
    make.name("e", 6, 77);
}

fn check_zoo(arena: &Arena) {
    assert_eq!(arena.read("a/one"), b"first");
    assert_eq!(arena.read("a/two"), b"second file");
    assert_eq!(arena.read("a/zero"), b"");
    assert_eq!(arena.read("b/big"), noise(900_000, 1));
    assert_eq!(arena.read("b/huge"), noise(3_000_000, 2));
    assert_eq!(std::fs::read_link(arena.at("b/link")).unwrap().to_str(), Some("../a/one"));
    let sparse = arena.read("b/sparse");
    let data = noise(108_193, 3);
    let mut expected = vec![0; 10_000_000];
    expected[4096..12288].copy_from_slice(&data[..8192]);
    expected[1 << 20..(1 << 20) + 100_000].copy_from_slice(&data[8192..108_192]);
    expected[5_000_000] = data[108_192];
    assert!(sparse == expected);
    let seen = arena.inside();
    for (name, mode) in
        [("", 0o40750), ("a", 0o40500), ("a/one", 0o100_644), ("b", 0o40755), ("b/big", 0o104_755), ("b/pipe", 0o10620)]
    {
        let seen = &seen[std::path::Path::new(name)];
        assert_eq!(seen.mode, mode, "{name}");
        assert_eq!(seen.mtime, (TIME.seconds, i64::from(TIME.nanos)), "{name}");
    }
    let inode = |name: &str| std::fs::metadata(arena.at(name)).unwrap().ino();
    assert_eq!(inode("d"), inode("e"));
    assert!(std::fs::metadata(arena.at("b/sparse")).unwrap().blocks() * 512 < 400_000);
}

#[test]
fn everything_comes_back_and_a_second_run_writes_nothing() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(zoo);
    let options = RestoreOptions { verify: true, ..arena.options() };
    let outcome = fixture.restore(&snapshot, &options);
    let report = *outcome.clean();
    check_zoo(&arena);
    assert_eq!((report.files_total, report.files_restored, report.files_skipped), (13, 13, 0));
    assert_eq!(report.bytes_total, 5 + 11 + 900_000 + 3_000_000 + 108_193 + 15 + 6);
    assert_eq!((report.bytes_restored, report.bytes_skipped), (report.bytes_total, 0));
    assert_eq!(report.files_verified, 11);
    let before = arena.inside();
    for overwrite in [Overwrite::Always, Overwrite::IfChanged] {
        let outcome = fixture.restore(&snapshot, &RestoreOptions { overwrite, ..options.clone() });
        let report = outcome.clean();
        assert_eq!((report.files_total, report.files_skipped, report.bytes_restored), (13, 11, 0), "{overwrite:?}");
        assert_eq!(report.bytes_skipped, report.bytes_total);
        assert_eq!(arena.inside(), before, "not even a change time differs");
    }
}

#[test]
fn whatever_was_changed_is_put_right() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(zoo);
    fixture.restore(&snapshot, &arena.options()).clean();
    std::fs::set_permissions(arena.at("a"), PermissionsExt::from_mode(0o700)).unwrap();
    arena.write("a/one", b"FIRST");
    arena.write("a/two", b"longer than it was");
    std::fs::remove_file(arena.at("a/zero")).unwrap();
    let file = std::fs::File::options().write(true).open(arena.at("b/big")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 250_000).unwrap();
    let file = std::fs::File::options().write(true).open(arena.at("b/huge")).unwrap();
    file.set_len(1_234_567).unwrap();
    let file = std::fs::File::options().write(true).open(arena.at("b/sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"in a hole", 2_000_000).unwrap();
    file.set_len(20_000_000).unwrap();
    std::fs::remove_file(arena.at("b/link")).unwrap();
    std::fs::create_dir(arena.at("b/link")).unwrap();
    std::fs::remove_file(arena.at("b/pipe")).unwrap();
    arena.write("b/pipe", b"not a pipe");
    std::fs::remove_file(arena.at("e")).unwrap();
    arena.write("e", b"apart");
    let inode = std::fs::metadata(arena.at("b/big")).unwrap().ino();
    let outcome = fixture.restore(&snapshot, &RestoreOptions { verify: true, ..arena.options() });
    let report = outcome.clean();
    check_zoo(&arena);
    assert_eq!(std::fs::metadata(arena.at("b/big")).unwrap().ino(), inode, "updated in place");
    // One chunk of big, what was cut off of huge from a chunk's start on, two small files.
    assert_eq!(report.bytes_restored, 100_000 + (3_000_000 - 1_230_000) + 16);
    assert!(outcome.items.contains(&(Action::Updated, "/b/big".to_owned())), "{:?}", outcome.items);
    assert!(outcome.items.contains(&(Action::Restored, "/a/zero".to_owned())));
}

#[test]
fn the_overwrite_modes_differ_in_what_they_trust() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        make.bundle(&[("same", "same"), ("touched", "content"), ("newer", "old"), ("older", "new"), ("missing", "m")]);
        make.entries.sort_by(|left, right| left.path.cmp(&right.path));
    });
    let old = Timestamp { seconds: 1_000_000_000, nanos: 0 };
    for (overwrite, expected) in [
        (Overwrite::Always, ["same", "content", "old", "new", "m"]),
        (Overwrite::IfChanged, ["same", "CONTENT", "old", "new", "m"]),
        (Overwrite::IfNewer, ["SAME", "CONTENT", "NEWER", "new", "m"]),
        (Overwrite::Never, ["SAME", "CONTENT", "NEWER", "OLDER", "m"]),
    ] {
        let arena = Arena::new();
        for (name, content, time) in [
            ("same", "SAME", None),
            ("touched", "CONTENT", Some(TIME)),
            ("newer", "NEWER", None),
            ("older", "OLDER", Some(old)),
        ] {
            arena.write(name, content.as_bytes());
            if let Some(time) = time {
                let time =
                    std::time::UNIX_EPOCH + std::time::Duration::new(u64::try_from(time.seconds).unwrap(), time.nanos);
                std::fs::File::options().write(true).open(arena.at(name)).unwrap().set_modified(time).unwrap();
            }
        }
        let outcome = fixture.restore(&snapshot, &RestoreOptions { overwrite, verify: true, ..arena.options() });
        outcome.clean_but_verified(overwrite);
        let names = ["same", "touched", "newer", "older", "missing"];
        assert_eq!(
            names.map(|name| String::from_utf8(arena.read(name)).unwrap()),
            expected.map(str::to_owned),
            "{overwrite:?}"
        );
    }
}

impl fixture::Outcome {
    /// `IfChanged` believes size and time, and verification finds out that they lie.
    fn clean_but_verified(&self, overwrite: Overwrite) {
        if overwrite == Overwrite::IfChanged {
            assert_eq!(self.problems.len(), 1, "{:?}", self.problems);
            assert!(self.problems[0].starts_with("/touched: verify"), "{:?}", self.problems);
        } else {
            self.clean();
        }
    }
}

fn including(patterns: &[&str]) -> Selection {
    let includes = patterns.iter().map(|text| text.as_bytes().to_vec()).collect();
    Selection::new(&SelectionOptions { includes, ..SelectionOptions::default() }).expect("selection")
}

fn excluding(patterns: &[&str]) -> Selection {
    let excludes = patterns.iter().map(|text| text.as_bytes().to_vec()).collect();
    Selection::new(&SelectionOptions { excludes, ..SelectionOptions::default() }).expect("selection")
}

fn names(arena: &Arena) -> Vec<String> {
    arena.inside().into_keys().map(|path| path.to_str().unwrap().to_owned()).filter(|name| !name.is_empty()).collect()
}

#[test]
fn a_selection_restores_what_it_says_with_the_directories_above() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(zoo);
    let arena = Arena::new();
    let selection = including(&["/a/two", "link"]);
    let outcome = fixture.restore(&snapshot, &RestoreOptions { selection, ..arena.options() });
    assert_eq!(outcome.clean().files_total, 4);
    assert_eq!(names(&arena), ["a", "a/two", "b", "b/link"]);
    assert_eq!(arena.inside()[std::path::Path::new("a")].mode, 0o40500);
    let arena = Arena::new();
    let selection = excluding(&["/b", "one"]);
    fixture.restore(&snapshot, &RestoreOptions { selection, ..arena.options() }).clean();
    assert_eq!(names(&arena), ["a", "a/two", "a/zero", "c", "d", "e"]);
}

#[test]
fn a_name_whose_first_name_is_not_selected_gets_the_content() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        make.dir("a");
        make.file("a/first", b"shared content");
        make.linked(5);
        make.chunked("a/large", &noise(500_000, 4), 50_000);
        make.linked(6);
        make.dir("b");
        make.name("b/large", 500_000, 6);
        make.name("b/second", 14, 5);
        make.name("b/third", 14, 5);
    });
    let whole = excluding(&["first", "/a/large"]);
    for (selection, subfolder) in [(whole, None), (Selection::all(), Some(tree_path("b")))] {
        let arena = Arena::new();
        let dir = if subfolder.is_some() { "" } else { "b/" };
        let outcome =
            fixture.restore(&snapshot, &RestoreOptions { selection, subfolder, verify: true, ..arena.options() });
        let report = outcome.clean();
        assert_eq!((report.bytes_total, report.bytes_restored), (500_014, 500_014));
        assert_eq!(arena.read(&format!("{dir}second")), b"shared content");
        assert_eq!(arena.read(&format!("{dir}large")), noise(500_000, 4));
        let inode = |name: &str| std::fs::metadata(arena.at(&format!("{dir}{name}"))).unwrap().ino();
        assert_eq!(inode("second"), inode("third"));
    }
}

#[test]
fn a_subfolder_becomes_the_target_and_a_file_is_restored_under_its_name() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(zoo);
    let arena = Arena::new();
    fixture.restore(&snapshot, &RestoreOptions { subfolder: Some(tree_path("a")), ..arena.options() }).clean();
    assert_eq!(names(&arena), ["one", "two", "zero"]);
    assert_eq!(arena.inside()[std::path::Path::new("")].mode, 0o40500);
    let arena = Arena::new();
    arena.write("bystander", b"stays");
    let options = RestoreOptions { subfolder: Some(tree_path("b/big")), delete: true, ..arena.options() };
    fixture.restore(&snapshot, &options).clean();
    assert_eq!(names(&arena), ["big", "bystander"]);
    let outcome =
        fixture.restore(&snapshot, &RestoreOptions { subfolder: Some(tree_path("b/none")), ..arena.options() });
    assert_eq!(outcome.result.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(zoo);
    let arena = Arena::new();
    let missing = arena.at("not/there");
    let outcome = fixture.restore(&snapshot, &RestoreOptions { dry_run: true, ..RestoreOptions::new(&missing) });
    let report = outcome.clean();
    assert_eq!((report.files_total, report.files_restored), (13, 13));
    assert_eq!(report.bytes_restored, report.bytes_total);
    assert!(!missing.exists());
    fixture.restore(&snapshot, &arena.options()).clean();
    std::fs::set_permissions(arena.at("a"), PermissionsExt::from_mode(0o700)).unwrap();
    arena.write("a/extra", b"extra");
    arena.write("a/one", b"changed");
    let file = std::fs::File::options().write(true).open(arena.at("b/big")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 250_000).unwrap();
    let before = arena.inside();
    let outcome = fixture.restore(&snapshot, &RestoreOptions { dry_run: true, delete: true, ..arena.options() });
    assert_eq!(arena.inside(), before);
    let report = outcome.clean();
    assert_eq!((report.bytes_restored, report.files_deleted), (100_005, 1));
    for expected in [
        (Action::Deleted, "/a/extra"),
        (Action::Updated, "/a/one"),
        (Action::Updated, "/b/big"),
        (Action::Unchanged, "/a/two"),
    ] {
        assert!(outcome.items.contains(&(expected.0, expected.1.to_owned())), "{expected:?}");
    }
}

#[test]
fn deleting_removes_what_the_snapshot_does_not_have_and_nothing_else() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(zoo);
    let arena = Arena::new();
    let plant = |arena: &Arena| {
        std::fs::create_dir_all(arena.at("b/extra/deep/deeper")).unwrap();
        std::fs::create_dir_all(arena.at("lost+found")).unwrap();
        std::fs::create_dir_all(arena.at("other/sub")).unwrap();
        arena.write("b/extra/deep/file", b"x");
        arena.write("b/extra/keep.log", b"x");
        arena.write("0", b"x");
        arena.write("other/sub/z", b"x");
        symlink(arena.victim("dir"), arena.at("b/out")).unwrap();
        symlink(arena.victim("file"), arena.at("zz")).unwrap();
    };
    plant(&arena);
    let before = arena.outside();
    let outcome = fixture.restore(&snapshot, &RestoreOptions { delete: true, ..arena.options() });
    assert_eq!(outcome.clean().files_deleted, 11);
    check_zoo(&arena);
    assert_eq!(
        names(&arena).into_iter().filter(|name| !name.contains('/')).collect::<Vec<_>>(),
        ["a", "b", "c", "d", "e", "lost+found"]
    );
    plant(&arena);
    let selection = excluding(&["*.log", "/other"]);
    let outcome = fixture.restore(&snapshot, &RestoreOptions { delete: true, selection, ..arena.options() });
    assert_eq!(outcome.clean().files_deleted, 6);
    let left = names(&arena);
    for stays in ["b/extra/keep.log", "other/sub/z", "lost+found"] {
        assert!(left.iter().any(|name| name == stays), "{stays} of {left:?}");
    }
    assert_eq!(arena.outside(), before);
}

#[test]
fn deleting_is_refused_where_it_would_be_a_disaster() {
    let fixture = Fixture::new();
    let mut snapshot = fixture.snapshot(zoo);
    let root = RestoreOptions { delete: true, dry_run: true, ..RestoreOptions::new("/tmp/..") };
    assert_eq!(fixture.restore(&snapshot, &root).result.unwrap_err().kind(), ErrorKind::Invalid);
    let arena = Arena::new();
    arena.write("extra", b"x");
    snapshot.status = Status::Partial;
    let outcome = fixture.restore(&snapshot, &RestoreOptions { delete: true, ..arena.options() });
    assert_eq!(outcome.result.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(names(&arena), ["extra"]);
}

#[test]
fn a_damaged_blob_costs_the_files_in_it_and_no_others() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        // The first blob of the pack: right after its header.
        make.bundle(&[("lost1", "one"), ("lost2", "two")]);
        make.entries[1].link = Some(volvault::catalog::LinkGroup { device: 1, inode: 3 });
        make.name("lost3", 3, 3);
        make.file("saved", b"saved");
        make.chunked("saved_big", &noise(900_000, 8), 90_000);
    });
    let session = fixture.repo.read_session().unwrap();
    let pack = fixture.keys("packs").into_iter().find(|key| {
        let bytes = fixture.runtime.block_on(async {
            object_store::ObjectStoreExt::get(&*fixture.objects, key).await.unwrap().bytes().await.unwrap()
        });
        bytes.len() > 800_000
    });
    fixture.damage(&pack.expect("a data pack"), 82);
    session.end("test");
    let arena = Arena::new();
    arena.write("extra", b"stays when something failed");
    let outcome = fixture.restore(&snapshot, &RestoreOptions { verify: true, delete: true, ..arena.options() });
    let mut at: Vec<_> = outcome.problems.iter().map(|text| text.split(':').next().unwrap()).collect();
    at.sort_unstable();
    assert_eq!(at, ["/lost1", "/lost2", "/lost3"], "{:?}", outcome.problems);
    assert_eq!(outcome.report().problems, 3);
    assert_eq!(names(&arena), ["extra", "saved", "saved_big"]);
    assert_eq!(arena.read("saved_big"), noise(900_000, 8));
}

#[test]
fn a_big_file_that_lacks_a_chunk_does_not_look_finished() {
    let fixture = Fixture::new();
    let content = noise(900_000, 9);
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        make.chunked("big", &content, 90_000);
        make.chunked("other", &noise(400_000, 10), 90_000);
    });
    let pack = fixture.keys("packs").into_iter().find(|key| {
        let bytes = fixture.runtime.block_on(async {
            object_store::ObjectStoreExt::get(&*fixture.objects, key).await.unwrap().bytes().await.unwrap()
        });
        bytes.len() > 800_000
    });
    fixture.damage(&pack.expect("a data pack"), 400_000);
    let arena = Arena::new();
    let outcome = fixture.restore(&snapshot, &arena.options());
    assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
    assert_eq!(names(&arena), ["other"]);
    // One that stood there is updated as far as that goes, and has no recorded time.
    let mut old = content.clone();
    old[10] ^= 1;
    old[400_010] ^= 1;
    arena.write("big", &old);
    let outcome = fixture.restore(&snapshot, &arena.options());
    assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
    assert_eq!(arena.read("big").len(), old.len());
    assert_ne!(std::fs::metadata(arena.at("big")).unwrap().mtime(), TIME.seconds);
}

#[test]
fn a_stop_leaves_what_a_second_run_completes() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(zoo);
    let stop = Stop::new();
    stop.request();
    let outcome = fixture.restore_until(&snapshot, &arena.options(), &stop);
    assert_eq!(outcome.result.unwrap_err().kind(), ErrorKind::Interrupted);
    fixture.restore(&snapshot, &arena.options()).clean();
    check_zoo(&arena);
}

#[test]
fn sparse_makes_holes_of_zeros() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let mut content = vec![0; 4_000_000];
    content[2_000_000..2_010_000].copy_from_slice(&noise(10_000, 1));
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        make.chunked("big", &content, 500_000);
        make.file("small", &vec![0; 60_000]);
    });
    fixture.restore(&snapshot, &RestoreOptions { sparse: true, verify: true, ..arena.options() }).clean();
    assert!(arena.read("big") == content && arena.read("small") == vec![0; 60_000]);
    let blocks = |name: &str| std::fs::metadata(arena.at(name)).unwrap().blocks();
    assert!(blocks("big") * 512 < 100_000 && blocks("small") * 512 < 20_000);
}

#[test]
fn equal_content_is_fetched_once_for_all_places() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        let content = noise(60_000, 5);
        for number in 0..500 {
            make.file(&format!("copy{number:03}"), &content);
        }
    });
    let before = fixture.repo.store().requests();
    let outcome = fixture.restore(&snapshot, &arena.options());
    assert_eq!(outcome.clean().bytes_restored, 500 * 60_000);
    assert!(fixture.repo.store().requests().total() - before.total() < 12);
    assert_eq!(arena.read("copy499"), noise(60_000, 5));
}

#[test]
fn extended_attributes_are_chosen_by_name() {
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        make.file("f", b"x").meta.xattrs = vec![xattr("user.no", b"1"), xattr("user.yes", b"2")].into();
    });
    let arena = Arena::new();
    fixture.restore(&snapshot, &RestoreOptions { xattrs: excluding(&["user.n*"]), ..arena.options() }).clean();
    let mut value = [0; 8];
    assert!(rustix::fs::getxattr(arena.at("f"), "user.no", &mut value).is_err());
    assert_eq!(rustix::fs::getxattr(arena.at("f"), "user.yes", &mut value), Ok(1));
}

#[test]
fn without_privilege_ownership_is_left_and_devices_are_counted() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        make.file("f", b"x").meta = volvault::catalog::Metadata { uid: 1234, gid: 4321, ..meta(0o6755) };
        make.add("null", 0o666, Node::CharDevice { major: 1, minor: 3 });
    });
    let arena = Arena::new();
    let outcome = fixture.restore(&snapshot, &RestoreOptions { privileged: Some(false), ..arena.options() });
    let report = outcome.clean();
    assert_eq!((report.not_set.special_bits, report.not_set.nodes), (1, 1));
    assert_eq!(outcome.notes.len(), 1, "{:?}", outcome.notes);
    let seen = &arena.inside()[std::path::Path::new("f")];
    assert_eq!((seen.mode, seen.owner), (0o100_755, (0, 0)));
    assert_eq!(names(&arena), ["f"]);
    let arena = Arena::new();
    fixture.restore(&snapshot, &arena.options()).clean();
    let seen = &arena.inside()[std::path::Path::new("f")];
    assert_eq!((seen.mode, seen.owner), (0o106_755, (1234, 4321)));
    assert_eq!(std::fs::metadata(arena.at("null")).unwrap().rdev(), rustix::fs::makedev(1, 3));
}
