//! What operators and Prometheus see of the scheduler: a page, the status documents and metrics of its [`Board`], over HTTP.
//!
//! Everything is made from one [`View`](crate::schedule::View), so that it is shown even while a store hangs. Nothing is changed but by one request that needs a token: a run now.
//! This room must never show a secret, and never trusts a name: what comes from documents and logs is escaped where it is written.
//! For users: `docs/monitoring.md`.

mod guard;
mod metrics;
mod page;
mod routes;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::clock::SharedClock;
use crate::error::{Attempt, Result};
use crate::schedule::Board;

pub use guard::Token;

/// Connections that are served at once; more wait in the system's queue. A Prometheus, some probes and some people need a handful.
const CONNECTIONS_MAX: usize = 64;
/// How long the first line and the headers of a request may take.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last: one request, its answer, and nobody holds a place by reading or writing a byte now and then.
const CONNECTION_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of a request's headers, and of its body: a manual trigger has at most 63.
const HEADERS_MAX: usize = 16 << 10;
const BODY_MAX: usize = 1 << 10;
/// The pause after an error of `accept`, such as no file descriptor left: it would return at once, again and again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where, and for whom.
#[derive(Debug, Clone)]
pub struct MonitorOptions {
    /// The address to listen at; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// What a request has to show that changes something. Without one nothing is ever changed.
    pub token: Option<Token>,
    /// Names by which the page may be asked for, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// A server at work. It ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What answers are made from.
#[derive(Debug)]
struct Site {
    board: Board,
    clock: SharedClock,
    token: Option<Token>,
    hosts: Vec<String>,
}

/// Listens, and answers on `runtime` until the result is dropped.
///
/// # Errors
/// `Local` when the address cannot be listened at.
pub fn serve(options: &MonitorOptions, board: Board, clock: SharedClock, runtime: &Handle) -> Result<Serving> {
    let attempt = || format!("listen at {}", options.listen);
    let listener = std::net::TcpListener::bind(options.listen).attempt(attempt)?;
    listener.set_nonblocking(true).attempt(attempt)?;
    let address = listener.local_addr().attempt(attempt)?;
    let _inside = runtime.enter();
    let listener = TcpListener::from_std(listener).attempt(attempt)?;
    let site = Site { board, clock, token: options.token.clone(), hosts: options.hosts.clone() };
    Ok(Serving { address, task: runtime.spawn(accept(listener, Arc::new(site))) })
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed: this ends only by being aborted.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            // Whoever breaks off or is too slow hears nothing more; the next request is another connection.
            let _ = tokio::time::timeout(CONNECTION_WITHIN, answer_one(socket, site)).await;
            drop(place);
        });
    }
}

async fn answer_one(socket: TcpStream, site: Arc<Site>) -> hyper::Result<()> {
    let service = service_fn(move |request| answer(request, Arc::clone(&site)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service)
        .await
}

async fn answer(request: Request<Incoming>, site: Arc<Site>) -> hyper::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await.ok().map(http_body_util::Collected::to_bytes);
    Ok(routes::answer(&site, &head, body))
}
