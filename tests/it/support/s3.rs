//! An S3 server inside the test process: `s3s` with `s3s-fs`, on a port of its own, with signatures checked.
//!
//! What `s3s-fs` 0.14.1 does not honour by itself and this wrapper adds (read in its source): `If-None-Match: *` and
//! `If-Match` are checked before the write without a lock, so two creators of a race may both win; a suffix range
//! longer than the object is answered with 500 instead of the object. What stays: the entity tag is checked and
//! stored beside the object, not with it; a put to a bucket that does not exist makes it; a key cannot be a folder of
//! another one; storage classes but `STANDARD` and `REDUCED_REDUNDANCY` are refused, and none is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::dto::{GetObjectInput, GetObjectOutput, PutObjectInput, PutObjectOutput, Range};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use volvault::storage::{Location, StoreOptions};

/// The keys that the server accepts.
pub(crate) const ACCESS_KEY: &str = "volvault-test";
/// See [`ACCESS_KEY`].
pub(crate) const SECRET_KEY: &str = "volvault-test-secret";

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

/// A running server. It ends when it is dropped, and its data with it.
#[derive(Debug)]
pub(crate) struct S3Server {
    /// `http://127.0.0.1:<port>`.
    pub(crate) endpoint: String,
    root: TempDir,
    control: Arc<Control>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Control {
    requests: AtomicU64,
    /// Requests that will still be answered with `SlowDown`.
    slow_downs: AtomicU64,
}

impl S3Server {
    /// A server that honours conditions. Needs a tokio runtime, which serves it.
    pub(crate) async fn start() -> Self {
        Self::start_with(Conditions::Honoured).await
    }

    /// A server that treats conditions so.
    pub(crate) async fn start_with(conditions: Conditions) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let control = Arc::new(Control::default());
        let fs = FileSystem::new(root.path()).expect("a file system for the server");
        let writing = tokio::sync::Mutex::new(());
        let server = Server { fs, root: root.path().to_owned(), conditions, control: Arc::clone(&control), writing };
        let mut builder = S3ServiceBuilder::new(server);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("the port"));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { endpoint, root, control, task }
    }

    /// Makes a bucket behind the server's back.
    pub(crate) fn make_bucket(&self, bucket: &str) {
        std::fs::create_dir_all(self.root.path().join(bucket)).expect("a folder for the bucket");
    }

    /// Where the server keeps an object: the file holds its bytes and nothing else.
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

    /// The next requests are answered with 503 `SlowDown`, without effect.
    pub(crate) fn slow_down(&self, times: u64) {
        self.control.slow_downs.store(times, Ordering::SeqCst);
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
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let server = runtime.block_on(S3Server::start());
        Self { server, _runtime: runtime }
    }
}

struct Server {
    fs: FileSystem,
    root: PathBuf,
    conditions: Conditions,
    control: Arc<Control>,
    writing: tokio::sync::Mutex<()>,
}

impl Server {
    fn enter(&self) -> S3Result<()> {
        self.control.requests.fetch_add(1, Ordering::SeqCst);
        let taken =
            self.control.slow_downs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if taken.is_ok() { Err(s3_error!(SlowDown, "as the test wants it")) } else { Ok(()) }
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
                self.enter()?;
                self.put(request).await
            }

            async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
                self.enter()?;
                self.get(request).await
            }

            $(async fn $name(&self, request: S3Request<s3s::dto::$input>) -> S3Result<S3Response<s3s::dto::$output>> {
                self.enter()?;
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
