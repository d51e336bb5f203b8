//! The HTTP side of the seam: turns refusals into errors that can be told apart, and reads the store's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta};
use futures::StreamExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};

use super::failure::Refusal;
use crate::clock::SharedClock;

/// How far the store's clock is ahead of ours, as the last answer's `Date` header had it.
#[derive(Debug)]
pub(super) struct Skew(AtomicI64);

const UNKNOWN: i64 = i64::MIN;

impl Skew {
    pub(super) fn new() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }

    /// Store's time minus ours; none before the first answer.
    pub(super) fn get(&self) -> Option<TimeDelta> {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => None,
            millis => TimeDelta::try_milliseconds(millis),
        }
    }
}

/// Makes clients whose refusals carry status, code and message.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) clock: SharedClock,
    pub(super) skew: Arc<Skew>,
}

/// A client that is made when it is first used: each reads all certificates of the system, and a store has several of which a run may
/// use one.
#[derive(Debug)]
pub(super) struct Late {
    options: ClientOptions,
    made: OnceLock<Result<HttpClient, String>>,
}

impl Late {
    pub(super) fn new(options: ClientOptions) -> Self {
        Self { options, made: OnceLock::new() }
    }

    pub(super) fn get(&self) -> Result<&HttpClient, HttpError> {
        let make = || ReqwestConnector::default().connect(&self.options).map_err(|error| error.to_string());
        let unusable = |said: &String| HttpError::new(HttpErrorKind::Request, std::io::Error::other(said.clone()));
        self.made.get_or_init(make).as_ref().map_err(unusable)
    }
}

impl HttpConnector for Wire {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = Late::new(options.clone());
        Ok(HttpClient::new(Line { inner, clock: Arc::clone(&self.clock), skew: Arc::clone(&self.skew) }))
    }
}

#[derive(Debug)]
struct Line {
    inner: Late,
    clock: SharedClock,
    skew: Arc<Skew>,
}

/// The longest error text that is read.
const REFUSAL_MAX: usize = 64 << 10;

#[async_trait]
impl HttpService for Line {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut response = self.inner.get()?.execute(request).await?;
        // rclone's server, lakeFS and others answer a range with 200 and `Content-Range`; object_store wants 206, and
        // compares the range that came with the one it asked for.
        let partial = response.status().as_u16() == 200 && response.headers().contains_key("content-range");
        if let (true, Ok(status)) = (partial, 206_u16.try_into()) {
            *response.status_mut() = status;
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(date) = header("date").and_then(|text| DateTime::parse_from_rfc2822(text).ok()) {
            self.skew.0.store((date - self.clock.now()).num_milliseconds(), Ordering::Relaxed);
        }
        let status = response.status().as_u16();
        // object_store gives these kinds of their own, from the status and the text.
        if status < 300 || matches!(status, 304 | 401 | 403 | 404 | 409 | 412) {
            return Ok(response);
        }
        let after = header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let (_, body) = response.into_parts();
        let text = beginning(body).await;
        let refusal = Refusal { status, code: element(&text, "Code"), message: element(&text, "Message"), after };
        Err(HttpError::new(HttpErrorKind::Unknown, refusal))
    }
}

/// The beginning of an error text; what goes wrong while it is read does not matter.
async fn beginning(body: HttpResponseBody) -> String {
    let mut stream = body.bytes_stream();
    let mut text = Vec::new();
    while let Some(Ok(bytes)) = stream.next().await {
        text.extend_from_slice(&bytes);
        if text.len() > REFUSAL_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The text of the first such element, at most 300 characters of it.
pub(super) fn element(xml: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let text = xml.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text);
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_message_are_read_from_the_xml_and_bounded() {
        let xml = "<Error><Code>SlowDown</Code><Message>reduce\n your rate</Message></Error>";
        assert_eq!(element(xml, "Code"), "SlowDown");
        assert_eq!(element(xml, "Message"), "reduce your rate");
        assert_eq!(element("<html>", "Code"), "");
        assert_eq!(element(&format!("<Code>{}</Code>", "x".repeat(1000)), "Code").len(), 300);
    }
}
