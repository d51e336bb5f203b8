//! The objects behind [`super::s3::S3Server::start_in_memory`]: an S3 server that does what S3's documentation says, or fails to do it in one of the
//! ways that servers in the field have.
//!
//! Any key, entity tags that are MD5s (of parts: of their MD5s), conditions on reads, writes, copies and ends of uploads, user metadata,
//! copies of parts with S3's limits, listings with tags in pages and encoded, versions if wanted. All in one lock: every request takes
//! effect at once, or not at all.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use s3s::crypto::{Checksum, Md5};
use s3s::dto::{self, ETag, ETagCondition, StreamingBlob};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use volvault::clock::SystemClock;

use super::s3::{Conditions, Control};

/// How the server treats what others fail at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Conditions on writes and on ends of uploads.
    pub(crate) writes: Conditions,
    /// Conditions on reads.
    pub(crate) reads: Conditions,
    /// Copies of objects and parts, with their conditions. `Ignored`: a copy is taken for a write without bytes.
    pub(crate) copies: Conditions,
    /// Whether replaced and deleted objects are kept.
    pub(crate) versions: bool,
    /// Whether objects are kept under names without the control characters of theirs.
    pub(crate) renames: bool,
}

impl Habits {
    /// As S3.
    pub(crate) const GOOD: Self = Self {
        writes: Conditions::Honoured,
        reads: Conditions::Honoured,
        copies: Conditions::Honoured,
        versions: false,
        renames: false,
    };
}

/// What S3 asks of all parts but the last, and of what a part of is copied.
const PART_MIN: usize = 5 << 20;
const KEY_MAX: usize = 1024;
const PAGE: usize = 1000;

#[derive(Debug, Clone)]
struct Stored {
    bytes: Bytes,
    tag: String,
    facts: Facts,
    modified: SystemTime,
    /// Of a bucket that keeps versions. One without a tag is a delete marker.
    version: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Facts {
    metadata: Option<dto::Metadata>,
    content_type: Option<String>,
    cache_control: Option<String>,
}

#[derive(Debug)]
struct Upload {
    bucket: String,
    key: String,
    facts: Facts,
    parts: BTreeMap<i32, (Bytes, [u8; 16])>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest version of an object is the last.
    buckets: BTreeMap<String, BTreeMap<String, Vec<Stored>>>,
    uploads: BTreeMap<String, Upload>,
    number: u64,
}

pub(super) struct Memory {
    state: Mutex<State>,
    habits: Habits,
    control: Arc<Control>,
}

fn now() -> SystemTime {
    SystemClock::new().now().into()
}

fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut hasher = Md5::new();
    hasher.update(bytes);
    hasher.finalize()
}

fn hex(md5: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(md5))
}

async fn read(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let (mut body, mut bytes) = (body.ok_or_else(|| s3_error!(IncompleteBody))?, BytesMut::new());
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(|_| s3_error!(IncompleteBody))?);
    }
    Ok(bytes.freeze())
}

fn not_modified() -> S3Error {
    let mut error = s3_error!(NotModified);
    error.set_status_code(hyper::StatusCode::NOT_MODIFIED);
    error
}

