//! Objects that are put together of parts: some sent, some copied inside the store from objects that are there.
//!
//! Nothing is to be seen under the key before the upload is finished; one that is given up leaves nothing, and one that was killed leaves
//! parts that the store's lifecycle rule for unfinished uploads takes (a directory: a temporary file).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::{Error as StoreError, MultipartUpload, PutMultipartOptions, PutPayload};
use tokio::sync::watch;

use super::counts::Kind;
use super::failure::{Failure, judge, refusal_of};
use super::files::Writing;
use super::governor::{Request, give_up_after};
use super::pin::{Attributes, Condition, Pin};
use super::s3_objects::S3Objects;
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};

/// S3 knows 10,000 parts, and no store more.
pub const PARTS_MAX: u32 = 10_000;

/// An upload in parts, numbered from 1. Parts may be on their way at the same time; where the store wants them in order (all but S3), a
/// part waits for those before it, so they have to be begun in ascending order. Without [`PartUpload::finish`] or
/// [`PartUpload::abort`] its parts stay in the store and cost money.
#[derive(Debug)]
pub struct PartUpload {
    store: Store,
    key: String,
    size: u64,
    way: Way,
    /// The sizes of the parts that are there.
    done: Mutex<BTreeMap<u32, u64>>,
}

#[derive(Debug)]
enum Way {
    S3 { objects: S3Objects, id: String, tags: Mutex<BTreeMap<u32, String>> },
    Seam { upload: tokio::sync::Mutex<Box<dyn MultipartUpload>>, turns: Turns },
    Files { writing: Arc<Writing>, turns: Turns },
}

impl Store {
    /// Begins an object of `size` bytes.
    pub async fn upload(&self, key: &str, attributes: &Attributes, size: u64) -> Result<PartUpload> {
        let way = self.begin(key, attributes).await.map_err(|error| self.failed("begin to store", key, error))?;
        Ok(PartUpload { store: self.clone(), key: key.to_owned(), size, way, done: Mutex::default() })
    }

    async fn begin(&self, key: &str, attributes: &Attributes) -> object_store::Result<Way> {
        if let Some(objects) = &self.s3 {
            let begin = || objects.begin(key, attributes);
            let id = self.governor.run(Request::of(Kind::Multipart), begin).await?;
            return Ok(Way::S3 { objects: objects.clone(), id, tags: Mutex::default() });
        }
        if let Some(files) = &self.files {
            let writing = self.governor.run(Request::of(Kind::Multipart), || files.begin(key, attributes)).await?;
            return Ok(Way::Files { writing: Arc::new(writing), turns: Turns::new() });
        }
        let options = PutMultipartOptions { attributes: attributes.seam(), ..PutMultipartOptions::default() };
        let upload = self.objects.put_multipart_opts(&self.seam_path(key)?, options).await?;
        Ok(Way::Seam { upload: tokio::sync::Mutex::new(upload), turns: Turns::new() })
    }
}

