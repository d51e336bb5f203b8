//! The wrapper around every store: counts, limits, adapts and repeats.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Attribute, CopyMode, CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, coalesce_ranges,
};

use super::body::{Body, Listing};
use super::counts::{Counters, Kind};
use super::failure::{Failure, NoAnswer, Refusal, generic, judge};
use super::flight::{Flight, Load};
use super::multipart::{PartPolicy, Upload};
use super::retry::{Budget, Patience, Repeat, Retries};
use super::throttle::{Bandwidth, time_for};

/// What one store's requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) patience: Arc<Patience>,
    pub(super) budget: Arc<Budget>,
    pub(super) counters: Arc<Counters>,
    pub(super) flight: Flight,
    pub(super) bandwidth: Bandwidth,
    /// Whether a broken listing may go on after its last key.
    pub(super) ordered: bool,
    /// Objects that one deletion takes.
    pub(super) batch: usize,
    /// The storage class for what is written, where it is not the bucket's default.
    pub(super) storage_class: Option<String>,
}

/// A store whose every request is counted, limited and, where that is safe, repeated.
///
/// A place in flight is held until the answer begins, not while a body is read: a caller may hold
/// a body and wait for another request.
#[derive(Debug, Clone)]
pub(super) struct Governor {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) shared: Arc<Shared>,
}

/// Bytes that a store moves in a second, at least: what it takes to copy 5 GiB in five minutes.
const SLOWEST_COPY: u64 = 16 << 20;

/// What is to be counted and how it may be repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    kind: Kind,
    upload: u64,
    /// Bytes that the store has to move before it answers.
    copied: u64,
    repeat: Repeat,
}

impl Request {
    /// A request that sends nothing and may be repeated.
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, upload: 0, copied: 0, repeat: Repeat::Always }
    }

    /// A request for which the store moves so many bytes itself.
    pub(super) fn copying(kind: Kind, copied: u64) -> Self {
        Self { copied, ..Self::of(kind) }
    }

    /// A request that sends so many bytes.
    pub(super) fn sending(kind: Kind, upload: u64) -> Self {
        Self { upload, ..Self::of(kind) }
    }

    pub(super) fn repeated(self, repeat: Repeat) -> Self {
        Self { repeat, ..self }
    }
}

impl Governor {
    /// Bytes of an answer that does not come piece by piece, such as that of a disk. Returns when the limit of the bandwidth has let them pass.
    pub(super) async fn came(&self, bytes: u64) {
        self.shared.counters.received(bytes);
        let down = &self.shared.bandwidth.down;
        down.pass(bytes).await;
        // And all of them, not only the first.
        down.pass(0).await;
    }

    pub(super) fn retries(&self) -> Retries {
        Retries::new(&self.shared.patience, &self.shared.budget, &self.shared.counters)
    }

