//! A listing in little memory: objects by key, about 50 bytes for each whose key shares most of itself with its neighbour's.
//!
//! Objects come in any order, mostly that of their keys. They are kept in runs of [`RUN`], each sorted; in a run each key is what it does not share with the
//! one before, but for every [`BLOCK`]th. A key is looked for in the runs between whose first and last it lies: one, if the listing came in order.

use crate::catalog::Timestamp;
use crate::catalog::wire::{Reader, put_bytes, put_len, put_varint, put_zigzag};
use crate::error::Result;
use crate::storage::Pin;

use super::standing::Stood;

/// Objects of a run. While they are gathered they take about 200 bytes each.
const RUN: usize = 16 << 10;
/// Objects that are read one after the other to find one.
const BLOCK: usize = 16;

/// How an entity tag is written: not at all, as 16 bytes that stand for a quoted MD5, as it is.
const NO_TAG: u8 = 0;
const MD5_TAG: u8 = 1;
const ANY_TAG: u8 = 2;
/// There is a version.
const VERSION: u8 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Listed {
    runs: Vec<Run>,
    waiting: Vec<(String, Stood)>,
}

#[derive(Debug)]
struct Run {
    first: String,
    last: String,
    bytes: Vec<u8>,
    /// Where each block begins in `bytes`.
    blocks: Vec<usize>,
    /// Whether each object is needed.
    needed: Vec<bool>,
}

/// Goes over objects from the beginning of a block.
struct Rows<'r> {
    reader: Reader<'r>,
    key: Vec<u8>,
}

impl Listed {
    /// There is this object.
    pub(super) fn add(&mut self, key: String, stood: Stood) {
        self.waiting.push((key, stood));
        if self.waiting.len() >= RUN {
            self.end_run();
        }
    }

    /// No more objects come.
    pub(super) fn end(&mut self) {
        self.end_run();
        self.waiting = Vec::new();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.waiting.is_empty()
    }

    /// Marks the object at `key` as needed, and says what it is. A key that was listed twice is what was said last.
    pub(super) fn need(&mut self, key: &str) -> Option<Stood> {
        let mut found = None;
        for run in &mut self.runs {
            if let Some((number, stood)) = run.find(key) {
                if let Some(needed) = run.needed.get_mut(number) {
                    *needed = true;
                }
                found = Some(stood);
            }
        }
        found
    }

    /// Nothing is known to be needed.
    pub(super) fn forget(&mut self) {
        self.runs.iter_mut().for_each(|run| run.needed.fill(false));
    }

    /// Hands the objects to `each` that nothing needs.
    pub(super) fn unneeded(&self, each: &mut dyn FnMut(&str, &Stood)) {
        for run in &self.runs {
            let mut rows = Rows::new(&run.bytes);
            for needed in &run.needed {
                let Some(stood) = rows.next() else { break };
                if !needed && let Ok(key) = std::str::from_utf8(&rows.key) {
                    each(key, &stood);
                }
            }
        }
    }

    fn end_run(&mut self) {
        // Stable: of two with one key the later one stays behind the other.
        self.waiting.sort_by(|left, right| left.0.cmp(&right.0));
        self.waiting.dedup_by(|later, earlier| {
            later.0 == earlier.0 && {
                std::mem::swap(&mut later.1, &mut earlier.1);
                true
            }
        });
        let (Some(first), Some(last)) = (self.waiting.first(), self.waiting.last()) else { return };
        let (first, last) = (first.0.clone(), last.0.clone());
        let (mut bytes, mut blocks, mut before) = (Vec::new(), Vec::new(), "");
        for (number, (key, stood)) in self.waiting.iter().enumerate() {
            if number % BLOCK == 0 {
                blocks.push(bytes.len());
                before = "";
            }
            put(&mut bytes, (before, key), stood);
            before = key;
        }
        bytes.shrink_to_fit();
        self.runs.push(Run { first, last, bytes, blocks, needed: vec![false; self.waiting.len()] });
        self.waiting.clear();
    }
}

impl Run {
    /// The number of the object at `key`, and what it is.
    fn find(&self, key: &str) -> Option<(usize, Stood)> {
        if key < self.first.as_str() || key > self.last.as_str() {
            return None;
        }
        let after =
            self.blocks.partition_point(|at| self.key_at(*at).is_some_and(|first| first.as_slice() <= key.as_bytes()));
        let block = after.checked_sub(1)?;
        let mut rows = Rows::new(self.bytes.get(*self.blocks.get(block)?..)?);
        for number in block * BLOCK..(block + 1) * BLOCK {
            let stood = rows.next()?;
            if rows.key == key.as_bytes() {
                return Some((number, stood));
            }
        }
        None
    }

    fn key_at(&self, at: usize) -> Option<Vec<u8>> {
        let mut rows = Rows::new(self.bytes.get(at..)?);
        rows.next()?;
        Some(rows.key)
    }
}

