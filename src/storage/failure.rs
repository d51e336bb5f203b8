//! What a failure of a store means: whether to try again, and what to tell the user.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use object_store::Error as StoreError;
use object_store::client::{HttpError, HttpErrorKind};

use crate::error::{Error, ErrorKind, kind_of_io};

/// What a failed request tells about trying it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The same request would fail again.
    Final,
    /// The connection was never made: the request had no effect for sure.
    NotSent,
    /// The store is overloaded or had an accident. It may have carried the request out.
    Busy {
        /// How long it asked to be left alone.
        after: Option<Duration>,
    },
    /// No answer, or half of one. The store may have carried the request out.
    Lost,
    /// An answer that breaks the protocol: too short, too long, another range than asked for.
    Malformed,
}

/// An HTTP answer that says no, with what S3's XML says about it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answered {}", self.status)?;
        for part in [&self.code, &self.message] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

impl StdError for Refusal {}

/// A body that does not have the length it should have, or changed while it was read.
#[derive(Debug)]
pub(super) struct WrongBody(pub(super) String);

impl fmt::Display for WrongBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for WrongBody {}

/// No answer within the time given.
#[derive(Debug)]
pub(super) struct NoAnswer(pub(super) Duration);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer for {} seconds", self.0.as_secs_f32().ceil())
    }
}

impl StdError for NoAnswer {}

/// Wraps one of the errors above for its way through the seam.
pub(super) fn generic(source: impl StdError + Send + Sync + 'static) -> StoreError {
    StoreError::Generic { store: "storage", source: Box::new(source) }
}

/// Texts that `object_store`'s private error types have for answers to a range that is not the one asked for.
const WRONG_RANGE: [&str; 5] = [
    "Received non-partial response when range requested",
    "Content-Range header not present",
    "Failed to parse value for CONTENT_RANGE",
    "Error getting list response body",
    "Got invalid list response",
];

/// Judges a failed request. See [`Failure`].
pub(super) fn judge(error: &StoreError) -> Failure {
    if !matches!(error, StoreError::Generic { .. }) {
        return Failure::Final;
    }
    for cause in chain(error) {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return judge_refusal(refusal);
        }
        if cause.is::<WrongBody>() {
            return Failure::Malformed;
        }
        if cause.is::<NoAnswer>() {
            return Failure::Lost;
        }
        if let Some(http) = cause.downcast_ref::<HttpError>()
            && refusal_in(http).is_none()
        {
            return match http.kind() {
                HttpErrorKind::Connect if is_untrusted(error) => Failure::Final,
                HttpErrorKind::Connect => Failure::NotSent,
                _ => Failure::Lost,
            };
        }
    }
    // Errors inside an answer with status 200: DeleteObjects, CompleteMultipartUpload, CopyObject.
    if says(error, &["InternalError", "SlowDown", "ServiceUnavailable"]) {
        return Failure::Busy { after: None };
    }
    if says(error, &WRONG_RANGE) || (says(error, &["Requested "]) && says(error, &[", got "])) {
        return Failure::Malformed;
    }
    Failure::Final
}

fn judge_refusal(refusal: &Refusal) -> Failure {
    let busy = match refusal.status {
        // 409 gets here only from writes without a condition: raced writes, OVH's OperationAborted.
        408 | 409 | 425 | 429 | 500 | 502 | 503 | 504 | 509 | 529 => true,
        // S3 gives up on a slow upload with a 400.
        400 => matches!(refusal.code.as_str(), "RequestTimeout" | "IncompleteBody"),
        _ => false,
    };
    if busy { Failure::Busy { after: refusal.after } } else { Failure::Final }
}

/// Whether the store does not have create-only writes, or does not have them here.
pub(super) fn cannot_create_only(error: &StoreError) -> bool {
    match error {
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => true,
        StoreError::Generic { .. } => chain(error).any(|cause| {
            cause.downcast_ref::<Refusal>().is_some_and(|r| r.status == 501 || r.code == "NotImplemented")
                // A file system without hard links.
                || cause.downcast_ref::<std::io::Error>().is_some_and(|e| {
                    matches!(e.kind(), std::io::ErrorKind::Unsupported | std::io::ErrorKind::PermissionDenied)
                })
        }),
        _ => false,
    }
}

/// Whether a read asked for bytes beyond the end of the object.
pub(super) fn beyond_the_end(error: &StoreError) -> bool {
    matches!(error, StoreError::Generic { .. })
        && (chain(error).any(|cause| cause.downcast_ref::<Refusal>().is_some_and(|r| r.status == 416))
            || says(error, &["Wanted range starting at", "Out of range of file"]))
}

