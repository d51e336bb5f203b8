//! What stands around a store in the field: services that give out credentials, and a forward proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::scripted::{Reply, Seen, answer, read};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// An HTTP service that answers as a function says. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    /// `http://127.0.0.1:<port>`.
    pub(crate) endpoint: String,
    asked: Arc<Mutex<Vec<Seen>>>,
    _runtime: Runtime,
}

impl Service {
    /// Starts it.
    pub(crate) fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let (runtime, asked, reply) = (runtime(), Arc::<Mutex<Vec<Seen>>>::default(), Arc::new(reply));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("the port"));
        let log = Arc::clone(&asked);
        runtime.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (log, reply) = (Arc::clone(&log), Arc::clone(&reply));
                tokio::spawn(async move {
                    let Some(seen) = read(&mut socket).await else { return };
                    let reply = reply(&seen);
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
                    answer(socket, reply).await;
                });
            }
        });
        Self { endpoint, asked, _runtime: runtime }
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Seen> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A forward proxy, for plain requests and for tunnels. It knows hosts that nobody else knows.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// `http://127.0.0.1:<port>`.
    pub(crate) endpoint: String,
    passed: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Proxy {
    /// A proxy that finds the host names (with port) at these addresses.
    pub(crate) fn start<const N: usize>(hosts: [(&str, &str); N]) -> Self {
        let (runtime, passed) = (runtime(), Arc::<Mutex<Vec<String>>>::default());
        let hosts: Arc<BTreeMap<String, String>> =
            Arc::new(hosts.into_iter().map(|(name, address)| (name.to_owned(), address.to_owned())).collect());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("the port"));
        let log = Arc::clone(&passed);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(pass(socket, Arc::clone(&hosts), Arc::clone(&log)));
            }
        });
        Self { endpoint, passed, _runtime: runtime }
    }

    /// The first line of every connection so far: `CONNECT host:port` or `METHOD http://host:port`.
    pub(crate) fn passed(&self) -> Vec<String> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Connections are kept to one host each, so all bytes after the first request go where that went.
async fn pass(mut client: TcpStream, hosts: Arc<BTreeMap<String, String>>, log: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if !client.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let host = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
    log.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{method} {host}"));
    let Some(address) = hosts.get(host) else { return };
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    let opened = match method {
        "CONNECT" => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await,
        _ => server.write_all(&bytes).await,
    };
    if opened.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
