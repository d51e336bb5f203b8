//! Targets that are traps: links, pipes and names of other people's files in the places of what is restored.

use std::os::unix::fs::{PermissionsExt, symlink};

use volvault::catalog::Node;
use volvault::restore::RestoreOptions;

use super::{Expect, run, verdict};
use crate::restore::fixture::{Arena, Fixture, noise};

/// Plants a link to one of the bystanders.
fn link(to: &'static str, at: &'static str) -> impl Fn(&Arena) {
    move |arena: &Arena| symlink(arena.victim(to), arena.at(at)).unwrap()
}

#[test]
fn what_is_planted_in_the_target_is_replaced_and_not_followed() {
    run(
        "link at the place of a file",
        link("file", "a"),
        |make, _| {
            make.file("a", b"evil");
        },
        Expect::Clean,
    );
    run(
        "link at the place of a big file",
        link("file", "a"),
        |make, _| {
            make.chunked("a", &noise(500_000, 1), 50_000);
        },
        Expect::Clean,
    );
    run(
        "link to nothing",
        link("none", "a"),
        |make, _| {
            make.file("a", b"evil");
        },
        Expect::Clean,
    );
    run(
        "link to nothing, empty file",
        link("none", "a"),
        |make, _| {
            make.file("a", b"");
        },
        Expect::Clean,
    );
    run(
        "link at the place of a directory",
        link("dir", "a"),
        |make, _| {
            make.dir("a").meta.mode = 0o777;
            make.file("a/inner", b"evil");
            make.file("a/new", b"evil");
        },
        Expect::Clean,
    );
}

#[test]
fn special_files_replace_what_is_planted_in_their_places() {
    run(
        "link at the place of a pipe",
        link("file", "a"),
        |make, _| {
            make.add("a", 0o600, Node::Fifo);
        },
        Expect::Clean,
    );
    run(
        "link at the place of a link",
        link("dir", "a"),
        |make, _| {
            make.symlink("a", "elsewhere");
        },
        Expect::Clean,
    );
    run(
        "the same link with another owner",
        |arena| symlink("../victim/file", arena.at("a")).unwrap(),
        |make, _| {
            make.symlink("a", "../victim/file").meta.uid = 5;
        },
        Expect::Clean,
    );
    run(
        "links all over",
        |arena| {
            for name in ["x", "y", "z"] {
                symlink(arena.victim("dir"), arena.at(name)).unwrap();
            }
        },
        |make, _| {
            make.dir("");
            make.dir("y");
        },
        Expect::Clean,
    );
    run(
        "a pipe at the place of a file",
        |arena| {
            rustix::fs::mknodat(rustix::fs::CWD, arena.at("a"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        },
        |make, _| {
            make.file("a", b"file");
        },
        Expect::Clean,
    );
}

#[test]
fn a_directory_with_content_gives_way_to_a_file_only_when_deleting_is_asked_for() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(|make| {
        make.file("a", b"file");
    });
    std::fs::create_dir(arena.at("a")).unwrap();
    arena.write("a/precious", b"x");
    symlink(arena.victim("dir"), arena.at("a/out")).unwrap();
    let before = arena.outside();
    assert_eq!(verdict(&fixture.restore(&snapshot, &arena.options())), Expect::Problems(1));
    assert_eq!(arena.read("a/precious"), b"x");
    fixture.restore(&snapshot, &RestoreOptions { delete: true, ..arena.options() }).clean();
    assert_eq!(arena.read("a"), b"file");
    assert_eq!(arena.outside(), before);
}

#[test]
fn another_name_of_a_planted_file_is_never_written() {
    let content = noise(500_000, 3);
    for (planted, mode) in [("other".as_bytes(), 0o640), (b"precious", 0o640), (b"precious", 0o777)] {
        let (fixture, arena) = (Fixture::new(), Arena::new());
        std::fs::hard_link(arena.victim("file"), arena.at("small")).unwrap();
        let big = arena.victim("big");
        std::fs::File::create(&big)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &noise(500_000, 2)))
            .unwrap();
        std::fs::hard_link(&big, arena.at("big")).unwrap();
        std::fs::set_permissions(&big, PermissionsExt::from_mode(0o600)).unwrap();
        let snapshot = fixture.snapshot(|make| {
            make.chunked("big", &content, 50_000);
            make.file("small", planted).meta.mode = mode;
        });
        fixture.restore(&snapshot, &RestoreOptions { verify: true, ..arena.options() }).clean();
        assert_eq!(arena.read("small"), planted);
        assert_eq!(arena.read("big"), content);
        assert_eq!(std::fs::read(arena.victim("file")).unwrap(), b"precious");
        assert_eq!(std::fs::read(&big).unwrap(), noise(500_000, 2));
        for (name, mode) in [("file", 0o100_640), ("big", 0o100_600)] {
            assert_eq!(std::fs::metadata(arena.victim(name)).unwrap().permissions().mode(), mode, "{name}");
        }
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_meanwhile_does_not_lead_outside() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let snapshot = fixture.snapshot(|make| {
        make.dir("d");
        for number in 0..400 {
            make.file(&format!("d/file{number:03}"), format!("evil {number}").as_bytes());
        }
        for number in 0..5 {
            make.chunked(&format!("d/gross{number}"), &noise(400_000, number), 40_000);
        }
        make.file("d/inner", b"evil");
    });
    let before = arena.outside();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, aside) = (arena.at("d"), arena.target().join("aside"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                if rustix::fs::rename(&dir, &aside).is_ok() {
                    let _ = symlink(arena.victim("dir"), &dir);
                    std::thread::yield_now();
                    let _ = rustix::fs::unlink(&dir);
                    let _ = rustix::fs::rename(&aside, &dir);
                    let _ = std::fs::remove_dir_all(&aside);
                }
            }
        });
        for round in 0..10 {
            let _ =
                fixture.restore(&snapshot, &RestoreOptions { delete: round % 2 == 1, verify: true, ..arena.options() });
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(arena.outside(), before);
}

#[test]
fn a_target_that_is_a_link_is_followed_because_the_user_named_it() {
    let (fixture, arena) = (Fixture::new(), Arena::new());
    std::fs::create_dir(arena.at("real")).unwrap();
    symlink("real", arena.at("link")).unwrap();
    let snapshot = fixture.snapshot(|make| {
        make.file("a", b"file");
    });
    fixture.restore(&snapshot, &RestoreOptions::new(arena.at("link"))).clean();
    assert_eq!(arena.read("real/a"), b"file");
}
