//! From an outcome to an exit code, and from an error to the last lines of a run.

use super::output::Console;
use super::output::json::ExitError;
use crate::error::{Error, ErrorKind};

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
}

/// Everything went wrong that has no code of its own.
pub(crate) const FAILURE: u8 = 1;
/// The run was interrupted by a signal.
pub(crate) const INTERRUPTED: u8 = 130;

impl Outcome {
    /// restic's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::SomeUnreadable | Self::SomeNotRemoved => 3,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

/// restic's exit code for a kind of error. There is no 11: nothing is ever locked.
pub(crate) const fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NoRepository => 10,
        ErrorKind::WrongKey => 12,
        ErrorKind::Interrupted => INTERRUPTED,
        ErrorKind::Denied
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::Changed
        | ErrorKind::Refused
        | ErrorKind::Unavailable
        | ErrorKind::Invalid
        | ErrorKind::Corrupt
        | ErrorKind::Unsupported
        | ErrorKind::Local
        | ErrorKind::Bug => FAILURE,
    }
}

/// Tells of the error that ended the run, and returns the exit code.
pub(crate) fn report(console: &Console, error: &Error) -> u8 {
    let code = code_of(error.kind());
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
        Outcome::Complete => return,
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
            (ErrorKind::Interrupted, 130),
            (ErrorKind::Invalid, 1),
            (ErrorKind::Corrupt, 1),
            (ErrorKind::Unavailable, 1),
            (ErrorKind::Bug, 1),
        ] {
            assert_eq!(code_of(kind), code, "{kind:?}");
        }
        assert_eq!([Outcome::Complete, Outcome::SomeUnreadable, Outcome::Interrupted].map(Outcome::code), [0, 3, 130]);
    }

    #[test]
    fn an_error_is_a_sentence_and_a_hint() {
        let error = Error::new(ErrorKind::NoRepository, "there is none").with_hint("make one").within("open /r");
        let (terminal, out, err) = console(OutputSettings::default());
        assert_eq!(report(&terminal, &error), 10);
        assert_eq!(
            (out.text().as_str(), err.text().as_str()),
            ("", "volvault: open /r: there is none\nhint: make one\n")
        );
    }

    #[test]
    fn with_json_the_last_line_of_standard_error_is_an_object() {
        let error = Error::new(ErrorKind::WrongKey, "no key opens").with_hint("check it");
        let (console, out, err) = console(OutputSettings { json: true, ..OutputSettings::default() });
        assert_eq!(report(&console, &error), 12);
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
