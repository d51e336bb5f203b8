//! What a later read of an object must find, and what a write may demand of the object that it replaces.

use std::borrow::Cow;
use std::num::NonZeroU128;

use chrono::{DateTime, Utc};
use object_store::{Attribute, Attributes as SeamAttributes, GetResult, ObjectMeta, PutMode, PutResult, UpdateVersion};

/// Which object lies behind a key: the entity tag, and the version where the store keeps versions. Both are opaque.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pin {
    /// The entity tag with its quotes, as HTTP's conditions want it.
    pub etag: Option<String>,
    /// The version, by which the object can be read after it was replaced.
    pub version: Option<String>,
}

impl Pin {
    /// From what a store says. Some leave the quotes out in one answer and not in the other; the version of a bucket that keeps
    /// none is `null`, and is that of the next object of the key, too.
    pub(super) fn new(etag: Option<&str>, version: Option<&str>) -> Self {
        let etag = etag.filter(|etag| !etag.is_empty()).map(|etag| quoted(etag).into_owned());
        let version = version.filter(|version| !matches!(*version, "" | "null")).map(str::to_owned);
        Self { etag, version }
    }

    pub(super) fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.e_tag.as_deref(), meta.version.as_deref())
    }

    pub(super) fn of_put(put: &PutResult) -> Self {
        Self::new(put.e_tag.as_deref(), put.version.as_deref())
    }

    /// The MD5 of the object, if its tag is one: that of an object put in one request is one on S3, unless the store encrypts with
    /// keys of its own. A tag of this form that is no MD5 is possible, so a difference says less than equality does.
    pub fn md5(&self) -> Option<[u8; 16]> {
        Checksum::of_tag(self.etag.as_deref()?).map(Checksum::to_bytes)
    }

    /// The tag for `If-Match`, which never holds for a weak one.
    pub(super) fn strong(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/"))
    }

    /// Whether `found` can be the pinned object, as far as both say: a store that overlooks conditions is found out here.
    pub(super) fn fits(&self, found: &Self) -> bool {
        let same = |one: &Option<String>, other: &Option<String>| match (one, other) {
            (Some(one), Some(other)) => one.trim_start_matches("W/") == other.trim_start_matches("W/"),
            _ => true,
        };
        same(&self.etag, &found.etag) && same(&self.version, &found.version)
    }
}

/// What a store wrote down of the bytes of an object when they came: an entity tag that has the form of an MD5. Most stores give the MD5 of an object
/// that was sent in one part, some a number of the same form that is none: two are compared, and nothing else is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checksum(NonZeroU128);

impl Checksum {
    /// From its 16 bytes. Zeros are none.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        NonZeroU128::new(u128::from_be_bytes(bytes)).map(Self)
    }

    /// Its 16 bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// From an entity tag, in quotes or not. None for a weak one, for that of an object of several parts (`…-3`), and for any other form.
    pub(super) fn of_tag(tag: &str) -> Option<Self> {
        let digits = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Self::from_bytes(bytes)
    }
}

/// The tag in quotes.
fn quoted(etag: &str) -> Cow<'_, str> {
    if etag.ends_with('"') { Cow::Borrowed(etag) } else { Cow::Owned(format!("\"{etag}\"")) }
}

/// What a write demands of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Nothing.
    Any,
    /// There is no object of that key.
    New,
    /// It is this object.
    Match(&'a Pin),
}

impl Condition<'_> {
    pub(super) fn mode(self) -> PutMode {
        match self {
            Self::Any => PutMode::Overwrite,
            Self::New => PutMode::Create,
            Self::Match(pin) => {
                PutMode::Update(UpdateVersion { e_tag: pin.etag.clone(), version: pin.version.clone() })
            }
        }
    }
}

