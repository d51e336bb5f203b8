//! The log of a job: each line handed on at once, and of all of them what `VolSync` keeps in `latestMoverStatus.logs`.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::RegexSet;

use super::board::Method;

/// `MOVER_LOG_MAX_BYTES`.
const KEPT_MAX: usize = 1024;

/// A line that is longer is handed on in pieces.
const LINE_MAX: usize = 64 << 10;

/// What `VolSync` keeps of a job that succeeded (`internal/controller/mover/restic/logfilter.go` and `rclone/logfilter.go`).
const RESTIC: [&str; 17] = [
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
const RCLONE: [&str; 5] = [
    r"^\s*([tT]ransferred:)",
    r"^\s*([cC]hecks:)",
    r"^\s*([dD]eleted:)",
    r"^\s*([eE]lapsed time:)",
    r"^\s*(Rclone completed in)",
];

static FILTERS: LazyLock<(RegexSet, RegexSet)> = LazyLock::new(|| {
    let set = |patterns: &[&str]| RegexSet::new(patterns).expect("the patterns above are regular expressions");
    (set(&RESTIC), set(&RCLONE))
});

/// The end of a text.
#[derive(Debug, Default)]
struct Tail(String);

impl Tail {
    fn push(&mut self, line: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(line);
        let surplus = self.0.len().saturating_sub(KEPT_MAX);
        let from = (surplus..self.0.len()).find(|at| self.0.is_char_boundary(*at)).unwrap_or(surplus);
        self.0.drain(..from);
    }
}

#[derive(Debug, Default)]
struct Tails {
    all: Tail,
    kept: Tail,
}

/// Takes what a job writes, and can be asked afterwards.
#[derive(Clone)]
pub(super) struct JobLog {
    method: Method,
    tails: Arc<Mutex<Tails>>,
}

impl JobLog {
    pub(super) fn new(method: Method) -> Self {
        Self { method, tails: Arc::default() }
    }

    /// The writer to give to the job; `say` gets each line.
    pub(super) fn writer(&self, say: impl Fn(&str) + Send + 'static) -> Box<dyn Write + Send> {
        Box::new(Lines { log: self.clone(), say, begun: Vec::new() })
    }

    /// What is kept, by how the job ended.
    pub(super) fn logs(&self, succeeded: bool) -> String {
        let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if succeeded { tails.kept.0.clone() } else { tails.all.0.clone() }
    }

    /// A line that the job did not write itself.
    pub(super) fn add(&self, line: &str) {
        let filter = match self.method {
            Method::Restic => &FILTERS.0,
            Method::Rclone => &FILTERS.1,
        };
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        tails.all.push(line);
        if filter.is_match(line) {
            tails.kept.push(line);
        }
    }
}

struct Lines<S> {
    log: JobLog,
    say: S,
    begun: Vec<u8>,
}

impl<S: Fn(&str)> Lines<S> {
    fn line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        let line = String::from_utf8_lossy(&line);
        self.log.add(&line);
        (self.say)(&line);
    }
}

impl<S: Fn(&str)> Write for Lines<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                self.line();
            } else {
                self.begun.push(*byte);
                if self.begun.len() >= LINE_MAX {
                    self.line();
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_success_the_lines_are_kept_that_volsync_keeps_and_of_a_failure_the_last() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let (log, heard) = (JobLog::new(Method::Restic), Arc::clone(&said));
        let mut out = log.writer(move |line| heard.lock().unwrap().push(line.to_owned()));
        out.write_all(b"Starting container\nsnapshot 0ff74383 sa").unwrap();
        out.write_all(b"ved\nFiles: 25 new\n").unwrap();
        assert_eq!(log.logs(true), "snapshot 0ff74383 saved");
        assert_eq!(log.logs(false), "Starting container\nsnapshot 0ff74383 saved\nFiles: 25 new");
        assert_eq!(said.lock().unwrap().len(), 3);
        for n in 0..10_000 {
            writeln!(out, "created ü {n}").unwrap();
        }
        for logs in [log.logs(true), log.logs(false)] {
            assert!(logs.len() <= KEPT_MAX && logs.ends_with("created ü 9999"), "{logs}");
        }
        let rclone = JobLog::new(Method::Rclone);
        rclone.add("Transferred: 1 / 1");
        rclone.add("snapshot x saved");
        assert_eq!(rclone.logs(true), "Transferred: 1 / 1");
    }
}
