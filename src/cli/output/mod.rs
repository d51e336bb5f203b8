//! What the user sees: results on standard output, everything else on standard error.

pub(crate) mod json;
pub(crate) mod snapshots;
pub(crate) mod table;
pub(crate) mod text;

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

pub(crate) use crate::rclone_sync::words as mirror;

use super::settings::OutputSettings;
use crate::error::{Error, ErrorKind, Result};

/// Something that holds lines of its own on the terminal and has to step aside while another line is written.
pub(crate) trait Overlay: Send + Sync {
    /// Runs `write` while the overlay is off the screen.
    fn aside(&self, write: &mut dyn FnMut());
}

/// Both output streams, shared by every thread that has something to say. Writing never fails here: the first
/// failure of standard output is kept for [`Console::finish`].
pub(crate) struct Console {
    settings: OutputSettings,
    streams: Mutex<Streams>,
    overlay: Mutex<Option<Box<dyn Overlay>>>,
}

struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    failed: Option<io::Error>,
}

impl Console {
    /// A console on the process's streams.
    pub(crate) fn of_process(settings: OutputSettings) -> Self {
        Self::new(settings, Box::new(io::BufWriter::with_capacity(64 << 10, io::stdout())), Box::new(io::stderr()))
    }

    /// A console on any streams.
    pub(crate) fn new(settings: OutputSettings, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        let streams = Mutex::new(Streams { out, err, failed: None });
        Self { settings, streams, overlay: Mutex::new(None) }
    }

    /// How and how much is printed.
    pub(crate) fn settings(&self) -> OutputSettings {
        self.settings
    }

    /// A line of the result. Kept back until the next [`Console::flush`] or until the buffer is full.
    pub(crate) fn row(&self, line: &str) {
        self.write(|streams| streams.put(line));
    }

    /// A line of the result that is to be seen at once.
    pub(crate) fn line(&self, line: &str) {
        self.write(|streams| {
            streams.put(line);
            streams.flush();
        });
    }

    /// A line that tells how things go: not with `--quiet`, not with `--json`.
    pub(crate) fn say(&self, line: &str) {
        if !self.settings.quiet && !self.settings.json {
            self.line(line);
        }
    }

    /// The same, only when `-v` was given at least `level` times.
    pub(crate) fn detail(&self, level: u8, line: &str) {
        if self.settings.verbosity >= level {
            self.say(line);
        }
    }

    /// A line of JSON on standard output.
    pub(crate) fn json(&self, value: &impl Serialize) {
        self.line(&json::line(value));
    }

    /// A line on standard error.
    pub(crate) fn warn(&self, line: &str) {
        self.write(|streams| {
            // Standard error is the last resort: there is nobody left to tell.
            let _ = writeln!(streams.err, "{line}");
            let _ = streams.err.flush();
        });
    }

    /// A line of JSON on standard error.
    pub(crate) fn warn_json(&self, value: &impl Serialize) {
        self.warn(&json::line(value));
    }

    /// Whether anybody still takes the results: long lists end early when not.
    pub(crate) fn is_heard(&self) -> bool {
        self.streams().failed.is_none()
    }

    /// Writes out what was kept back.
    pub(crate) fn flush(&self) {
        self.write(Streams::flush);
    }

    /// Writes out what was kept back. A reader that left early (`| head`) is none of our business.
    ///
    /// # Errors
    /// `Local` when results could not be written.
    pub(crate) fn finish(&self) -> Result<()> {
        self.flush();
        match self.streams().failed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::new(ErrorKind::Local, "write to standard output").with_source(error))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Puts something on the terminal that steps aside for lines, or takes it away.
    pub(crate) fn set_overlay(&self, overlay: Option<Box<dyn Overlay>>) {
        *self.overlay.lock().unwrap_or_else(PoisonError::into_inner) = overlay;
    }

    fn write(&self, mut write: impl FnMut(&mut Streams)) {
        let overlay = self.overlay.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = || write(&mut self.streams());
        match overlay.as_ref() {
            Some(overlay) => overlay.aside(&mut write),
            None => write(),
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn put(&mut self, line: &str) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{line}").err();
        }
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.out.flush().err();
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Streams that a test reads back.

    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    /// Bytes that were written.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A console and what it writes to standard output and standard error.
    pub(crate) fn console(settings: super::OutputSettings) -> (super::Console, Written, Written) {
        let (out, err) = (Written::default(), Written::default());
        (super::Console::new(settings, Box::new(out.clone()), Box::new(err.clone())), out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is_one() {
        for (kind, fine) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
            let console = Console::new(OutputSettings::default(), Box::new(Broken(kind)), Box::new(io::sink()));
            assert!(console.is_heard());
            console.line("x");
            console.line("y");
            assert!(!console.is_heard());
            assert_eq!(console.finish().is_ok(), fine, "{kind:?}");
        }
    }

    #[test]
    fn quiet_and_json_leave_results_only() {
        for (quiet, json, expected) in [(false, false, "a\nb\nc\n"), (true, false, "a\n"), (false, true, "a\n")] {
            let (console, out, _) =
                testing::console(OutputSettings { quiet, json, verbosity: 1, ..OutputSettings::default() });
            console.line("a");
            console.say("b");
            console.detail(1, "c");
            console.detail(2, "d");
            assert_eq!(out.text(), expected, "{quiet} {json}");
        }
    }
}
