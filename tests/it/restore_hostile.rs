//! Snapshots that lie and targets that are traps: whatever they hold, nothing outside of the target changes.

mod pages;
mod planted;

use std::os::unix::fs::symlink;

use volvault::catalog::{BlobRef, Content, Entry, Extent, FileNode, LinkGroup, Metadata, Node, Timestamp};
use volvault::id::BlobId;
use volvault::path::TreePath;
use volvault::restore::{Overwrite, RestoreOptions};

use crate::restore::fixture::{Arena, Fixture, Maker, Outcome, error_text, is_root, meta, noise, xattr};

/// What must come of a case, besides the bystanders being well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Everything is restored.
    Clean,
    /// That many entries are reported, the others are restored.
    Problems(u64),
    /// The restore ends with an error.
    Refused,
}

fn verdict(outcome: &Outcome) -> Expect {
    match &outcome.result {
        Err(_) => Expect::Refused,
        Ok(report) if report.problems == 0 => Expect::Clean,
        Ok(report) => Expect::Problems(report.problems),
    }
}

/// Restores with each mode that touches existing files.
fn run(name: &str, plant: impl Fn(&Arena), make: impl Fn(&mut Maker<'_>, &Arena), expected: Expect) {
    for overwrite in [Overwrite::Always, Overwrite::IfChanged] {
        for delete in [false, true] {
            let (fixture, arena) = (Fixture::new(), Arena::new());
            plant(&arena);
            let snapshot = fixture.snapshot(|maker| {
                make(maker, &arena);
                maker.entries.sort_by(|left, right| left.path.cmp(&right.path));
            });
            let before = arena.outside();
            let options = RestoreOptions { overwrite, delete, ..arena.options() };
            let outcome = fixture.restore(&snapshot, &options);
            assert_eq!(arena.outside(), before, "{name}: a bystander was touched");
            assert_eq!(verdict(&outcome), expected, "{name}: {:?} {}", outcome.problems, error_text(&outcome));
            drop(fixture.restore(&snapshot, &options));
            assert_eq!(arena.outside(), before, "{name}: a bystander was touched by the second run");
        }
    }
}

fn nothing(_: &Arena) {}

fn victim(arena: &Arena, name: &str) -> String {
    arena.victim(name).to_str().unwrap().to_owned()
}

#[test]
fn an_entry_below_something_that_is_no_directory_is_refused() {
    run(
        "child of a relative link",
        nothing,
        |make, _| {
            make.symlink("a", "../victim/dir");
            make.file("a/inner", b"evil");
            make.file("a/new", b"evil");
        },
        Expect::Problems(2),
    );
    run(
        "child of an absolute link",
        nothing,
        |make, arena| {
            make.symlink("a", &victim(arena, "dir"));
            make.dir("a/below");
            make.file("a/below/deep", b"evil");
        },
        Expect::Problems(2),
    );
    run(
        "link through a link",
        nothing,
        |make, _| {
            make.symlink("a", "../victim/dir");
            make.symlink("a/inner", "x");
        },
        Expect::Problems(1),
    );
    run(
        "child of a file",
        nothing,
        |make, _| {
            make.file("f", b"file");
            make.file("f/x", b"child");
        },
        Expect::Problems(1),
    );
}

#[test]
fn an_entry_below_a_pipe_or_below_nothing_is_refused() {
    run(
        "child of a pipe",
        nothing,
        |make, _| {
            make.add("p", 0o644, Node::Fifo);
            make.file("p/x", b"child");
        },
        Expect::Problems(1),
    );
    run(
        "child of nothing",
        nothing,
        |make, _| {
            make.file("p/q/r", b"child");
        },
        Expect::Problems(1),
    );
    run(
        "grandchild",
        nothing,
        |make, _| {
            make.dir("p");
            make.file("p/q/r", b"child");
        },
        Expect::Problems(1),
    );
    run(
        "child of a link to itself",
        nothing,
        |make, _| {
            make.symlink("a", "a");
            make.file("a/x", b"child");
        },
        Expect::Problems(1),
    );
    run(
        "child of nothing, where a link stands",
        |arena| symlink(arena.victim("dir"), arena.at("a")).unwrap(),
        |make, _| {
            make.file("a/inner", b"evil");
        },
        Expect::Problems(1),
    );
}

#[test]
fn links_of_a_snapshot_are_made_and_never_followed() {
    run(
        "loop",
        nothing,
        |make, _| {
            make.symlink("a", "b");
            make.symlink("b", "a");
        },
        Expect::Clean,
    );
    run(
        "links to a file, a directory and nothing",
        nothing,
        |make, arena| {
            make.symlink("a", &victim(arena, "file")).meta = Metadata { uid: 12, gid: 12, ..meta(0o7777) };
            make.symlink("b", &victim(arena, "dir")).meta.mode = 0;
            make.symlink("c", &victim(arena, "none")).meta.xattrs = vec![xattr("user.x", b"1")].into();
        },
        Expect::Clean,
    );
    run(
        "a link target that is too long",
        nothing,
        |make, _| {
            make.symlink("a", &"x".repeat(5000));
            make.file("b", b"b");
        },
        Expect::Problems(1),
    );
}

#[test]
fn hard_links_join_only_what_is_alike() {
    run(
        "file to link",
        nothing,
        |make, arena| {
            make.symlink("a", &victim(arena, "file")).link = Some(LinkGroup { device: 1, inode: 1 });
            make.name("b", 8, 1);
            make.name("c", 0, 1);
        },
        Expect::Problems(2),
    );
    run(
        "file to pipe",
        nothing,
        |make, _| {
            make.add("a", 0o644, Node::Fifo).link = Some(LinkGroup { device: 1, inode: 1 });
            make.name("b", 8, 1);
        },
        Expect::Problems(1),
    );
    run(
        "link to file",
        nothing,
        |make, arena| {
            make.file("a", b"content").link = Some(LinkGroup { device: 1, inode: 1 });
            make.symlink("b", &victim(arena, "file")).link = Some(LinkGroup { device: 1, inode: 1 });
        },
        Expect::Problems(1),
    );
    run(
        "links with several names",
        nothing,
        |make, arena| {
            for name in ["a", "b", "c"] {
                make.symlink(name, &victim(arena, "file")).link = Some(LinkGroup { device: 1, inode: 1 });
            }
        },
        Expect::Clean,
    );
    run(
        "names without content",
        nothing,
        |make, _| {
            make.name("a", 100, 1);
            make.name("b", 100, 1);
        },
        Expect::Problems(2),
    );
    run(
        "a link stands where a name is to be",
        |arena| symlink(arena.victim("file"), arena.at("b")).unwrap(),
        |make, _| {
            make.file("a", b"content").link = Some(LinkGroup { device: 1, inode: 1 });
            make.name("b", 7, 1);
        },
        Expect::Clean,
    );
    run(
        "the first name is below a link",
        nothing,
        |make, _| {
            make.symlink("a", "../victim/dir");
            make.file("a/inner", b"inner").link = Some(LinkGroup { device: 1, inode: 1 });
            make.name("b", 5, 1);
        },
        Expect::Problems(1),
    );
}

#[test]
fn sizes_are_not_believed() {
    run(
        "a terabyte of nothing",
        nothing,
        |make, _| {
            make.sparse("a", 1 << 40, &[(1 << 39, 1)], b"x");
            make.file("b", b"b");
        },
        Expect::Clean,
    );
    run(
        "exbibytes of nothing",
        nothing,
        |make, _| {
            make.sparse("a", i64::MAX.unsigned_abs(), &[], b"");
            make.sparse("b", u64::MAX, &[], b"");
            make.sparse("c", u64::MAX, &[(u64::MAX - 1, 1)], b"x");
            make.file("d", b"d");
        },
        Expect::Problems(3),
    );
    run(
        "a chunk is shorter than said",
        nothing,
        |make, _| {
            let (first, second) = (make.put(b"12345678"), make.put(b"abc"));
            let chunks = vec![BlobRef { raw_len: 1000, ..first }, second];
            make.add("a", 0o644, file(1003, Content::Chunks(chunks)));
            make.add("b", 0o644, file(1000, Content::Chunks(vec![BlobRef { raw_len: 1000, ..first }])));
        },
        Expect::Problems(2),
    );
    run(
        "content beyond its bundle",
        nothing,
        |make, _| {
            let blob = make.put(b"bundle");
            let content = Content::Bundle {
                blob: BlobRef { raw_len: 1 << 20, ..blob },
                offset: 4,
                hash: volvault::id::ContentHash::new([0; 16]),
            };
            make.add("a", 0o644, file(1000, content));
        },
        Expect::Problems(1),
    );
    run(
        "blobs that are not there, and lists that are none",
        nothing,
        |make, _| {
            let nowhere = BlobRef { id: BlobId::new([9; 32]), raw_len: 10 };
            let data = make.put(b"not a list");
            make.add("a", 0o644, file(10, Content::Chunks(vec![nowhere])));
            make.add("b", 0o644, file(20, Content::Chunks(vec![nowhere, nowhere])));
            make.add("c", 0o644, file(10, Content::Lists { depth: 0, lists: vec![data] }));
            make.add("d", 0o644, file(10, Content::Lists { depth: 4, lists: vec![nowhere; 64] }));
            make.file("e", b"e");
        },
        Expect::Problems(4),
    );
}

fn file(size: u64, content: Content) -> Node {
    Node::File(FileNode { size, content, extents: None, incomplete: false })
}

#[test]
fn odd_metadata_stays_on_its_entry() {
    run(
        "times",
        nothing,
        |make, _| {
            make.file("a", b"a").meta.mtime = Timestamp { seconds: i64::MIN, nanos: 0 };
            make.file("b", b"b").meta.mtime = Timestamp { seconds: i64::MAX, nanos: 999_999_999 };
            make.file("c", b"c").meta.mtime = Timestamp { seconds: -1, nanos: 1 };
        },
        Expect::Clean,
    );
    run(
        "owners that cannot be",
        nothing,
        |make, _| {
            make.file("a", b"a").meta = Metadata { uid: u32::MAX, gid: u32::MAX, ..meta(0o4755) };
        },
        Expect::Clean,
    );
    run(
        "attributes of all namespaces",
        nothing,
        |make, _| {
            make.file("a", b"a").meta.xattrs = vec![
                xattr("nonsense", b""),
                xattr("security.", b"x"),
                xattr("user.", b"x"),
                xattr("user.big", &[7; 100_000]),
            ]
            .into();
        },
        Expect::Problems(1),
    );
    run(
        "a directory closed to everybody",
        nothing,
        |make, _| {
            make.dir("a").meta.mode = 0;
            make.dir("a/b").meta.mode = 0;
            make.file("a/b/c", b"c").meta.mode = 0;
        },
        Expect::Clean,
    );
    run(
        "names that steer a terminal",
        nothing,
        |make, _| {
            for name in [&b"a\x1b[31m\n"[..], b"\xff\xfe", b"..\\..\\x", b"C:\\x", b"-rf", b"~", b"...", &[b'x'; 255]] {
                make.file("x", b"x").path = TreePath::parse(name).unwrap();
            }
        },
        Expect::Clean,
    );
}

#[test]
fn attributes_that_the_file_system_has_no_room_for_do_not_end_the_restore() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(|make| {
        make.dir("").meta.xattrs = vec![xattr("user.big", &[7; 30_000])].into();
        make.file("a", b"a").meta.xattrs = vec![xattr("user.big", &[7; 30_000])].into();
        make.file("b", b"b");
    });
    // ext4 says that the disk is full.
    let outcome = fixture.restore(&snapshot, &arena.options());
    assert!(outcome.report().problems <= 2, "{:?}", outcome.problems);
    assert_eq!((arena.read("a"), arena.read("b")), (b"a".to_vec(), b"b".to_vec()));
}

