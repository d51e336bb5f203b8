//! Why a job failed: the exit code, and the last lines of the log, which are all that an operator keeps.

use super::log::{Log, shortened};
use crate::error::{Error, ErrorKind, INTERRUPTED_CODE};

/// An operator keeps the last 1,024 bytes of a log: cause, hint and sentence fit in together.
const CAUSE_MAX: usize = 560;
const HINT_MAX: usize = 220;
const SENTENCE_MAX: usize = 200;

/// Whose exit codes an action has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codes {
    Restic,
    Rclone,
}

/// How a job failed.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    sentence: String,
    hint: Option<String>,
    cause: Option<Error>,
}

impl Failure {
    /// A failure with this exit code.
    pub(super) fn new(code: u8, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), hint: None, cause: None }
    }

    /// With the way out.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// With what it came of.
    pub(super) fn with_cause(self, cause: Error) -> Self {
        Self { hint: cause.hint().map(str::to_owned).or(self.hint), cause: Some(cause), ..self }
    }

    /// The job was asked to stop.
    pub(super) fn stopped() -> Self {
        Self::new(INTERRUPTED_CODE, "stopped by a signal; the next run goes on from here")
    }

    /// An action of the restic mover that failed.
    pub(super) fn of(what: &str, cause: Error) -> Self {
        Self::by(Codes::Restic, what, cause)
    }

    /// An action that failed.
    pub(super) fn by(codes: Codes, what: &str, cause: Error) -> Self {
        if cause.kind() == ErrorKind::Interrupted {
            return Self::stopped();
        }
        let code = match codes {
            Codes::Restic => cause.kind().restics_code(),
            Codes::Rclone => cause.kind().rclones_code(),
        };
        Self::new(code, format!("{what} failed")).with_cause(cause)
    }

    pub(super) const fn code(&self) -> u8 {
        self.code
    }

    /// The last lines of the log.
    pub(super) fn tell(&self, log: &Log) {
        if let Some(cause) = &self.cause {
            log.say(&format!("Fatal: {}", shortened(&cause.chain().replace('\n', " "), CAUSE_MAX)));
        }
        if let Some(hint) = &self.hint {
            log.say(&format!("hint: {}", shortened(hint, HINT_MAX)));
        }
        log.say(&format!("ERROR: {}", shortened(&self.sentence, SENTENCE_MAX)));
    }
}

impl From<Error> for Failure {
    fn from(cause: Error) -> Self {
        Self::of("the job", cause)
    }
}
