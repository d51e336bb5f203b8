//! A store over another one whose entity tags have the form of an MD5, in answers to puts and in listings, as those of most S3 servers have.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// What was put through one of these, clones included, has a tag that follows from its bytes and from the key of the day; other objects have that of the
/// store below.
#[derive(Debug, Clone)]
pub(crate) struct TagStore {
    inner: Arc<dyn ObjectStore>,
    tags: Arc<Mutex<HashMap<Path, String>>>,
    key: Arc<AtomicU64>,
    /// Whether puts are answered without the tag.
    is_silent: Arc<AtomicBool>,
}

impl TagStore {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, tags: Arc::default(), key: Arc::default(), is_silent: Arc::default() }
    }

    /// From now on the same bytes get another tag than before, as with another encryption key of the store.
    pub(crate) fn change_key(&self) {
        self.key.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on puts are answered without a tag, or with one again; listings have them all the same.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Path, String>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tag(&self, bytes: &[u8]) -> String {
        let key = self.key.load(Ordering::SeqCst).to_le_bytes();
        let hash = blake3::Hasher::new().update(&key).update(bytes).finalize();
        format!("\"{}\"", &hash.to_hex()[..32])
    }

    fn tagged(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if let Some(tag) = self.lock().get(&meta.location) {
            meta.e_tag = Some(tag.clone());
        }
        meta
    }
}

impl fmt::Display for TagStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tagged {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for TagStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let tag = self.tag(&Bytes::from(payload.clone()));
        let mut put = self.inner.put_opts(location, payload, options).await?;
        put.e_tag = (!self.is_silent.load(Ordering::SeqCst)).then(|| tag.clone());
        self.lock().insert(location.clone(), tag);
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut result = self.inner.get_opts(location, options).await?;
        result.meta = self.tagged(result.meta);
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        self.inner.list(prefix).map(move |entry| entry.map(|meta| store.tagged(meta))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
