//! `DEBUG_MOVER`, which the operator sets for a resource with the annotation `volsync.backube/enable-debug-mover`: the pod waits, so that somebody can look
//! at what the mover sees and start it by hand.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::pause;
use crate::mover_rclone::pod::Pod as MirrorPod;
use crate::support::image::InPod;

use super::NOTHING;
use super::pod::Pod;

/// A pod that waits, of either kind.
struct Waiting {
    child: Child,
    /// Where its temporary files are.
    tmp: PathBuf,
    log: PathBuf,
}

impl Waiting {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a process that hangs is to fail the test")]
    fn until(&mut self, what: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !what(self) {
            assert!(start.elapsed() < Duration::from_mins(1), "{}", self.said());
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.said());
            pause(Duration::from_millis(20));
        }
    }

    /// It waits, says how to go on, and a mover by the name of the script is there for whoever looks in; `command` starts that one.
    fn shows_the_mover(&mut self, script: &str, mut command: Command, says: &str) {
        let marker = self.tmp.join("exit-debug-if-removed");
        self.until(|_| marker.exists());
        self.until(|waiting| waiting.said().contains("To exit this pod, delete the file "));
        assert!(self.said().contains("DEBUG_MOVER is enabled, this pod will sleep indefinitely."), "{}", self.said());
        assert!(self.tmp.join(script).is_symlink());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains(says), "{said}");
        assert!(self.child.try_wait().unwrap().is_none(), "it waits on");
    }

    #[expect(clippy::disallowed_methods, reason = "how long a process takes to end is what is measured")]
    fn ends_with(mut self, code: i32) {
        let asked = Instant::now();
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "{}", self.said());
        assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
        assert!(self.said().trim_end().ends_with("Debug done, exiting."), "{}", self.said());
    }
}

#[test]
fn a_restic_pod_waits_for_whoever_debugs_it() {
    let mut pod = Pod::new();
    pod.write("a", "first");
    std::fs::create_dir(pod.at("tmp")).unwrap();
    pod.set("TMPDIR", &pod.at("tmp").display().to_string());
    pod.set("DEBUG_MOVER", "1");
    let (tmp, log) = (pod.at("tmp"), pod.at("log"));
    let mut waiting = Waiting { child: pod.start(&["backup"], &log), tmp, log };
    waiting.until(|waiting| waiting.tmp.join("exit-debug-if-removed").exists());
    assert_eq!(pod.store().keys(), NOTHING, "it does nothing by itself");
    let command = pod.program(&pod.at("tmp/entry.sh").display().to_string(), &["backup"]);
    waiting.shows_the_mover("entry.sh", command, "Restic completed in ");
    assert_eq!(pod.snapshots().len(), 1);
    std::fs::remove_file(pod.at("tmp/exit-debug-if-removed")).unwrap();
    waiting.ends_with(0);
}

/// The operator deletes the job, as it does when the annotation is taken away.
#[test]
fn a_rclone_pod_waits_for_whoever_debugs_it_until_it_is_told_to_stop() {
    let mut pod = MirrorPod::new();
    pod.write("a", "first");
    pod.set("DEBUG_MOVER", "1");
    let (tmp, log) = (pod.at("tmp"), pod.at("log"));
    let mut waiting = Waiting { child: pod.start(&log), tmp, log };
    let command = pod.program(&pod.at("tmp/active.sh").display().to_string(), &[]);
    waiting.shows_the_mover("active.sh", command, "Rclone completed in ");
    assert_eq!(pod.mirror().get("a").as_deref(), Some("first"));
    kill_process(Pid::from_child(&waiting.child), Signal::TERM).unwrap();
    waiting.ends_with(130);
}
