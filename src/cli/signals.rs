//! SIGINT and SIGTERM: the first asks a run to stop in good order, the second ends the process at once.
//!
//! A command that only looks has nothing to put in order and ends at the first. A run that has not stopped within
//! [`GRACE`] is ended: Kubernetes kills twelve seconds later, and what is half done is safe to leave behind at any instant.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::INTERRUPTED;
use super::output::json::{self, ExitError};
use crate::error::{Attempt, Result};
use crate::events::Stop;

/// How long a run may take to stop: it is to be over within 20 s, and a machine that is busy needs some of them to end the process.
pub(crate) const GRACE: Duration = Duration::from_secs(18);

/// What the terminal was like before it hid what is typed; put back before the process ends.
static TYPING: Mutex<Option<Termios>> = Mutex::new(None);

/// The wish to stop, as signals utter it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    stop: Arc<Stop>,
    orderly: Arc<AtomicBool>,
    json: bool,
}

impl Signals {
    /// Listens on the runtime until the process ends.
    ///
    /// # Errors
    /// `Local` when the system refuses.
    pub(crate) fn listen(runtime: &Handle, json: bool) -> Result<Self> {
        let signals = Self { json, ..Self::default() };
        let _entered = runtime.enter();
        let said = || "listen for signals".to_owned();
        let interrupt = signal(SignalKind::interrupt()).attempt(said)?;
        let terminate = signal(SignalKind::terminate()).attempt(said)?;
        runtime.spawn(signals.clone().obey(interrupt, terminate));
        Ok(signals)
    }

    /// From now on the first signal asks to stop: the command that calls this watches for it.
    pub(crate) fn stop_in_good_order(&self) -> &Stop {
        self.orderly.store(true, Ordering::SeqCst);
        &self.stop
    }

    async fn obey(self, mut interrupt: Signal, mut terminate: Signal) {
        next(&mut interrupt, &mut terminate).await;
        if self.orderly.load(Ordering::SeqCst) {
            self.stop.request();
            self.say("volvault: stopping; once more to end at once");
            tokio::select! {
                () = next(&mut interrupt, &mut terminate) => {}
                () = tokio::time::sleep(GRACE) => self.say("volvault: the run did not stop in time"),
            }
        }
        self.end();
    }

    fn say(&self, text: &str) {
        if !self.json {
            write(text);
        }
    }

    fn end(&self) -> ! {
        show_typing();
        if self.json {
            let message = "interrupted by a signal";
            write(&json::line(&ExitError { message_type: "exit_error", code: INTERRUPTED, message }));
        }
        std::process::exit(i32::from(INTERRUPTED))
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Past every buffer and lock: a signal must be answered although a thread hangs with one of them in its hand.
fn write(text: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{text}\n").as_bytes());
}

/// While it lives, the terminal as it is now is put back when a signal ends the process.
#[derive(Debug)]
pub(crate) struct Hidden(());

/// Remembers the terminal before typing is hidden on it.
pub(crate) fn hide_typing() -> Hidden {
    *TYPING.lock().unwrap_or_else(PoisonError::into_inner) = tcgetattr(io::stdin()).ok();
    Hidden(())
}

impl Drop for Hidden {
    fn drop(&mut self) {
        *TYPING.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn show_typing() {
    // `try_lock`: the thread that holds it may be the one that a signal found.
    if let Ok(mut saved) = TYPING.try_lock()
        && let Some(saved) = saved.take()
    {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &saved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_asks_a_run_to_stop() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let signals = Signals::listen(runtime.handle(), false).unwrap();
        let stop = signals.stop_in_good_order();
        assert!(!stop.requested());
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::TERM).unwrap();
        let asked = runtime.block_on(async {
            for _ in 0..500 {
                if stop.requested() {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        });
        assert!(asked);
    }
}
