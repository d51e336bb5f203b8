//! What the seam has no request for and S3 has: uploads whose parts come from other objects, conditions on their end and on copies,
//! listings of any keys, and objects whose keys no [`object_store::path::Path`] can name.
//!
//! One request each; the governor counts, limits and repeats them. The keys are those of the location, its prefix is added here.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, EncodingType, MetadataDirective, Object, StorageClass,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use object_store::{Error as StoreError, Result};

use super::connect::S3Access;
use super::credentials::ForSdk;
use super::pin::{Attributes, Condition, ObjectInfo, Pin};
use super::sdk_failure::{failed, incomplete, told};

/// The governor gives up on answers, and knows how long they may take.
const NO_LIMIT: Duration = Duration::from_hours(24);

/// The objects of a bucket below a prefix.
#[derive(Clone)]
pub(super) struct S3Objects {
    pub(super) client: Client,
    pub(super) bucket: Arc<str>,
    prefix: Arc<str>,
    pub(super) class: Option<StorageClass>,
}

/// Some objects of a listing, and what to ask for the next ones.
pub(super) struct Page {
    pub(super) objects: Vec<ObjectInfo>,
    pub(super) next: Option<String>,
}

impl S3Objects {
    pub(super) fn new(access: &S3Access, prefix: &str, storage_class: Option<&str>) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self {
            client: client(access),
            bucket: access.bucket.as_str().into(),
            prefix: prefix.into(),
            class: storage_class.map(StorageClass::from),
        }
    }

    // Each request is boxed: the SDK's futures are so large that some of them in one another overflow a thread's stack.

    /// Begins an upload in parts; says its name.
    pub(super) async fn begin(&self, key: &str, attributes: &Attributes) -> Result<String> {
        let mut request = self.client.create_multipart_upload().bucket(&*self.bucket).key(self.full(key));
        request = request.set_content_type(attributes.content_type.clone()).set_storage_class(self.class.clone());
        request = request.set_cache_control(attributes.no_cache.then(|| "no-cache".to_owned()));
        for (name, value) in attributes.metadata() {
            request = request.metadata(name, value);
        }
        match request.send().boxed().await {
            Ok(begun) => begun.upload_id.ok_or_else(|| incomplete("an upload without a name")),
            // rclone's server gives the element around the name another name, which the SDK does not read.
            Err(error) => told(&error, "UploadId").ok_or_else(|| failed(key, error)),
        }
    }

    /// Sends a part; says its tag.
    pub(super) async fn part(&self, key: &str, id: &str, number: i32, bytes: Bytes) -> Result<String> {
        let request = self.client.upload_part().bucket(&*self.bucket).key(self.full(key)).upload_id(id);
        let sent = request.part_number(number).body(ByteStream::from(bytes)).send().boxed().await;
        sent.map_err(|error| failed(key, error))?.e_tag.ok_or_else(|| incomplete("a part without a tag"))
    }

    /// Makes a part of some bytes (none: all) of another object, if it is the pinned one; says its tag.
    pub(super) async fn copy_part(
        &self,
        (key, id, number): (&str, &str, i32),
        (source, range, pin): (&str, Option<Range<u64>>, &Pin),
    ) -> Result<String> {
        let request = self.client.upload_part_copy().bucket(&*self.bucket).key(self.full(key)).upload_id(id);
        let request = request.part_number(number).copy_source(self.source(source, pin));
        let range = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let request = request.set_copy_source_range(range);
        let copied = request.set_copy_source_if_match(pin.strong().map(str::to_owned)).send().boxed().await;
        let copied = copied.map_err(|error| failed(source, error))?;
        copied.copy_part_result.and_then(|part| part.e_tag).ok_or_else(no_copy)
    }

    /// Puts the parts together under the key, if the condition holds.
    pub(super) async fn complete(
        &self,
        (key, id): (&str, &str),
        parts: &[(i32, String)],
        condition: Condition<'_>,
    ) -> Result<Pin> {
        let part = |(number, tag): &(i32, String)| CompletedPart::builder().part_number(*number).e_tag(tag).build();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(part).collect())).build();
        let mut request = self.client.complete_multipart_upload().bucket(&*self.bucket).key(self.full(key));
        request = request.upload_id(id).multipart_upload(parts);
        request = match condition {
            Condition::Any => request,
            Condition::New => request.if_none_match("*"),
            Condition::Match(pin) => request.set_if_match(pin.etag.clone()),
        };
        let done = request.send().boxed().await.map_err(|error| unmatched(failed(key, error), condition))?;
        Ok(Pin::new(done.e_tag(), done.version_id()))
    }

    /// Gives an upload up.
    pub(super) async fn abort(&self, key: &str, id: &str) -> Result<()> {
        let request = self.client.abort_multipart_upload().bucket(&*self.bucket).key(self.full(key)).upload_id(id);
        request.send().boxed().await.map(drop).map_err(|error| failed(key, error))
    }

    /// Copies a whole object, if it is the pinned one, with attributes of its own.
    pub(super) async fn copy(&self, from: &str, pin: &Pin, to: &str, attributes: &Attributes) -> Result<Pin> {
        let mut request = self.client.copy_object().bucket(&*self.bucket).key(self.full(to));
        request = request.copy_source(self.source(from, pin)).set_copy_source_if_match(pin.strong().map(str::to_owned));
        request = request.metadata_directive(MetadataDirective::Replace).set_storage_class(self.class.clone());
        request = request.set_content_type(attributes.content_type.clone());
        request = request.set_cache_control(attributes.no_cache.then(|| "no-cache".to_owned()));
        for (name, value) in attributes.metadata() {
            request = request.metadata(name, value);
        }
        let copied = request.send().boxed().await.map_err(|error| failed(from, error))?;
        let etag = copied.copy_object_result().and_then(|result| result.e_tag());
        let etag = etag.ok_or_else(no_copy)?;
        Ok(Pin::new(Some(etag), copied.version_id()))
    }

    /// Lists what lies below a folder, after what `next` of the page before says.
    pub(super) async fn list(&self, folder: &str, next: Option<String>) -> Result<Page> {
        let below = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let request = self.client.list_objects_v2().bucket(&*self.bucket).prefix(self.full(&below));
        let request = request.encoding_type(EncodingType::Url).set_continuation_token(next);
        let mut page = request.send().boxed().await.map_err(|error| failed(folder, error))?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let listed = page.contents.take().unwrap_or_default();
        let objects = listed.into_iter().map(|object| self.info(object, encoded)).collect::<Result<_>>()?;
        let next = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
        if page.is_truncated == Some(true) && next.is_none() {
            return Err(incomplete("half a listing without a word of how to go on"));
        }
        Ok(Page { objects, next })
    }

    fn info(&self, object: Object, encoded: bool) -> Result<ObjectInfo> {
        let key = object.key.ok_or_else(|| incomplete("an object without a key"))?;
        let key = if encoded { decoded(&key) } else { key };
        let key = key.strip_prefix(&*self.prefix).ok_or_else(|| incomplete("objects of another folder"))?.to_owned();
        let size = object.size.and_then(|size| u64::try_from(size).ok());
        let modified = object.last_modified.and_then(|time| DateTime::from_timestamp(time.secs(), time.subsec_nanos()));
        Ok(ObjectInfo {
            key,
            size: size.ok_or_else(|| incomplete("an object without a size"))?,
            pin: Pin::new(object.e_tag.as_deref(), None),
            modified: modified.unwrap_or(DateTime::<Utc>::UNIX_EPOCH),
        })
    }

    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// `bucket/key?versionId=…` with everything escaped that a header or a URL could misread.
    fn source(&self, key: &str, pin: &Pin) -> String {
        let mut source = format!("{}/{}", self.bucket, encoded(&self.full(key)));
        if let Some(version) = &pin.version {
            source.push_str("?versionId=");
            source.push_str(&encoded(version));
        }
        source
    }
}

