//! What the target looked like when it was found to be as the mirror has it: for each entry what the kernel says of its inode, of which nobody can set
//! the time of its last change. What still looks so need not be looked into; when all of it does, and the mirror has not changed either, there is
//! nothing to do.
//!
//! A file in the state, written anew by each pull that changed the target or had to look into it. Never trusted to be whole: a file that is missing,
//! damaged or of other circumstances counts as nothing seen.
//!
//! ```text
//! "vvseen1\n" ‖ [length (u32) ‖ frame] × n ‖ generation (32) ‖ circumstances (32) ‖ 8 counts (u64 each) ‖ BLAKE3 of all bytes before (32)
//! frame = [shared (varint) ‖ suffix length (varint) ‖ suffix ‖ flags (u8) ‖ if flag 2: seconds (zigzag) ‖ nanoseconds, inode, device (varint each)] × n
//! ```
//!
//! Paths ascend; `shared` counts from the path before in the same frame.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::catalog::Timestamp;
use crate::catalog::wire::{Reader, put_bytes, put_len, put_varint, put_zigzag};
use crate::error::{Attempt, Result};
use crate::path::{TreePath, compare};
use crate::volume::{NotSet, Stat};

const MAGIC: &[u8; 8] = b"vvseen1\n";
/// Two digests, counts and the hash of all.
const TRAILER: usize = 32 + 32 + 8 * COUNTS + 32;
const COUNTS: usize = 8;
/// Bytes that end a frame.
const FRAME_FULL: usize = 64 << 10;
/// Largest frame: a path more.
const FRAME_MAX: usize = 128 << 10;
/// Read at once.
const PIECE: usize = 256 << 10;

/// No attributes that a mirror decides on.
const BARE: u8 = 1;
/// What the inode was follows.
const SURE: u8 = 2;

/// What the kernel says of an inode. Whatever is changed of it, or in it, gives it another time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    ctime: Timestamp,
    inode: u64,
    device: u64,
}

/// What was seen at one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// None where a later change might have left the same.
    pub(super) stamp: Option<Stamp>,
    /// It had no attributes that a mirror decides on.
    pub(super) bare: bool,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { ctime: stat.ctime, inode: stat.inode, device: stat.device }
    }
}

/// Under which circumstances something was seen, and what a run that finds the same has to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// The root of the generation.
    pub(super) generation: [u8; 32],
    /// What else decides on how an entry should be: rights and options.
    pub(super) circumstances: [u8; 32],
    /// Entries compared and listed.
    pub(super) checks: u64,
    pub(super) listed: u64,
    /// What could not be set.
    pub(super) not_set: NotSet,
}

impl Terms {
    fn counts(&self) -> [u64; COUNTS] {
        let NotSet { ownership, special_bits, mode, xattrs, times, nodes } = self.not_set;
        [self.checks, self.listed, ownership, special_bits, mode, xattrs, times, nodes]
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = [self.generation, self.circumstances].concat();
        for count in self.counts() {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (generation, circumstances) = (reader.array()?, reader.array()?);
        let mut next = || Ok::<_, crate::Error>(u64::from_le_bytes(reader.array()?));
        let (checks, listed, ownership) = (next()?, next()?, next()?);
        let (special_bits, mode, xattrs, times, nodes) = (next()?, next()?, next()?, next()?, next()?);
        let not_set = NotSet { ownership, special_bits, mode, xattrs, times, nodes };
        Ok(Self { generation, circumstances, checks, listed, not_set })
    }
}

/// Writes what is seen, in catalogue order.
pub(super) struct SeenWriter {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    frame: Vec<u8>,
    last: Vec<u8>,
}

impl SeenWriter {
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).attempt(|| format!("create {}", path.display()))?;
        let file = BufWriter::with_capacity(PIECE, file);
        let mut writer = Self { path, file, hasher: blake3::Hasher::new(), frame: Vec::new(), last: Vec::new() };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    pub(super) fn put(&mut self, path: &[u8], mark: Mark) -> Result<()> {
        if self.frame.len() >= FRAME_FULL {
            self.end_frame()?;
        }
        let shared = self.last.iter().zip(path).take_while(|(one, other)| one == other).count();
        put_len(&mut self.frame, shared);
        put_bytes(&mut self.frame, path.get(shared..).unwrap_or_default());
        self.frame.push(if mark.bare { BARE } else { 0 } | if mark.stamp.is_some() { SURE } else { 0 });
        if let Some(Stamp { ctime, inode, device }) = mark.stamp {
            put_zigzag(&mut self.frame, ctime.seconds);
            for number in [u64::from(ctime.nanos), inode, device] {
                put_varint(&mut self.frame, number);
            }
        }
        self.last.truncate(shared);
        self.last.extend_from_slice(path.get(shared..).unwrap_or_default());
        Ok(())
    }

