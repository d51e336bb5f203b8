//! Which request gets which answer. A function of the request and the view: no socket, no waiting.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::{Site, guard, metrics, page};
use crate::error::ErrorKind;
use crate::schedule::{ResourceId, Role, View, documents};

/// A loop that has not turned for so long is dead; it turns every second.
const BEAT_WITHIN: TimeDelta = TimeDelta::minutes(1);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// For every answer: nothing of it is kept, framed, guessed or sent on, and a page loads nothing but our style sheet and our icon.
const ALWAYS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

type Answer = Response<Full<Bytes>>;

/// The answer; `body` is `None` when it was too long or broke off.
pub(super) fn answer(site: &Site, head: &Parts, body: Option<Bytes>) -> Answer {
    if !guard::is_ours(&head.headers, &site.hosts) {
        return said(
            StatusCode::MISDIRECTED_REQUEST,
            "ask for an address, for localhost, or for a name given by --listen-name\n",
        );
    }
    let path = head.uri.path();
    match head.method {
        Method::GET | Method::HEAD => read(site, path, head.uri.query()),
        Method::POST => match (path.strip_prefix("/sync/").and_then(resource), body) {
            (None, _) if KNOWN.contains(&path) => said(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
            (None, _) => missing(),
            (Some(_), None) => {
                said(StatusCode::PAYLOAD_TOO_LARGE, "the body is the tag of the manual trigger, at most 63 bytes\n")
            }
            (Some(id), Some(tag)) => sync(site, head, &id, &tag),
        },
        _ => said(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and POST\n"),
    }
}

const KNOWN: [&str; 7] = ["/", "/status", "/metrics", "/healthz", "/readyz", "/style.css", "/icon.svg"];

fn read(site: &Site, path: &str, query: Option<&str>) -> Answer {
    let (view, now) = (site.board.view(), site.clock.now().to_utc());
    match path {
        "/" => with(StatusCode::OK, "text/html; charset=utf-8", page::page(&view, now, query == Some("refresh"))),
        "/style.css" => with(StatusCode::OK, "text/css; charset=utf-8", page::STYLE),
        "/icon.svg" => with(StatusCode::OK, "image/svg+xml", page::ICON),
        "/status" => with(StatusCode::OK, JSON, format!("{:#}\n", documents(&view))),
        "/metrics" => with(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::metrics(&view, now)),
        "/healthz" => health(alive(&view, now)),
        "/readyz" => {
            health(alive(&view, now).and_then(|()| if view.ready { Ok(()) } else { Err("starting or stopping\n") }))
        }
        _ => missing(),
    }
}

/// A beat from the future is one before the clock was set back.
fn alive(view: &View, now: DateTime<Utc>) -> Result<(), &'static str> {
    if now - view.beat <= BEAT_WITHIN { Ok(()) } else { Err("the scheduler has not moved for a minute\n") }
}

fn health(state: Result<(), &'static str>) -> Answer {
    state.map_or_else(|why| said(StatusCode::SERVICE_UNAVAILABLE, why), |()| said(StatusCode::OK, "ok\n"))
}

/// `source/NAMESPACE/NAME` or `destination/NAMESPACE/NAME`. Names in Kubernetes have no letters that a URL would have to encode.
fn resource(path: &str) -> Option<ResourceId> {
    let mut parts = path.split('/');
    let (role, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
    let role = [Role::Source, Role::Destination].into_iter().find(|known| known.as_str() == role)?;
    let whole = parts.next().is_none() && !namespace.is_empty() && !name.is_empty();
    whole.then(|| ResourceId { namespace: namespace.to_owned(), name: name.to_owned(), role })
}

/// A run now. The token is looked at first: without it nobody learns what there is.
fn sync(site: &Site, head: &Parts, id: &ResourceId, tag: &[u8]) -> Answer {
    let Some(token) = &site.token else {
        return said(StatusCode::FORBIDDEN, "nothing is changed over HTTP unless --token-file names a token\n");
    };
    if !token.is_shown(&head.headers) {
        let mut answer = said(StatusCode::UNAUTHORIZED, "show the token: Authorization: Bearer TOKEN\n");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return answer;
    }
    let Ok(tag) = std::str::from_utf8(tag.trim_ascii()) else {
        return said(StatusCode::BAD_REQUEST, "the tag is not UTF-8\n");
    };
    let now = || format!("http-{}", site.clock.now().to_utc().to_rfc3339_opts(SecondsFormat::Millis, true));
    let tag = if tag.is_empty() { now() } else { tag.to_owned() };
    match site.board.ask(id, &tag) {
        Ok(()) => with(StatusCode::ACCEPTED, JSON, format!("{}\n", json!({ "manual": tag }))),
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::NotFound => StatusCode::NOT_FOUND,
                ErrorKind::Invalid => StatusCode::BAD_REQUEST,
                _ => StatusCode::CONFLICT,
            };
            with(status, TEXT, format!("{}\n", error.chain()))
        }
    }
}

fn missing() -> Answer {
    said(StatusCode::NOT_FOUND, "there is nothing here; see / /status /metrics /healthz /readyz\n")
}

fn said(status: StatusCode, text: &'static str) -> Answer {
    with(status, TEXT, text)
}

fn with(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.extend(ALWAYS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    answer
}
