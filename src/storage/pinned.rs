//! Reads of exactly the object that was meant, and writes that replace exactly the one that was seen.
//!
//! Conditions travel with the request where the store has them. What comes back is compared again here: a store that overlooks a
//! condition on a read is found out. One that overlooks it on a write is not.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetRange, GetResult, PutOptions, PutPayload, PutResult,
};

use super::body::{apart, collect, collect_into};
use super::counts::Kind;
use super::failure::{Failure, beyond_the_end, cannot_create_only, explain, judge};
use super::governor::Request;
use super::pin::{Attributes, Condition, ObjectInfo, Pin, head_of};
use super::retry::Repeat;
use super::s3_objects::S3Objects;
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};

/// An answer of the wrong length, or of another object than the one asked for, is asked for again this often.
const WRONG_RETRIES: u32 = 2;
/// Objects of one page, where the store does not make pages itself.
const PAGE: usize = 1000;

impl Store {
    /// The whole object, if it has at most `max` bytes (more is `Corrupt`), and what pins it.
    pub async fn get_with_pin(&self, key: &str, max: u64) -> Result<(Bytes, Pin)> {
        let options = GetOptions::default();
        self.get_whole(key, max, options).await?.map_err(|error| self.failed("read", key, error))
    }

    /// The whole object, unless it is still the one that was `seen`: then none, and no bytes of it are sent.
    pub async fn get_if_changed(&self, key: &str, max: u64, seen: &Pin) -> Result<Option<(Bytes, Pin)>> {
        let options = GetOptions { if_none_match: seen.etag.clone(), ..GetOptions::default() };
        match self.get_whole(key, max, options).await? {
            Ok((_, found)) if seen.etag.is_some() && found == *seen => Ok(None),
            Ok(changed) => Ok(Some(changed)),
            Err(StoreError::NotModified { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", key, error)),
        }
    }

    /// Exactly these bytes of exactly the pinned object, which has `size` bytes. `Changed` if another one is there, or none. The memory goes back to
    /// the system when it is given back.
    pub async fn get_pinned(&self, key: &str, range: Range<u64>, size: u64, pin: &Pin) -> Result<Bytes> {
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        let mut options = pinned_by(pin);
        if range != (0..size) {
            options.range = Some(GetRange::Bounded(range.clone()));
        }
        for _ in 0..=WRONG_RETRIES {
            let result = self.seam_get(key, options.clone()).await.map_err(|error| self.lost("read", key, error))?;
            if result.meta.size != size || !pin.fits(&Pin::of(&result.meta)) {
                return Err(self.changed("read", key));
            }
            let whole = result.range == range;
            match collect_into(result, apart).await {
                Ok(Some(bytes)) if whole => return Ok(bytes),
                // The next answer shows whether another object came in between.
                Ok(_) => {}
                Err(error) if judge(&error) == Failure::Malformed => {}
                Err(error) => return Err(self.lost("read", key, error)),
            }
        }
        Err(self.corrupt(key, format_args!("bytes {}..{} are not all there", range.start, range.end)))
    }

    /// The object and its attributes, without its bytes; none if there is none.
    pub async fn info(&self, key: &str) -> Result<Option<(ObjectInfo, Attributes)>> {
        match self.seam_get(key, GetOptions { head: true, ..GetOptions::default() }).await {
            Ok(answer) => Ok(Some(head_of(key, &answer))),
            Err(error) => {
                let error = self.failed("look for", key, error);
                if is_missing_object(&error) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// All objects below a folder (`roots/`; empty for all), page by page. The whole listing or an error, never a part; in the order of
    /// keys, except from a directory.
    pub fn list_objects(&self, prefix: &str) -> Result<ObjectPages> {
        let folder = prefix.trim_end_matches('/');
        let attempt = self.attempt("list", prefix);
        let found = if let Some(files) = &self.files {
            files.list(folder)
        } else if let Some(objects) = &self.s3 {
            self.s3_pages(objects.clone(), folder.to_owned())
        } else {
            let path = self.seam_path(folder).map_err(|error| self.failed("list", prefix, error))?;
            let listed = self.objects.list(Some(&path).filter(|path| !path.as_ref().is_empty()));
            listed.map(|meta| meta.map(|meta| ObjectInfo::of(meta.location.to_string(), &meta))).boxed()
        };
        let found = found.map(move |found| found.map_err(|error| explain(attempt.clone(), error)));
        Ok(ObjectPages { found: found.boxed() })
    }

    /// Stores an object with its attributes, if the condition holds, else `Changed`. Returns after the store acknowledged it; when an
    /// answer was lost, it looks what is there. A store that refuses conditions is `Unsupported`; one that overlooks them
    /// overwrites.
    pub async fn put_with(
        &self,
        key: &str,
        bytes: Bytes,
        attributes: &Attributes,
        condition: Condition<'_>,
    ) -> Result<Pin> {
        let mut retries = self.governor.retries();
        loop {
            let error = match self.seam_put(key, bytes.clone(), attributes, condition).await {
                Ok(put) => return Ok(Pin::of_put(&put)),
                Err(error) => error,
            };
            let failure = match &error {
                _ if condition == Condition::Any => return Err(self.failed("store", key, error)),
                StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => Failure::Busy { after: None },
                error if cannot_create_only(error) => {
                    let attempt = self.attempt("store", key);
                    return Err(
                        Error::new(ErrorKind::Unsupported, attempt).with_source("the store has no such condition")
                    );
                }
                error => match judge(error) {
                    // The governor has repeated these already.
                    Failure::NotSent => Failure::Final,
                    failure => failure,
                },
            };
            if failure == Failure::Final {
                return Err(self.failed("store", key, error));
            }
            // Our own earlier attempt may have been carried out; a 409 may come of a race that nobody has won.
            match self.standing(key, &bytes, condition).await? {
                Standing::Ours(pin) => return Ok(pin),
                Standing::Changed => return Err(self.changed("store", key).with_source(error)),
                Standing::AsDemanded => {}
            }
            if !retries.again(failure).await {
                return Err(self.failed("store", key, error));
            }
        }
    }

    /// Copies the pinned object inside the store, and gives the copy these attributes. `Changed` if another one is there; `Unsupported`
    /// where the store cannot do it without sending the bytes.
    pub async fn copy_pinned(&self, from: &str, pin: &Pin, to: &str, attributes: &Attributes) -> Result<Pin> {
        if let Some(files) = &self.files {
            let send = || files.copy(from, pin, to, attributes);
            let copied = self.governor.run(Request::of(Kind::Copy), send).await;
            return copied.map(|put| Pin::of_put(&put)).map_err(|error| self.lost("copy", from, error));
        }
        if let Some(objects) = &self.s3 {
            let copied = self.governor.run(Request::of(Kind::Copy), || objects.copy(from, pin, to, attributes)).await;
            return copied.map_err(|error| self.uncopied(from, error));
        }
        // The seam has no condition for a copy: the object is looked at before and after.
        let before = self.info(from).await?;
        let Some((_, kept)) = before.filter(|(info, _)| pin.fits(&info.pin)) else {
            return Err(self.changed("copy", from));
        };
        if kept != *attributes {
            let error = Error::new(ErrorKind::Unsupported, self.attempt("copy", from));
            return Err(error.with_source("the store cannot change attributes as it copies"));
        }
        let path = |key| self.seam_path(key).map_err(|error| self.failed("copy", from, error));
        let copied = self.objects.copy_opts(&path(from)?, &path(to)?, CopyOptions::default()).await;
        copied.map_err(|error| self.lost("copy", from, error))?;
        if self.info(from).await?.is_none_or(|(info, _)| !pin.fits(&info.pin)) {
            return Err(self.changed("copy", from));
        }
        self.info(to).await?.map(|(info, _)| info.pin).ok_or_else(|| self.changed("copy", from))
    }

    fn s3_pages(&self, objects: S3Objects, folder: String) -> BoxStream<'static, object_store::Result<ObjectInfo>> {
        let pages = (self.governor.clone(), objects, folder, Some(None));
        let pages = stream::try_unfold(pages, |(governor, objects, folder, next)| async move {
            let Some(next) = next else { return Ok(None) };
            let send = || objects.list(&folder, Option::clone(&next));
            let page = governor.run(Request::of(Kind::List), send).await?;
            let following = page.next.map(Some);
            let objects_listed = stream::iter(page.objects).map(Ok::<_, StoreError>);
            Ok::<_, StoreError>(Some((objects_listed, (governor, objects, folder, following))))
        });
        pages.try_flatten().boxed()
    }

    async fn get_whole(&self, key: &str, max: u64, options: GetOptions) -> Result<object_store::Result<(Bytes, Pin)>> {
        let result = match self.seam_get(key, options).await {
            Ok(result) => result,
            Err(error) => return Ok(Err(error)),
        };
        let (size, pin) = (result.meta.size, Pin::of(&result.meta));
        if size > max {
            return Err(self.corrupt(key, format_args!("it has {size} bytes where at most {max} are expected")));
        }
        match collect(result).await {
            Ok(Some(bytes)) => Ok(Ok((bytes, pin))),
            Ok(None) => Err(self.corrupt(key, "it is shorter than the store says")),
            Err(error) => Ok(Err(error)),
        }
    }

    /// What became of a conditional write whose outcome is not known.
    async fn standing(&self, key: &str, bytes: &Bytes, condition: Condition<'_>) -> Result<Standing> {
        let there = match self.get_with_pin(key, u64::try_from(bytes.len()).unwrap_or(u64::MAX)).await {
            Ok((stored, pin)) if stored == bytes => return Ok(Standing::Ours(pin)),
            Ok((_, pin)) => Some(pin),
            // Longer than ours.
            Err(error) if error.kind() == ErrorKind::Corrupt => self.info(key).await?.map(|(info, _)| info.pin),
            Err(error) if is_missing_object(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(match (condition, there) {
            (Condition::Any, _) | (Condition::New, None) => Standing::AsDemanded,
            (Condition::Match(pin), Some(there)) if *pin == there => Standing::AsDemanded,
            (Condition::New | Condition::Match(_), _) => Standing::Changed,
        })
    }

    pub(super) async fn seam_get(&self, key: &str, options: GetOptions) -> object_store::Result<GetResult> {
        if self.files.is_none()
            && let Some(path) = self.path_of(key)?
        {
            return self.objects.get_opts(&path, options).await;
        }
        let kind = match (options.head, &options.range) {
            (true, _) => Kind::Head,
            (false, Some(_)) => Kind::GetRange,
            (false, None) => Kind::Get,
        };
        let send = || async {
            match (&self.files, &self.s3) {
                (Some(files), _) => files.get(key, options.clone()).await,
                (None, Some(objects)) => objects.get(key, options.clone()).await,
                (None, None) => Err(self.no_key(key)),
            }
        };
        let result = self.governor.run(Request::of(kind), send).await?;
        if !options.head {
            self.governor.came(result.range.end.saturating_sub(result.range.start)).await;
        }
        Ok(result)
    }

    pub(super) async fn seam_put(
        &self,
        key: &str,
        bytes: Bytes,
        attributes: &Attributes,
        condition: Condition<'_>,
    ) -> object_store::Result<PutResult> {
        if self.files.is_none()
            && let Some(path) = self.path_of(key)?
        {
            let options = PutOptions { mode: condition.mode(), attributes: attributes.seam(), ..PutOptions::default() };
            return self.objects.put_opts(&path, PutPayload::from(bytes), options).await;
        }
        let repeat = if condition == Condition::Any { Repeat::Always } else { Repeat::IfNotSent };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let request = Request::sending(Kind::Put, size).repeated(repeat);
        let send = || async {
            match (&self.files, &self.s3) {
                (Some(files), _) => files.put(key, bytes.clone(), attributes, condition.mode()).await,
                (None, Some(objects)) => objects.put(key, bytes.clone(), attributes, condition).await,
                (None, None) => Err(self.no_key(key)),
            }
        };
        self.governor.run(request, send).await
    }

    /// The seam's path of a key; none if only S3's own client can name it.
    pub(super) fn path_of(&self, key: &str) -> object_store::Result<Option<Path>> {
        match self.seam_path(key) {
            Ok(path) => Ok(Some(path)),
            Err(_) if self.s3.is_some() && !key.is_empty() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The path of a key; one that would become another key is refused.
    pub(super) fn seam_path(&self, key: &str) -> object_store::Result<Path> {
        Path::parse(key).ok().filter(|path| path.as_ref() == key).ok_or_else(|| self.no_key(key))
    }

    fn no_key(&self, key: &str) -> StoreError {
        StoreError::NotSupported { source: format!("{key:?} cannot be a key of {}", self.location).into() }
    }

    /// The error of a pinned read: whatever says that the object is another one is `Changed`.
    pub(super) fn lost(&self, operation: &str, key: &str, error: StoreError) -> Error {
        let is_another = matches!(error, StoreError::Precondition { .. } | StoreError::NotModified { .. });
        if is_another || beyond_the_end(&error) {
            return self.changed(operation, key).with_source(error);
        }
        let error = self.failed(operation, key, error);
        if is_missing_object(&error) { self.changed(operation, key).with_source(error) } else { error }
    }

    pub(super) fn changed(&self, operation: &str, key: &str) -> Error {
        Error::new(ErrorKind::Changed, format!("{}: it is another object meanwhile", self.attempt(operation, key)))
    }
}

/// What is there after a conditional write of which we do not know.
enum Standing {
    /// The bytes that were to be written.
    Ours(Pin),
    /// What the condition demands: the write was not carried out.
    AsDemanded,
    /// Something else.
    Changed,
}

/// A listing of objects.
pub struct ObjectPages {
    found: BoxStream<'static, Result<ObjectInfo>>,
}

impl ObjectPages {
    /// The next objects, at most 1,000; none after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<ObjectInfo>>> {
        let mut page = Vec::new();
        while page.len() < PAGE {
            match self.found.next().await.transpose()? {
                Some(found) => page.push(found),
                None => break,
            }
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

impl std::fmt::Debug for ObjectPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectPages")
    }
}

/// A version is read whatever the key holds now; without one the tag has to be that of the object.
fn pinned_by(pin: &Pin) -> GetOptions {
    let if_match = if pin.version.is_none() { pin.strong().map(str::to_owned) } else { None };
    GetOptions { if_match, version: pin.version.clone(), ..GetOptions::default() }
}

/// Whether the object is missing, and not what holds it.
fn is_missing_object(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound && error.hint().is_none()
}