    /// The file, whole but not on the disk: a machine that loses its power loses what it had seen.
    pub(super) fn finish(mut self, terms: &Terms) -> Result<PathBuf> {
        self.end_frame()?;
        self.write(&terms.encode())?;
        let hash = *self.hasher.finalize().as_bytes();
        self.write(&hash)?;
        self.file.flush().attempt(|| format!("write {}", self.path.display()))?;
        Ok(self.path)
    }

    fn end_frame(&mut self) -> Result<()> {
        let frame = std::mem::take(&mut self.frame);
        self.last.clear();
        if !frame.is_empty() {
            self.write(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            self.write(&frame)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).attempt(|| format!("write {}", self.path.display()))
    }
}

/// What was seen, read in catalogue order.
pub(super) struct Seen {
    pub(super) terms: Terms,
    file: BufReader<File>,
    /// Bytes of frames that are still to be read.
    left: u64,
    frame: Vec<u8>,
    at: usize,
    path: Vec<u8>,
    mark: Mark,
    /// The entry at hand was not asked for yet.
    waits: bool,
}

impl Seen {
    /// None if there is no such file, or not all of it.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        let left = size.checked_sub((MAGIC.len() + TRAILER) as u64)?;
        let (mut hasher, mut piece, mut to_hash) = (blake3::Hasher::new(), vec![0; PIECE], size - 32);
        while to_hash > 0 {
            let len = PIECE.min(usize::try_from(to_hash).unwrap_or(PIECE));
            let bytes = piece.get_mut(..len)?;
            file.read_exact(bytes).ok()?;
            hasher.update(bytes);
            to_hash -= len as u64;
        }
        let mut trailer = [0; TRAILER];
        file.seek(SeekFrom::Start(size - TRAILER as u64)).ok()?;
        file.read_exact(&mut trailer).ok()?;
        let (terms, hash) = trailer.split_at_checked(TRAILER - 32)?;
        let mut magic = [0; MAGIC.len()];
        file.seek(SeekFrom::Start(0)).ok()?;
        file.read_exact(&mut magic).ok()?;
        if hasher.finalize().as_bytes() != hash || magic != *MAGIC {
            return None;
        }
        let terms = Terms::decode(terms).ok()?;
        let file = BufReader::with_capacity(PIECE, file);
        let (frame, path, mark) = (Vec::new(), Vec::new(), Mark::default());
        Some(Self { terms, file, left, frame, at: 0, path, mark, waits: false })
    }

    /// The next entry; none at the end.
    pub(super) fn next(&mut self) -> Option<(&[u8], Mark)> {
        if !std::mem::take(&mut self.waits) {
            self.advance()?;
        }
        Some((&self.path, self.mark))
    }

    /// What was seen at `path`. To be asked in catalogue order.
    pub(super) fn at(&mut self, path: &TreePath) -> Option<Mark> {
        loop {
            if !self.waits {
                self.advance()?;
                self.waits = true;
            }
            match compare(&self.path, path.as_bytes()) {
                Ordering::Less => self.waits = false,
                Ordering::Equal => return Some(self.mark),
                Ordering::Greater => return None,
            }
        }
    }

