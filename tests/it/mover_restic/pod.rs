//! A pod as VolSync makes it: its environment, its arguments, and its operator's view of the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use std::sync::Arc;

use regex::Regex;

use crate::command::write;
use crate::mover_rclone::pod::Script;
use crate::support::image::{self, DATA, InPod, Surroundings};
use crate::support::peer;
use crate::support::s3::{ACCESS_KEY, S3Server, S3ServerThread, SECRET_KEY};

/// What VolSync 0.16 keeps of the log of a restic mover that succeeded (`internal/controller/mover/restic/builder.go`).
const KEPT: &[&str] = &[
    r"^\s*([pP]rocessed)\s.+([fF]iles)",
    r"^\s*([sS]napshot)\s.+([sS]aved)",
    r"^\s*(No eligible)",
    r"(No data)",
    r"(Directory is empty)",
    r"^\s*([cC]reated)",
    r"^\s*([rR]epository)\s.+([oO]pened)",
    r"^\s*([rR]estoring)",
    r"^\s*([nN]o parent snapshot)",
    r"^\s*([uU]sing parent snapshot)",
    r"^\s*([aA]dded to the repository)",
    r"^\s*([sS]uccessfully)",
    r"(RESTORE_OPTIONS)",
    r"([iI]nitialize [dD]ir)",
    r"^\s*([fF]atal)",
    r"^\s*(ERROR)",
    r"^\s*([rR]estic completed in)",
];

/// Bytes of the log that VolSync keeps.
const KEPT_MAX: usize = 1024;
/// A line that its reader (`bufio.Scanner`) gives up on.
const LINE_MAX: usize = 64 << 10;

/// A raw key, as `RESTIC_PASSWORD` may hold one.
pub(crate) const KEY: &str = "key32:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What the operator starts.
const SCRIPT: &str = "/mover-restic/entry.sh";

/// A volume, a repository, and the variables of a pod.
pub(crate) struct Pod {
    dir: tempfile::TempDir,
    variables: BTreeMap<String, String>,
    user: Option<u32>,
    /// A server of its own, if that has the repository.
    own: Option<Arc<S3ServerThread>>,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    /// All lines.
    pub(crate) log: String,
    /// What stands in `status.latestMoverStatus.logs` afterwards.
    pub(crate) kept: String,
}

impl InPod for Pod {
    fn surroundings(&self) -> Surroundings<'_> {
        let mounts = vec![(self.data(), DATA), (self.dir.path().to_owned(), "/mnt/pod")];
        Surroundings { mounts, variables: &self.variables, user: self.user }
    }
}

impl Pod {
    /// With a repository on a volume of its own, unless the suite has all of them on a server.
    pub(crate) fn new() -> Self {
        let mut pod = Self::with_volume();
        if let Some(own) = peer::in_place_of_a_directory("volumes") {
            pod.use_bucket(&own.server, "volumes", "repository");
            pod.own = Some(own);
        }
        pod
    }

    /// With a repository on a volume of its own, as VolSync mounts one by `moverVolumes`.
    pub(crate) fn with_volume() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let mut pod = Self { dir, variables: BTreeMap::new(), user: None, own: None };
        let repository = pod.at("repository").display().to_string();
        let data = pod.data().display().to_string();
        for (name, value) in [
            ("FORGET_OPTIONS", "--keep-last 1"),
            ("DATA_DIR", &data),
            // Not there: nothing depends on it.
            ("RESTIC_CACHE_DIR", "/cache"),
            ("RESTORE_AS_OF", ""),
            ("SELECT_PREVIOUS", "0"),
            ("RESTORE_OPTIONS", ""),
            ("PRIVILEGED_MOVER", "0"),
            ("RESTIC_REPOSITORY", &repository),
            ("RESTIC_PASSWORD", KEY),
            ("HOSTNAME", "volsync-src-app-x7k2p"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            pod.set(name, value);
        }
        pod
    }

    /// With a repository in a bucket.
    pub(crate) fn on(s3: &S3Server, bucket: &str, prefix: &str) -> Self {
        let mut pod = Self::with_volume();
        pod.use_bucket(s3, bucket, prefix);
        pod
    }