impl State {
    fn bucket(&mut self, name: &str) -> S3Result<&mut BTreeMap<String, Vec<Stored>>> {
        self.buckets.get_mut(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    fn find(&mut self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Stored> {
        let versions = self.bucket(bucket)?.get(key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let found = match version {
            None => versions.last(),
            Some(wanted) => versions.iter().find(|stored| stored.version.as_deref() == Some(wanted)),
        };
        let found = found.filter(|stored| !stored.tag.is_empty()).cloned();
        found.ok_or_else(|| if version.is_some() { s3_error!(NoSuchVersion) } else { s3_error!(NoSuchKey) })
    }

    fn put(&mut self, bucket: &str, key: &str, mut stored: Stored, habits: Habits) -> S3Result<Option<String>> {
        if key.len() > KEY_MAX {
            return Err(s3_error!(KeyTooLongError));
        }
        self.number += 1;
        stored.version = habits.versions.then(|| format!("version-{}", self.number));
        let version = stored.version.clone();
        let key = if habits.renames { key.replace(|char: char| char.is_control(), "_") } else { key.to_owned() };
        let kept = self.bucket(bucket)?.entry(key).or_default();
        if !habits.versions {
            kept.clear();
        }
        kept.push(stored);
        Ok(version)
    }

    fn rot(&mut self, key: &str) {
        for stored in self.buckets.values_mut().filter_map(|objects| objects.get_mut(key)?.last_mut()) {
            let mut bytes = stored.bytes.to_vec();
            bytes[100] ^= 1;
            stored.bytes = bytes.into();
        }
    }

    fn delete(&mut self, bucket: &str, key: &str, habits: Habits) -> S3Result<()> {
        if habits.versions && self.bucket(bucket)?.contains_key(key) {
            let marker = Stored {
                bytes: Bytes::new(),
                tag: String::new(),
                facts: Facts::default(),
                modified: now(),
                version: None,
            };
            return self.put(bucket, key, marker, habits).map(drop);
        }
        self.bucket(bucket)?.remove(key);
        Ok(())
    }
}

impl Memory {
    pub(super) fn new(habits: Habits, bucket: &str, control: Arc<Control>) -> Self {
        let state = State { buckets: [(bucket.to_owned(), BTreeMap::new())].into(), ..State::default() };
        Self { state: Mutex::new(state), habits, control }
    }

    fn count(&self, state: &State) {
        self.control.unfinished.store(state.uploads.len() as u64, Ordering::SeqCst);
    }

    fn enter<T>(&self, request: &S3Request<T>) -> S3Result<MutexGuard<'_, State>> {
        self.control.enter(request, true)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for key in self.control.rotting.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            state.rot(&key);
        }
        Ok(state)
    }

    /// Checks the conditions of a write.
    fn may_write(
        &self,
        state: &mut State,
        (bucket, key): (&str, &str),
        (matches, none): (Option<&ETagCondition>, Option<&ETagCondition>),
    ) -> S3Result<()> {
        match self.habits.writes {
            Conditions::Ignored => return Ok(()),
            Conditions::NotImplemented if matches.is_some() || none.is_some() => return Err(s3_error!(NotImplemented)),
            Conditions::NotImplemented | Conditions::Honoured => {}
        }
        state.bucket(bucket)?;
        let there = state.find(bucket, key, None).ok();
        let meets = |condition: &ETagCondition, stored: &Stored| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(tag) => ETag::Strong(stored.tag.clone()).strong_cmp(tag),
        };
        if let Some(condition) = matches {
            match &there {
                None => return Err(s3_error!(NoSuchKey)),
                Some(stored) if !meets(condition, stored) => return Err(s3_error!(PreconditionFailed)),
                Some(_) => {}
            }
        }
        match (none, &there) {
            (Some(condition), Some(stored)) if meets(condition, stored) => Err(s3_error!(PreconditionFailed)),
            _ => Ok(()),
        }
    }

    fn may_read(
        &self,
        stored: &Stored,
        (matches, none): (Option<&ETagCondition>, Option<&ETagCondition>),
    ) -> S3Result<()> {
        if self.habits.reads != Conditions::Honoured {
            return Ok(());
        }
        let tag = ETag::Strong(stored.tag.clone());
        let is = |condition: &ETagCondition| condition.as_etag().is_none_or(|wanted| tag.weak_cmp(wanted));
        if matches.is_some_and(|condition| !condition.as_etag().is_none_or(|wanted| tag.strong_cmp(wanted))) {
            return Err(s3_error!(PreconditionFailed));
        }
        if none.is_some_and(is) { Err(not_modified()) } else { Ok(()) }
    }

    /// The object that a copy is of.
    fn source(
        &self,
        state: &mut State,
        source: &dto::CopySource,
        condition: Option<&ETagCondition>,
    ) -> S3Result<Option<Stored>> {
        match self.habits.copies {
            Conditions::NotImplemented => return Err(s3_error!(NotImplemented)),
            Conditions::Ignored => return Ok(None),
            Conditions::Honoured => {}
        }
        let dto::CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(s3_error!(NotImplemented));
        };
        let found = state.find(bucket, key, version_id.as_deref())?;
        let wanted = condition.and_then(ETagCondition::as_etag);
        if wanted.is_some_and(|wanted| !ETag::Strong(found.tag.clone()).strong_cmp(wanted)) {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(Some(found))
    }
}

fn stored(bytes: Bytes, facts: Facts) -> Stored {
    let tag = hex(md5(&bytes));
    Stored { bytes, tag, facts, modified: now(), version: None }
}

fn upload<'a>(state: &'a mut State, id: &str, (bucket, key): (&str, &str)) -> S3Result<&'a mut Upload> {
    let upload = state.uploads.get_mut(id).filter(|upload| upload.bucket == bucket && upload.key == key);
    upload.ok_or_else(|| s3_error!(NoSuchUpload))
}

