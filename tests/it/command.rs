//! The program as a process: exit codes, signals, kills, a repository on S3, and a tree that comes back as it was.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::s3::S3ServerThread;
use crate::support::vault::{assert_same, noise, on_disk};

/// A home of its own for each test: no repository, no variables.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// A home with a repository in a directory, opened by a key file.
    pub(crate) fn with_repository() -> Self {
        let mut home = Self::new();
        home.set("VOLVAULT_REPOSITORY", home.at("repository").display().to_string());
        home.set_key();
        assert_eq!(home.code(&["init"]), 0);
        home
    }

    pub(crate) fn set(&mut self, name: impl Into<String>, value: String) {
        self.variables.push((name.into(), value));
    }

    pub(crate) fn set_key(&mut self) {
        let key = self.at("key");
        write(&key, &noise(32, 99));
        self.set("VOLVAULT_KEY_FILE", key.display().to_string());
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volvault"));
        command.args(arguments).env_clear().env("HOME", self.dir.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn code(&self, arguments: &[&str]) -> i32 {
        let output = self.run(arguments);
        output.status.code().unwrap_or_else(|| panic!("{arguments:?} was killed"))
    }

    /// Runs what must succeed and returns what it printed.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), bytes).unwrap();
}

pub(crate) fn fill(root: &Path, files: u64, len: usize) {
    for n in 0..files {
        write(&root.join(format!("{:02}/{n:05}", n / 100)), &noise(len, n));
    }
}

pub(crate) fn pause(time: Duration) {
    let forever = std::sync::Condvar::new();
    let lock = std::sync::Mutex::new(());
    drop(forever.wait_timeout(lock.lock().unwrap(), time).unwrap());
}

#[test]
fn without_a_repository_one_is_made_and_what_was_saved_comes_back() {
    let home = Home::new();
    fill(&home.at("data"), 150, 3000);
    let output = home.run(&["backup", "data"]);
    assert_eq!(output.status.code(), Some(0));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        said.contains("/.local/share/volvault/repository") && said.contains("/.local/share/volvault/key"),
        "{said}"
    );
    let key = std::fs::metadata(home.at(".local/share/volvault/key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    home.text(&["restore", "latest", "--target", "back"]);
    assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
    home.text(&["check", "--read-data"]);
}

#[test]
fn exit_codes_are_those_of_restic() {
    let home = Home::with_repository();
    fill(&home.at("data"), 5, 10);
    assert_eq!(home.code(&["backup", "data"]), 0);
    assert_eq!(home.code(&["backup", "data", "missing"]), 3);
    assert_eq!(home.code(&["backup", "missing"]), 1);
    assert_eq!(home.code(&["init"]), 1);
    let output = home.run(&["-r", "nowhere", "snapshots"]);
    assert_eq!(output.status.code(), Some(10));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Is there a repository at the following location?"));
    write(&home.at("wrong"), &noise(32, 1));
    assert_eq!(home.code(&["--key-file", "wrong", "snapshots"]), 12);
    assert_eq!(home.code(&["restore", "feedfeed", "--target", "t"]), 1);
}

#[test]
fn forget_says_what_stays_and_why_and_removes_the_rest() {
    let home = Home::with_repository();
    fill(&home.at("data"), 2, 10);
    for (day, host) in [(1, "a"), (2, "a"), (3, "a"), (3, "b")] {
        home.text(&["backup", "data", "--host", host, "--time", &format!("2024-03-0{day}T10:00:00Z")]);
    }
    let count = || home.text(&["snapshots", "--json"]).matches("short_id").count();
    let dry = home.text(&["forget", "--keep-last", "1", "--keep-yearly", "1", "-n"]);
    for line in [
        "Applying Policy: keep 1 latest, 1 yearly snapshots",
        "snapshots for (host [a], paths [",
        "keep 1 snapshots:",
        "remove 2 snapshots:",
        "a                       last snapshot    /",
        "                        yearly snapshot",
        "Would have removed the following snapshots:",
    ] {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    assert_eq!(count(), 4);
    let json = home.text(&["forget", "--keep-last", "1", "--host", "a", "-n", "--json"]);
    let groups: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((groups[0]["host"].as_str(), groups[0]["tags"].is_null()), (Some("a"), true));
    assert_eq!(groups[0]["keep"][0]["time"], "2024-03-03T10:00:00Z");
    assert_eq!(groups[0]["remove"].as_array().unwrap().len(), 2);
    assert_eq!(groups[0]["reasons"][0]["matches"][0], "last snapshot");
    for refused in [&["forget"][..], &["forget", "--keep-tag", "misspelt"], &["forget", "--keep-last", "-1"]] {
        assert_eq!(home.code(refused), 1, "{refused:?}");
    }
    assert_eq!(count(), 4);
    let newest = groups[0]["keep"][0]["id"].as_str().unwrap();
    assert!(home.text(&["forget", newest, "feedfeed"]).contains("1 of 1 snapshots removed"));
    assert_eq!(home.text(&["forget", newest, "--json"]), "", "again, and nothing is left to do");
    assert!(home.text(&["forget", "--keep-last", "1"]).contains("1 of 1 snapshots removed"));
    assert_eq!(count(), 2);
    home.text(&["check"]);
    assert_eq!(home.code(&["forget", "--unsafe-allow-remove-all", "--host", "b"]), 0);
    assert_eq!(count(), 1);
}

#[test]
fn forget_with_prune_gives_the_space_back_and_a_dry_run_says_how_much() {
    let home = Home::with_repository();
    for n in 1..4 {
        write(&home.at("data/big"), &noise(300_000, n));
        home.text(&["backup", "data", "--time", &format!("2024-03-0{n}T10:00:00Z")]);
    }
    let packs = || std::fs::read_dir(home.at("repository/packs")).unwrap().flatten().map(|dir| dir.path());
    let bytes = || -> u64 {
        let files = packs().flat_map(|dir| std::fs::read_dir(dir).unwrap().flatten());
        files.map(|file| file.metadata().unwrap().len()).sum()
    };
    let before = bytes();
    assert!(before > 900_000);
    let forget = ["forget", "--keep-last", "1", "--prune", "--max-unused", "0"];
    let dry = home.text(&[&forget[..], &["--dry-run"]].concat());
    assert!(dry.contains("2 snapshots would be removed, running prune dry run"), "{dry}");
    let freed = dry.lines().find(|line| line.starts_with("total prune:")).unwrap();
    assert!(freed.contains("KiB") && !freed.contains(" 0 blobs"), "{dry}");
    assert_eq!(bytes(), before);
    let done = home.text(&forget);
    assert!(done.contains("2 snapshots have been removed, running prune"), "{done}");
    assert!(done.contains(freed), "a dry run says the same:\n{dry}\n{done}");
    assert!(bytes() < 400_000, "{} left", bytes());
    assert!(!home.text(&forget).contains("running prune"), "nothing is removed, so nothing is pruned");
    home.text(&["check", "--read-data"]);
    home.text(&["restore", "latest", "--target", "back"]);
    assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
}

#[test]
fn a_failed_command_behind_stdin_saves_nothing() {
    let home = Home::with_repository();
    assert_eq!(home.code(&["backup", "--stdin-filename", "ok", "--stdin-from-command", "--", "/bin/echo", "hello"]), 0);
    assert_ne!(
        home.code(&[
            "backup",
            "--stdin-filename",
            "bad",
            "--stdin-from-command",
            "--",
            "/bin/sh",
            "-c",
            "echo half; exit 7"
        ]),
        0
    );
    let shown = home.text(&["snapshots", "--json"]);
    assert_eq!(shown.matches("short_id").count(), 1, "{shown}");
    home.text(&["restore", "latest", "--target", "t"]);
    assert_eq!(std::fs::read(home.at("t/ok")).unwrap(), b"hello\n");
}

#[test]
fn a_stream_with_folders_in_its_name_comes_back() {
    let home = Home::with_repository();
    let named =
        ["backup", "--stdin-filename", "/dumps/today/db.sql", "--stdin-from-command", "--", "/bin/echo", "hello"];
    assert_eq!(home.code(&named), 0);
    home.text(&["restore", "latest", "--target", "t"]);
    assert_eq!(std::fs::read(home.at("t/dumps/today/db.sql")).unwrap(), b"hello\n");
}

#[test]
fn a_location_that_is_empty_is_no_wish_for_the_local_repository() {
    let home = Home::new();
    fill(&home.at("data"), 3, 10);
    assert_eq!(home.code(&["-r", "", "backup", "data"]), 1);
    assert_eq!(home.code(&["backup", "--dry-run", "data"]), 10, "a dry run makes no repository");
    assert!(!home.at(".local").exists());
}

#[test]
fn a_repository_that_lost_its_config_is_not_taken_for_an_empty_place() {
    let home = Home::with_repository();
    fill(&home.at("data"), 3, 10);
    assert_eq!(home.code(&["backup", "data"]), 0);
    std::fs::remove_file(home.at("repository/config")).unwrap();
    assert_eq!(home.code(&["snapshots"]), 1);
    assert_eq!(home.code(&["init"]), 1);
}

#[test]
fn a_password_opens_too_and_can_be_changed_and_removed() {
    let mut home = Home::new();
    home.set("VOLVAULT_REPOSITORY", home.at("repository").display().to_string());
    home.set_key();
    assert_eq!(home.code(&["init"]), 0);
    write(&home.at("password"), b"correct horse\n");
    home.text(&["key", "add", "--new-password-file", "password"]);
    let with_password = Home { dir: tempfile::tempdir().unwrap(), variables: vec![home.variables[0].clone()] };
    write(&with_password.at("p"), b"correct horse\n");
    write(&with_password.at("q"), b"wrong horse\n");
    assert_eq!(with_password.code(&["--password-file", "p", "snapshots"]), 0);
    assert_eq!(with_password.code(&["--password-file", "q", "snapshots"]), 12);
}

#[test]
fn changes_of_keys_are_told_as_json_too() {
    let home = Home::with_repository();
    write(&home.at("second"), &noise(32, 1));
    write(&home.at("third"), &noise(32, 2));
    let told = |arguments: &[&str]| {
        let text = home.text(&[&["key", "--json"], arguments].concat());
        let told: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(told["message_type"], "key", "{told}");
        (told["action"].as_str().unwrap().to_owned(), told["id"].as_str().unwrap().to_owned())
    };
    let (action, id) = told(&["add", "--new-key-file", "second"]);
    assert_eq!((action.as_str(), id.len()), ("added", 32));
    assert_eq!(told(&["remove", &id[..8]]), ("removed".to_owned(), id));
    assert_eq!(told(&["passwd", "--new-key-file", "key"]).0, "unchanged");
    let (action, id) = told(&["passwd", "--new-key-file", "third"]);
    assert_eq!(action, "changed");
    assert_eq!(home.code(&["snapshots"]), 12, "the old key opens nothing any more");
    let keys = home.text(&["--key-file", "third", "key", "list", "--json"]);
    assert!(keys.contains(&id), "{keys}");
}

#[test]
fn a_damaged_key_slot_is_named_and_another_one_opens() {
    let home = Home::with_repository();
    let slots = || std::fs::read_dir(home.at("repository/state/keys")).unwrap().map(|slot| slot.unwrap().path());
    let good: Vec<_> = slots().collect();
    write(&home.at("second"), &noise(32, 1));
    home.text(&["key", "add", "--new-key-file", "second"]);
    let damaged = slots().find(|slot| !good.contains(slot)).unwrap();
    let name = damaged.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::File::options().write(true).open(&damaged).unwrap().set_len(100).unwrap();
    let output = home.run(&["--key-file", "second", "snapshots"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "nobody can say that the key is wrong");
    assert!(said.contains(&name) && said.contains("back from a copy"), "{said}");
    home.text(&["snapshots"]);
    let output = home.run(&["key", "list"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains(&name), "{said}");
    home.text(&["key", "remove", &name]);
    assert_eq!(home.code(&["--key-file", "second", "snapshots"]), 12);
    home.text(&["check"]);
}

#[test]
fn a_repository_on_s3_makes_its_bucket_and_gives_everything_back() {
    let server = S3ServerThread::start();
    let mut home = Home::new();
    for (name, value) in server.server.variables() {
        home.set(name, value);
    }
    home.set("VOLVAULT_REPOSITORY", format!("s3:{}/fresh/some/prefix", server.server.endpoint));
    home.set_key();
    fill(&home.at("data"), 120, 2000);
    write(&home.at("data/large"), &noise(3 << 20, 7));
    home.text(&["init"]);
    home.text(&["backup", "data"]);
    let before = server.server.requests();
    home.text(&["backup", "data"]);
    let requests = server.server.requests() - before;
    assert!(requests <= 10, "{requests} requests for an unchanged backup");
    home.text(&["restore", "latest", "--target", "back"]);
    assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
    home.text(&["check", "--read-data"]);
}

/// A listener in the place of a cloud's metadata service (R35), and what points to it.
fn trap(home: &mut Home) -> std::net::TcpListener {
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://{}", trap.local_addr().unwrap());
    home.set("AWS_EC2_METADATA_DISABLED", "false".to_owned());
    for name in ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_METADATA_ENDPOINT"] {
        home.set(name, url.clone());
    }
    home.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/credentials"));
    trap
}

#[test]
fn with_keys_of_its_own_no_metadata_service_is_asked() {
    let server = S3ServerThread::start();
    let mut home = Home::new();
    let trap_set = trap(&mut home);
    for (name, value) in server.server.variables() {
        home.set(name, value);
    }
    home.set("VOLVAULT_REPOSITORY", format!("s3:{}/bucket", server.server.endpoint));
    home.set_key();
    fill(&home.at("data"), 10, 2000);
    for command in [&["init"][..], &["backup", "data"], &["check"], &["restore", "latest", "--target", "back"]] {
        home.text(command);
    }
    assert!(trap_set.accept().is_err(), "somebody asked for credentials");
}

#[test]
fn without_keys_the_metadata_service_is_asked() {
    let mut home = Home::new();
    let trap_set = trap(&mut home);
    home.set("VOLVAULT_REPOSITORY", "s3:http://127.0.0.1:9/bucket".to_owned());
    home.set("AWS_REGION", "us-east-1".to_owned());
    home.set_key();
    let mut child = home.start(&["snapshots"]);
    // The trap of the test above is one: otherwise nothing would come here either.
    let asked = (0..400).any(|_| {
        trap_set.accept().is_ok() || {
            pause(Duration::from_millis(50));
            false
        }
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(asked);
}

#[test]
fn every_command_counts_its_requests_as_text_and_as_json() {
    let home = Home::with_repository();
    fill(&home.at("data"), 3, 100);
    home.text(&["backup", "data"]);
    for command in [
        &["backup", "data"][..],
        &["snapshots"],
        &["ls", "latest"],
        &["stats"],
        &["check"],
        &["tag", "--add", "x", "latest"],
        &["forget", "--keep-last", "1"],
        &["prune"],
        &["key", "list"],
        &["cat", "config"],
        &["repair", "index"],
        &["restore", "latest", "--target", "back"],
    ] {
        let errors = |options: &[&str]| {
            let output = home.run(&[options, command].concat());
            assert!(output.status.success(), "{command:?}");
            String::from_utf8(output.stderr).unwrap()
        };
        assert!(errors(&["--stats"]).contains(" requests ("), "{command:?}");
        let json = errors(&["--stats", "--json"]);
        assert!(json.contains("{\"message_type\":\"requests\",\"requests\":{"), "{command:?}: {json}");
    }
}

#[test]
fn sigterm_leaves_a_partial_snapshot_and_exit_code_130() {
    let home = Home::with_repository();
    fill(&home.at("data"), 60, 1 << 20);
    // A slow store and small packs, so that the signal comes in the middle.
    let mut child = home.start(&["--limit-upload", "8192", "--pack-size", "1", "backup", "data"]);
    pause(Duration::from_millis(1500));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(home.text(&["snapshots", "--json"]).contains("\"status\":\"partial\""));
    assert_eq!(home.code(&["restore", "latest", "--target", "none"]), 1, "a partial snapshot is not the latest");
    home.text(&["backup", "data"]);
    home.text(&["restore", "latest", "--target", "back"]);
    assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
}

#[test]
fn sigterm_on_a_link_that_is_too_slow_leaves_what_was_sent_within_the_time() {
    assert!((0..4).any(|_| leaves_what_was_sent()));
}

/// Whether there is a snapshot. There is none, and the run says so, when the very first files had not been sent: the thread that seals them may stand still
/// on a busy machine, while the other one goes on.
fn leaves_what_was_sent() -> bool {
    let home = Home::with_repository();
    fill(&home.at("data"), 3000, 5000);
    let mut child = home.start(&["--limit-upload", "400", "--pack-size", "1", "backup", "data"]);
    let names = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).map(|names| names.flatten().map(|name| name.path()).collect()).unwrap_or_default()
    };
    let is_pack = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
    let sent = || names(&home.at("repository/packs")).iter().flat_map(|dir| names(dir)).filter(is_pack).count();
    assert!((0..1200).any(|_| {
        pause(Duration::from_millis(50));
        sent() >= 3
    }));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    home.text(&["check", "--read-data"]);
    let snapshots = home.text(&["snapshots", "--json"]);
    if !snapshots.contains("\"id\"") {
        return false;
    }
    assert!(snapshots.contains("\"status\":\"partial\""), "{snapshots}");
    let told = home.text(&["backup", "data", "--json"]);
    assert!(!told.contains("\"files_unmodified\":0,"), "{told}");
    home.text(&["restore", "latest", "--target", "back"]);
    assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
    true
}

/// R02 in small: the moments are spread over the length of a whole run. `VOLVAULT_TEST_KILLS` sets how many.
#[test]
fn sigkill_at_any_moment_leaves_a_repository_that_checks_clean() {
    let kills: u32 =
        std::env::vars().find(|(name, _)| name == "VOLVAULT_TEST_KILLS").map_or(12, |(_, n)| n.parse().unwrap());
    let home = Home::with_repository();
    fill(&home.at("data"), 1200, 5000);
    home.text(&["backup", "data"]);
    let mut saved = on_disk(&home.at("data"));
    for n in 0..kills {
        let round = u64::from(n);
        for file in 0..300 {
            write(
                &home.at("data").join(format!("{:02}/{file:05}", file / 100)),
                &noise(5000, 10_000 * (round + 1) + file),
            );
        }
        let mut child = home.start(&["backup", "data"]);
        pause(Duration::from_millis(5 + round * 23 % 250));
        let _ = child.kill();
        let finished = child.wait().unwrap().success();
        home.text(&["check", "--read-data"]);
        if finished {
            saved = on_disk(&home.at("data"));
        } else {
            let target = format!("old-{n}");
            home.text(&["restore", "latest", "--target", &target]);
            let back = on_disk(&home.at(&target).join("data"));
            let now = on_disk(&home.at("data"));
            // A run that was killed after its snapshot was stored has saved the new state.
            assert!(back == saved || back == now, "kill {n}: neither the old state nor the new one");
            if back == now {
                saved = now;
            }
        }
    }
    home.text(&["backup", "data"]);
    home.text(&["restore", "latest", "--target", "end"]);
    assert_same(&on_disk(&home.at("end/data")), &on_disk(&home.at("data")));
}

#[test]
fn a_damaged_repository_is_mended_as_the_manual_says() {
    let mut home = Home::with_repository();
    fill(&home.at("data"), 40, 3000);
    home.text(&["backup", "data"]);
    let copied = Command::new("cp").arg("-r").arg(home.at("repository")).arg(home.at("copy")).status().unwrap();
    assert!(copied.success());
    let folder = std::fs::read_dir(home.at("repository/packs")).unwrap().next().unwrap().unwrap().path();
    let pack = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    write(&pack, &bytes);
    assert_eq!(home.code(&["check", "--read-data"]), 1);
    // A plan that was not asked for is no success: a script must not believe that anything was repaired.
    assert_eq!(home.code(&["repair", "packs"]), 1);
    assert_eq!(home.code(&["repair", "packs", "--dry-run"]), 0);
    assert_eq!(home.code(&["repair", "index"]), 0);
    // Without any key.
    let key = home.variables.iter().position(|(name, _)| *name == "VOLVAULT_KEY_FILE").unwrap();
    let key = home.variables.remove(key);
    assert_eq!(home.code(&["repair", "--from", "repository", "--apply"]), 1);
    assert_eq!(home.code(&["repair", "--from", "copy"]), 1);
    let said = home.text(&["repair", "--from", "copy", "--apply"]);
    assert!(said.contains("done: bring packs/") && said.contains("lies in trash/"), "{said}");
    home.variables.push(key);
    home.text(&["check", "--read-data"]);
    assert!(home.at("repository/trash").is_dir());
    let json = home.text(&["repair", "snapshots", "--json"]);
    assert!(json.contains(r#""message_type":"summary","applied":false,"steps":[]"#), "{json}");
}

#[test]
fn a_repair_that_could_not_save_everything_does_not_report_success() {
    let home = Home::with_repository();
    fill(&home.at("data"), 40, 3000);
    home.text(&["backup", "data"]);
    let folders = std::fs::read_dir(home.at("repository/packs")).unwrap().map(|folder| folder.unwrap().path());
    let packs: Vec<_> =
        folders.flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|pack| pack.unwrap().path()).collect();
    // The kind of a pack stands in its head: 1 is data.
    let (data, pages): (Vec<_>, Vec<_>) = packs.into_iter().partition(|pack| std::fs::read(pack).unwrap()[11] == 1);
    for pack in &data {
        std::fs::remove_file(pack).unwrap();
    }
    home.run(&["repair", "index", "--apply"]);
    assert_eq!(home.code(&["repair", "snapshots", "--dry-run"]), 0);
    assert_eq!(home.code(&["repair", "snapshots", "--apply"]), 1, "files are lost");
    assert_eq!(home.code(&["repair", "snapshots", "--apply"]), 0, "there is nothing more to do");
    // Nothing at all is left.
    for pack in &pages {
        std::fs::remove_file(pack).unwrap();
    }
    home.run(&["repair", "index", "--apply"]);
    let output = home.run(&["repair", "snapshots", "--apply"]);
    let (code, said) = (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap());
    assert!(
        code == Some(1) && said.contains("--forget removes it") && !said.contains("nothing to repair"),
        "{code:?}: {said}"
    );
    assert_eq!(home.code(&["repair", "snapshots", "--forget", "--apply"]), 1);
    assert_eq!((home.code(&["repair", "snapshots", "--forget", "--apply"]), home.code(&["check"])), (0, 0));
}

#[test]
fn snapshots_are_copied_with_the_variables_that_restic_has() {
    let mut home = Home::with_repository();
    fill(&home.at("data"), 20, 3000);
    home.text(&["backup", "--tag", "a", "data"]);
    home.text(&["tag", "--add", "b", "latest"]);
    write(&home.at("other-key"), &noise(32, 5));
    let of = |home: &Home, name: &str| home.at(name).display().to_string();
    let other = [("VOLVAULT_REPOSITORY", of(&home, "other")), ("VOLVAULT_KEY_FILE", of(&home, "other-key"))];
    home.variables = other.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    home.text(&["init"]);
    assert_eq!(home.code(&["copy"]), 1);
    home.set("RESTIC_FROM_REPOSITORY", of(&home, "repository"));
    home.set("VOLVAULT_FROM_KEY_FILE", of(&home, "key"));
    let said = home.text(&["copy"]);
    assert!(said.contains("copied 1 snapshots, 0 were there already"), "{said}");
    assert!(home.text(&["copy"]).contains("copied 0 snapshots, 1 were there already"));
    home.text(&["restore", "latest", "--tag", "a,b", "--target", "back"]);
    assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
    let stats = home.text(&["stats", "--json"]);
    assert!(stats.contains(r#""total_size":60000,"total_file_count":"#), "{stats}");
    let none = |arguments: &[&str]| home.text(&[&["stats", "--json", "--host", "nobody"], arguments].concat());
    assert_eq!(
        (none(&[]).as_str(), none(&["-g", "host"]).as_str()),
        ("{\"total_size\":0,\"snapshots_count\":0}\n", "[]\n")
    );
    home.text(&["backup", "--host", "other", "data"]);
    let groups: serde_json::Value = serde_json::from_str(&home.text(&["stats", "--json", "-g", "host"])).unwrap();
    let sizes = groups.as_array().unwrap().iter().map(|group| group["total_size"].as_u64().unwrap());
    assert_eq!(sizes.collect::<Vec<_>>(), [60000, 60000], "{groups}");
    assert!(home.text(&["stats", "--group-by", "host"]).contains("snapshots for (host [other])"));
    assert_eq!((home.code(&["unlock", "--remove-all"]), home.code(&["cache"])), (0, 0));
}
