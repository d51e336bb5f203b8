//! The root of a mirror: the one small object that says which generation is published. Spec: `docs/mirror.md` section 3.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::segment::SegmentRef;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectHash;

/// Largest text of a root. Readers refuse more.
pub const ROOT_MAX: u64 = 64 << 10;
/// Most deltas above the base: each is one request of a reader that has no earlier generation.
pub const DELTAS_MAX: usize = 32;
/// Most deltas that are kept for readers whose generation is older than the base.
pub const HISTORY_MAX: usize = 16;
/// The layout that this version writes and reads.
const FORMAT: u32 = 1;
/// Some objects were taken over from another tool, and nobody has hashed them yet.
pub const UNHASHED: &str = "unhashed";
/// Names of the features that this version knows.
const FEATURES: [&str; 1] = [UNHASHED];
/// Largest generation: twelve digits, as in the names of roots.
const GENERATION_MAX: u64 = 999_999_999_999;
/// What to do about a root, or a manifest, that cannot be read.
pub(super) const WAY_OUT: &str = "`volvault mirror push --relist` from the source makes the manifest anew; files that are there already are not sent again";
/// What stands before the hash in the last line.
const SEAL: &str = "blake3:";

/// One generation of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Layout of the control area.
    #[serde(rename = "volvault-mirror")]
    format: u32,
    /// Names of what a reader must know beyond that; an unknown one is refused.
    #[serde(default)]
    pub features: Vec<String>,
    /// Number of this generation, from 1 on without gaps.
    pub generation: u64,
    /// BLAKE3 of the whole text of the root before this one.
    #[serde(default, with = "optional_hash", skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectHash>,
    /// When its push began to read the source, by the pusher's clock: what changed later may not be in it.
    pub time: DateTime<Utc>,
    /// Who published it.
    pub pusher: Pusher,
    /// What it holds.
    pub totals: Totals,
    /// What there is for other tools, beside the files.
    #[serde(default)]
    pub flags: Flags,
    /// The segment that holds all entries of its generation.
    pub base: SegmentRef,
    /// The changes after the base, one segment a generation, ascending and without gaps.
    #[serde(default)]
    pub deltas: Vec<Delta>,
    /// The changes up to the base, likewise: they are in the base already.
    #[serde(default)]
    pub history: Vec<Delta>,
}

/// The changes of one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Where they are.
    #[serde(flatten)]
    pub segment: SegmentRef,
    /// [`Root::content`] of the generation before: what they are to be laid upon, and nothing else. Numbers alone do not tell, because
    /// a mirror that was wiped and made anew counts from 1 again.
    #[serde(with = "hex_hash")]
    pub onto: ObjectHash,
}

/// Who publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pusher {
    /// Drawn once by each pusher.
    pub id: String,
    /// Name of the machine.
    pub host: String,
    /// Name and version of the program.
    pub program: String,
}

/// Counts of a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Entries of all kinds.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Bytes of their objects.
    pub bytes: u64,
}

/// What a pusher was told to keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// `permissions.facl` is written for `VolSync` movers.
    #[serde(default)]
    pub facl: bool,
    /// Small files are in packs too.
    #[serde(default)]
    pub packs: bool,
}

impl Root {
    /// The first generation of a mirror, all of which is in `base`.
    pub fn first(base: SegmentRef, pusher: Pusher, time: DateTime<Utc>, totals: Totals) -> Self {
        Self {
            format: FORMAT,
            features: Vec::new(),
            generation: base.generation,
            parent: None,
            time,
            pusher,
            totals,
            flags: Flags::default(),
            base,
            deltas: Vec::new(),
            history: Vec::new(),
        }
    }