/// `bytes=0-99`, within an object of so many bytes.
fn copied_range(text: &str, size: usize) -> S3Result<Range<usize>> {
    let refuse = || s3_error!(InvalidRange);
    let (first, last) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(refuse)?;
    let (first, last): (usize, usize) = (first.parse().map_err(|_| refuse())?, last.parse().map_err(|_| refuse())?);
    if size <= PART_MIN {
        return Err(s3_error!(
            InvalidRequest,
            "The specified copy source is not supported as a byte-range copy source"
        ));
    }
    if first <= last && last < size { Ok(first..last + 1) } else { Err(refuse()) }
}

/// All but letters, digits and some marks, as S3 does it.
fn url_encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*/".contains(&byte);
    let one = |byte| match byte {
        b' ' => "+".to_owned(),
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    key.bytes().map(one).collect()
}

#[async_trait::async_trait]
impl S3 for Memory {
    async fn create_bucket(
        &self,
        request: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        let mut state = self.enter(&request)?;
        if state.buckets.contains_key(&request.input.bucket) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        state.buckets.insert(request.input.bucket, BTreeMap::new());
        Ok(S3Response::new(dto::CreateBucketOutput::default()))
    }

    async fn head_bucket(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.enter(&request)?.bucket(&request.input.bucket)?;
        Ok(S3Response::new(dto::HeadBucketOutput::default()))
    }

    async fn put_object(
        &self,
        mut request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let bytes = read(request.input.body.take()).await?;
        let mut state = self.enter(&request)?;
        let input = request.input;
        let place = (input.bucket.as_str(), input.key.as_str());
        self.may_write(&mut state, place, (input.if_match.as_ref(), input.if_none_match.as_ref()))?;
        let facts =
            Facts { metadata: input.metadata, content_type: input.content_type, cache_control: input.cache_control };
        let stored = stored(bytes, facts);
        let e_tag = Some(ETag::Strong(stored.tag.clone()));
        let version_id = state.put(&input.bucket, &input.key, stored, self.habits)?;
        Ok(S3Response::new(dto::PutObjectOutput { e_tag, version_id, ..Default::default() }))
    }

