//! Where the suites of the movers have their repositories and mirrors: at the places that the tests name, or all of them at one kind of store.
//!
//! | `VOLVAULT_TEST_MOVERS_ON` | what is on a directory | what is on S3 |
//! |---|---|---|
//! | not said | is there | is on the server in this process |
//! | `s3` | is on the server in this process | is there |
//! | the path of rclone | is on rclone's `serve s3`, a process for each server | the same |
//!
//! rclone's server is reached through this process, which counts the requests, refuses them when a test wants it, and holds the certificate.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::{HttpError, HttpResponse};
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::memory_s3::Habits;
use super::s3::{Control, S3Server, S3ServerThread, Signer, token};

/// Tries to reach a server that has just been started, a tenth of a second apart.
const TRIES: u32 = 600;

/// The store that all movers are to use.
enum Chosen {
    InProcess,
    Rclone(PathBuf),
}

#[expect(clippy::disallowed_methods, reason = "the environment says what the movers are to be tested on")]
fn chosen() -> Option<Chosen> {
    let said = std::env::var_os("VOLVAULT_TEST_MOVERS_ON").filter(|said| !said.is_empty())?;
    Some(if said == "s3" { Chosen::InProcess } else { Chosen::Rclone(said.into()) })
}

/// Whether the server of the suite honours conditions on writes. rclone's does not know them.
pub(crate) fn knows_conditions() -> bool {
    !matches!(chosen(), Some(Chosen::Rclone(_)))
}

fn rclone_or(bucket: &str, is_tls: bool, other: impl FnOnce() -> S3ServerThread) -> S3ServerThread {
    match chosen() {
        Some(Chosen::Rclone(program)) => S3ServerThread::serving(S3Server::start_rclone(&program, bucket, is_tls)),
        Some(Chosen::InProcess) | None => other(),
    }
}

/// A server for movers.
pub(crate) fn server(bucket: &str) -> S3ServerThread {
    rclone_or(bucket, false, S3ServerThread::start)
}

/// One that else keeps its objects in memory.
pub(crate) fn server_in_memory(bucket: &str) -> S3ServerThread {
    rclone_or(bucket, false, || S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, bucket)))
}

/// One behind TLS: see [`S3Server::start_tls`].
pub(crate) fn server_behind_tls(bucket: &str) -> S3ServerThread {
    rclone_or(bucket, true, || S3ServerThread::serving(S3Server::start_tls()))
}

/// The server that stands in the place of a directory, if one is to.
pub(crate) fn in_place_of_a_directory(bucket: &str) -> Option<Arc<S3ServerThread>> {
    chosen().map(|_| Arc::new(server_in_memory(bucket)))
}

/// rclone's `serve s3`. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    dir: TempDir,
}

impl Process {
    /// Serves the folders in `root` as buckets, to whoever has one of these pairs of keys.
    pub(super) async fn start(program: &Path, root: &Path, keys: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = std::fs::File::create(dir.path().join("log")).expect("a file for what it says");
        let mut command = Command::new(program);
        command.args(["serve", "s3"]).arg(root);
        // With its cache of directories, on by default, its listings miss objects that were just put side by side.
        command.args(["--dir-cache-time", "1ms", "--config", "/dev/null", "--addr"]);
        command.arg(format!("unix://{}", dir.path().join("socket").display()));
        command.args(keys.iter().flat_map(|(key, secret)| ["--auth-key".to_owned(), format!("{key},{secret}")]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let mut process = Self { child, dir };
        for _ in 0..TRIES {
            if UnixStream::connect(process.socket()).await.is_ok() {
                return process;
            }
            assert_eq!(process.child.try_wait().expect("its state"), None, "{}", process.said());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} does not listen: {}", program.display(), process.said());
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server in another process, as the front of this one sees it.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) socket: PathBuf,
    pub(super) control: Arc<Control>,
}

impl Peer {
    /// Hands a request on, as it was signed.
    pub(super) async fn answer(self, mut request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
        let line = format!("{} {}", request.method(), request.uri().path());
        if let Err(refused) = self.control.admit(line, signer(&request), true) {
            return Ok(refused.to_http_response().expect("an error can be written"));
        }
        // A proxy asks for whole addresses; what was signed is the path.
        if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = path.into();
        }
        let kind = Upload::of(&request);
        let failed = |error: hyper::Error| HttpError::new(Box::new(error));
        let socket = UnixStream::connect(&self.socket).await.map_err(|error| HttpError::new(Box::new(error)))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(failed)?;
        match kind {
            Some(Upload::Begin) if response.status() == StatusCode::OK => {
                self.control.unfinished.fetch_add(1, Ordering::SeqCst);
            }
            Some(Upload::End) if response.status().is_success() => {
                self.control.unfinished.fetch_sub(1, Ordering::SeqCst);
            }
            Some(_) | None => {}
        }
        Ok(response.map(s3s::Body::from))
    }
}

/// What a request does to an upload in parts.
enum Upload {
    Begin,
    /// Completed or given up.
    End,
}

impl Upload {
    fn of(request: &Request<Incoming>) -> Option<Self> {
        let names: Vec<&str> =
            request.uri().query()?.split('&').map(|pair| pair.split('=').next().unwrap_or_default()).collect();
        match *request.method() {
            Method::POST if names.contains(&"uploads") => Some(Self::Begin),
            Method::POST | Method::DELETE if names.contains(&"uploadId") => Some(Self::End),
            _ => None,
        }
    }
}

/// Who has signed: `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/s3/aws4_request, …`.
fn signer(request: &Request<Incoming>) -> Option<Signer> {
    let said = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let mut scope = said.split_once("Credential=")?.1.split('/').map(str::to_owned);
    let key = scope.next()?;
    Some(Signer { key, token: token(request.headers()), region: scope.nth(1)? })
}