fn put(out: &mut Vec<u8>, (before, key): (&str, &str), stood: &Stood) {
    let shared = before.bytes().zip(key.bytes()).take_while(|(left, right)| left == right).count();
    put_len(out, shared);
    put_bytes(out, key.as_bytes().get(shared..).unwrap_or_default());
    put_varint(out, stood.size);
    put_zigzag(out, stood.time.seconds);
    put_varint(out, u64::from(stood.time.nanos));
    let Pin { etag, version } = &stood.pin;
    // Only what comes back as it was.
    let md5 = stood.pin.md5().filter(|md5| etag.as_deref() == Some(&quoted(md5)));
    let form = match (etag, md5) {
        (None, _) => NO_TAG,
        (Some(_), Some(_)) => MD5_TAG,
        (Some(_), None) => ANY_TAG,
    };
    out.push(if version.is_some() { form | VERSION } else { form });
    match (etag, md5) {
        (_, Some(md5)) => out.extend_from_slice(&md5),
        (Some(etag), None) => put_bytes(out, etag.as_bytes()),
        (None, None) => {}
    }
    if let Some(version) = version {
        put_bytes(out, version.as_bytes());
    }
}

fn quoted(md5: &[u8; 16]) -> String {
    format!("\"{}\"", hex::encode(md5))
}

impl<'r> Rows<'r> {
    fn new(bytes: &'r [u8]) -> Self {
        Self { reader: Reader::new(bytes), key: Vec::new() }
    }

    fn next(&mut self) -> Option<Stood> {
        self.read().ok()
    }

    fn read(&mut self) -> Result<Stood> {
        let reader = &mut self.reader;
        self.key.truncate(reader.usize("shared length of keys")?);
        self.key.extend_from_slice(reader.bytes()?);
        let size = reader.varint()?;
        let time = Timestamp { seconds: reader.zigzag()?, nanos: reader.u32("nanoseconds")? };
        let form = reader.u8()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let etag = match form & !VERSION {
            NO_TAG => None,
            MD5_TAG => Some(quoted(&reader.array()?)),
            _ => Some(text(reader.bytes()?)),
        };
        let version = if form & VERSION == 0 { None } else { Some(text(reader.bytes()?)) };
        Ok(Stood { size, pin: Pin { etag, version }, time })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn stood() -> impl Strategy<Value = Stood> {
        let etag = prop_oneof![
            Just(None),
            any::<[u8; 16]>().prop_map(|md5| Some(quoted(&md5))),
            "\"[0-9a-fA-F]{32}\"".prop_map(Some),
            "W?/?\"[ -~]{0,20}\"?".prop_map(Some),
        ];
        let version = proptest::option::of("[ -~]{0,12}");
        (any::<u64>(), any::<i64>(), 0u32..1_000_000_000, etag, version).prop_map(
            |(size, seconds, nanos, etag, version)| Stood {
                size,
                pin: Pin { etag, version },
                time: Timestamp { seconds, nanos },
            },
        )
    }

    fn all_unneeded(listed: &Listed) -> BTreeMap<String, Stood> {
        let mut all = BTreeMap::new();
        listed.unneeded(&mut |key, stood| assert!(all.insert(key.to_owned(), stood.clone()).is_none(), "{key} twice"));
        all
    }

    proptest! {
        #[test]
        fn what_was_added_is_found(objects in proptest::collection::vec(("[a-c/é]{0,6}", stood()), 0..200), asked in proptest::collection::vec("[a-c/é]{0,6}", 20)) {
            let mut listed = Listed::default();
            let mut expected = BTreeMap::new();
            for (key, stood) in &objects {
                listed.add(key.clone(), stood.clone());
                expected.insert(key.clone(), stood.clone());
            }
            listed.end();
            prop_assert_eq!(&all_unneeded(&listed), &expected);
            for key in &asked {
                prop_assert_eq!(listed.need(key), expected.get(key).cloned());
            }
            let mut left = expected.clone();
            left.retain(|key, _| !asked.contains(key));
            prop_assert_eq!(all_unneeded(&listed), left);
            listed.forget();
            prop_assert_eq!(all_unneeded(&listed), expected);
        }
    }

    /// Several runs, in order and in none, and keys that come again: none of the places of a needed key is left as one that nothing needs.
    #[test]
    fn runs_are_looked_through() {
        let plain = |number: u64| Stood { size: number, pin: Pin::default(), time: Timestamp { seconds: 0, nanos: 0 } };
        let many = 3 * RUN as u64 + 7;
        for step in [1, 7_919] {
            let mut listed = Listed::default();
            for number in 0..many {
                let number = number * step % many;
                listed.add(format!("directory-{:03}/file-{number:08}", number / 100), plain(number));
            }
            listed.add("directory-000/file-00000003".to_owned(), plain(77));
            listed.end();
            assert_eq!(listed.runs.len(), 4);
            for number in (0..many).step_by(101) {
                let key = format!("directory-{:03}/file-{number:08}", number / 100);
                assert_eq!(listed.need(&key).map(|stood| stood.size), Some(number), "{key}");
            }
            assert_eq!(listed.need("directory-000/file-00000003").map(|stood| stood.size), Some(77));
            assert_eq!(listed.need("directory-000/file-0000000"), None);
            let mut left = 0;
            listed.unneeded(&mut |key, _| {
                assert_ne!(key, "directory-000/file-00000003");
                left += 1;
            });
            assert_eq!(left, many - many.div_ceil(101) - 1);
        }
    }
}
