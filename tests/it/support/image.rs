//! Where the suites of the movers start them: directly, or in the root of the image, as `deploy/image/assemble` makes it, with the restrictions
//! of `VolSync`'s pods (`deploy/image/pod`).
//!
//! | variable | |
//! |---|---|
//! | `VOLVAULT_TEST_IMAGE` | the root of the image |
//! | `VOLVAULT_TEST_POD_USER` | user and group of a mover that is not privileged, `1000660000:0` if it is not said: a user without a name, as `OpenShift` gives them |
//!
//! In the image the volume is at `/data`, and read-only for whoever only reads it; other directories are at places of their own. A privileged mover is
//! root with the three capabilities that `VolSync` gives it. As `fsGroup` does, what the test has written is given to the user first; the
//! files of others stay theirs.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::s3::CA_FILE;

/// Who a mover is that is not privileged.
const USER: (u32, u32) = (1_000_660_000, 0);
/// What `VolSync` gives a privileged mover.
const PRIVILEGES: &str = "cap_chown,cap_dac_override,cap_fowner";
/// Where a pod has its volume, and its custom certificate.
pub(crate) const DATA: &str = "/data";
const AUTHORITY: &str = "/customCA";

/// What a program is started with.
pub(crate) struct Surroundings<'a> {
    /// Directories, and where a pod has them: those within others come first.
    pub(crate) mounts: Vec<(PathBuf, &'static str)>,
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// Who it runs as, if that is not the pod's affair.
    pub(crate) user: Option<u32>,
}

/// A pod: what surrounds it says how its programs are started.
pub(crate) trait InPod {
    fn surroundings(&self) -> Surroundings<'_>;

    /// What the image has at `program`, with the pod's environment and no other.
    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        self.surroundings().command(program, arguments)
    }

    /// Gives what the test has written to the user of the pod, as starting it does.
    fn hand_over(&self) {
        self.surroundings().hand_over();
    }
}

impl Surroundings<'_> {
    /// `program` as it is called in the image.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let Some(root) = image() else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_volvault"));
            command.arg0(program).args(arguments).env_clear().envs(self.variables);
            if let Some(user) = self.user {
                command.uid(user).gid(user);
            }
            command.current_dir("/").stdin(Stdio::null());
            return command;
        };
        self.hand_over();
        let (user, group) = self.who();
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/image/pod"));
        command.arg(root).arg(format!("{user}:{group}")).arg(if self.is_privileged() { PRIVILEGES } else { "none" });
        command.args(self.mounts(arguments)).arg("--").arg(self.inside(program));
        command.args(arguments.iter().map(|argument| self.inside(argument)));
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, self.inside(value))));
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Gives what the test has written to the user of the pod.
    pub(crate) fn hand_over(&self) {
        let (user, group) = self.who();
        if image().is_some() && self.user.is_none() && user != 0 {
            self.mounts.iter().for_each(|(from, _)| give(from, (user, group)));
        }
    }

    fn is_privileged(&self) -> bool {
        self.user.is_none() && self.variables.get("PRIVILEGED_MOVER").is_some_and(|value| value == "1")
    }

    fn who(&self) -> (u32, u32) {
        match self.user {
            Some(user) => (user, user),
            None if self.is_privileged() => (0, 0),
            None => said_user(),
        }
    }

    fn mounts(&self, arguments: &[&str]) -> Vec<String> {
        let only_reads = arguments.contains(&"backup")
            || self.variables.get("DIRECTION").is_some_and(|direction| direction == "source");
        let mount = |(from, to): &(PathBuf, &str)| {
            let mode = if *to == DATA && only_reads { ":ro" } else { "" };
            format!("{}:{to}{mode}", from.display())
        };
        // As a Secret is mounted.
        let authority = format!("{}:{AUTHORITY}:ro", authority().display());
        self.mounts.iter().map(mount).chain([authority]).collect()
    }

    /// Where the image has what is at `text`.
    fn inside(&self, text: &str) -> String {
        let text = text.replace(&authority().display().to_string(), AUTHORITY);
        self.mounts.iter().fold(text, |text, (from, to)| text.replace(&from.display().to_string(), to))
    }
}

/// The directory of the custom certificate.
fn authority() -> &'static Path {
    Path::new(CA_FILE).parent().unwrap()
}

/// Where something finds the script that the image has at `path`: there, or in `dir`.
pub(crate) fn script(path: &str, dir: &Path) -> String {
    if image().is_some() {
        return path.to_owned();
    }
    let script = dir.join(Path::new(path).file_name().unwrap());
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_volvault"), &script).unwrap();
    script.display().to_string()
}

/// User and group of a mover that is neither privileged nor somebody in particular.
pub(crate) fn user() -> (u32, u32) {
    match image() {
        Some(_) => said_user(),
        None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    }
}

/// The root of the image, if the movers are to be started there.
#[expect(clippy::disallowed_methods, reason = "the environment says whether there is an image to test")]
fn image() -> Option<PathBuf> {
    std::env::var_os("VOLVAULT_TEST_IMAGE").map(PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "see `image`")]
fn said_user() -> (u32, u32) {
    let Ok(text) = std::env::var("VOLVAULT_TEST_POD_USER") else { return USER };
    let (user, group) = text.split_once(':').expect("VOLVAULT_TEST_POD_USER is USER:GROUP");
    (user.parse().unwrap(), group.parse().unwrap())
}

/// What is gone when its turn comes was another pod's, which is at work.
fn give(path: &Path, (user, group): (u32, u32)) {
    let Ok(status) = std::fs::symlink_metadata(path) else { return };
    if status.uid() == 0 {
        let _ = lchown(path, Some(user), Some(group));
    }
    let entries = if status.is_dir() { std::fs::read_dir(path).ok() } else { None };
    entries.into_iter().flatten().flatten().for_each(|entry| give(&entry.path(), (user, group)));
}
