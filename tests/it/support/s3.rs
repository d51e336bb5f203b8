//! An S3 server inside the test process: `s3s` with `s3s-fs`, on a port of its own, with signatures checked.
//!
//! What `s3s-fs` 0.14.1 does not honour by itself and this wrapper adds (read in its source): `If-None-Match: *` and
//! `If-Match` are checked before the write without a lock, so two creators of a race may both win; a suffix range
//! longer than the object is answered with 500 instead of the object. What stays: the entity tag is checked and
//! stored beside the object, not with it; a put to a bucket that does not exist makes it; a key cannot be a folder of
//! another one; storage classes but `STANDARD` and `REDUCED_REDUNDANCY` are refused, and none is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, IF_NONE_MATCH};
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::{GetObjectInput, GetObjectOutput, PutObjectInput, PutObjectOutput, Range};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, HttpResponse, S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use volvault::storage::{Location, StoreOptions};

use super::memory_s3::{Habits, Memory};
use super::peer::{Peer, Process};

/// The keys that the server accepts.
pub(crate) const ACCESS_KEY: &str = "volvault-test";
/// See [`ACCESS_KEY`].
pub(crate) const SECRET_KEY: &str = "volvault-test-secret";
/// Key, secret and token that a cloud gives out for an hour.
pub(crate) const ISSUED: (&str, &str, &str) = ("ASIAISSUED", "issued-secret", "issued-token");

/// What the server makes of a write with a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conditions {
    /// Honoured, also when many race.
    Honoured,
    /// Overlooked, as by several servers in the field.
    Ignored,
    /// Refused with 501.
    NotImplemented,
}

/// Keys that the server accepts.
#[derive(Debug, Clone)]
struct Grant {
    secret: String,
    /// What `x-amz-security-token` must be.
    token: Option<String>,
    /// Refused with `ExpiredToken`.
    expired: bool,
}

/// Who signed a request: access key, session token and region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Signer {
    pub(crate) key: String,
    pub(crate) token: Option<String>,
    pub(crate) region: String,
}

/// A running server. It ends when it is dropped, and its data with it.
#[derive(Debug)]
pub(crate) struct S3Server {
    /// `http://127.0.0.1:<port>`.
    pub(crate) endpoint: String,
    root: TempDir,
    control: Arc<Control>,
    task: JoinHandle<()>,
    /// The process behind it, which ends with it.
    process: Option<Process>,
}

#[derive(Debug, Default)]
pub(super) struct Control {
    requests: AtomicU64,
    lines: Mutex<Vec<String>>,
    /// Uploads in parts that were begun and not ended.
    pub(super) unfinished: AtomicU64,
    /// Requests that will still be answered with `SlowDown`.
    slow_downs: AtomicU64,
    /// Every so many requests are answered so; 0 is none.
    slow_down_each: AtomicU64,
    grants: Mutex<BTreeMap<String, Grant>>,
    signers: Mutex<BTreeSet<Signer>>,
    /// Keys of objects that a server in memory is to damage before the next request.
    pub(super) rotting: Mutex<Vec<String>>,
}

impl Control {
    /// Counts a request, and refuses it if the keys are not good or the test wants it.
    pub(super) fn enter<T>(&self, request: &S3Request<T>, is_signed: bool) -> S3Result<()> {
        let signer = request.credentials.as_ref().map(|credentials| Signer {
            key: credentials.access_key.clone(),
            token: token(&request.headers),
            region: request.region.as_ref().map(|region| region.as_str().to_owned()).unwrap_or_default(),
        });
        self.admit(format!("{} {}", request.method, request.uri.path()), signer, is_signed)
    }

