//! TCP proxy in front of an S3 server: adds latency and counts requests.
//! `s3proxy TARGET CONTROL LISTEN=DELAY_MS...` (TARGET: host:port or the path of a Unix socket), e.g.
//! `s3proxy 127.0.0.1:9000 127.0.0.1:9009 127.0.0.1:9100=0 127.0.0.1:9120=20`
//!
//! DELAY_MS is one way: each byte arrives that much later, in both directions,
//! and a new connection costs one round trip more (as a TCP handshake does).
//! In each direction at most 4 MiB are under way (the "window" of a connection).
//! Connecting to CONTROL prints the counts since the last time as JSON, and resets them.
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

static KINDS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
static UP: AtomicU64 = AtomicU64::new(0);
static DOWN: AtomicU64 = AtomicU64::new(0);
static CONNS: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicU64 = AtomicU64::new(0);
static MAX_OPEN: AtomicU64 = AtomicU64::new(0);

/// Follows the requests of one connection (Content-Length and chunked bodies).
#[derive(Default)]
struct Requests {
    head: Vec<u8>,
    body: u64,
    chunked: bool,
    line: Vec<u8>,
    trailer: bool,
}

impl Requests {
    fn feed(&mut self, mut b: &[u8]) {
        while !b.is_empty() {
            if self.body > 0 {
                let n = self.body.min(b.len() as u64);
                self.body -= n;
                b = &b[n as usize..];
            } else if self.chunked {
                let (c, rest) = (b[0], &b[1..]);
                b = rest;
                if c != b'\n' {
                    self.line.push(c);
                    continue;
                }
                let l = String::from_utf8_lossy(&self.line).trim().to_string();
                self.line.clear();
                if self.trailer {
                    if l.is_empty() {
                        self.chunked = false;
                        self.trailer = false;
                    }
                } else if !l.is_empty() {
                    let n = u64::from_str_radix(l.split(';').next().unwrap().trim(), 16).unwrap_or(0);
                    if n == 0 { self.trailer = true } else { self.body = n }
                }
            } else {
                self.head.push(b[0]);
                b = &b[1..];
                if self.head.ends_with(b"\r\n\r\n") {
                    self.header();
                    self.head.clear();
                }
            }
        }
    }
    fn header(&mut self) {
        let text = String::from_utf8_lossy(&self.head).into_owned();
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap_or("").split(' ');
        let (method, target) = (first.next().unwrap_or(""), first.next().unwrap_or(""));
        let (mut range, mut copy) = (false, false);
        for l in lines {
            let Some((k, v)) = l.split_once(':') else { continue };
            match k.to_ascii_lowercase().as_str() {
                "content-length" => self.body = v.trim().parse().unwrap_or(0),
                "transfer-encoding" => self.chunked = v.contains("chunked"),
                "range" => range = true,
                "x-amz-copy-source" => copy = true,
                _ => {}
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let key = path.trim_start_matches('/').split_once('/').map_or("", |x| x.1);
        let has = |q: &str| query.split('&').any(|p| p.split('=').next() == Some(q));
        let kind = match method {
            "GET" if key.is_empty() && !(has("location") || has("versioning") || has("uploads")) => "LIST",
            "GET" if key.is_empty() => "GET-bucket",
            "GET" if range => "GET-range",
            "PUT" if key.is_empty() => "PUT-bucket",
            "PUT" if has("partNumber") => "PUT-part",
            "PUT" if copy => "COPY",
            "POST" if has("delete") => "MULTI-DELETE",
            "POST" if has("uploads") => "MPU-create",
            "POST" if has("uploadId") => "MPU-complete",
            m => m,
        };
        *KINDS.lock().unwrap().entry(kind.to_string()).or_insert(0) += 1;
    }
}

/// Copies one direction, each piece `delay` after it was read.
async fn pump<R, W>(mut from: R, mut to: W, delay: Duration, bytes: &'static AtomicU64, mut requests: Option<Requests>)
where
    R: AsyncReadExt + Unpin + 'static,
    W: AsyncWriteExt + Unpin + 'static,
{
    let (tx, mut rx) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let writer = tokio::task::spawn_local(async move {
        while let Some((due, piece)) = rx.recv().await {
            if !delay.is_zero() {
                sleep_until(due).await;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
    let mut buf = vec![0u8; 64 << 10];
    while let Ok(n) = from.read(&mut buf).await {
        if n == 0 {
            break;
        }
        bytes.fetch_add(n as u64, Relaxed);
        if let Some(r) = &mut requests {
            r.feed(&buf[..n]);
        }
        if tx.send((Instant::now() + delay, buf[..n].to_vec())).await.is_err() {
            break;
        }
    }
    drop(tx);
    let _ = writer.await;
}

async fn connection(client: TcpStream, target: String, delay: Duration) {
    sleep(delay * 2).await;
    let _ = client.set_nodelay(true);
    let (cr, cw) = client.into_split();
    if target.starts_with('/') {
        let Ok(server) = UnixStream::connect(&target).await else { return };
        let (sr, sw) = server.into_split();
        both(cr, cw, sr, sw, delay).await
    } else {
        let Ok(server) = TcpStream::connect(&target).await else { return };
        let _ = server.set_nodelay(true);
        let (sr, sw) = server.into_split();
        both(cr, cw, sr, sw, delay).await
    }
}

async fn both<A, B, C, D>(cr: A, cw: B, sr: C, sw: D, delay: Duration)
where
    A: AsyncReadExt + Unpin + 'static,
    B: AsyncWriteExt + Unpin + 'static,
    C: AsyncReadExt + Unpin + 'static,
    D: AsyncWriteExt + Unpin + 'static,
{
    let up = tokio::task::spawn_local(pump(cr, sw, delay, &UP, Some(Requests::default())));
    pump(sr, cw, delay, &DOWN, None).await;
    up.abort();
}

fn report() -> String {
    let kinds = std::mem::take(&mut *KINDS.lock().unwrap());
    let total: u64 = kinds.values().sum();
    let list: Vec<String> = kinds.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
    format!(
        "{{\"requests\":{total},\"kinds\":{{{}}},\"up\":{},\"down\":{},\"connections\":{},\"max_open\":{}}}\n",
        list.join(","),
        UP.swap(0, Relaxed),
        DOWN.swap(0, Relaxed),
        CONNS.swap(0, Relaxed),
        MAX_OPEN.swap(OPEN.load(Relaxed), Relaxed)
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (target, control) = (args[0].clone(), args[1].clone());
    tokio::task::LocalSet::new()
        .run_until(async move {
            for pair in &args[2..] {
                let (addr, ms) = pair.split_once('=').expect("LISTEN=DELAY_MS");
                let delay = Duration::from_millis(ms.parse().expect("DELAY_MS"));
                let listener = TcpListener::bind(addr).await.expect("bind");
                let target = target.clone();
                tokio::task::spawn_local(async move {
                    while let Ok((client, _)) = listener.accept().await {
                        CONNS.fetch_add(1, Relaxed);
                        MAX_OPEN.fetch_max(OPEN.fetch_add(1, Relaxed) + 1, Relaxed);
                        let target = target.clone();
                        tokio::task::spawn_local(async move {
                            connection(client, target, delay).await;
                            OPEN.fetch_sub(1, Relaxed);
                        });
                    }
                });
            }
            let listener = TcpListener::bind(&control).await.expect("bind control");
            while let Ok((mut c, _)) = listener.accept().await {
                let _ = c.write_all(report().as_bytes()).await;
            }
        })
        .await;
}