    /// The whole file was verified when it was opened: what cannot be read now is its end.
    fn advance(&mut self) -> Option<()> {
        if self.at >= self.frame.len() {
            self.read_frame()?;
        }
        let rest = self.frame.get(self.at..)?;
        let mut reader = Reader::new(rest);
        let shared = reader.usize("shared length of paths").ok()?;
        let suffix = reader.bytes().ok()?;
        let flags = reader.u8().ok()?;
        let mut stamp = None;
        if flags & SURE != 0 {
            let seconds = reader.zigzag().ok()?;
            let nanos = reader.u32("nanoseconds").ok()?;
            let (inode, device) = (reader.varint().ok()?, reader.varint().ok()?);
            stamp = Some(Stamp { ctime: Timestamp { seconds, nanos }, inode, device });
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(suffix);
        self.mark = Mark { stamp, bare: flags & BARE != 0 };
        self.at += rest.len() - reader.remaining();
        Some(())
    }

    fn read_frame(&mut self) -> Option<()> {
        let mut len = [0; 4];
        self.left = self.left.checked_sub(4)?;
        self.file.read_exact(&mut len).ok()?;
        let len = u32::from_le_bytes(len);
        self.left = self.left.checked_sub(u64::from(len))?;
        let len = usize::try_from(len).ok().filter(|len| *len <= FRAME_MAX)?;
        self.frame.resize(len, 0);
        self.file.read_exact(&mut self.frame).ok()?;
        self.at = 0;
        self.path.clear();
        Some(())
    }
}

/// What was `seen`, with what was seen `later` in its place, but for the root; says how many entries that are.
pub(super) fn lay_over(mut seen: Seen, later: Option<Seen>, into: &mut SeenWriter) -> Result<u64> {
    let mut count = 0;
    let Some(mut later) = later else {
        while let Some((path, mark)) = seen.next() {
            if !path.is_empty() {
                into.put(path, mark)?;
                count += 1;
            }
        }
        return Ok(count);
    };
    let (mut old, mut new) = (seen.advance().is_some(), later.advance().is_some());
    while old || new {
        let order = match (old, new) {
            (true, true) => compare(&seen.path, &later.path),
            (true, false) => Ordering::Less,
            (false, _) => Ordering::Greater,
        };
        let from = if order == Ordering::Less { &seen } else { &later };
        if !from.path.is_empty() {
            into.put(&from.path, from.mark)?;
            count += 1;
        }
        if order != Ordering::Greater {
            old = seen.advance().is_some();
        }
        if order != Ordering::Less {
            new = later.advance().is_some();
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> Mark {
        let ctime = Timestamp { seconds: -5 + i64::try_from(number).expect("small"), nanos: 7 };
        let stamp = Some(Stamp { ctime, inode: number, device: 65_024 });
        Mark { stamp: stamp.filter(|_| number != 3), bare: number.is_multiple_of(2) }
    }

    fn written(dir: &Path, name: &str, paths: &[(&str, u64)]) -> PathBuf {
        let mut writer = SeenWriter::create(dir.join(name)).expect("created");
        for (path, number) in paths {
            writer.put(path.as_bytes(), mark(*number)).expect("put");
        }
        let not_set = NotSet { mode: 4, nodes: 9, ..NotSet::default() };
        let terms = Terms { generation: [1; 32], circumstances: [2; 32], checks: 3, listed: 5, not_set };
        writer.finish(&terms).expect("finished")
    }

    fn all(seen: &mut Seen) -> Vec<(String, Mark)> {
        let mut all = Vec::new();
        while let Some((path, mark)) = seen.next() {
            all.push((String::from_utf8(path.to_vec()).expect("text"), mark));
        }
        all
    }

    #[test]
    fn what_was_seen_is_read_again_and_a_damaged_file_counts_as_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = written(dir.path(), "a", &[("", 1), ("a", 2), ("a/b", 3), ("ab", 4)]);
        let mut seen = Seen::open(&path).expect("whole");
        assert_eq!((seen.terms.listed, seen.terms.not_set.nodes, seen.terms.generation), (5, 9, [1; 32]));
        let expected = [("", 1), ("a", 2), ("a/b", 3), ("ab", 4)].map(|(path, number)| (path.to_owned(), mark(number)));
        assert_eq!(all(&mut seen), expected);
        let bytes = std::fs::read(&path).expect("read");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            for (name, bytes) in [("flipped", &damaged[..]), ("cut", &bytes[..at])] {
                let place = dir.path().join(name);
                File::create(&place).and_then(|mut file| file.write_all(bytes)).expect("written");
                assert!(Seen::open(&place).is_none(), "{name} at {at}");
            }
        }
        assert!(Seen::open(&dir.path().join("none")).is_none());
    }

    #[test]
    fn entries_are_found_in_order_across_frames_and_later_ones_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let names: Vec<String> = (0..9000).map(|number| format!("directory/file-{number:06}")).collect();
        let many: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(10..).collect();
        let path = written(dir.path(), "many", &many);
        let mut seen = Seen::open(&path).expect("whole");
        let at = |path: &str| TreePath::parse(path).expect("a path");
        assert_eq!(seen.at(&at("directory")), None);
        assert_eq!(seen.at(&at("directory/file-000000")), Some(mark(10)));
        assert_eq!(seen.at(&at("directory/file-008000")), Some(mark(8010)));
        assert_eq!(seen.at(&at("directory/file-008000x")), None);
        assert_eq!(seen.at(&at("directory/file-008999")), Some(mark(9009)));
        assert_eq!(seen.at(&at("z")), None);

        let open = |name: &str, paths: &[(&str, u64)]| Seen::open(&written(dir.path(), name, paths)).expect("whole");
        let old = open("old", &[("", 1), ("a", 2), ("b", 4), ("d", 5)]);
        let new = open("new", &[("b", 6), ("c", 7)]);
        let mut into = SeenWriter::create(dir.path().join("both")).expect("created");
        assert_eq!(lay_over(old, Some(new), &mut into).expect("laid"), 4);
        let both = into.finish(&Terms::default()).expect("finished");
        let expected = [("a", 2), ("b", 6), ("c", 7), ("d", 5)].map(|(path, number)| (path.to_owned(), mark(number)));
        assert_eq!(all(&mut Seen::open(&both).expect("whole")), expected);
    }
}