    /// The generation after this one, which `text` is the text of: `delta` leads to it, and `base`, if there is one, holds all of it.
    ///
    /// # Errors
    /// `Bug` when a segment is not of that generation.
    pub fn next(&self, text: &[u8], delta: SegmentRef, base: Option<SegmentRef>) -> Result<Self> {
        let mut next = self.clone();
        next.generation += 1;
        next.parent = Some(ObjectHash::new(*blake3::hash(text).as_bytes()));
        next.deltas.push(Delta { segment: delta, onto: self.content() });
        if let Some(base) = base {
            next.history.append(&mut next.deltas);
            let older = next.history.len().saturating_sub(HISTORY_MAX);
            next.history.drain(..older);
            next.base = base;
        }
        match next.flaw() {
            Some(flaw) => Err(Error::bug(format!("the next root of the mirror: {flaw}"))),
            None => Ok(next),
        }
    }

    /// Whether the next push should write a base: there are as many deltas as a root may have, or with `coming` bytes they are
    /// more than a quarter of the base, so that a reader without an earlier generation would read much that is superseded.
    pub fn wants_base(&self, coming: u64) -> bool {
        let deltas = self.deltas.iter().fold(coming, |sum, delta| sum.saturating_add(delta.segment.size));
        self.deltas.len() >= DELTAS_MAX || deltas > self.base.size / 4
    }

    /// Says what the generation holds: equal for two roots only if all their entries are equal, whatever else they say.
    pub fn content(&self) -> ObjectHash {
        let mut hasher = blake3::Hasher::new_derive_key("volvault mirror generation 1");
        hasher.update(&self.generation.to_le_bytes()).update(self.base.hash.as_bytes());
        for delta in &self.deltas {
            hasher.update(delta.segment.hash.as_bytes());
        }
        ObjectHash::new(*hasher.finalize().as_bytes())
    }

    /// The deltas that lead from the generation of `seen` to this one. None if they do not reach back that far, or if `seen` is
    /// no forebear of this root. Empty for the same generation.
    pub fn deltas_since(&self, seen: &Self) -> Option<Vec<SegmentRef>> {
        let onto = seen.content();
        if onto == self.content() {
            return Some(Vec::new());
        }
        let all = || self.history.iter().chain(&self.deltas);
        let skipped = all().position(|delta| delta.onto == onto && delta.segment.generation == seen.generation + 1)?;
        Some(all().skip(skipped).map(|delta| delta.segment.clone()).collect())
    }

