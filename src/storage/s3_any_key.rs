//! Objects of S3 whose keys no [`object_store::path::Path`] can name: control characters, which file names may have.

use std::ops::Range;

use aws_sdk_s3::primitives::{ByteStream, DateTime as SdkTime};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    Error as StoreError, Extensions, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, PutResult, Result,
};

use super::failure::generic;
use super::pin::{Attributes, Condition};
use super::s3_objects::{S3Objects, unmatched};
use super::sdk_failure::{failed, incomplete};

/// What the answers to GET and HEAD have in common.
struct Answer {
    size: u64,
    etag: Option<String>,
    version: Option<String>,
    modified: Option<SdkTime>,
    attributes: Attributes,
}

impl Answer {
    fn result(self, range: Range<u64>, body: Bytes) -> GetResult {
        let modified = self.modified.and_then(|time| DateTime::from_timestamp(time.secs(), time.subsec_nanos()));
        GetResult {
            payload: GetResultPayload::Stream(futures::stream::once(async { Ok(body) }).boxed()),
            meta: ObjectMeta {
                location: Path::default(),
                last_modified: modified.unwrap_or(DateTime::<Utc>::UNIX_EPOCH),
                size: self.size,
                e_tag: self.etag,
                version: self.version,
            },
            range,
            attributes: self.attributes.seam(),
            extensions: Extensions::new(),
        }
    }
}

fn attributes(
    content_type: Option<String>,
    cache_control: Option<&str>,
    metadata: Option<std::collections::HashMap<String, String>>,
) -> Attributes {
    let no_cache = cache_control.is_some_and(|control| control.contains("no-cache"));
    Attributes { mtime: None, content_type, no_cache, more: metadata.into_iter().flatten().collect() }
}

impl S3Objects {
    /// An object, or its head.
    pub(super) async fn get(&self, key: &str, options: GetOptions) -> Result<GetResult> {
        if options.head {
            let request = self.client.head_object().bucket(&*self.bucket).key(self.full(key));
            let head = request.send().boxed().await.map_err(|error| failed(key, error))?;
            let size = length(head.content_length())?;
            let attributes = attributes(head.content_type, head.cache_control.as_deref(), head.metadata);
            let (etag, version, modified) = (head.e_tag, head.version_id, head.last_modified);
            return Ok(Answer { size, etag, version, modified, attributes }.result(0..size, Bytes::new()));
        }
        let range = match &options.range {
            None => None,
            Some(GetRange::Bounded(range)) => Some(format!("bytes={}-{}", range.start, range.end.saturating_sub(1))),
            Some(GetRange::Offset(first)) => Some(format!("bytes={first}-")),
            Some(GetRange::Suffix(length)) => Some(format!("bytes=-{length}")),
        };
        let ranged = range.is_some();
        let request = self.client.get_object().bucket(&*self.bucket).key(self.full(key)).set_range(range);
        let request = request.set_if_match(options.if_match).set_if_none_match(options.if_none_match);
        let answer =
            request.set_version_id(options.version).send().boxed().await.map_err(|error| failed(key, error))?;
        let length = length(answer.content_length())?;
        let (range, size) = match answer.content_range().map(content_range) {
            Some(Some(range)) if ranged => range,
            None if !ranged => (0..length, length),
            _ => return Err(incomplete("another range than was asked for")),
        };
        let attributes = attributes(answer.content_type, answer.cache_control.as_deref(), answer.metadata);
        let (etag, version, modified) = (answer.e_tag, answer.version_id, answer.last_modified);
        let body = answer.body.collect().await.map_err(generic)?.into_bytes();
        Ok(Answer { size, etag, version, modified, attributes }.result(range, body))
    }

    /// Stores an object.
    pub(super) async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        attributes: &Attributes,
        condition: Condition<'_>,
    ) -> Result<PutResult> {
        let mut request = self.client.put_object().bucket(&*self.bucket).key(self.full(key));
        request = request.set_content_type(attributes.content_type.clone()).set_storage_class(self.class.clone());
        request = request.set_cache_control(attributes.no_cache.then(|| "no-cache".to_owned()));
        for (name, value) in attributes.metadata() {
            request = request.metadata(name, value);
        }
        request = match condition {
            Condition::Any => request,
            Condition::New => request.if_none_match("*"),
            Condition::Match(pin) => request.set_if_match(pin.etag.clone()),
        };
        let put = request.body(ByteStream::from(bytes)).send().boxed().await;
        let put = put.map_err(|error| unmatched(failed(key, error), condition))?;
        Ok(PutResult { e_tag: put.e_tag, version: put.version_id, extensions: Extensions::new() })
    }

    /// Deletes an object; a missing one is a success.
    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let request = self.client.delete_object().bucket(&*self.bucket).key(self.full(key));
        match request.send().boxed().await.map_err(|error| failed(key, error)) {
            Ok(_) => Ok(()),
            Err(StoreError::NotFound { source, .. }) if source.to_string().contains("NoSuchKey") => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn length(said: Option<i64>) -> Result<u64> {
    said.and_then(|length| u64::try_from(length).ok()).ok_or_else(|| incomplete("an object without a length"))
}

/// `bytes 3-6/10` is the range 3..7 of 10 bytes.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(content_range("bytes 3-6/10"), Some((3..7, 10)));
        for text in ["", "bytes 3-6", "bytes */10", "3-6/10", "bytes 0-18446744073709551615/1"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