    /// As `enter`; `line` is method and path.
    pub(super) fn admit(&self, line: String, signer: Option<Signer>, is_signed: bool) -> S3Result<()> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        self.note(line);
        if is_signed {
            self.check_token(signer.ok_or_else(|| s3_error!(AccessDenied))?)?;
        }
        let each = self.slow_down_each.load(Ordering::SeqCst);
        if number.is_multiple_of(each) {
            return Err(s3_error!(SlowDown, "as the test wants it"));
        }
        let taken = self.slow_downs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if taken.is_ok() { Err(s3_error!(SlowDown, "as the test wants it")) } else { Ok(()) }
    }

    /// Remembers what was asked for.
    pub(super) fn note(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// The signature is checked by others, with the token header among what is signed.
    fn check_token(&self, signer: Signer) -> S3Result<()> {
        let grant = self.grants().get(&signer.key).cloned();
        let grant = grant.ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        if grant.expired {
            return Err(s3_error!(ExpiredToken, "The provided token has expired."));
        }
        if grant.token != signer.token {
            return Err(s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid."));
        }
        self.signers.lock().unwrap_or_else(PoisonError::into_inner).insert(signer);
        Ok(())
    }

    fn grants(&self) -> MutexGuard<'_, BTreeMap<String, Grant>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session token that a request shows.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("x-amz-security-token")?.to_str().ok()?.to_owned())
}

struct Keys(Arc<Control>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, key: &str) -> S3Result<SecretKey> {
        let grants = self.0.grants();
        grants.get(key).map(|grant| grant.secret.clone().into()).ok_or_else(|| s3_error!(InvalidAccessKeyId))
    }
}

impl S3Server {
    /// A server that honours conditions. Needs a tokio runtime, which serves it.
    pub(crate) async fn start() -> Self {
        Self::start_with(Conditions::Honoured).await
    }

    /// A server that treats conditions so.
    pub(crate) async fn start_with(conditions: Conditions) -> Self {
        Self::listen(conditions, Front::Plain).await
    }

    /// A server behind TLS, with a certificate for `127.0.0.1`, `localhost` and `s3.volvault.test` that [`CA_FILE`] signed.
    pub(crate) async fn start_tls() -> Self {
        Self::listen(Conditions::Honoured, Front::Tls(acceptor())).await
    }

    /// A server of Google's dialect as far as it is used here: [`GOOGLE_TOKEN`] in place of a signature, generations in
    /// place of entity tags. Of conditions it knows only that an object must not be there.
    pub(crate) async fn start_google() -> Self {
        Self::listen(Conditions::Honoured, Front::Google).await
    }

    /// A server that keeps its objects in memory and has these habits; it has the bucket already.
    pub(crate) async fn start_in_memory(habits: Habits, bucket: &str) -> Self {
        let control = Arc::new(Control::default());
        let mut builder = S3ServiceBuilder::new(Memory::new(habits, bucket, Arc::clone(&control)));
        builder.set_auth(Keys(Arc::clone(&control)));
        let root = tempfile::tempdir().expect("a temporary directory");
        Self::serve(Back::Here(builder.build()), root, control, Front::Plain).await
    }