impl PartUpload {
    /// Sends a part. S3 wants 5 MiB of all but the last.
    pub async fn part(&self, number: u32, bytes: Bytes) -> Result<()> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let sent = self.send(self.numbered(number)?, bytes).await;
        sent.map_err(|error| self.store.failed("store a part of", &self.key, error))?;
        self.note(number, size)
    }

    async fn send(&self, number: Number, bytes: Bytes) -> object_store::Result<()> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let governor = &self.store.governor;
        let request = Request::sending(Kind::Multipart, size);
        match &self.way {
            Way::S3 { objects, id, tags } => {
                let send = || objects.part(&self.key, id, number.of_s3, bytes.clone());
                let tag = governor.run(request, send).await?;
                lock(tags).insert(number.number, tag);
            }
            Way::Seam { upload, turns } => {
                let turn = turns.take(number.number).await?;
                // The store numbers them as they are begun, and they travel together.
                let part = upload.lock().await.put_part(PutPayload::from(bytes));
                turn.done();
                part.await?;
            }
            Way::Files { writing, turns } => {
                let turn = turns.take(number.number).await?;
                governor.once(request, writing.append(bytes)).await?;
                turn.done();
            }
        }
        Ok(())
    }

    /// Makes a part of some bytes of another object of the store, or of the one that is to be replaced. `Changed` if it is not the pinned
    /// one; `Unsupported` where the store cannot do it: then the bytes have to be sent under the same number.
    pub async fn copy(&self, number: u32, source: &str, range: Range<u64>, pin: &Pin) -> Result<()> {
        let (numbered, size) = (self.numbered(number)?, range.end.saturating_sub(range.start));
        let governor = &self.store.governor;
        let request = Request::copying(Kind::Multipart, size);
        let copied = match &self.way {
            Way::S3 { objects, id, tags } => {
                let place = (self.key.as_str(), id.as_str(), numbered.of_s3);
                let send = || objects.copy_part(place, (source, Some(range.clone()), pin));
                governor.run(request, send).await.map(|tag| drop(lock(tags).insert(number, tag)))
            }
            Way::Files { writing, turns } => {
                let turn = turns.take(number).await.map_err(|error| self.store.failed("copy", source, error))?;
                let copied = governor.once(request, writing.append_from(source, range, pin)).await;
                if copied.is_ok() {
                    turn.done();
                }
                copied
            }
            Way::Seam { .. } => Err(StoreError::NotSupported { source: "parts cannot be copied here".into() }),
        };
        copied.map_err(|error| self.store.uncopied(source, error))?;
        self.note(number, size)
    }

    /// Puts the parts together, if they are all there and the condition holds (`Changed` if not). In stores other than S3 and a directory it is
    /// looked at just before. The upload is gone afterwards, whatever comes of it.
    pub async fn finish(self, condition: Condition<'_>) -> Result<Pin> {
        match self.put_together(condition).await {
            Ok(pin) => Ok(pin),
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.give_up().await;
                Err(error)
            }
        }
    }

    async fn put_together(&self, condition: Condition<'_>) -> Result<Pin> {
        self.check_parts()?;
        let failed = |error| self.store.unfinished(&self.key, error);
        let pin = match &self.way {
            Way::S3 { objects, id, tags } => {
                let parts: Vec<(i32, String)> = lock(tags).iter().map(|(n, tag)| (of_s3(*n), tag.clone())).collect();
                self.complete(objects, id, &parts, condition).await?
            }
            Way::Files { writing, .. } => {
                let put =
                    self.store.governor.once(Request::of(Kind::Multipart), writing.finish(condition.mode())).await;
                Pin::of_put(&put.map_err(failed)?)
            }
            Way::Seam { upload, .. } => {
                self.store.demand(&self.key, condition).await?;
                Pin::of_put(&upload.lock().await.complete().await.map_err(failed)?)
            }
        };
        if self.store.location.is_remote() { self.verified(pin).await } else { Ok(pin) }
    }

    /// Looks at what became of the parts: servers that take a copy for something else are found out by the size, and that of rclone names another
    /// tag as it finishes than at every read.
    async fn verified(&self, pin: Pin) -> Result<Pin> {
        match self.store.info(&self.key).await? {
            Some((info, _)) if info.size == self.size => Ok(info.pin),
            Some((info, _)) if pin.fits(&info.pin) => {
                let attempt = self.store.attempt("store", &self.key);
                Err(Error::corrupt(attempt).with_source("the store made another object of the parts"))
            }
            Some(_) | None => Err(self.store.changed("store", &self.key)),
        }
    }

    /// After an answer that was lost the same request shows what came of it: S3 remembers uploads that it has just finished, and other
    /// stores say that there is no such upload any more.
    async fn complete(
        &self,
        objects: &S3Objects,
        id: &str,
        parts: &[(i32, String)],
        condition: Condition<'_>,
    ) -> Result<Pin> {
        let (governor, mut retries, mut lost) = (&self.store.governor, self.store.governor.retries(), false);
        loop {
            let request = Request::copying(Kind::Multipart, self.size);
            let send = objects.complete((self.key.as_str(), id), parts, condition);
            let error = match governor.once(request, send).await {
                Ok(pin) => return Ok(pin),
                Err(error) => error,
            };
            let gone = matches!(&error, StoreError::NotFound { .. } | StoreError::Precondition { .. });
            if lost
                && gone
                && let Some((info, _)) = self.store.info(&self.key).await?
                && info.size == self.size
                && info.pin.etag.as_deref().is_some_and(|etag| etag.ends_with(&format!("-{}\"", parts.len())))
            {
                return Ok(info.pin);
            }
            let failure = judge(&error);
            lost |= !matches!(failure, Failure::Final | Failure::NotSent);
            if !retries.again(failure).await {
                return Err(self.store.unfinished(&self.key, error));
            }
        }
    }

    /// Gives the upload up, and with it all its parts.
    pub async fn abort(self) -> Result<()> {
        self.give_up().await.map_err(|error| self.store.failed("give up to store", &self.key, error))
    }

    async fn give_up(&self) -> object_store::Result<()> {
        match &self.way {
            Way::S3 { objects, id, .. } => {
                let aborted =
                    self.store.governor.run(Request::of(Kind::Multipart), || objects.abort(&self.key, id)).await;
                // Finished or given up already.
                if let Err(StoreError::NotFound { .. }) = aborted { Ok(()) } else { aborted }
            }
            Way::Seam { upload, .. } => {
                give_up_after(self.store.governor.shared.patience.total, upload.lock().await.abort()).await
            }
            Way::Files { writing, .. } => {
                writing.discard();
                Ok(())
            }
        }
    }

    fn numbered(&self, number: u32) -> Result<Number> {
        if (1..=PARTS_MAX).contains(&number) && !lock(&self.done).contains_key(&number) {
            return Ok(Number { number, of_s3: of_s3(number) });
        }
        Err(Error::bug(format!("part {number} of {} is sent twice, or is beyond the last", self.key)))
    }

    fn note(&self, number: u32, size: u64) -> Result<()> {
        match lock(&self.done).insert(number, size) {
            None => Ok(()),
            Some(_) => Err(Error::bug(format!("part {number} of {} was sent twice", self.key))),
        }
    }

    fn check_parts(&self) -> Result<()> {
        let done = lock(&self.done);
        let whole = done.values().sum::<u64>() == self.size && done.keys().copied().eq((1..).take(done.len()));
        if whole { Ok(()) } else { Err(Error::bug(format!("the parts of {} are not all there", self.key))) }
    }
}

