//! The jobs of an operator: what the program does when it is called by the name of a script in VolSync's image, or as `volvault mover`.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::exit::{FAILURE, INTERRUPTED};
use super::runtime;
use super::signals::Signals;
use crate::clock::SharedClock;
use crate::environment::Environment;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::mover::{self, Called, Debug, Demands, World};
use crate::path::escape;

/// A program that cannot be found, and one that is no shell's business, as shells have it.
const NOT_FOUND: u8 = 127;
const NOT_UNDERSTOOD: u8 = 2;

/// Does what the name stands for by which the program was called; returns the exit code.
pub(super) fn called(called: Called, arguments: &[OsString], environment: &Environment, clock: SharedClock) -> u8 {
    let (program, rest) = arguments.split_first().map_or((OsStr::new(""), &[][..]), |(first, rest)| (first, rest));
    let words: Vec<String> = rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match called {
        Called::Restic | Called::Rclone if mover::waits_for_debugging(Path::new(program), environment) => {
            debug(called, &words, mover::debug_directory(environment))
        }
        Called::Restic => restic(&words, Demands::Script, environment, clock),
        Called::Rclone => rclone(Demands::Script, environment, clock),
        Called::Shell => shell(&words),
    }
}

/// The job of a restic mover.
pub(super) fn restic(actions: &[String], demands: Demands, environment: &Environment, clock: SharedClock) -> u8 {
    job(environment, clock, |world| mover::restic(actions, demands, world))
}

/// The job of a rclone mover.
pub(super) fn rclone(demands: Demands, environment: &Environment, clock: SharedClock) -> u8 {
    job(environment, clock, |world| mover::rclone(demands, world))
}

fn job(environment: &Environment, clock: SharedClock, work: impl FnOnce(World<'_>) -> u8) -> u8 {
    let outcome = runtime().and_then(|runtime| {
        let signals = Signals::listen(runtime.handle(), false)?;
        let stop = signals.stop_in_good_order();
        let out = Box::new(std::io::stdout());
        let code = work(World {
            environment,
            clock,
            runtime: runtime.handle().clone(),
            stop,
            out,
            volume: None,
            numbers: None,
            remembered: None,
        });
        // A request that still hangs is no reason to wait.
        runtime.shutdown_background();
        Ok(code)
    });
    outcome.unwrap_or_else(|error| {
        fail(&error);
        FAILURE
    })
}

fn debug(called: Called, actions: &[String], directory: PathBuf) -> u8 {
    let outcome = runtime().and_then(|runtime| {
        let signals = Signals::listen(runtime.handle(), false)?;
        let stop = signals.stop_in_good_order();
        let program = std::env::current_exe().attempt(|| "find this program".to_owned())?;
        let debug = Debug { directory, program, script: called.script() };
        debug.wait(actions, Box::new(std::io::stdout()), (runtime.handle(), stop))?;
        Ok(if stop.requested() { INTERRUPTED } else { 0 })
    });
    outcome.unwrap_or_else(|error| {
        fail(&error);
        FAILURE
    })
}

/// Becomes the program that `bash -c` is to start.
fn shell(arguments: &[String]) -> u8 {
    let started: Result<u8> = mover::program_of(arguments).and_then(|words| {
        let [program, arguments @ ..] = words.as_slice() else { return Err(Error::bug("a command without words")) };
        // Comes back only when it could not be done.
        Err(Command::new(program).args(arguments).exec()).attempt(|| format!("start {}", escape(program.as_bytes())))
    });
    started.unwrap_or_else(|error| {
        fail(&error);
        if error.kind() == ErrorKind::Invalid { NOT_UNDERSTOOD } else { NOT_FOUND }
    })
}

/// In the log of a pod, where the operator's filter looks for it.
fn fail(error: &Error) {
    let hint = error.hint().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{hint}ERROR: {}", error.chain());
}