    async fn listen(conditions: Conditions, front: Front) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let control = Arc::new(Control::default());
        let fs = FileSystem::new(root.path()).expect("a file system for the server");
        let writing = tokio::sync::Mutex::new(());
        let signed = !matches!(front, Front::Google);
        let root_path = root.path().to_owned();
        let server = Server { fs, root: root_path, conditions, control: Arc::clone(&control), writing, signed };
        let mut builder = S3ServiceBuilder::new(server);
        if signed {
            builder.set_auth(Keys(Arc::clone(&control)));
        }
        Self::serve(Back::Here(builder.build()), root, control, front).await
    }

    /// rclone's `serve s3`, behind the same face: requests are counted and refused here, signatures checked there. It has this bucket already, and knows
    /// the keys [`ISSUED`], too, once they are granted.
    pub(crate) async fn start_rclone(program: &Path, bucket: &str, is_tls: bool) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(root.path().join(bucket)).expect("a folder for the bucket");
        let control = Arc::new(Control::default());
        let keys = [(ACCESS_KEY, SECRET_KEY), (ISSUED.0, ISSUED.1)];
        let process = Process::start(program, root.path(), &keys).await;
        let back = Back::Process(Peer { socket: process.socket(), control: Arc::clone(&control) });
        let front = if is_tls { Front::Tls(acceptor()) } else { Front::Plain };
        let mut server = Self::serve(back, root, control, front).await;
        server.process = Some(process);
        server
    }

    async fn serve(back: Back, root: TempDir, control: Arc<Control>, front: Front) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if matches!(front, Front::Tls(_)) { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().expect("the port"));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve_connection(socket, front.clone(), back.clone()));
            }
        });
        let server = Self { endpoint, root, control, task, process: None };
        server.grant(ACCESS_KEY, SECRET_KEY, None);
        server
    }

    /// Accepts these keys, too.
    pub(crate) fn grant(&self, key: &str, secret: &str, token: Option<&str>) {
        let grant = Grant { secret: secret.to_owned(), token: token.map(str::to_owned), expired: false };
        self.control.grants().insert(key.to_owned(), grant);
    }

    /// Requests with this key are refused from now on, because it has expired.
    pub(crate) fn expire(&self, key: &str) {
        if let Some(grant) = self.control.grants().get_mut(key) {
            grant.expired = true;
        }
    }

    /// Who signed the requests so far.
    pub(crate) fn signers(&self) -> BTreeSet<Signer> {
        self.control.signers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a bucket behind the server's back.
    pub(crate) fn make_bucket(&self, bucket: &str) {
        std::fs::create_dir_all(self.root.path().join(bucket)).expect("a folder for the bucket");
    }

    /// Removes all objects of a bucket behind everybody's back.
    pub(crate) fn empty_bucket(&self, bucket: &str) {
        std::fs::remove_dir_all(self.root.path().join(bucket)).expect("the bucket goes");
        self.make_bucket(bucket);
    }

    /// Where a server that keeps its objects in files has this one: the file holds its bytes and nothing else.
    pub(crate) fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.path().join(bucket).join(Path::new(key))
    }

    /// A location on this server.
    pub(crate) fn location(&self, bucket: &str, prefix: &str) -> Location {
        format!("s3:{}/{bucket}/{prefix}", self.endpoint).parse().expect("a location")
    }

    /// The variables that give access to it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL_S3", self.endpoint.clone()),
        ]
    }

    /// Options that give access to it.
    pub(crate) fn options(&self) -> StoreOptions {
        let variables = self.variables().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        StoreOptions { variables, ..StoreOptions::default() }
    }

    /// Requests that reached the server with a good signature.
    pub(crate) fn requests(&self) -> u64 {
        self.control.requests.load(Ordering::SeqCst)
    }

    /// Method and path of all requests so far, in the order in which they came; of what a server in memory deletes many at once of, a line for each.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.control.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uploads in parts that were begun and not ended, at a server in memory or rclone's: they cost money, and nobody sees them.
    pub(crate) fn unfinished(&self) -> u64 {
        self.control.unfinished.load(Ordering::SeqCst)
    }

    /// The object loses a bit, at a server in memory; neither its size nor its tag shows it.
    pub(crate) fn rot(&self, key: &str) {
        self.control.rotting.lock().unwrap_or_else(PoisonError::into_inner).push(key.to_owned());
    }

    /// The next requests are answered with 503 `SlowDown`, without effect.
    pub(crate) fn slow_down(&self, times: u64) {
        self.control.slow_downs.store(times, Ordering::SeqCst);
    }
}