struct Number {
    number: u32,
    of_s3: i32,
}

/// At most [`PARTS_MAX`].
fn of_s3(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets parts go one after the other. When one fails, those that wait for it do.
#[derive(Debug)]
struct Turns(watch::Sender<u32>);

/// No part has this number.
const BROKEN: u32 = u32::MAX;

struct Turn<'a> {
    turns: &'a Turns,
    next: u32,
}

impl Turns {
    fn new() -> Self {
        Self(watch::Sender::new(1))
    }

    async fn take(&self, number: u32) -> object_store::Result<Turn<'_>> {
        let mut turns = self.0.subscribe();
        let come = turns.wait_for(|next| *next >= number).await.map(|next| *next);
        if come.is_ok_and(|next| next == number) {
            return Ok(Turn { turns: self, next: BROKEN });
        }
        Err(StoreError::Generic { store: "storage", source: "a part before this one failed".into() })
    }
}

impl Turn<'_> {
    fn done(mut self) {
        self.next = self.turns.0.borrow().saturating_add(1);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.0.send_replace(self.next);
    }
}

impl Store {
    /// The error of a copy: a source that is another object is `Changed`, and a store that does not copy is `Unsupported`.
    pub(super) fn uncopied(&self, source: &str, error: StoreError) -> Error {
        if cannot_copy(&error) {
            return Error::new(ErrorKind::Unsupported, self.attempt("copy", source)).with_source(error);
        }
        self.lost("copy", source, error)
    }

    fn unfinished(&self, key: &str, error: StoreError) -> Error {
        if matches!(error, StoreError::Precondition { .. } | StoreError::AlreadyExists { .. }) {
            return self.changed("store", key).with_source(error);
        }
        self.failed("finish storing", key, error)
    }

    /// Looks whether a condition holds now.
    async fn demand(&self, key: &str, condition: Condition<'_>) -> Result<()> {
        let there = match condition {
            Condition::Any => return Ok(()),
            Condition::New | Condition::Match(_) => self.info(key).await?.map(|(info, _)| info.pin),
        };
        match (condition, there) {
            (Condition::New, None) => Ok(()),
            (Condition::Match(pin), Some(there)) if *pin == there => Ok(()),
            _ => Err(self.changed("store", key)),
        }
    }
}

/// Whether a store says that it does not copy, or does not copy this: too small or too big an object, or one that it keeps otherwise.
fn cannot_copy(error: &StoreError) -> bool {
    matches!(error, StoreError::NotSupported { .. } | StoreError::NotImplemented { .. })
        || refusal_of(error).is_some_and(|refusal| matches!(refusal.status, 400 | 405 | 411 | 501))
}
