//! `volvault mirror` as a process: how much memory it takes, and how it ends when it is told to.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Home, pause, write};
use crate::mirror_command::says;
use crate::support::memory_s3::Habits;
use crate::support::s3::{S3Server, S3ServerThread};
use crate::support::vault::{Seen, assert_same, noise, on_disk};

/// What docs/mirror.md says that a process takes, for any number of files of any size and up to four destinations, and a quarter more, for machines whose
/// allocator keeps more.
const MEMORY_MAX: u64 = 160 << 20;
const MIB: usize = 1 << 20;

/// A server with the bucket `site`, and a home that has access to it.
fn at_server() -> (S3ServerThread, Home) {
    let server = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "site"));
    let mut home = Home::new();
    for (name, value) in server.server.variables() {
        home.set(name, value);
    }
    (server, home)
}

fn place(server: &S3ServerThread, prefix: &str) -> String {
    format!("s3:{}/site/{prefix}", server.server.endpoint)
}

/// The most memory that a process had resident at once, as long as it runs.
fn resident(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10)
}

/// Runs what must succeed, and says how much memory it took.
fn memory_of(home: &Home, arguments: &[&str]) -> u64 {
    let mut child = home.start(&[&["mirror"], arguments].concat());
    let mut most = 0;
    loop {
        most = resident(&child).unwrap_or(0).max(most);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{arguments:?}: {status}");
            return most;
        }
        pause(Duration::from_millis(5));
    }
}

#[test]
fn big_files_take_no_more_memory_than_is_said() {
    let (server, home) = at_server();
    // One of many parts, and many that all want to be on their way at once.
    for (name, size) in (0..10).map(|file| (format!("data/{file}"), 9 * MIB)).chain([("data/large".into(), 160 * MIB)])
    {
        write(&home.at(&name), &noise(size, size as u64 + name.len() as u64));
    }
    let (left, right) = (place(&server, "left"), place(&server, "right"));
    let took = [
        memory_of(&home, &["push", "data", &left]),
        memory_of(&home, &["pull", &left, "back"]),
        memory_of(&home, &["push", "data", &right, &place(&server, "third")]),
    ];
    assert!(took.iter().all(|took| (1..=MEMORY_MAX).contains(took)), "{took:?}");
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
}

/// Starts a run whose words are heard.
fn begin(home: &Home, arguments: &[&str]) -> Child {
    home.command(&[&["mirror"], arguments].concat()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Ends a run, which has to say so.
fn end(mut child: Child, signal: Signal) {
    kill_process(Pid::from_child(&child), signal).unwrap();
    let code = child.wait().unwrap().code();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("interrupted"), "{said}");
}

/// What is in a target beside the stage of a pull that was cut off.
fn target(home: &Home) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = on_disk(&home.at("back"));
    seen.retain(|path, _| !path.starts_with(b".volvault-pull") && !path.is_empty());
    seen
}

#[test]
fn a_signal_ends_a_pull_in_good_order_and_the_next_one_completes() {
    let (server, home) = at_server();
    let site = place(&server, "p");
    let mut before = BTreeMap::new();
    for (round, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        for file in 0..200 {
            write(&home.at(&format!("data/{file}")), &noise(20_000, 1000 * (round as u64 + 1) + file));
        }
        write(&home.at("data/large"), &noise(9 * MIB, round as u64));
        says(&home, &["push", "data", &site], 0);
        // So slow that it is at work when the signal comes.
        let child = begin(&home, &["pull", &site, "back", "--bwlimit", "400k"]);
        let begun = server.server.requests();
        while server.server.requests() < begun + 12 {
            pause(Duration::from_millis(20));
        }
        end(child, signal);
        // Not one file of the new generation is there before all of them are.
        assert_same(&target(&home), &before);
        says(&home, &["pull", &site, "back"], 0);
        assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
        before = target(&home);
    }
}

#[test]
fn a_signal_ends_a_pull_that_waits_for_a_push() {
    let home = Home::new();
    for file in 0..20 {
        write(&home.at(&format!("data/{file}")), &noise(2000, file));
    }
    says(&home, &["push", "data", "mirror"], 0);
    // Another tool has replaced a file: to a pull that looks like a push that is under way.
    write(&home.at("mirror/7"), &noise(2000, 99));
    let mut child = begin(&home, &["pull", "mirror", "back"]);
    while !home.at("back/.volvault-pull/content").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        pause(Duration::from_millis(20));
    }
    pause(Duration::from_secs(1));
    end(child, Signal::TERM);
    assert!(target(&home).is_empty());
    says(&home, &["push", "data", "mirror", "--relist"], 0);
    says(&home, &["pull", "mirror", "back"], 0);
    assert_same(&on_disk(&home.at("data")), &on_disk(&home.at("back")));
}