impl S3Server {
    /// From now on every so many requests are answered with 503 `SlowDown`, without effect; 0 ends it.
    pub(crate) fn slow_down_each(&self, requests: u64) {
        self.control.slow_down_each.store(requests, Ordering::SeqCst);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server with a runtime of its own, for tests that are not asynchronous (those that start the command).
#[derive(Debug)]
pub(crate) struct S3ServerThread {
    /// The server.
    pub(crate) server: S3Server,
    _runtime: Runtime,
}

impl S3ServerThread {
    /// Starts it; a runtime's threads serve it until it is dropped.
    pub(crate) fn start() -> Self {
        Self::serving(S3Server::start())
    }

    /// The same, of another kind.
    pub(crate) fn serving(server: impl Future<Output = S3Server>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let server = runtime.block_on(server);
        Self { server, _runtime: runtime }
    }
}

/// The certificate of the authority behind [`S3Server::start_tls`]; good until 2120, made for these tests only.
pub(crate) const CA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/ca.pem");

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("tls/server.pem")).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What stands before the server.
#[derive(Clone)]
enum Front {
    Plain,
    Tls(TlsAcceptor),
    Google,
}

/// Who answers.
#[derive(Clone)]
enum Back {
    Here(S3Service),
    Process(Peer),
}

impl Back {
    async fn answer(self, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
        match self {
            Self::Here(service) => service.call(request.map(s3s::Body::from)).await,
            Self::Process(peer) => peer.answer(request).await,
        }
    }
}

async fn serve_connection(socket: TcpStream, front: Front, back: Back) {
    let http = Builder::new(TokioExecutor::new());
    let is_google = matches!(front, Front::Google);
    let service = service_fn(move |request| {
        let back = back.clone();
        async move { if is_google { as_google(request, back).await } else { back.answer(request).await } }
    });
    match front {
        Front::Plain | Front::Google => drop(http.serve_connection(TokioIo::new(socket), service).await),
        Front::Tls(tls) => {
            if let Ok(socket) = tls.accept(socket).await {
                drop(http.serve_connection(TokioIo::new(socket), service).await);
            }
        }
    }
}

/// The token that [`S3Server::start_google`] wants to see.
pub(crate) const GOOGLE_TOKEN: &str = "google-token";

async fn as_google(mut request: Request<Incoming>, back: Back) -> Result<HttpResponse, HttpError> {
    let headers = request.headers_mut();
    if headers.remove(AUTHORIZATION).is_none_or(|value| value != format!("Bearer {GOOGLE_TOKEN}")) {
        let mut denied = HttpResponse::default();
        *denied.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(denied);
    }
    if headers.remove("x-goog-if-generation-match").is_some_and(|generation| generation == "0") {
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    let mut response = back.answer(request).await?;
    response.headers_mut().insert("x-goog-generation", HeaderValue::from_static("1"));
    Ok(response)
}

struct Server {
    fs: FileSystem,
    root: PathBuf,
    conditions: Conditions,
    control: Arc<Control>,
    writing: tokio::sync::Mutex<()>,
    /// Whether only signed requests are answered.
    signed: bool,
}

impl Server {
    fn enter<T>(&self, request: &S3Request<T>) -> S3Result<()> {
        self.control.enter(request, self.signed)
    }

    async fn put(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let conditional = request.input.if_none_match.is_some() || request.input.if_match.is_some();
        if !conditional {
            return self.fs.put_object(request).await;
        }
        match self.conditions {
            Conditions::Honoured => {
                let _alone = self.writing.lock().await;
                self.fs.put_object(request).await
            }
            Conditions::Ignored => {
                request.input.if_none_match = None;
                request.input.if_match = None;
                self.fs.put_object(request).await
            }
            Conditions::NotImplemented => Err(s3_error!(NotImplemented)),
        }
    }

    async fn get(&self, mut request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        if let Some(Range::Suffix { length }) = request.input.range {
            let file = self.root.join(&request.input.bucket).join(&request.input.key);
            if let Ok(meta) = std::fs::metadata(file) {
                request.input.range = Some(Range::Suffix { length: length.min(meta.len()) });
            }
        }
        self.fs.get_object(request).await
    }
}

/// All but put and get go straight to the file system.
macro_rules! serve {
    ($($name:ident($input:ident) -> $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Server {
            async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
                self.enter(&request)?;
                self.put(request).await
            }

            async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
                self.enter(&request)?;
                self.get(request).await
            }

            $(async fn $name(&self, request: S3Request<s3s::dto::$input>) -> S3Result<S3Response<s3s::dto::$output>> {
                self.enter(&request)?;
                self.fs.$name(request).await
            })*
        }
    };
}

serve! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput;
    head_bucket(HeadBucketInput) -> HeadBucketOutput;
    list_buckets(ListBucketsInput) -> ListBucketsOutput;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    list_objects(ListObjectsInput) -> ListObjectsOutput;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    copy_object(CopyObjectInput) -> CopyObjectOutput;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    list_parts(ListPartsInput) -> ListPartsOutput;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
}
