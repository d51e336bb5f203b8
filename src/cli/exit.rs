//! From an outcome to an exit code, and from an error to the last lines of a run.

use std::ffi::OsString;

use clap::CommandFactory;

use super::args::{Cli, Command};
use super::output::Console;
use super::output::json::ExitError;
use crate::error::{Error, ErrorKind, INTERRUPTED_CODE};

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was done.
    Complete,
    /// A snapshot was made, but some files could not be read.
    SomeUnreadable,
    /// Some snapshots that were to go could not be removed.
    SomeNotRemoved,
    /// The run was asked to stop and did so in good order.
    Interrupted,
    /// Ends with this code; what the command printed says why.
    Told(u8),
}

/// Whose exit codes a command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    /// restic's.
    Restic,
    /// rclone's.
    Rclone,
}

/// Everything went wrong that has no code of its own.
pub(crate) const FAILURE: u8 = 1;
/// The command line is wrong; only rclone tells it apart.
const USAGE: u8 = 2;
/// The run was interrupted by a signal.
pub(crate) const INTERRUPTED: u8 = INTERRUPTED_CODE;

impl Outcome {
    /// The exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::SomeUnreadable | Self::SomeNotRemoved => 3,
            Self::Interrupted => INTERRUPTED,
            Self::Told(code) => code,
        }
    }
}

impl Codes {
    /// Those of a command.
    pub(crate) const fn of(command: &Command) -> Self {
        if matches!(command, Command::Mirror(_)) { Self::Rclone } else { Self::Restic }
    }

    /// Those of the command that a command line means, although not all of it makes sense.
    pub(crate) fn of_words(arguments: &[OsString]) -> Self {
        let lenient = Cli::command().ignore_errors(true).try_get_matches_from(arguments);
        let is_mirror = lenient.is_ok_and(|words| words.subcommand_name() == Some("mirror"));
        if is_mirror { Self::Rclone } else { Self::Restic }
    }

    /// The code for a kind of error.
    pub(crate) const fn of_error(self, kind: ErrorKind) -> u8 {
        match self {
            Self::Restic => kind.restics_code(),
            Self::Rclone => kind.rclones_code(),
        }
    }

    /// The code for a wrong command line.
    pub(crate) const fn of_usage(self) -> u8 {
        match self {
            Self::Restic => FAILURE,
            Self::Rclone => USAGE,
        }
    }
}

/// Tells of the error that ended the run, and returns the exit code.
pub(crate) fn report(console: &Console, error: &Error, codes: Codes) -> u8 {
    let code = codes.of_error(error.kind());
    let hint = error.hint();
    if console.settings().json {
        let message = hint.map_or_else(|| error.chain(), |hint| format!("{}\nhint: {hint}", error.chain()));
        console.warn_json(&ExitError { message_type: "exit_error", code, message: &message });
        return code;
    }
    console.warn(&format!("volvault: {}", error.chain()));
    if let Some(hint) = hint {
        console.warn(&format!("hint: {hint}"));
    }
    code
}

/// Tells why a run that did something did not do all, with the code it will exit with.
pub(crate) fn report_outcome(console: &Console, outcome: Outcome) {
    let message = match outcome {
        Outcome::Complete | Outcome::Told(_) => return,
        Outcome::SomeUnreadable => "at least one source file could not be read",
        Outcome::SomeNotRemoved => "some snapshots could not be removed",
        Outcome::Interrupted => "interrupted",
    };
    if console.settings().json {
        console.warn_json(&ExitError { message_type: "exit_error", code: outcome.code(), message });
    } else {
        console.warn(&format!("volvault: {message}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::testing::console;
    use crate::cli::settings::OutputSettings;

    #[test]
    fn exit_codes_are_restics() {
        for (kind, code) in [
            (ErrorKind::NoRepository, 10),
            (ErrorKind::WrongKey, 12),
            (ErrorKind::RolledBack, 13),
            (ErrorKind::Interrupted, 130),
            (ErrorKind::Invalid, 1),
            (ErrorKind::Corrupt, 1),
            (ErrorKind::Unavailable, 1),
            (ErrorKind::Bug, 1),
        ] {
            assert_eq!(Codes::Restic.of_error(kind), code, "{kind:?}");
        }
        assert_eq!([Outcome::Complete, Outcome::SomeUnreadable, Outcome::Interrupted].map(Outcome::code), [0, 3, 130]);
    }

    #[test]
    fn mirror_has_the_exit_codes_of_rclone() {
        for (kind, code) in [
            (ErrorKind::Local, 1),
            (ErrorKind::Bug, 1),
            (ErrorKind::Invalid, 2),
            (ErrorKind::NotFound, 3),
            (ErrorKind::Unavailable, 5),
            (ErrorKind::Changed, 5),
            (ErrorKind::Denied, 6),
            (ErrorKind::Corrupt, 6),
            (ErrorKind::Refused, 7),
            (ErrorKind::Interrupted, 130),
        ] {
            assert_eq!(Codes::Rclone.of_error(kind), code, "{kind:?}");
        }
        assert_eq!((Codes::Rclone.of_usage(), Codes::Restic.of_usage(), Outcome::Told(9).code()), (2, 1, 9));
    }

    #[test]
    fn an_error_is_a_sentence_and_a_hint() {
        let error = Error::new(ErrorKind::NoRepository, "there is none").with_hint("make one").within("open /r");
        let (terminal, out, err) = console(OutputSettings::default());
        assert_eq!(report(&terminal, &error, Codes::Restic), 10);
        assert_eq!(
            (out.text().as_str(), err.text().as_str()),
            ("", "volvault: open /r: there is none\nhint: make one\n")
        );
    }

    #[test]
    fn with_json_the_last_line_of_standard_error_is_an_object() {
        let error = Error::new(ErrorKind::WrongKey, "no key opens").with_hint("check it");
        let (console, out, err) = console(OutputSettings { json: true, ..OutputSettings::default() });
        assert_eq!(report(&console, &error, Codes::Restic), 12);
        report_outcome(&console, Outcome::SomeUnreadable);
        assert_eq!(out.text(), "");
        assert_eq!(
            err.text(),
            concat!(
                r#"{"message_type":"exit_error","code":12,"message":"no key opens\nhint: check it"}"#,
                "\n",
                r#"{"message_type":"exit_error","code":3,"message":"at least one source file could not be read"}"#,
                "\n"
            )
        );
    }
}
