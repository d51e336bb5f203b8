//! An HTTP server that answers from a script, for what a well-behaved S3 server never does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use volvault::storage::{Location, StoreOptions};

/// One answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// The connection is closed without a word once the request is read.
    HangUp,
    /// Nothing, for ever.
    Silence,
}

/// A request as it came: method, path with query, the headers in lower case, and the body.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `PUT`, `GET` and so on.
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) target: String,
    /// `name: value` lines.
    pub(crate) headers: Vec<String>,
    /// What came after them.
    pub(crate) body: String,
}

impl Seen {
    /// The value of a header, in lower case too; empty without one.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find_map(|header| header.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }
}

/// Answers requests in the order of the script, the last answer again and again. Each connection has one request.
#[derive(Debug)]
pub(crate) struct ScriptedServer {
    endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Reply {
    /// An answer with a status, headers (each `name: value`) and a body.
    pub(crate) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for header in headers {
            bytes.push_str(header);
            bytes.push_str("\r\n");
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        Self::Raw(bytes)
    }

    /// An object of these bytes.
    pub(crate) fn object(body: &[u8]) -> Self {
        Self::answer("200 OK", &["etag: \"e1\"", "last-modified: Tue, 04 Aug 2026 10:00:00 GMT"], body)
    }

    /// A JSON document.
    pub(crate) fn json(text: &str) -> Self {
        Self::answer("200 OK", &["content-type: application/json"], text.as_bytes())
    }

    /// An S3 error.
    pub(crate) fn error(status: &str, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>scripted</Message></Error>");
        Self::answer(status, &["content-type: application/xml"], body.as_bytes())
    }
}

impl ScriptedServer {
    /// A server with a script, which must not be empty.
    pub(crate) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("the port"));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut script = VecDeque::from(script);
            while let Ok((socket, _)) = listener.accept().await {
                let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
                tokio::spawn(serve(socket, next.expect("the script is not empty"), Arc::clone(&log)));
            }
        });
        Self { endpoint, seen, task }
    }

    /// Bucket `b` of this server.
    pub(crate) fn location(&self) -> Location {
        format!("s3:{}/b", self.endpoint).parse().expect("a location")
    }

    /// Options with some keys.
    pub(crate) fn options() -> StoreOptions {
        let mut options = StoreOptions { patience: Some(super::hasty()), ..StoreOptions::default() };
        options.variables.insert("AWS_ACCESS_KEY_ID".to_owned(), "id".to_owned());
        options.variables.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned());
        options
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, reply: Reply, log: Arc<Mutex<Vec<Seen>>>) {
    let Some(seen) = read(&mut socket).await else { return };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    answer(socket, reply).await;
}

/// Reads one request; none if the connection ends before it does.
pub(crate) async fn read(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if !socket.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let mut seen = Seen {
        method: first.next().unwrap_or_default(),
        target: first.next().unwrap_or_default(),
        headers: lines.map(str::to_ascii_lowercase).collect(),
        body: String::new(),
    };
    let length: usize = seen.header("content-length").parse().unwrap_or(0);
    while bytes.len() < end + 4 + length {
        if !socket.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            return None;
        }
    }
    seen.body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
    Some(seen)
}

/// Answers a request; the connection has no other.
pub(crate) async fn answer(mut socket: TcpStream, reply: Reply) {
    match reply {
        Reply::Raw(answer) => {
            let _ = socket.write_all(&answer).await;
            let _ = socket.shutdown().await;
        }
        Reply::HangUp => {}
        Reply::Silence => std::future::pending().await,
    }
}
