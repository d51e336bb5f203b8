//! `DEBUG_MOVER`: the pod stays, so that somebody can look at what a mover sees and start the mover by hand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Handle;

use super::log::Log;
use crate::environment::Environment;
use crate::error::{Attempt, ErrorKind, Result};
use crate::events::Stop;
use crate::volume::durable::{Publish, publish};

/// Removed by whoever has seen enough.
const MARKER: &str = "exit-debug-if-removed";
/// How often the file is looked for.
const PERIOD: Duration = Duration::from_secs(1);

/// Where a debugging session leaves its two files.
#[derive(Debug)]
pub struct Debug {
    /// A directory that can be written; `/tmp` in a pod.
    pub directory: PathBuf,
    /// The program that is running.
    pub program: PathBuf,
    /// The name of the script in whose place it stands: under this name in that directory it does its work although `DEBUG_MOVER` is set.
    pub script: &'static str,
}

/// Whether the program that was called as `program` is to wait and not to work.
pub fn waits_for_debugging(program: &Path, environment: &Environment) -> bool {
    let asked = environment.raw("DEBUG_MOVER").is_some_and(|value| value == "1");
    asked && program.parent() != Some(&debug_directory(environment))
}

/// Where the two files are: `/tmp` in a pod.
pub fn debug_directory(environment: &Environment) -> PathBuf {
    environment.raw("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

impl Debug {
    /// Waits until the file is removed, or until `stop` asks to end.
    ///
    /// # Errors
    /// When the two files cannot be made.
    pub fn wait(
        &self,
        actions: &[String],
        out: Box<dyn std::io::Write + Send>,
        (runtime, stop): (&Handle, &Stop),
    ) -> Result<()> {
        let log = Log::new(out);
        let (marker, copy) = (self.directory.join(MARKER), self.directory.join(self.script));
        let said = || format!("link the mover at {}", copy.display());
        match std::os::unix::fs::symlink(&self.program, &copy).attempt(said) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        publish(&marker, b"", Publish::Replace)?;
        log.say("##################################################################");
        log.say("DEBUG_MOVER is enabled, this pod will sleep indefinitely.");
        log.say(format!("Run the mover with: {} {}", copy.display(), actions.join(" ")).trim_end());
        log.say("There is no shell in this image; one comes with `kubectl debug --target`.");
        log.say(&format!("To exit this pod, delete the file {}", marker.display()));
        log.say("##################################################################");
        while marker.exists() && !stop.requested() {
            // The timer is made where the runtime is known.
            runtime.block_on(async { tokio::time::sleep(PERIOD).await });
        }
        log.say("Debug done, exiting.");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_waits_until_the_file_is_removed_or_it_is_told_to_stop() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        for told in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let debug =
                Debug { directory: dir.path().to_owned(), program: "/usr/bin/volvault".into(), script: "entry.sh" };
            let (stop, marker) = (Stop::new(), dir.path().join(MARKER));
            std::thread::scope(|scope| {
                let out = Box::new(std::io::sink());
                let waiting = scope.spawn(|| debug.wait(&["backup".to_owned()], out, (runtime.handle(), &stop)));
                while !marker.exists() {
                    assert!(!waiting.is_finished());
                    std::thread::yield_now();
                }
                assert_eq!(std::fs::read_link(dir.path().join("entry.sh")).unwrap(), Path::new("/usr/bin/volvault"));
                if told {
                    stop.request();
                } else {
                    std::fs::remove_file(&marker).unwrap();
                }
                waiting.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn the_copy_in_tmp_works_although_debugging_is_asked_for() {
        let asked: Environment = [("DEBUG_MOVER", "1")].into_iter().collect();
        assert!(waits_for_debugging(Path::new("/mover-restic/entry.sh"), &asked));
        assert!(!waits_for_debugging(Path::new("/tmp/entry.sh"), &asked));
        assert!(!waits_for_debugging(Path::new("/mover-restic/entry.sh"), &Environment::default()));
        let elsewhere: Environment = [("DEBUG_MOVER", "1"), ("TMPDIR", "/scratch")].into_iter().collect();
        assert!(!waits_for_debugging(Path::new("/scratch/entry.sh"), &elsewhere));
        assert!(waits_for_debugging(Path::new("/tmp/entry.sh"), &elsewhere));
    }
}