    fn use_bucket(&mut self, s3: &S3Server, bucket: &str, prefix: &str) {
        self.set("RESTIC_REPOSITORY", &format!("s3:{}/{bucket}/{prefix}", s3.endpoint));
        self.set("AWS_ACCESS_KEY_ID", ACCESS_KEY);
        self.set("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    }

    /// What is stored there, as its owner sees it.
    pub(crate) fn store(&self) -> Script {
        Script::at(&self.variables["RESTIC_REPOSITORY"], &self.variables)
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// From now on it runs as this user, who owns nothing.
    pub(crate) fn run_as(&mut self, user: u32) {
        self.user = Some(user);
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The volume.
    pub(crate) fn data(&self) -> PathBuf {
        self.at("data")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.data().join(name), text.as_bytes());
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.data().join(name)).ok()
    }

    /// Leaves nothing in the volume, as a new one has it.
    pub(crate) fn empty(&self) {
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::create_dir(self.data()).unwrap();
    }

    pub(crate) fn command(&self, actions: &[&str]) -> Command {
        self.program(SCRIPT, actions)
    }

    /// Where something finds the script.
    pub(crate) fn script(&self) -> String {
        image::script(SCRIPT, self.dir.path())
    }

    pub(crate) fn start(&self, actions: &[&str], log: &Path) -> Child {
        let log = std::fs::File::create(log).unwrap();
        self.command(actions).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, actions: &[&str]) -> Ran {
        Ran::new(&self.command(actions).output().unwrap(), KEPT)
    }

    /// Runs what must succeed.
    pub(crate) fn done(&self, actions: &[&str]) -> Ran {
        let ran = self.run(actions);
        assert_eq!(ran.code, 0, "{actions:?}: {}", ran.log);
        ran
    }

    /// The command of a person who looks at the repository.
    pub(crate) fn look(&self, arguments: &[&str]) -> String {
        let output = self.program("/usr/bin/volvault", arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ids of all snapshots in the repository.
    pub(crate) fn snapshots(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.look(&["snapshots", "--json"])).unwrap()
    }
}

impl Ran {
    /// `patterns` are those of the operator's filter.
    pub(crate) fn new(output: &Output, patterns: &[&str]) -> Self {
        let code = output.status.code().expect("it was not killed");
        let log = String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).expect("the log is text");
        assert!(log.is_empty() || log.ends_with('\n'), "a line without an end: {log}");
        assert!(!log.contains('\r'), "a line that is written over");
        for line in log.lines() {
            assert!(line.len() < LINE_MAX, "a line of {} bytes", line.len());
        }
        let kept = if code == 0 { kept_of(&log, patterns) } else { log.clone() };
        if code == 0 {
            assert!(kept.len() <= KEPT_MAX, "the operator cuts this off: {kept}");
        }
        Self { code, log, kept: tail(&kept).to_owned() }
    }

    /// Whether each line that is kept begins as it should.
    pub(crate) fn assert_kept(&self, expected: &[&str]) {
        let lines: Vec<&str> = self.kept.lines().collect();
        let alike = lines.len() == expected.len()
            && lines.iter().zip(expected).all(|(line, pattern)| Regex::new(pattern).unwrap().is_match(line));
        assert!(alike, "kept: {lines:#?}\nexpected: {expected:#?}");
    }

    pub(crate) fn assert_says(&self, pattern: &str) {
        let found = self.log.lines().any(|line| Regex::new(pattern).unwrap().is_match(line));
        assert!(found, "{pattern} is missing in: {}", self.log);
    }
}

/// The lines that VolSync's filter keeps.
pub(crate) fn filtered(log: &str) -> String {
    kept_of(log, KEPT)
}

fn kept_of(log: &str, patterns: &[&str]) -> String {
    let patterns: Vec<Regex> = patterns.iter().map(|pattern| Regex::new(pattern).unwrap()).collect();
    let kept = log.lines().filter(|line| patterns.iter().any(|pattern| pattern.is_match(line)));
    kept.collect::<Vec<_>>().join("\n")
}

/// The last bytes, which VolSync keeps.
fn tail(text: &str) -> &str {
    let start = (text.len().saturating_sub(KEPT_MAX)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(0)..]
}
