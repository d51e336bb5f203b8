//! Pulls that were cut off while they changed the target, and what the next one makes of it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use volvault::ErrorKind;
use volvault::events::Stop;
use volvault::rclone_sync::pull::PullOptions;

use crate::mirror_pull::assert_alike;
use crate::support::mirror::{Mirror, write};

/// Pulls again and again, each time stopped a step later, until the stage says that it is complete, and `enough` is true.
fn cut_off(mirror: &Mirror, options: &PullOptions, enough: impl Fn(&Path) -> bool) {
    let stage = mirror.target().join(".volvault-pull");
    let options = PullOptions { transfers: 1, checkers: 0, ..options.clone() };
    let stop_after = |questions| {
        let stopped = mirror.pull_from(&mirror.destination(), &options, &Stop::after(questions));
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
        stage.join("ready").exists()
    };
    assert!((1..10_000).any(stop_after), "it is stopped when it begins to change the target");
    // From here on a pull has fewer steps.
    assert!(enough(&stage) || (1..10_000).any(|questions| stop_after(questions) && enough(&stage)));
}

/// What the user writes while nobody pulls.
fn write_here(mirror: &Mirror, name: &str) {
    let path = mirror.target().join(name);
    let _ = std::fs::remove_file(&path);
    write(&mirror.target(), name, b"mine");
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
}

#[test]
fn what_is_carried_on_leaves_what_the_options_leave_although_it_came_later() {
    let options: [fn(PullOptions) -> PullOptions; 2] =
        [|options| PullOptions { ignore_existing: true, ..options }, |options| PullOptions { update: true, ..options }];
    for (number, options) in options.into_iter().enumerate() {
        let mirror = Mirror::new();
        let options = options(mirror.options());
        let fill = |text: &str| {
            for name in ["edited", "plain", "dir/first"] {
                let _ = std::fs::remove_file(mirror.source().join(name));
                write(&mirror.source(), name, format!("{name} {text}").as_bytes());
            }
            let second = mirror.source().join("dir/second");
            let _ = std::fs::remove_file(&second);
            std::fs::hard_link(mirror.source().join("dir/first"), second).unwrap();
        };
        fill("once");
        mirror.publish();
        if number > 0 {
            mirror.pull().unwrap();
            fill("again");
            write(&mirror.source(), "empty", b"");
            mirror.publish();
        }
        let is_mine = |name: &str| std::fs::read(mirror.target().join(name)).unwrap() == b"mine";
        cut_off(&mirror, &options, |_| true);
        for name in ["edited", "dir/second", "empty"] {
            write_here(&mirror, name);
        }
        let report = mirror.pull_with(&options).unwrap();
        assert_eq!(report.problems, 0, "{report:?}");
        for name in ["edited", "dir/second"] {
            assert!(is_mine(name), "options {number}: {name}");
        }
        // Of the second generation; in the first, nobody knows it.
        assert_eq!(mirror.target().join("empty").exists(), number > 0);
        assert!(number == 0 || is_mine("empty"));
        for name in ["plain", "dir/first"] {
            let [one, other] = [mirror.source(), mirror.target()].map(|root| std::fs::read(root.join(name)).unwrap());
            assert_eq!(one, other, "options {number}: {name}");
        }
        assert!(!mirror.target().join(".volvault-pull").exists());
    }
}

/// A volume is given to a group when it is mounted into a pod (`fsGroup`); others may be there who are not trusted.
#[test]
fn a_plan_that_cannot_be_believed_says_that_the_target_may_be_torn_until_it_is_whole() {
    let spoil: [fn(&Path); 2] = [
        |stage| std::fs::set_permissions(stage, PermissionsExt::from_mode(0o2770)).unwrap(),
        |stage| crate::command::write(&stage.join("ready"), b"{"),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mirror = Mirror::new();
        for name in ["a", "b/c"] {
            write(&mirror.source(), name, name.as_bytes());
        }
        mirror.publish();
        write(&mirror.target(), "extra", b"mine");
        cut_off(&mirror, &mirror.options(), |_| true);
        let stage = mirror.target().join(".volvault-pull");
        spoil(&stage);
        let options = PullOptions { transfers: 1, checkers: 0, ..mirror.options() };
        let (mut questions, mut finished) = (1, false);
        while !finished {
            finished = mirror.pull_from(&mirror.destination(), &options, &Stop::after(questions)).is_ok();
            let is_said = stage.join("ready").exists() || stage.join("torn").exists();
            let is_whole = !mirror.target().join("extra").exists() && mirror.target().join("b/c").exists();
            assert!(is_said || is_whole, "spoilt by {number}, question {questions}");
            questions += 1;
        }
        assert!(questions > 5, "it was stopped now and then");
        assert_alike(&mirror.source(), &mirror.target(), "in the end");
    }
}

#[test]
fn a_directory_that_a_dropped_plan_had_replaced_goes_to_the_backup_of_the_next_pull() {
    let mirror = Mirror::new();
    write(&mirror.source(), "was a directory", b"a file");
    write(&mirror.target(), "was a directory/mine", b"mine");
    mirror.publish();
    cut_off(&mirror, &mirror.options(), |stage| stage.join("old/0").exists());
    let backup = mirror.at("backup");
    mirror.pull_with(&PullOptions { backup_dir: Some(backup.clone()), ..mirror.options() }).unwrap();
    assert_eq!(std::fs::read(backup.join("replaced/mine")).unwrap(), b"mine");
    assert_alike(&mirror.source(), &mirror.target(), "with a backup directory");
}
