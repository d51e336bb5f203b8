//! A machine without a cluster: documents in a directory, volumes beside them, and the process that runs them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::write;
use crate::support::s3::{ACCESS_KEY, S3ServerThread, SECRET_KEY};

/// Longer than anything takes on a slow machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_mins(4);
const LOOK: Duration = Duration::from_millis(100);

/// A raw key: a password hash for each job would take longer than the jobs.
const KEY: &str = "key32:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub(super) struct Desk {
    dir: tempfile::TempDir,
    endpoint: String,
    documents: RefCell<BTreeMap<String, String>>,
}

impl Desk {
    pub(super) fn new(s3: &S3ServerThread) -> Self {
        s3.server.make_bucket("desk");
        let dir = tempfile::tempdir().unwrap();
        Self { dir, endpoint: s3.server.endpoint.clone(), documents: RefCell::default() }
    }

    pub(super) fn make_volume(&self, name: &str) {
        std::fs::create_dir_all(self.volume(name)).unwrap();
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.dir.path().join("volumes").join(name)
    }

    pub(super) fn write(&self, volume: &str, file: &str, text: &str) {
        let path = self.volume(volume).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, text.as_bytes());
    }

    pub(super) fn read(&self, volume: &str, file: &str) -> Option<String> {
        std::fs::read_to_string(self.volume(volume).join(file)).ok()
    }

    pub(super) fn remove(&self, volume: &str, file: &str) {
        std::fs::remove_file(self.volume(volume).join(file)).unwrap();
    }

    fn document(&self, key: String, text: String) {
        self.documents.borrow_mut().insert(key, text);
    }

    /// One whose volume is read at `rate` bytes a second.
    pub(super) fn slow_secret(&self, name: &str, rate: &str) {
        self.secret_with(name, &format!("RESTIC_PASSWORD: {KEY}\n  RCLONE_VOLVAULT_READ_RATE: {rate}"), name);
    }

    pub(super) fn secret(&self, name: &str) {
        self.secret_with(name, &format!("RESTIC_PASSWORD: {KEY}"), name);
    }

    pub(super) fn secret_with(&self, name: &str, password: &str, prefix: &str) {
        self.document(
            format!("secret {name}"),
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n  {password}\n  \
                 RESTIC_REPOSITORY: s3:{}/desk/{prefix}\n  AWS_ACCESS_KEY_ID: {ACCESS_KEY}\n  \
                 AWS_SECRET_ACCESS_KEY: {SECRET_KEY}\n",
                self.endpoint
            ),
        );
    }

    pub(super) fn source(&self, name: &str, trigger: &str, metadata: &str) {
        self.document(
            format!("source {name}"),
            format!(
                "apiVersion: volsync.backube/v1alpha1\nkind: ReplicationSource\nmetadata:\n  name: {name}\n  {metadata}\n\
                 spec:\n  sourcePVC: {name}\n  {trigger}\n  restic: {{repository: {name}, copyMethod: Direct, retain: {{last: '3'}}}}\n"
            ),
        );
    }

    pub(super) fn destination(&self, name: &str, repository: &str, trigger: &str) {
        self.document(
            format!("destination {name}"),
            format!(
                "apiVersion: volsync.backube/v1alpha1\nkind: ReplicationDestination\nmetadata:\n  name: {name}\n\
                 spec:\n  {trigger}\n  restic: {{repository: {repository}, destinationPVC: {name}, copyMethod: Direct}}\n"
            ),
        );
    }

    /// The Secret of a mirror's remote, which is called `bucket`.
    pub(super) fn remote(&self, name: &str, secret_key: &str) {
        self.document(
            format!("secret {name}"),
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n  rclone.conf: |\n    [bucket]\n    \
                 type = s3\n    provider = Minio\n    access_key_id = {ACCESS_KEY}\n    secret_access_key = {secret_key}\n    \
                 endpoint = {}\n    region = us-east-1\n",
                self.endpoint
            ),
        );
    }

    /// A source of the mirror at `path`, or a destination.
    pub(super) fn mirror(&self, (kind, name): (&str, &str), (secret, path): (&str, &str), trigger: &str) {
        let (document, claim) = match kind {
            "source" => ("ReplicationSource", format!("  sourcePVC: {name}\n")),
            _ => ("ReplicationDestination", String::new()),
        };
        let own = if claim.is_empty() { format!("destinationPVC: {name}, ") } else { String::new() };
        self.document(
            format!("{kind} {name}"),
            format!(
                "apiVersion: volsync.backube/v1alpha1\nkind: {document}\nmetadata:\n  name: {name}\nspec:\n{claim}  {trigger}\n  \
                 rclone: {{{own}rcloneConfig: {secret}, rcloneConfigSection: bucket, rcloneDestPath: {path}, copyMethod: Direct}}\n"
            ),
        );
    }

    /// The command of a person who looks at the repository below `prefix`.
    pub(super) fn look(&self, prefix: &str, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volvault"));
        command.arg("-r").arg(format!("s3:{}/desk/{prefix}", self.endpoint)).args(arguments).env_clear();
        command.envs([
            ("RESTIC_PASSWORD", KEY),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]);
        let output = command.current_dir("/").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A command with the documents as they are now.
    pub(super) fn command(&self, name: &str, options: &[&str]) -> Command {
        let documents = self.documents.borrow();
        let path = self.dir.path().join("documents.yaml");
        let mut text = String::new();
        documents.values().for_each(|document| write!(text, "---\n{document}").unwrap());
        write(&path, text.as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_volvault"));
        command.arg(name).arg("-f").arg(&path).args(options);
        for volume in documents.keys().filter_map(|key| key.split_once(' ')).filter(|(kind, _)| *kind != "secret") {
            command.arg("--volume").arg(format!("{}={}", volume.1, self.volume(volume.1).display()));
        }
        if name == "run" {
            command.arg("--state-dir").arg(self.dir.path().join("state"));
        }
        command.env_clear().current_dir("/").stdin(Stdio::null());
        command
    }

    pub(super) fn run(&self, options: &[&str]) -> Running {
        let log = self.dir.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        let child = self.command("run", options).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Running { child, log, status: self.dir.path().join("state/status.json") }
    }

    /// Takes what is remembered of the repository of a resource out of the status file, as the manual says.
    pub(super) fn accept(&self, name: &str) {
        let path = self.dir.path().join("state/status.json");
        let mut status: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let items = status["items"].as_array_mut().unwrap();
        let item = items.iter_mut().find(|item| item["metadata"]["name"] == name).unwrap();
        assert!(item["volvault"].as_object_mut().unwrap().remove("remembered").is_some());
        write(&path, status.to_string().as_bytes());
    }

    /// Exit code and all output.
    pub(super) fn validate(&self, options: &[&str]) -> (Option<i32>, String) {
        let output = self.command("validate", options).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

/// The process, which is killed at the end of a test.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
    status: PathBuf,
}

impl Running {
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The status file; an empty one before it is there.
    pub(super) fn status(&self) -> StatusFile {
        let text = std::fs::read_to_string(&self.status).unwrap_or_else(|_| "{\"items\":[]}".to_owned());
        StatusFile(serde_json::from_str(&text).unwrap())
    }

    pub(super) fn until(&mut self, what: &str, holds: impl Fn(&StatusFile) -> bool) {
        let start = Instant::now();
        while !holds(&self.status()) {
            assert!(self.child.try_wait().unwrap().is_none(), "{what}: it has ended: {}", self.log());
            assert!(start.elapsed() < PATIENCE, "{what}: {}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; the exit code.
    pub(super) fn terminate(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) struct StatusFile(Value);

impl StatusFile {
    pub(super) fn of(&self, name: &str) -> &Value {
        let items = self.0["items"].as_array().unwrap();
        items.iter().find(|item| item["metadata"]["name"] == name).unwrap_or(&Value::Null)
    }

    fn count(item: &Value, outcome: &str) -> usize {
        let history = item["volvault"]["history"].as_array();
        history.map_or(0, |history| history.iter().filter(|past| past["outcome"] == outcome).count())
    }

    /// Successful runs.
    pub(super) fn runs(&self, name: &str) -> usize {
        Self::count(self.of(name), "successful")
    }

    /// A number of the last successful run.
    pub(super) fn last(&self, name: &str, number: &str) -> u64 {
        self.of(name)["volvault"]["latest"][number].as_u64().unwrap()
    }

    /// Failed runs of all.
    pub(super) fn failed(&self) -> usize {
        self.0["items"].as_array().unwrap().iter().map(|item| Self::count(item, "failed")).sum()
    }
}