impl fmt::Debug for S3Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Objects").field("bucket", &self.bucket).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A server that does not know of copies takes the request for one without bytes, and says nothing of a copy.
fn no_copy() -> StoreError {
    StoreError::NotSupported { source: "the store answered as if it had not been asked for a copy".into() }
}

/// S3 says that there is no such object where one was to be replaced; that is the condition which does not hold.
pub(super) fn unmatched(error: StoreError, condition: Condition<'_>) -> StoreError {
    match (error, condition) {
        (StoreError::NotFound { path, source }, Condition::Match(_)) if source.to_string().contains("NoSuchKey") => {
            StoreError::Precondition { path, source }
        }
        (error, _) => error,
    }
}

/// The same bucket, by the same way, with the same keys as the seam has it. Nothing is repeated or timed here, and no checksums are
/// added that other stores than AWS's do not know.
fn client(access: &S3Access) -> Client {
    let mut config = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(access.region.clone()))
        .http_client(access.http.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().read_timeout(NO_LIMIT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(access.path_style);
    config = match &access.credentials {
        // They are kept, and renewed in time, where they come from.
        Some(keys) => config.credentials_provider(ForSdk(keys.clone())).identity_cache(IdentityCache::no_cache()),
        None => config.allow_no_auth(),
    };
    if let Some(endpoint) = &access.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}

/// Percent encoding of all but unreserved characters and the slash.
fn encoded(text: &str) -> String {
    let one = |byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// What a listing of encoding type `url` means: a plus is a space. What is not encoded so is left as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok());
        if let Some([byte]) = escaped.as_deref() {
            bytes.push(*byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_and_read_again() {
        let key = "dir/a b+c%2F\u{1}ä#1?x";
        assert_eq!(encoded(key), "dir/a%20b%2Bc%252F%01%C3%A4%231%3Fx");
        assert_eq!(decoded(&encoded(key)), key);
        assert_eq!(decoded("a+b%2Bc"), "a b+c");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%ff"), "%ff");
    }
}
