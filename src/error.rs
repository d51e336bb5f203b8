//! The one error type: what was attempted, on which thing, why it failed, and the way out.
//!
//! `Display` speaks for its own level only; [`Error::chain`] adds the causes. The kind exists for
//! callers that act differently (retry, ask for another key, repair), not to classify sentences.

use std::error::Error as StdError;
use std::fmt;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no repository at the location (exit code 10).
    NoRepository,
    /// No key slot opens with the given password or key (exit code 12).
    WrongKey,
    /// The store or the file system refuses the credentials.
    Denied,
    /// The named object, snapshot or file does not exist.
    NotFound,
    /// A create-only write found the name taken.
    AlreadyExists,
    /// An object is not the one that was expected: somebody else has replaced or deleted it meanwhile.
    Changed,
    /// What was asked for looks like an accident, and nothing was done: the hint names the option that allows it.
    Refused,
    /// The store did not answer in time, or answered that it is overloaded: try again later.
    Unavailable,
    /// The request itself is wrong: bad option, bad pattern, bad location.
    Invalid,
    /// Bytes that were read are not what was written.
    Corrupt,
    /// The store shows less of a repository than was seen of it before: an older state, or snapshots are gone that nobody forgot (exit code 13).
    RolledBack,
    /// A format or feature that this version does not know.
    Unsupported,
    /// The local file system failed (disk full, permission, I/O error).
    Local,
    /// The run was asked to stop (exit code 130).
    Interrupted,
    /// An invariant of this program does not hold.
    Bug,
}

/// Exit code of a run that was asked to stop, in all programs.
pub const INTERRUPTED_CODE: u8 = 130;

impl ErrorKind {
    /// The exit code of restic that says the same. There is no 11: nothing is ever locked; and 13 is ours alone.
    pub const fn restics_code(self) -> u8 {
        match self {
            Self::NoRepository => 10,
            Self::WrongKey => 12,
            Self::RolledBack => 13,
            Self::Interrupted => INTERRUPTED_CODE,
            Self::Denied
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Changed
            | Self::Refused
            | Self::Unavailable
            | Self::Invalid
            | Self::Corrupt
            | Self::Unsupported
            | Self::Local
            | Self::Bug => 1,
        }
    }

    /// The exit code of rclone that says the same.
    pub const fn rclones_code(self) -> u8 {
        match self {
            Self::Invalid => 2,
            Self::NotFound | Self::NoRepository => 3,
            Self::Unavailable | Self::Changed => 5,
            Self::Denied | Self::Corrupt | Self::Unsupported => 6,
            Self::Refused | Self::RolledBack => 7,
            Self::Interrupted => INTERRUPTED_CODE,
            Self::WrongKey | Self::AlreadyExists | Self::Local | Self::Bug => 1,
        }
    }
}

/// An error with its attempt, an optional hint and an optional cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    attempt: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `attempt` says what failed on which thing, in lower case, without a full stop.
    pub fn new(kind: ErrorKind, attempt: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, attempt: attempt.into(), hint: None, source: None }))
    }

    /// Bytes from outside that cannot be right.
    pub fn corrupt(attempt: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, attempt)
    }

    /// A request that cannot be carried out as given.
    pub fn invalid(attempt: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, attempt)
    }

    /// An invariant that does not hold.
    pub fn bug(attempt: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, attempt)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds the way out: what the user can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Wraps this error in a sentence of the level above; the kind and the hint stay.
    #[must_use]
    pub fn within(self, attempt: impl Into<String>) -> Self {
        let (kind, hint) = (self.0.kind, self.0.hint.clone());
        Self(Box::new(Inner { kind, attempt: attempt.into(), hint, source: Some(Box::new(self)) }))
    }

    /// The same error for one more thing: its causes are text from here on.
    #[must_use]
    pub fn repeat(&self) -> Self {
        let copy = Self::new(self.kind(), self.chain());
        match self.hint() {
            Some(hint) => copy.with_hint(hint),
            None => copy,
        }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The way out, if there is one to name.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The sentence of this level and all causes, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            let sentence = cause.to_string();
            // Some libraries repeat their cause in their own sentence.
            if !text.ends_with(&sentence) {
                text.push_str(": ");
                text.push_str(&sentence);
            }
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.attempt)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Adds the attempt to a result on its way up.
pub trait Attempt<T> {
    /// Says what was attempted; the failure below becomes the cause. An I/O error gets the kind
    /// that its own kind suggests.
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Attempt<T> for Result<T, Error> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.within(what()))
    }
}

impl<T> Attempt<T> for std::io::Result<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(kind_of_io(&error), what()).with_source(error))
    }
}

/// The kind that suits an error of the local file system.
pub fn kind_of_io(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidFilename => ErrorKind::Invalid,
        _ => ErrorKind::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_level_once_and_keeps_the_hint() {
        let error = Error::corrupt("tag does not match")
            .with_hint("run check")
            .within("open pack 12ab")
            .within("restore file /a");
        assert_eq!(error.chain(), "restore file /a: open pack 12ab: tag does not match");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.hint(), Some("run check"));
    }
}