    /// Sends a request until it succeeds or may not be repeated.
    pub(super) async fn run<T, F: Future<Output = Result<T>> + Send>(
        &self,
        request: Request,
        mut send: impl FnMut() -> F + Send,
    ) -> Result<T> {
        let mut retries = self.retries().of_upload(request.upload, request.repeat);
        loop {
            let error = match self.once(request, send()).await {
                Ok(answer) => {
                    self.shared.budget.give_back(retries.done());
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if !retries.again_after(&error).await {
                return Err(error);
            }
        }
    }

    /// Sends a request once: waits for bandwidth and for a place in flight, counts, and gives up after a while.
    pub(super) async fn once<T>(&self, request: Request, send: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let shared = &self.shared;
        if request.upload > 0 {
            shared.bandwidth.up.pass(request.upload).await;
        }
        let place = shared.flight.enter().await;
        shared.counters.sent(request.kind, request.upload);
        let answer =
            give_up_after(shared.patience.answer_to(request.upload) + time_for(request.copied, SLOWEST_COPY), send)
                .await;
        place.leave(load_of(&answer));
        answer
    }

    fn with_class(&self, attributes: &mut object_store::Attributes) {
        if let Some(class) = &self.shared.storage_class
            && attributes.get(&Attribute::StorageClass).is_none()
        {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
    }

    fn listing(&self, prefix: Option<&Path>, after: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        Listing::new(self.clone(), prefix.cloned(), after.cloned()).into_stream()
    }

    /// Deletes what one request takes; the answers come in no particular order.
    async fn delete_batch(self, paths: Vec<Result<Path>>) -> Vec<Result<Path>> {
        let mut outcomes: Vec<Result<Path>> = Vec::new();
        let mut wanted = Vec::with_capacity(paths.len());
        for path in paths {
            match path {
                Ok(path) => wanted.push(path),
                Err(error) => outcomes.push(Err(error)),
            }
        }
        if wanted.is_empty() {
            return outcomes;
        }
        let send = || {
            let paths = stream::iter(wanted.clone()).map(Ok).boxed();
            let answers = self.inner.delete_stream(paths);
            async move {
                let answers: Vec<Result<Path>> = answers.collect().await;
                // A deletion may be repeated, so one accident repeats the whole batch.
                match answers.iter().position(|answer| answer.as_ref().is_err_and(|e| judge(e) != Failure::Final)) {
                    Some(accident) => {
                        answers.into_iter().nth(accident).map_or(Ok(Vec::new()), |a| a.map(|path| vec![Ok(path)]))
                    }
                    None => Ok(answers),
                }
            }
        };
        match self.run(Request::of(Kind::Delete), send).await {
            Ok(answers) => outcomes.extend(answers),
            Err(error) => outcomes.push(Err(error)),
        }
        outcomes
    }
}

/// Cancels a request that has not been answered in time.
pub(super) async fn give_up_after<T>(limit: std::time::Duration, send: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, send).await {
        Ok(answer) => answer,
        Err(_) => Err(generic(NoAnswer(limit))),
    }
}

/// What an answer says about the load of the store. A connection that could not be made says so too.
pub(super) fn load_of<T>(answer: &Result<T>) -> Load {
    match answer.as_ref().map_err(judge) {
        Err(Failure::Busy { .. } | Failure::Lost | Failure::NotSent) => Load::TooMuch,
        Ok(_) | Err(Failure::Final | Failure::Malformed) => Load::Fine,
    }
}

impl fmt::Display for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "governed {}", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Governor {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.with_class(&mut options.attributes);
        let upload = u64::try_from(payload.content_length()).unwrap_or(u64::MAX);
        let overwrite = matches!(options.mode, PutMode::Overwrite);
        // A conditional write that is repeated may find its own first attempt: the caller has to look.
        let repeat = if overwrite { Repeat::Always } else { Repeat::IfNotSent };
        let request = Request::sending(Kind::Put, upload).repeated(repeat);
        self.run(request, || {
            let (payload, options) = (payload.clone(), options.clone());
            async move {
                match self.inner.put_opts(location, payload, options).await {
                    // Without a condition a 409 is a race inside the store, though object_store reads it as "exists".
                    Err(StoreError::AlreadyExists { source, .. }) if overwrite => Err(generic(Refusal {
                        status: 409,
                        code: "Conflict".to_owned(),
                        message: source.to_string(),
                        after: None,
                    })),
                    answer => answer,
                }
            }
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        mut options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.with_class(&mut options.attributes);
        let options = options.with_retry_policy(Arc::new(PartPolicy::new(self.clone())));
        let request = Request::of(Kind::Multipart);
        let inner = self.run(request, || self.inner.put_multipart_opts(location, options.clone())).await?;
        Ok(Box::new(Upload::new(self.clone(), inner)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = match (options.head, &options.range) {
            (true, _) => Kind::Head,
            (false, Some(_)) => Kind::GetRange,
            (false, None) => Kind::Get,
        };
        let result = self.run(Request::of(kind), || self.inner.get_opts(location, options.clone())).await?;
        if options.head {
            return Ok(result);
        }
        let GetResult { payload, meta, range, attributes, extensions } = result;
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                let body = Body::new(self.clone(), (location.clone(), options), stream, (&meta, range.clone()));
                GetResultPayload::Stream(body.into_stream())
            }
            file @ GetResultPayload::File(..) => {
                self.came(range.end.saturating_sub(range.start)).await;
                file
            }
        };
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let governor = self.clone();
        locations
            .chunks(self.shared.batch.max(1))
            .map(move |paths| governor.clone().delete_batch(paths))
            .buffered(8)
            .flat_map(stream::iter)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.run(Request::of(Kind::List), || self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let repeat = match options.mode {
            CopyMode::Overwrite => Repeat::Always,
            CopyMode::Create => Repeat::IfNotSent,
        };
        let request = Request::of(Kind::Copy).repeated(repeat);
        self.run(request, || self.inner.copy_opts(from, to, options.clone())).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let request = Request::of(Kind::Copy).repeated(Repeat::IfNotSent);
        self.run(request, || self.inner.rename_opts(from, to, options.clone())).await
    }
}