#[test]
fn set_id_bits_and_capabilities_come_only_with_their_owner() {
    if !is_root() {
        return;
    }
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(|make| {
        make.dir("");
        make.file("tool", b"#!").meta = Metadata { uid: 1000, gid: 1000, ..meta(0o6755) };
    });
    fixture.restore(&snapshot, &arena.options()).clean();
    let seen = &arena.inside()[std::path::Path::new("tool")];
    assert_eq!((seen.mode, seen.owner), (0o106_755, (1000, 1000)));
    let arena = Arena::new();
    fixture.restore(&snapshot, &RestoreOptions { privileged: Some(false), ..arena.options() }).clean();
    assert_eq!(arena.inside()[std::path::Path::new("tool")].mode, 0o100_755);
}

#[test]
fn a_tree_deeper_than_a_path_may_be_is_restored() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(|make| {
        let mut at = "d".to_owned();
        for _ in 0..1500 {
            make.dir(&at);
            at.push_str("/dir");
        }
        make.file(&at, b"at the bottom");
    });
    let outcome = fixture.restore(&snapshot, &RestoreOptions { verify: true, ..arena.options() });
    assert_eq!(outcome.clean().files_restored, 1501);
    // Too deep for those who remove temporary directories by path.
    let empty = fixture.snapshot(|make| {
        make.dir("");
    });
    fixture.restore(&empty, &RestoreOptions { delete: true, ..arena.options() }).clean();
    assert_eq!(arena.inside().len(), 1);
}

#[test]
fn many_names_of_one_file_and_extents_by_the_thousand_are_bearable() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let extents: Vec<(u64, u64)> = (0..20_000).map(|number| (number * 8192, 1)).collect();
    let snapshot = fixture.snapshot(|make| {
        make.file("a", b"x").link = Some(LinkGroup { device: 1, inode: 1 });
        for number in 0..3000 {
            make.name(&format!("b{number:04}"), 1, 1);
        }
        let entry: &mut Entry = make.sparse("c", 200 << 20, &[(0, 1)], &noise(20_000, 1));
        let Node::File(node) = &mut entry.node else { unreachable!() };
        node.extents = Some(extents.iter().map(|(offset, len)| Extent { offset: *offset, len: *len }).collect());
    });
    fixture.restore(&snapshot, &RestoreOptions { verify: true, ..arena.options() }).clean();
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(arena.at("a")).unwrap()), 3001);
    assert_eq!(arena.read("c")[8192 * 19_999], noise(20_000, 1)[19_999]);
}