    /// Every segment that it names.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentRef> {
        let deltas = self.deltas.iter().chain(&self.history).map(|delta| &delta.segment);
        std::iter::once(&self.base).chain(deltas)
    }

    /// The text of the object.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if let Some(flaw) = self.flaw() {
            return Err(Error::bug(format!("the root of the mirror: {flaw}")));
        }
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|cause| Error::bug("write the root of the mirror").with_source(cause))?;
        text.push('\n');
        let hash = blake3::hash(text.as_bytes()).to_hex();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{SEAL}{hash}");
        if text.len() as u64 > ROOT_MAX {
            return Err(Error::bug(format!("the root of the mirror has {} bytes", text.len())));
        }
        Ok(text.into_bytes())
    }

    /// Reads the text of a root.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are no root, `Unsupported` for a layout or a feature of a later version.
    pub fn decode(text: &[u8]) -> Result<Self> {
        let corrupt = |why: &str| Error::corrupt(format!("the root of the mirror: {why}")).with_hint(WAY_OUT);
        if text.len() as u64 > ROOT_MAX {
            return Err(corrupt("it is too large"));
        }
        let text = std::str::from_utf8(text).map_err(|cause| corrupt("it is no text").with_source(cause))?;
        let (json, hash) = text
            .strip_suffix('\n')
            .and_then(|text| text.rsplit_once('\n'))
            .and_then(|(json, last)| Some((json.len() + 1, last.strip_prefix(SEAL)?)))
            .ok_or_else(|| corrupt("its last line is no hash"))?;
        let json = text.get(..json).unwrap_or_default();
        if blake3::hash(json.as_bytes()).to_hex().as_str() != hash {
            return Err(corrupt("its bytes do not have the hash in its last line"));
        }
        Self::check_version(json)?;
        let root: Self = serde_json::from_str(json).map_err(|cause| corrupt("its JSON").with_source(cause))?;
        match root.flaw() {
            Some(flaw) => Err(corrupt(flaw)),
            None => Ok(root),
        }
    }

    /// Before anything else is read: a later layout may have other members.
    fn check_version(json: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "volvault-mirror")]
            format: u32,
            #[serde(default)]
            features: Vec<String>,
        }
        let version: Version = serde_json::from_str(json)
            .map_err(|cause| Error::corrupt("the root of the mirror: its JSON").with_source(cause))?;
        let unknown = version.features.iter().find(|name| !FEATURES.contains(&name.as_str()));
        let what = match unknown {
            _ if version.format != FORMAT => format!("the mirror has format {}", version.format),
            Some(name) => format!("the mirror uses {name:?}"),
            None => return Ok(()),
        };
        Err(Error::new(ErrorKind::Unsupported, format!("{what}, which this version does not know"))
            .with_hint("use the version of volvault that wrote it, or a later one"))
    }

    fn flaw(&self) -> Option<&'static str> {
        if self.format != FORMAT || self.generation == 0 || self.generation > GENERATION_MAX {
            return Some("its format or its generation");
        }
        if self.deltas.len() > DELTAS_MAX || self.history.len() > HISTORY_MAX {
            return Some("it has too many deltas");
        }
        // From the newest back, no generation is missing: a reader counts on it when it picks deltas.
        let mut expected = self.generation;
        for delta in self.deltas.iter().rev() {
            if delta.segment.generation != expected || expected <= self.base.generation {
                return Some("its deltas are not those from the base to its generation");
            }
            expected -= 1;
        }
        if expected != self.base.generation || self.base.removed != 0 {
            return Some("its deltas do not begin after the base, or the base is none");
        }
        for delta in self.history.iter().rev() {
            if delta.segment.generation != expected || expected < 2 {
                return Some("its older deltas do not lead to the base");
            }
            expected -= 1;
        }
        None
    }
}

/// Hashes as hex, in JSON.
pub(super) mod hex_hash {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::id::ObjectHash;

    pub(in super::super) fn serialize<S: Serializer>(hash: &ObjectHash, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&hash.to_hex())
    }

    pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(input: D) -> Result<ObjectHash, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}