/// What is stored beside the bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `X-Amz-Meta-Mtime`: seconds since 1970 with nine decimals, as rclone writes them. A directory's files get it as their own.
    pub mtime: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control: no-cache`, for what is replaced under the same key.
    pub no_cache: bool,
    /// More names (lower case) and values of user metadata. A directory does not keep them.
    pub more: Vec<(String, String)>,
}

const MTIME: &str = "mtime";

impl Attributes {
    pub(super) fn seam(&self) -> SeamAttributes {
        let mut attributes = SeamAttributes::new();
        if let Some(kind) = &self.content_type {
            attributes.insert(Attribute::ContentType, kind.clone().into());
        }
        if self.no_cache {
            attributes.insert(Attribute::CacheControl, "no-cache".into());
        }
        for (name, value) in self.metadata() {
            attributes.insert(Attribute::Metadata(name.to_owned().into()), value.to_owned().into());
        }
        attributes
    }

    /// User metadata: the time, then the others.
    pub(super) fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let mtime = self.mtime.as_deref().map(|mtime| (MTIME, mtime));
        mtime.into_iter().chain(self.more.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    pub(super) fn of(seam: &SeamAttributes) -> Self {
        let mut found = Self::default();
        for (name, value) in seam {
            match name {
                Attribute::ContentType => found.content_type = Some(value.to_string()),
                Attribute::CacheControl => found.no_cache = value.contains("no-cache"),
                Attribute::Metadata(name) if name.eq_ignore_ascii_case(MTIME) => found.mtime = Some(value.to_string()),
                Attribute::Metadata(name) => found.more.push((name.to_ascii_lowercase(), value.to_string())),
                _ => {}
            }
        }
        found.more.sort_unstable();
        found
    }
}

/// One object, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key, relative to the location.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Which object it is. A listing names no version.
    pub pin: Pin,
    /// When it was stored, by the store's own clock; of a directory, the time of the file.
    pub modified: DateTime<Utc>,
}

impl ObjectInfo {
    pub(super) fn of(key: String, meta: &ObjectMeta) -> Self {
        Self { key, size: meta.size, pin: Pin::of(meta), modified: meta.last_modified }
    }
}

/// The object and its attributes, from the answer to a request for its head.
pub(super) fn head_of(key: &str, answer: &GetResult) -> (ObjectInfo, Attributes) {
    (ObjectInfo::of(key.to_owned(), &answer.meta), Attributes::of(&answer.attributes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_quoted_once_and_null_is_no_version() {
        for (said, etag) in [("abc", "\"abc\""), ("\"abc\"", "\"abc\""), ("W/\"abc\"", "W/\"abc\"")] {
            assert_eq!(Pin::new(Some(said), Some("null")), Pin { etag: Some(etag.to_owned()), version: None });
        }
        assert_eq!(Pin::new(Some(""), Some("")), Pin::default());
    }

    #[test]
    fn a_tag_that_is_an_md5_is_told_from_others() {
        let md5 = |etag: &str| Pin::new(Some(etag), None).md5();
        assert_eq!(md5("d41d8cd98f00b204e9800998ecf8427e").map(|md5| md5[0]), Some(0xd4));
        assert_eq!(md5("d41d8cd98f00b204e9800998ecf8427e-2"), None);
        assert_eq!(md5("1f-63a-5"), None);
    }

    #[test]
    fn only_a_strong_tag_of_32_digits_is_a_checksum() {
        let bytes = |tag: &str| Checksum::of_tag(tag).map(Checksum::to_bytes);
        let digits = "d41d8cd98f00b204e9800998ecf8427e";
        let known =
            Some([0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e]);
        assert_eq!(bytes(digits), known);
        assert_eq!(bytes(&format!("\"{digits}\"")), known);
        assert_eq!(bytes(&digits.to_uppercase()), known);
        let others = [
            format!("W/\"{digits}\""),
            format!("{digits}-1"),
            format!("\"{digits}"),
            format!("{digits}00"),
            format!(" {digits}"),
        ];
        for tag in others.iter().map(String::as_str).chain([
            "",
            "\"\"",
            "0x8DCAFE",
            &digits[1..],
            &"0".repeat(32),
            "é".repeat(16).as_str(),
        ]) {
            assert_eq!(bytes(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_pin_fits_what_does_not_contradict_it() {
        let pin = Pin::new(Some("a"), Some("v"));
        assert!(pin.fits(&Pin::new(Some("W/\"a\""), None)));
        assert!(pin.fits(&Pin::default()));
        assert!(!pin.fits(&Pin::new(Some("b"), Some("v"))));
        assert!(!pin.fits(&Pin::new(Some("a"), Some("w"))));
    }

    #[test]
    fn attributes_go_through_the_seam_and_come_back() {
        let attributes = Attributes {
            mtime: Some("1754300000.123456789".to_owned()),
            content_type: Some("text/plain".to_owned()),
            no_cache: true,
            more: vec![("mode".to_owned(), "100644".to_owned()), ("uid".to_owned(), "0".to_owned())],
        };
        assert_eq!(Attributes::of(&attributes.seam()), attributes);
    }
}