    async fn get_object(&self, request: S3Request<dto::GetObjectInput>) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let mut state = self.enter(&request)?;
        let input = request.input;
        let found = state.find(&input.bucket, &input.key, input.version_id.as_deref())?;
        self.may_read(&found, (input.if_match.as_ref(), input.if_none_match.as_ref()))?;
        let size = found.bytes.len();
        let (mut bytes, mut content_range) = (found.bytes, None);
        if let Some(range) = input.range {
            let range = match range {
                dto::Range::Suffix { length } => {
                    size.saturating_sub(usize::try_from(length).unwrap_or(usize::MAX)) as u64..size as u64
                }
                range @ dto::Range::Int { .. } => range.check(size as u64)?,
            };
            content_range = Some(format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1)));
            bytes = bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
        }
        let content_length = i64::try_from(bytes.len()).ok();
        Ok(S3Response::new(dto::GetObjectOutput {
            body: Some(StreamingBlob::wrap(futures::stream::once(async { Ok::<_, std::io::Error>(bytes) }))),
            content_length,
            content_range,
            e_tag: Some(ETag::Strong(found.tag)),
            last_modified: Some(found.modified.into()),
            metadata: found.facts.metadata,
            content_type: found.facts.content_type,
            cache_control: found.facts.cache_control,
            version_id: found.version,
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let mut state = self.enter(&request)?;
        let input = request.input;
        let found = state.find(&input.bucket, &input.key, input.version_id.as_deref())?;
        self.may_read(&found, (input.if_match.as_ref(), input.if_none_match.as_ref()))?;
        Ok(S3Response::new(dto::HeadObjectOutput {
            content_length: i64::try_from(found.bytes.len()).ok(),
            e_tag: Some(ETag::Strong(found.tag)),
            last_modified: Some(found.modified.into()),
            metadata: found.facts.metadata,
            content_type: found.facts.content_type,
            cache_control: found.facts.cache_control,
            version_id: found.version,
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        let mut state = self.enter(&request)?;
        state.delete(&request.input.bucket, &request.input.key, self.habits)?;
        Ok(S3Response::new(dto::DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let mut state = self.enter(&request)?;
        let mut deleted = Vec::new();
        for object in request.input.delete.objects {
            state.delete(&request.input.bucket, &object.key, self.habits)?;
            self.control.note(format!("DELETE /{}/{}", request.input.bucket, object.key));
            deleted.push(dto::DeletedObject { key: Some(object.key), ..Default::default() });
        }
        Ok(S3Response::new(dto::DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let mut state = self.enter(&request)?;
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let encoded = input.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == dto::EncodingType::URL);
        let page = input.max_keys.and_then(|most| usize::try_from(most).ok()).unwrap_or(PAGE).min(PAGE);
        let newest = state.bucket(&input.bucket)?.iter().filter_map(|(key, versions)| Some((key, versions.last()?)));
        let mut below = newest
            .filter(|(key, stored)| key.starts_with(&prefix) && **key > after && !stored.tag.is_empty())
            .peekable();
        let (mut contents, mut last) = (Vec::new(), None);
        while let Some((key, stored)) = below.next_if(|_| contents.len() < page) {
            last = Some(key.clone());
            contents.push(dto::Object {
                key: Some(if encoded { url_encoded(key) } else { key.clone() }),
                size: i64::try_from(stored.bytes.len()).ok(),
                e_tag: Some(ETag::Strong(stored.tag.clone())),
                last_modified: Some(stored.modified.into()),
                ..Default::default()
            });
        }
        let is_truncated = below.peek().is_some();
        Ok(S3Response::new(dto::ListObjectsV2Output {
            key_count: i32::try_from(contents.len()).ok(),
            contents: Some(contents),
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            encoding_type: input.encoding_type,
            name: Some(input.bucket),
            prefix: Some(if encoded { url_encoded(&prefix) } else { prefix }),
            ..Default::default()
        }))
    }

    async fn copy_object(
        &self,
        request: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        let mut state = self.enter(&request)?;
        let input = request.input;
        let condition = input.copy_source_if_match.as_ref();
        let source = self.source(&mut state, &input.copy_source, condition)?;
        let taken = source.is_some();
        let replaces = input.metadata_directive.is_some_and(|how| how.as_str() == dto::MetadataDirective::REPLACE);
        let given =
            Facts { metadata: input.metadata, content_type: input.content_type, cache_control: input.cache_control };
        let (bytes, kept) = source.map_or_else(Default::default, |source| (source.bytes, source.facts));
        let stored = stored(bytes, if replaces { given } else { kept });
        let result = dto::CopyObjectResult { e_tag: Some(ETag::Strong(stored.tag.clone())), ..Default::default() };
        let version_id = state.put(&input.bucket, &input.key, stored, self.habits)?;
        let copy_object_result = taken.then_some(result);
        Ok(S3Response::new(dto::CopyObjectOutput { copy_object_result, version_id, ..Default::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let mut state = self.enter(&request)?;
        let input = request.input;
        state.bucket(&input.bucket)?;
        state.number += 1;
        let id = format!("upload-{}", state.number);
        let facts =
            Facts { metadata: input.metadata, content_type: input.content_type, cache_control: input.cache_control };
        let upload = Upload { bucket: input.bucket, key: input.key, facts, parts: BTreeMap::new() };
        state.uploads.insert(id.clone(), upload);
        self.count(&state);
        Ok(S3Response::new(dto::CreateMultipartUploadOutput { upload_id: Some(id), ..Default::default() }))
    }

    async fn upload_part(
        &self,
        mut request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let bytes = read(request.input.body.take()).await?;
        let mut state = self.enter(&request)?;
        let input = request.input;
        let upload = upload(&mut state, &input.upload_id, (&input.bucket, &input.key))?;
        let sum = md5(&bytes);
        upload.parts.insert(input.part_number, (bytes, sum));
        Ok(S3Response::new(dto::UploadPartOutput { e_tag: Some(ETag::Strong(hex(sum))), ..Default::default() }))
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<dto::UploadPartCopyInput>,
    ) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        let mut state = self.enter(&request)?;
        let input = request.input;
        let source = self.source(&mut state, &input.copy_source, input.copy_source_if_match.as_ref())?;
        let taken = source.is_some();
        let mut bytes = source.map(|source| source.bytes).unwrap_or_default();
        if let Some(range) = input.copy_source_range.filter(|_| taken) {
            bytes = bytes.slice(copied_range(&range, bytes.len())?);
        }
        let upload = upload(&mut state, &input.upload_id, (&input.bucket, &input.key))?;
        let sum = md5(&bytes);
        upload.parts.insert(input.part_number, (bytes, sum));
        let result = dto::CopyPartResult { e_tag: Some(ETag::Strong(hex(sum))), ..Default::default() };
        let copy_part_result = taken.then_some(result);
        Ok(S3Response::new(dto::UploadPartCopyOutput { copy_part_result, ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let mut state = self.enter(&request)?;
        let input = request.input;
        let place = (input.bucket.as_str(), input.key.as_str());
        upload(&mut state, &input.upload_id, place)?;
        self.may_write(&mut state, place, (input.if_match.as_ref(), input.if_none_match.as_ref()))?;
        let wanted = input.multipart_upload.and_then(|parts| parts.parts).unwrap_or_default();
        let upload = upload(&mut state, &input.upload_id, place)?;
        let (mut bytes, mut sums, mut before) = (BytesMut::new(), Vec::new(), 0);
        for (place, part) in wanted.iter().enumerate() {
            let number = part.part_number.unwrap_or_default();
            let (piece, sum) = upload.parts.get(&number).ok_or_else(|| s3_error!(InvalidPart))?;
            if number <= before {
                return Err(s3_error!(InvalidPartOrder));
            }
            if part.e_tag.as_ref().is_none_or(|tag| tag.value() != hex(*sum)) {
                return Err(s3_error!(InvalidPart));
            }
            if place + 1 < wanted.len() && piece.len() < PART_MIN {
                return Err(s3_error!(EntityTooSmall));
            }
            bytes.extend_from_slice(piece);
            sums.extend_from_slice(sum);
            before = number;
        }
        let mut stored = stored(bytes.freeze(), upload.facts.clone());
        stored.tag = format!("{}-{}", hex(md5(&sums)), wanted.len());
        let e_tag = Some(ETag::Strong(stored.tag.clone()));
        let version_id = state.put(&input.bucket, &input.key, stored, self.habits)?;
        state.uploads.remove(&input.upload_id);
        self.count(&state);
        Ok(S3Response::new(dto::CompleteMultipartUploadOutput {
            e_tag,
            version_id,
            bucket: Some(input.bucket),
            key: Some(input.key),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let mut state = self.enter(&request)?;
        let input = request.input;
        upload(&mut state, &input.upload_id, (&input.bucket, &input.key))?;
        state.uploads.remove(&input.upload_id);
        self.count(&state);
        Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        let state = self.enter(&request)?;
        let prefix = request.input.prefix.unwrap_or_default();
        let of_bucket = state.uploads.iter().filter(|(_, upload)| upload.bucket == request.input.bucket);
        let below = of_bucket.filter(|(_, upload)| upload.key.starts_with(&prefix));
        let uploads = below.map(|(id, upload)| dto::MultipartUpload {
            upload_id: Some(id.clone()),
            key: Some(upload.key.clone()),
            ..Default::default()
        });
        let uploads = Some(uploads.collect());
        Ok(S3Response::new(dto::ListMultipartUploadsOutput { uploads, ..Default::default() }))
    }
}