mod optional_hash {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::id::ObjectHash;

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(hash: &Option<ObjectHash>, out: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => out.serialize_some(&hash.to_hex()),
            None => out.serialize_none(),
        }
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(input: D) -> Result<Option<ObjectHash>, D::Error> {
        let text = Option::<String>::deserialize(input)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(generation: u64, size: u64) -> SegmentRef {
        SegmentRef {
            generation,
            hash: ObjectHash::new([generation.to_le_bytes()[0]; 32]),
            size,
            entries: 5,
            removed: 0,
        }
    }

    fn first() -> Root {
        let pusher = Pusher { id: "p".to_owned(), host: "h".to_owned(), program: "volvault 0.1".to_owned() };
        let time = "2026-11-20T17:00:00Z".parse().expect("a time");
        Root::first(segment(1, 1000), pusher, time, Totals { entries: 5, files: 3, bytes: 17 })
    }

    /// `count` generations, each base at a multiple of `every`.
    fn grown(count: u64, every: u64) -> Root {
        let mut root = first();
        for generation in 2..=count {
            let text = root.encode().expect("a root");
            let base = (generation % every == 0).then(|| segment(generation, 1000));
            root = root.next(&text, segment(generation, 5), base).expect("the next");
            assert_eq!(root.parent, Some(ObjectHash::new(*blake3::hash(&text).as_bytes())));
        }
        root
    }

    #[test]
    fn a_root_comes_back_from_its_text() {
        for root in [first(), grown(5, 100), grown(90, 20)] {
            let text = root.encode().expect("a root");
            assert_eq!(Root::decode(&text).expect("its text"), root);
        }
        let largest = grown(65, 33);
        assert_eq!((largest.deltas.len(), largest.history.len()), (32, 16));
        assert!(largest.encode().expect("a root").len() < 20_000);
        assert!(largest.next(b"", segment(66, 1), None).is_err(), "no more than 32 deltas");
    }

    #[test]
    fn deltas_lead_from_every_generation_that_they_reach() {
        let root = grown(90, 20);
        assert_eq!((root.base.generation, root.deltas.len(), root.history.len()), (80, 10, 16));
        for generation in 64..=90 {
            let deltas = root.deltas_since(&grown(generation, 20)).expect("reached");
            let numbers: Vec<u64> = deltas.iter().map(|delta| delta.generation).collect();
            assert_eq!(numbers, (generation + 1..=90).collect::<Vec<_>>());
        }
        assert_eq!(root.deltas_since(&grown(63, 20)), None);
        assert_eq!(root.deltas_since(&grown(91, 20)), None);
    }

    #[test]
    fn deltas_do_not_lead_from_another_mirror_of_the_same_numbers() {
        let root = grown(12, 100);
        let mut wiped = first();
        wiped.base.hash = ObjectHash::new([0xee; 32]);
        for generation in 2..=12 {
            wiped = wiped.next(b"", segment(generation, 5), None).expect("the next");
        }
        assert_eq!(wiped.generation, root.generation);
        assert_eq!(wiped.deltas_since(&root), None);
        assert_eq!(wiped.deltas_since(&grown(5, 100)), None);
        assert_ne!(wiped.content(), root.content());
    }

    #[test]
    fn a_root_that_is_written_again_is_the_same_generation() {
        let root = grown(12, 100);
        let mut again = root.clone();
        again.time = "2026-11-20T18:00:00Z".parse().expect("a time");
        again.pusher.host = "another".to_owned();
        assert_eq!(again.deltas_since(&root), Some(Vec::new()));
        let next = again.next(b"", segment(13, 5), None).expect("the next");
        assert_eq!(next.deltas_since(&root).expect("reached").len(), 1);
    }

    #[test]
    fn a_base_is_wanted_at_32_deltas_or_a_quarter_of_its_bytes() {
        assert!(!first().wants_base(250));
        assert!(first().wants_base(251));
        assert!(!grown(32, 100).wants_base(0));
        assert!(grown(33, 100).wants_base(0));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_root_is_seen() {
        let text = grown(4, 3).encode().expect("a root");
        for at in 0..text.len() {
            let mut flipped = text.clone();
            flipped[at] ^= 1;
            assert!(Root::decode(&flipped).is_err(), "bit of byte {at}");
            assert!(Root::decode(&text[..at]).is_err(), "cut at {at}");
        }
    }

    fn sealed(json: &str) -> Vec<u8> {
        format!("{json}\nblake3:{}\n", blake3::hash(format!("{json}\n").as_bytes()).to_hex()).into_bytes()
    }

    #[test]
    fn later_layouts_are_refused_by_name_and_unknown_members_are_skipped() {
        let json = serde_json::to_string(&first()).expect("JSON");
        let read = |from: &str, to: &str| Root::decode(&sealed(&json.replacen(from, to, 1)));
        assert_eq!(read("{", "{\"later\":[1],").expect("skipped"), first());
        for (from, to) in [("\"volvault-mirror\":1", "\"volvault-mirror\":2"), ("[]", "[\"sealed pages\"]")] {
            let error = read(from, to).expect_err("of a later version");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(error.hint().is_some());
        }
        for (from, to) in [
            ("\"generation\":1", "\"generation\":2"),
            ("\"generation\":1", "\"generation\":0"),
            ("\"hash\":\"01", "\"hash\":\"0"),
            ("\"size\":1000", "\"size\":-1"),
        ] {
            assert_eq!(read(from, to).expect_err("no root").kind(), ErrorKind::Corrupt);
        }
    }
}
