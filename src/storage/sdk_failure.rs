//! The failures of the AWS SDK in the words of the seam, so that one judgement serves both.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use object_store::Error as StoreError;

use super::failure::{NoAnswer, Refusal, WrongBody, generic};
use super::sdk::ANSWER;
use super::wire::element;

/// A request about `key` that failed.
pub(super) fn failed<E>(key: &str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: StdError + Send + Sync + 'static,
    SdkError<E, HttpResponse>: ProvideErrorMetadata,
{
    let Some(status) = error.raw_response().map(|response| response.status().as_u16()) else {
        let timeout = match &error {
            SdkError::TimeoutError(_) => true,
            SdkError::DispatchFailure(failure) => failure.is_timeout(),
            _ => false,
        };
        return if timeout { generic(NoAnswer(ANSWER)) } else { generic(error) };
    };
    if matches!(&error, SdkError::ResponseError(_)) {
        return generic(WrongBody(format!("the answer cannot be read: {}", chain(&error))));
    }
    let words = |text: Option<&str>| text.unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
    let (code, message): (String, String) = (words(error.code()), words(error.message()));
    if status < 300 && code.is_empty() {
        return generic(WrongBody(format!("the answer cannot be read: {}", chain(&error))));
    }
    // S3 answers 200 with an error in the body, where the work took long.
    let status = if status < 300 { 500 } else { status };
    let refusal = Refusal { status, code, message, after: None };
    let path = key.to_owned();
    let source = Box::new(refusal);
    match status {
        304 => StoreError::NotModified { path, source },
        401 => StoreError::Unauthenticated { path, source },
        403 => StoreError::PermissionDenied { path, source },
        404 => StoreError::NotFound { path, source },
        412 => StoreError::Precondition { path, source },
        _ => generic(*source),
    }
}

/// The text of an element of an answer that was good, though the SDK could not read it.
pub(super) fn told<E>(error: &SdkError<E, HttpResponse>, element_name: &str) -> Option<String> {
    let response = error.raw_response().filter(|response| response.status().is_success())?;
    let xml = std::str::from_utf8(response.body().bytes()?).ok()?;
    Some(element(xml, element_name)).filter(|text| !text.is_empty())
}

/// An answer that lacks what it must have.
pub(super) fn incomplete(what: &str) -> StoreError {
    generic(WrongBody(format!("the store answered with {what}")))
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |cause| (*cause).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
