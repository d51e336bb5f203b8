//! What a store does of that which a mirror would like it to do, shown by doing it. A store that overlooks a condition is found out; one
//! that forgets it when many write at once is not (`probe` tries that), so nothing that keeps data rests on it.

use bytes::Bytes;
use object_store::{Error as StoreError, GetOptions};
use serde::{Deserialize, Serialize};

use super::counts::Kind;
use super::failure::{Failure, cannot_create_only};
use super::governor::Request;
use super::pin::{Attributes, Condition, Pin};
use super::s3_objects::S3Objects;
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};

/// What a store was seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own, as it is kept on disk")]
pub struct Abilities {
    /// An object is created only if there is none.
    pub conditional_create: bool,
    /// An object is replaced only if it is the one that is named.
    pub conditional_replace: bool,
    /// An object that was seen already is not sent again.
    pub not_modified: bool,
    /// A read fails if the object is another one. Without it the answer is compared.
    pub pinned_reads: bool,
    /// What is replaced can still be read.
    pub versions: bool,
}

/// Copies that a store was seen to make of exactly the object that was named, and of no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAbilities {
    /// Of whole objects.
    pub whole: bool,
    /// As parts of others.
    pub parts: bool,
}

impl Abilities {
    /// What is missing, in words; versions are missed by nobody.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [
            (self.conditional_create, "create an object only if there is none"),
            (self.conditional_replace, "replace an object only if it is unchanged"),
            (self.not_modified, "say that an object is unchanged instead of sending it"),
            (self.pinned_reads, "refuse to read an object that was replaced"),
        ];
        all.into_iter().filter(|(there, _)| !there).map(|(_, what)| what).collect()
    }

    /// The condition, or none where the store would overlook it.
    #[must_use]
    pub fn allow<'a>(&self, condition: Condition<'a>) -> Condition<'a> {
        match condition {
            Condition::New if !self.conditional_create => Condition::Any,
            Condition::Match(_) if !self.conditional_replace => Condition::Any,
            allowed => allowed,
        }
    }
}

/// How a write with a condition ended.
enum Outcome {
    Written(Pin),
    Refused,
    /// The store says that it has no such conditions.
    Unknown,
}

impl Store {
    /// Finds out what the store does. Writes an object of this key and deletes it again: 8 requests at most, if no answer is lost.
    pub async fn mirror_abilities(&self, key: &str) -> Result<Abilities> {
        let mut retries = self.governor.retries();
        loop {
            let found = self.try_abilities(key).await;
            let deleted = self.delete(key).await;
            let lost = found.as_ref().err().is_some_and(|error| error.kind() == ErrorKind::Unavailable);
            // MinIO closes the connection when it refuses a condition without having read the bytes, and now and then its answer is lost with it.
            // What a repeated write finds would say nothing of the store, so all of it begins anew.
            if !lost || deleted.is_err() || !retries.again(Failure::Lost).await {
                return found.and_then(|found| deleted.map(|()| found));
            }
        }
    }

    async fn try_abilities(&self, key: &str) -> Result<Abilities> {
        let (mut creates, mut replaces) = (true, true);
        let first = match self.try_put(key, "first", Condition::New).await? {
            Outcome::Written(pin) => pin,
            Outcome::Refused | Outcome::Unknown => {
                creates = false;
                self.put_with(key, Bytes::from_static(b"first"), &Attributes::default(), Condition::Any).await?
            }
        };
        let mut there = match self.try_put(key, "second", Condition::Match(&first)).await? {
            Outcome::Written(pin) => pin,
            Outcome::Refused | Outcome::Unknown => {
                replaces = false;
                self.put_with(key, Bytes::from_static(b"second"), &Attributes::default(), Condition::Any).await?
            }
        };
        let wrong = [(&mut replaces, Condition::Match(&first), "third"), (&mut creates, Condition::New, "fourth")];
        for (works, condition, text) in wrong {
            if *works && let Outcome::Written(pin) = self.try_put(key, text, condition).await? {
                *works = false;
                there = pin;
            }
        }
        let stale = first.etag.as_deref().filter(|_| first.etag != there.etag);
        let fresh = there.strong();
        let not_modified = self.try_get(key, GetOptions::new().with_if_none_match(there.etag.clone())).await?;
        let refused = self.try_get(key, GetOptions::new().with_if_match(stale)).await?;
        let given = self.try_get(key, GetOptions::new().with_if_match(fresh)).await?;
        Ok(Abilities {
            conditional_create: creates,
            conditional_replace: replaces,
            not_modified: matches!(not_modified, Some(StoreError::NotModified { .. })),
            pinned_reads: stale.is_some()
                && matches!(refused, Some(StoreError::Precondition { .. }))
                && given.is_none(),
            versions: self.s3.is_some() && there.version.is_some(),
        })
    }