/// The error of this crate for a failed request, within the sentence `attempt`.
pub(super) fn explain(attempt: String, error: StoreError) -> Error {
    let (kind, hint) = kind_and_hint(&error);
    let explained = Error::new(kind, attempt);
    let explained = match hint {
        Some(hint) => explained.with_hint(hint),
        None => explained,
    };
    explained.with_source(error)
}

const CREDENTIALS_HINT: &str = "give the store's credentials in the environment";
const CERTIFICATE_HINT: &str = "the server's certificate is not trusted: give its CA with --cacert";
const NETWORK_HINT: &str = "the store did not answer: check the address and the network";
const EXPIRED_HINT: &str =
    "the credentials have expired: get new ones, or let a profile, a role or a service renew them";
const BUCKET_HINT: &str = "the bucket does not exist: create it, or check its name and the region";

fn kind_and_hint(error: &StoreError) -> (ErrorKind, Option<&'static str>) {
    match error {
        StoreError::NotFound { .. } if says(error, &["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]) => {
            (ErrorKind::NotFound, Some(BUCKET_HINT))
        }
        StoreError::NotFound { .. } => (ErrorKind::NotFound, None),
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => (ErrorKind::AlreadyExists, None),
        StoreError::PermissionDenied { .. } if says(error, &["RequestTimeTooSkewed"]) => {
            (ErrorKind::Denied, Some("the clock of this machine is wrong"))
        }
        StoreError::PermissionDenied { .. } if says(error, &["ExpiredToken", "TokenRefreshRequired"]) => {
            (ErrorKind::Denied, Some(EXPIRED_HINT))
        }
        StoreError::PermissionDenied { .. } => {
            (ErrorKind::Denied, Some("the credentials are wrong, or their policy does not allow this"))
        }
        StoreError::Unauthenticated { .. } => (ErrorKind::Denied, Some(CREDENTIALS_HINT)),
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => (ErrorKind::Unsupported, None),
        StoreError::InvalidPath { .. } | StoreError::UnknownConfigurationKey { .. } => (ErrorKind::Invalid, None),
        StoreError::JoinError { .. } => (ErrorKind::Interrupted, None),
        _ => kind_of_generic(error),
    }
}

fn kind_of_generic(error: &StoreError) -> (ErrorKind, Option<&'static str>) {
    if let Some(refusal) = refusal_of(error) {
        return match (refusal.status, refusal.code.as_str()) {
            (416, _) => (ErrorKind::Corrupt, None),
            (507, _) | (_, "XMinioStorageFull") => (ErrorKind::Unavailable, Some("the store has no space left")),
            (400, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => (ErrorKind::Denied, Some(EXPIRED_HINT)),
            (300..=399, _) | (400, "AuthorizationHeaderMalformed") => {
                (ErrorKind::Invalid, Some("the bucket is in another region: set AWS_REGION or -o s3.region"))
            }
            (400..=499, _) if judge_refusal(refusal) == Failure::Final => (ErrorKind::Invalid, None),
            (501, _) => (ErrorKind::Unsupported, None),
            _ => (ErrorKind::Unavailable, Some("the store is overloaded or ill: try again later")),
        };
    }
    // A disk that cannot give back what it was given (EIO, EBADMSG, EUCLEAN): that object is damaged, and the others can still be looked at.
    let code = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>()?.raw_os_error();
    if chain(error).filter_map(code).any(|code| [5, 74, 117].contains(&code)) {
        return (ErrorKind::Corrupt, Some("the disk cannot read or write it: look at its health"));
    }
    // Before the I/O errors: it comes within one.
    if is_untrusted(error) {
        return (ErrorKind::Unavailable, Some(CERTIFICATE_HINT));
    }
    match judge(error) {
        Failure::Malformed => return (ErrorKind::Corrupt, None),
        Failure::NotSent | Failure::Busy { .. } | Failure::Lost => {
            return (ErrorKind::Unavailable, Some(NETWORK_HINT));
        }
        Failure::Final => {}
    }
    if says(error, &["incorrectly configured region"]) {
        return (ErrorKind::Invalid, Some("the bucket is in another region: set AWS_REGION or -o s3.region"));
    }
    if let Some(io) = chain(error).find_map(|cause| cause.downcast_ref::<std::io::Error>()) {
        let full = matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        return (kind_of_io(io), full.then_some("no space left where the objects are stored"));
    }
    if beyond_the_end(error) {
        return (ErrorKind::Corrupt, None);
    }
    // object_store gives listings and bulk deletions no kinds of their own.
    if says(error, &["NoSuchBucket", "status code: 404"]) {
        return (ErrorKind::NotFound, Some(BUCKET_HINT));
    }
    if says(error, &["AccessDenied", "status code: 401", "status code: 403"]) {
        return (ErrorKind::Denied, Some("the credentials are wrong, or their policy does not allow this"));
    }
    (ErrorKind::Unavailable, None)
}

/// What a failure without an answer means, where a library hands on the errors of ours: the kind and the way out.
pub(super) fn without_answer(error: &(dyn StdError + 'static)) -> (ErrorKind, &'static str) {
    for cause in chain_of(error) {
        if matches!(cause.downcast_ref(), Some(StoreError::Unauthenticated { .. })) {
            return (ErrorKind::Denied, CREDENTIALS_HINT);
        }
    }
    (ErrorKind::Unavailable, if is_untrusted(error) { CERTIFICATE_HINT } else { NETWORK_HINT })
}

/// Whether the server's certificate was refused: it will be refused again.
pub(super) fn is_untrusted(error: &(dyn StdError + 'static)) -> bool {
    chain_of(error).any(|cause| cause.to_string().contains("invalid peer certificate"))
}

/// What the store said as it refused, if it did.
pub(super) fn refusal_of(error: &StoreError) -> Option<&Refusal> {
    chain(error).find_map(|cause| cause.downcast_ref::<Refusal>())
}

fn refusal_in(http: &HttpError) -> Option<&Refusal> {
    http.source().and_then(|source| source.downcast_ref::<Refusal>())
}

/// The error and its causes.
fn chain<'a>(error: &'a StoreError) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    chain_of(error)
}

fn chain_of<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

/// Whether the error or one of its causes says one of `texts`. `object_store` keeps the status of most
/// answers in types that it does not export, so their text is what is left.
fn says(error: &StoreError, texts: &[&str]) -> bool {
    chain(error).any(|cause| {
        let sentence = cause.to_string();
        texts.iter().any(|text| sentence.contains(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> StoreError {
        let refusal = Refusal { status, code: code.into(), message: "because".into(), after: None };
        generic(HttpError::new(HttpErrorKind::Unknown, refusal))
    }

    fn transport(kind: HttpErrorKind) -> StoreError {
        generic(HttpError::new(kind, std::io::Error::other("transport")))
    }

    #[test]
    fn overload_and_lost_answers_are_tried_again_and_refusals_are_not() {
        let busy = Failure::Busy { after: None };
        for (error, failure, kind) in [
            (refusal(503, "SlowDown"), busy, ErrorKind::Unavailable),
            (refusal(500, ""), busy, ErrorKind::Unavailable),
            (refusal(429, ""), busy, ErrorKind::Unavailable),
            (refusal(400, "RequestTimeout"), busy, ErrorKind::Unavailable),
            (refusal(400, "ExpiredToken"), Failure::Final, ErrorKind::Denied),
            (refusal(400, "InvalidArgument"), Failure::Final, ErrorKind::Invalid),
            (refusal(416, "InvalidRange"), Failure::Final, ErrorKind::Corrupt),
            (refusal(501, "NotImplemented"), Failure::Final, ErrorKind::Unsupported),
            (refusal(507, ""), Failure::Final, ErrorKind::Unavailable),
            (refusal(301, "PermanentRedirect"), Failure::Final, ErrorKind::Invalid),
            (transport(HttpErrorKind::Connect), Failure::NotSent, ErrorKind::Unavailable),
            (transport(HttpErrorKind::Timeout), Failure::Lost, ErrorKind::Unavailable),
            (transport(HttpErrorKind::Interrupted), Failure::Lost, ErrorKind::Unavailable),
            (generic(NoAnswer(Duration::from_mins(1))), Failure::Lost, ErrorKind::Unavailable),
            (generic(WrongBody("short".into())), Failure::Malformed, ErrorKind::Corrupt),
            (generic(std::io::Error::from(std::io::ErrorKind::StorageFull)), Failure::Final, ErrorKind::Local),
        ] {
            assert_eq!(judge(&error), failure, "{error}");
            assert_eq!(explain("put object x".into(), error).kind(), kind);
        }
    }

    #[test]
    fn a_full_disk_and_a_missing_bucket_are_named() {
        let full = explain("put x".into(), generic(std::io::Error::from(std::io::ErrorKind::StorageFull)));
        assert!(full.chain().contains("no space left") || full.hint().is_some_and(|h| h.contains("no space left")));
        let missing = StoreError::NotFound { path: "x".into(), source: "<Code>NoSuchBucket</Code>".into() };
        assert!(explain("get x".into(), missing).hint().is_some_and(|hint| hint.contains("bucket")));
    }
}
