//! Processes that are killed at random moments, or stand still while a prune goes over the repository (R02, R05).

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Home, fill, pause, write};
use crate::support::s3::S3ServerThread;
use crate::support::trees::Dice;
use crate::support::vault::{assert_same, noise, on_disk};

/// `VOLVAULT_TEST_KILLS` sets how many; each costs about a second.
fn kills() -> u64 {
    std::env::vars().find(|(name, _)| name == "VOLVAULT_TEST_KILLS").map_or(12, |(_, n)| n.parse().unwrap())
}

/// Changes a tenth of 300 files.
fn change(home: &Home, round: u64) {
    for file in (0..300).filter(|file| file % 10 == round % 10) {
        write(&home.at("data").join(format!("{:02}/{file:05}", file / 100)), &noise(5000, 10_000 * (round + 1) + file));
    }
}

/// Each of these commands is run to its end, then killed at a moment that a seed chooses, again and again. The repository always opens, everything
/// that was saved can be read, and the next run needs nothing.
#[expect(clippy::disallowed_methods, reason = "a moment is chosen within the time that the command takes")]
fn kill_at_random_moments(home: &Home) {
    let commands: [&[&str]; 4] = [
        &["backup", "data"],
        &["forget", "--keep-last", "3"],
        &["prune", "--max-unused", "0", "--force"],
        &["forget", "--keep-last", "2", "--prune", "--max-unused", "0"],
    ];
    fill(&home.at("data"), 300, 5000);
    let mut rng = Dice::new(3);
    let mut takes = [Duration::from_millis(100); 4];
    let mut unfinished = 0;
    for round in 0..kills() {
        change(home, round);
        home.text(&["backup", "data"]);
        let saved = on_disk(&home.at("data"));
        let number = usize::try_from(round % 4).unwrap();
        if number == 0 {
            change(home, round + 5);
        }
        let moment = takes[number].mul_f64(f64::from(u32::try_from(rng.below(1000)).unwrap()) / 1000.0);
        let mut child = home.start(commands[number]);
        pause(moment);
        let _ = child.kill();
        unfinished += u64::from(!child.wait().unwrap().success());
        home.text(&["check", "--read-data"]);
        let start = Instant::now();
        home.text(commands[number]);
        takes[number] = start.elapsed();
        if number != 0 {
            let target = format!("back-{round}");
            home.text(&["restore", "latest", "--target", &target]);
            assert_same(&on_disk(&home.at(&target).join("data")), &saved);
        }
    }
    assert!(unfinished * 3 > kills(), "only {unfinished} runs were killed before their end");
    home.text(&["prune", "--max-unused", "0", "--force"]);
    home.text(&["check", "--read-data"]);
}

#[test]
fn backups_forgets_and_prunes_killed_on_a_directory_leave_nothing_to_do() {
    kill_at_random_moments(&Home::with_repository());
}

#[test]
fn backups_forgets_and_prunes_killed_on_s3_leave_nothing_to_do() {
    let server = S3ServerThread::start();
    let mut home = Home::new();
    for (name, value) in server.server.variables() {
        home.set(name, value);
    }
    home.set("VOLVAULT_REPOSITORY", format!("s3:{}/kills", server.server.endpoint));
    home.set_key();
    home.text(&["init"]);
    kill_at_random_moments(&home);
}

#[test]
fn a_backup_stopped_across_a_whole_prune_ends_complete_or_says_that_it_did_not() {
    let (mut complete, mut refused) = (0, 0);
    for round in 0..6u64 {
        let home = Home::with_repository();
        // What the backup will find in the repository, and what no snapshot needs any more.
        fill(&home.at("data"), 200, 20_000);
        home.text(&["backup", "data"]);
        let snapshot = home.text(&["snapshots", "--json"]);
        let id: String = snapshot.split("\"short_id\":\"").nth(1).unwrap().chars().take_while(|c| *c != '"').collect();
        home.text(&["forget", &id]);
        // What is new takes two seconds to be sent.
        for file in 0..50 {
            write(&home.at("data").join(format!("00/{file:05}")), &noise(20_000, 10_000 + file));
        }
        let mut child = home.start(&["backup", "data", "--limit-upload", "500"]);
        pause(Duration::from_millis(20 + 200 * round));
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::STOP).unwrap();
        // It is taken for dead at once in every other round, and left alone in the others.
        let stale = if round % 2 == 0 { "0s" } else { "24h" };
        home.text(&["prune", "--max-unused", "0", "--force", "--wait", "0s", "--stale-after", stale]);
        kill_process(pid, Signal::CONT).unwrap();
        let saved = child.wait().unwrap().success();
        if saved {
            complete += 1;
            home.text(&["restore", "latest", "--target", "back"]);
            assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
            home.text(&["check", "--read-data"]);
        } else {
            refused += 1;
        }
        home.text(&["backup", "data"]);
        home.text(&["restore", "latest", "--target", "again"]);
        assert_same(&on_disk(&home.at("again/data")), &on_disk(&home.at("data")));
    }
    assert!(complete > 0 && refused > 0, "{complete} complete, {refused} refused");
}