    async fn try_put(&self, key: &str, text: &'static str, condition: Condition<'_>) -> Result<Outcome> {
        let bytes = Bytes::from_static(text.as_bytes());
        match self.seam_put(key, bytes, &Attributes::default(), condition).await {
            Ok(put) => Ok(Outcome::Written(Pin::of_put(&put))),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(Outcome::Refused),
            Err(error) if cannot_create_only(&error) => Ok(Outcome::Unknown),
            Err(error) => Err(self.failed("store", key, error)),
        }
    }

    /// The refusal of a read; none if it succeeded.
    async fn try_get(&self, key: &str, options: GetOptions) -> Result<Option<StoreError>> {
        match self.seam_get(key, options).await {
            Ok(_) => Ok(None),
            Err(error @ (StoreError::NotModified { .. } | StoreError::Precondition { .. })) => Ok(Some(error)),
            Err(error) => Err(self.failed("read", key, error)),
        }
    }

    /// Finds out how the store copies. Writes objects of this key and of one more, and deletes them again: 9 requests at most, none where it
    /// is known.
    pub async fn copy_abilities(&self, key: &str) -> Result<CopyAbilities> {
        let Some(objects) = &self.s3 else {
            return Ok(CopyAbilities { whole: true, parts: self.files.is_some() });
        };
        let copy = format!("{key}-copy");
        let found = self.try_copies(objects, key, &copy).await;
        let deleted = self.delete_many(vec![key.to_owned(), copy]).await;
        found.and_then(|found| deleted.map(|()| found))
    }

    async fn try_copies(&self, objects: &S3Objects, key: &str, copy: &str) -> Result<CopyAbilities> {
        let attributes = Attributes::default();
        let first = self.put_with(key, Bytes::from_static(b"first"), &attributes, Condition::Any).await?;
        let there = self.put_with(key, Bytes::from_static(b"second"), &attributes, Condition::Any).await?;
        // A version of its own would still be there.
        let stale = Pin { version: None, ..first };
        let refused = is_refused(self.copy_pinned(key, &stale, copy, &attributes).await.map(drop))?;
        let whole = refused && is_made(self.copy_pinned(key, &there, copy, &attributes).await.map(drop))?;
        let id = match self.governor.run(Request::of(Kind::Multipart), || objects.begin(copy, &attributes)).await {
            Ok(id) => id,
            Err(error) => return is_made(Err(self.uncopied(copy, error))).map(|parts| CopyAbilities { whole, parts }),
        };
        let part = async |number, pin| {
            let send = || objects.copy_part((copy, &id, number), (key, None, pin));
            let tag = self.governor.run(Request::of(Kind::Multipart), send).await;
            tag.map(drop).map_err(|error| self.uncopied(key, error))
        };
        let refused = is_refused(part(1, &stale).await);
        let made = is_made(part(2, &there).await);
        let aborted = self.governor.run(Request::of(Kind::Multipart), || objects.abort(copy, &id)).await;
        aborted.map_err(|error| self.failed("give up to store", copy, error))?;
        Ok(CopyAbilities { whole, parts: refused? && made? })
    }
}

/// Whether a copy of what is not there any more was refused.
fn is_refused(copied: Result<()>) -> Result<bool> {
    match copied {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::Changed => Ok(true),
        Err(error) => no_copies(error),
    }
}

fn is_made(copied: Result<()>) -> Result<bool> {
    copied.map_or_else(no_copies, |()| Ok(true))
}

fn no_copies(error: Error) -> Result<bool> {
    match error.kind() {
        ErrorKind::Changed | ErrorKind::Unsupported | ErrorKind::Denied => Ok(false),
        _ => Err(error),
    }
}
