//! The log of a job: lines that are printed at once, and never one that is too long for those who read it.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, in_minutes};
use crate::events::{Event, Observer, Progress, Stop, Watch};
use crate::size::ByteSize;

/// VolSync's operator gives up on a log with a line of 64 KiB; no name of a file is longer than this.
const LINE_MAX: usize = 20 << 10;

/// Lines about single files; the others are only counted, and a log stays one that can be read.
const FILES_TOLD: u64 = 200;

/// How often a run shows that it is alive: every ten seconds for ten minutes, then every minute.
const OFTEN: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_mins(1);
const OFTEN_FOR: Duration = Duration::from_mins(10);

/// How long a job that was asked to stop goes on before the log says what it waits for. The process is ended three seconds later.
const OVERDUE: Duration = Duration::from_secs(15);

/// What is waited for fits into the 1,024 bytes that an operator keeps.
const WAITS_MAX: usize = 600;

/// How often somebody looks whether a job was asked to stop.
const LOOK: Duration = Duration::from_millis(250);

/// Takes the lines of a job.
pub(super) struct Log {
    out: Mutex<Box<dyn Write + Send>>,
    files: AtomicU64,
}

impl Log {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out: Mutex::new(out), files: AtomicU64::new(0) }
    }

    /// Prints each line of `text`. A log that nobody takes is no reason to fail.
    pub(super) fn say(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            let line = line.replace(|letter: char| letter.is_control() && letter != '\t', "?");
            let _ = writeln!(out, "{}", shortened(&line, LINE_MAX));
        }
        let _ = out.flush();
    }

    /// A line about a single file.
    fn file(&self, text: &str) {
        match self.files.fetch_add(1, Ordering::Relaxed) {
            told if told < FILES_TOLD => self.say(text),
            FILES_TOLD => self.say("there are more; from here on they are only counted"),
            _ => {}
        }
    }

    /// Runs `work`, and shows while it goes on how far it is.
    pub(super) fn watched<R>(&self, clock: &dyn Clock, stop: &Stop, work: impl FnOnce(&Watch<'_>) -> R) -> R {
        let progress = Progress::default();
        let watch = Watch { observer: self, progress: &progress, stop };
        let over = Over::default();
        std::thread::scope(|scope| {
            scope.spawn(|| self.tick(clock, &progress, &over));
            // Dropped also when `work` panics: the scope would wait for the ticker for ever.
            let _ended = Ended(&over);
            work(&watch)
        })
    }

    /// Runs `work`. If it does not end when it is asked to stop, because a store or a disk does not answer, a line says what it waits for: nobody else
    /// can, because the process is ended in the middle of it.
    pub(super) fn until_overdue<R>(&self, stop: &Stop, waits: &str, work: impl FnOnce() -> R) -> R {
        let over = Over::default();
        std::thread::scope(|scope| {
            scope.spawn(|| self.tell_overdue(stop, waits, &over));
            let _ended = Ended(&over);
            work()
        })
    }

    fn tell_overdue(&self, stop: &Stop, waits: &str, over: &Over) {
        while !stop.was_requested() {
            if over.within(LOOK) {
                return;
            }
        }
        if !over.within(OVERDUE) {
            let waits = shortened(waits, WAITS_MAX);
            self.say(&format!("ERROR: asked to stop {} s ago, and {waits}", OVERDUE.as_secs()));
        }
    }

    fn tick(&self, clock: &dyn Clock, progress: &Progress, over: &Over) {
        let start = clock.elapsed();
        let mut elapsed = Duration::ZERO;
        while !over.within(if elapsed < OFTEN_FOR { OFTEN } else { SELDOM }) {
            elapsed = clock.elapsed().saturating_sub(start);
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let (files, bytes) = (count(&progress.files_done), ByteSize(count(&progress.bytes_done)));
            let total = match (progress.scan_finished.load(Ordering::Relaxed), count(&progress.files_total)) {
                (true, total) if total > 0 => format!(" of {total}"),
                (true | false, _) => String::new(),
            };
            let errors = count(&progress.errors);
            self.say(&format!("[{}] {files}{total} files, {bytes}, {errors} errors", in_minutes(elapsed)));
        }
    }
}

impl Observer for Log {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Problem { during, item, error } => self.file(&format!("error: {during} {item}: {}", error.chain())),
            Event::Note { text } => self.file(text),
            Event::Item { .. } => {}
        }
    }
}

#[derive(Default)]
struct Over {
    over: Mutex<bool>,
    changed: Condvar,
}

struct Ended<'a>(&'a Over);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        *self.0.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

impl Over {
    /// Waits for the end, but no longer than `interval`; whether it has come.
    fn within(&self, interval: Duration) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(over, interval, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// At most so many bytes of `text`, with dots where something was left out.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most.saturating_sub(3)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Error;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_line_is_too_long_and_none_holds_control_characters() {
        let paper = Paper::default();
        let log = Log::new(Box::new(paper.clone()));
        log.say(&format!("a\u{1b}[2J\nb{}", "ü".repeat(70_000)));
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "a?[2J"));
        assert!(lines[1].len() <= LINE_MAX && lines[1].ends_with("ü..."));
        assert_eq!((shortened("abc", 3), shortened("abcd", 3)), ("abc".into(), "...".into()));
    }

    #[test]
    fn a_million_problems_are_no_million_lines() {
        let paper = Paper::default();
        let log = Log::new(Box::new(paper.clone()));
        let error = Error::invalid("no");
        for n in 0..10_000 {
            log.on(&Event::Problem { during: "scan", item: &format!("/{n}"), error: &error });
        }
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 201);
        assert!(text.starts_with("error: scan /0: no\n") && text.ends_with("only counted\n"));
    }
}
