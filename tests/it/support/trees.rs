//! Trees that a seed grows, with every kind of file, and all that a stranger can see of a tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat};

use super::vault::noise;

/// Numbers drawn from a seed (splitmix64): the same seed, the same numbers, for ever.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }

    fn small(&mut self, bound: u16) -> u16 {
        u16::try_from(self.below(u64::from(bound))).unwrap()
    }

    pub(crate) fn len(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.len(of.len() as u64)].clone()
    }
}

/// Paths are kept below this, so that the standard library can compare the trees.
const PATH_LEN_MAX: usize = 3000;

/// Grows a tree below a root, and changes it.
#[derive(Debug)]
pub(crate) struct Garden {
    root: PathBuf,
    dice: Dice,
    is_root: bool,
}

impl Garden {
    /// An empty directory at `root`.
    pub(crate) fn new(root: &Path, seed: u64) -> Self {
        std::fs::create_dir(root).unwrap();
        // The owner of what this thread makes: it may have fewer rights than the process.
        let is_root = std::fs::metadata(root).unwrap().uid() == 0;
        Self { root: root.to_owned(), dice: Dice::new(seed), is_root }
    }

    /// Adds up to `count` entries.
    pub(crate) fn grow(&mut self, count: u64) {
        let mut paths = paths(&self.root);
        for _ in 0..count {
            let parents: Vec<_> = paths.iter().filter(|path| is_dir(path)).cloned().collect();
            let path = self.dice.one(&parents).join(OsStr::from_bytes(&self.name()));
            if path.as_os_str().len() > PATH_LEN_MAX || path.symlink_metadata().is_ok() {
                continue;
            }
            self.add(&path, &paths);
            paths.push(path);
        }
    }

    /// Gives every entry attributes, an owner, a mode and times. Directories come last, so that they keep theirs.
    pub(crate) fn finish(&mut self) {
        let mut paths = paths(&self.root);
        paths.reverse();
        for path in &paths {
            self.finish_one(path);
        }
    }

    /// Removes, replaces, renames and rewrites some entries and adds others.
    pub(crate) fn change(&mut self) {
        for path in paths(&self.root) {
            if path == self.root || path.symlink_metadata().is_err() || !self.dice.percent(25) {
                continue;
            }
            open_up(path.parent().unwrap());
            self.change_one(&path);
        }
        let extra = self.dice.below(5);
        paths(&self.root).iter().filter(|path| is_dir(path)).for_each(|dir| open_up(dir));
        self.grow(extra);
        let touched: Vec<_> = paths(&self.root).into_iter().rev().filter(|_| self.dice.percent(30)).collect();
        for path in &touched {
            self.finish_one(path);
        }
    }

    fn change_one(&mut self, path: &Path) {
        let meta = path.symlink_metadata().unwrap();
        match self.dice.below(5) {
            0 => remove(path),
            1 => {
                let name = self.name();
                let to = path.with_file_name(OsStr::from_bytes(&name));
                if to.as_os_str().len() <= PATH_LEN_MAX && to.symlink_metadata().is_err() {
                    rustix::fs::rename(path, to).unwrap();
                }
            }
            2 if !meta.is_dir() => {
                remove(path);
                self.add(path, &[]);
            }
            3 if meta.is_file() => {
                open_up(path);
                let at = self.dice.below(meta.len() + 1);
                let piece = self.content();
                File::options().write(true).open(path).unwrap().write_all_at(&piece, at).unwrap();
            }
            4 if meta.is_file() => {
                open_up(path);
                let len = self.dice.below(2 * meta.len() + 10);
                File::options().write(true).open(path).unwrap().set_len(len).unwrap();
            }
            _ => self.finish_one(path),
        }
    }

    fn name(&mut self) -> Vec<u8> {
        match self.dice.below(10) {
            0 => vec![b'a' + u8::try_from(self.dice.below(3)).unwrap()],
            // Between a directory and what is in it, by plain byte order.
            1 => [b"a", self.dice.one(&["!", ".", "-", "0", " ", "a", "~"]).as_bytes()].concat(),
            2 => {
                let bytes = noise(1 + self.dice.len(12), self.dice.next());
                let name: Vec<u8> = bytes.into_iter().map(|byte| if byte % 47 == 0 { 0xff } else { byte }).collect();
                if name == b"." || name == b".." { b"dots".to_vec() } else { name }
            }
            3 => [vec![b'n'; 252], format!("{:03}", self.dice.below(1000)).into_bytes()].concat(),
            4 => {
                let odd =
                    ["new\nline", "-dash", "...", " ", "\\", "*?[", "\x1b[31m", "ü", "u\u{308}", ".hidden", "x#1"];
                self.dice.one(&odd).as_bytes().to_vec()
            }
            _ => format!("f{}", self.dice.below(100)).into_bytes(),
        }
    }

    fn add(&mut self, path: &Path, others: &[PathBuf]) {
        let links: Vec<_> =
            others.iter().filter(|other| other.symlink_metadata().is_ok_and(|meta| !meta.is_dir())).collect();
        match self.dice.below(100) {
            0..15 => std::fs::create_dir(path).unwrap(),
            15..18 => {
                let depth = 1 + self.dice.len(30);
                let deep: PathBuf = std::iter::repeat_n("d", depth).collect();
                std::fs::create_dir_all(path.join(deep)).unwrap();
            }
            18..28 => self.sparse(path),
            28..36 => {
                let target = self.dice.one(&[&b"a"[..], b"../..", b"/etc/passwd", b"no such \xff", b"."]);
                std::os::unix::fs::symlink(OsStr::from_bytes(target), path).unwrap();
            }
            36..46 if !links.is_empty() => std::fs::hard_link(self.dice.one(&links), path).unwrap(),
            46..50 => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
            50..53 if self.is_root => {
                let kind = self.dice.one(&[FileType::CharacterDevice, FileType::BlockDevice]);
                let device = rustix::fs::makedev(self.dice.small(4000).into(), self.dice.small(60_000).into());
                mknodat(CWD, path, kind, Mode::RUSR, device).unwrap();
            }
            _ => {
                let content = self.content();
                File::create(path).unwrap().write_all_at(&content, 0).unwrap();
            }
        }
    }

    /// Sizes around the bundle threshold, the chunk sizes of `Vault` and pages; bytes that repeat in the tree, or in themselves, or not.
    fn content(&mut self) -> Vec<u8> {
        let len = match self.dice.below(16) {
            0 => 0,
            1 => 1,
            2 => self.dice.one(&[65_535, 65_536, 65_537]),
            3 => self.dice.one(&[8191, 8192, 8193, 16_384, 131_072, 131_073]),
            4 => self.dice.one(&[4095, 4096, 4097]),
            5 => self.dice.len(250_000),
            _ => self.dice.len(3000),
        };
        match self.dice.below(8) {
            0 => vec![0; len],
            1 => b"volvault".iter().copied().cycle().take(len).collect(),
            2 => noise(len, self.dice.below(4)),
            3 => [noise(len / 2, self.dice.next()), vec![0; len - len / 2]].concat(),
            _ => noise(len, self.dice.next()),
        }
    }

    fn sparse(&mut self, path: &Path) {
        let file = File::create(path).unwrap();
        let size = self.dice.one(&[1, 4096, 65_536, 300_000, 1 << 20, 3 << 20, (1 << 30) + 1]);
        file.set_len(size).unwrap();
        for _ in 0..self.dice.below(4) {
            let (at, len) = (self.dice.below(size), self.dice.len(40_000));
            let bytes = if self.dice.percent(20) { vec![0; len] } else { noise(len, self.dice.next()) };
            file.write_all_at(&bytes, at).unwrap();
        }
    }

    fn finish_one(&mut self, path: &Path) {
        let meta = path.symlink_metadata().unwrap();
        if !meta.is_symlink() {
            if meta.is_file() || meta.is_dir() {
                open_up(path);
                self.attributes(path, meta.is_dir());
            }
            if self.is_root && self.dice.percent(25) {
                let (uid, gid) = (self.dice.one(&[0, 1000, 65_534, 2_000_000_000]), self.dice.one(&[0, 4711]));
                std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
            }
            let common = [0o644, 0o755, 0o600, 0o000, 0o777, 0o4755, 0o2755, 0o1777, 0o444, 0o555];
            let mode = if self.dice.percent(80) { self.dice.one(&common) } else { self.dice.small(0o10000) };
            // What its owner cannot read, an ordinary user cannot save.
            let least = match (self.is_root, meta.is_dir()) {
                (true, _) => 0,
                (false, true) => 0o500,
                (false, false) => 0o400,
            };
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(u32::from(mode | least))).unwrap();
        } else if self.is_root && self.dice.percent(25) {
            std::os::unix::fs::lchown(path, Some(1000), Some(4711)).unwrap();
        }
        if self.dice.percent(80) {
            let seconds = i64::try_from(self.dice.below(4_000_000_000)).unwrap() - 1_900_000_000;
            let nanos = if self.dice.percent(10) { 0 } else { self.dice.below(1_000_000_000) };
            let time = Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap() };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }

    fn attributes(&mut self, path: &Path, is_dir: bool) {
        let set = |name: &str, value: &[u8]| {
            rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        };
        if self.dice.percent(15) {
            let name = self.dice.one(&["user.a", "user.comment", "user.\u{fc}"]);
            set(name, &noise(self.dice.len(200), self.dice.next()));
        }
        if self.dice.percent(8) {
            set("system.posix_acl_access", &self.list());
        }
        if is_dir && self.dice.percent(8) {
            set("system.posix_acl_default", &self.list());
        }
    }

    /// An access control list in the kernel's form, with rights for one user and one group.
    fn list(&mut self) -> Vec<u8> {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        for (tag, id) in [(1u16, u32::MAX), (2, 4711), (4, u32::MAX), (8, 4712), (0x10, u32::MAX), (0x20, u32::MAX)] {
            bytes.extend(tag.to_le_bytes());
            // The owner keeps all rights.
            bytes.extend(if tag == 1 { 7u16 } else { self.dice.small(8) }.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }
}

fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

fn remove(path: &Path) {
    if is_dir(path) {
        paths(path).iter().filter(|path| is_dir(path)).for_each(|dir| open_up(dir));
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

/// Lets the owner change a file or a directory.
pub(crate) fn open_up(path: &Path) {
    let meta = path.symlink_metadata().unwrap();
    let mode = meta.permissions().mode();
    if mode & 0o700 != 0o700 && !meta.is_symlink() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode | 0o700)).unwrap();
    }
}

/// The root and all below it, each directory before what is in it.
pub(crate) fn paths(root: &Path) -> Vec<PathBuf> {
    let (mut all, mut at) = (vec![root.to_owned()], 0);
    while let Some(path) = all.get(at).cloned() {
        at += 1;
        if is_dir(&path) {
            let mut names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            all.extend(names);
        }
    }
    all
}

/// All that a stranger can see of an entry, but change times, inode numbers and where blocks lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) device: u64,
    pub(crate) size: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Hash of the bytes of a file, holes read as zeros; the target of a link.
    pub(crate) content: Vec<u8>,
    /// The first name of the same inode, where it has several.
    pub(crate) same_as: Option<Vec<u8>>,
}

/// Looks at a tree.
pub(crate) fn look(root: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let mut groups = HashMap::new();
    let mut seen = BTreeMap::new();
    for path in paths(root) {
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let kind = meta.file_type();
        let (kind, content) = if kind.is_dir() {
            ("dir", Vec::new())
        } else if kind.is_symlink() {
            ("link", std::fs::read_link(&path).unwrap().into_os_string().into_vec())
        } else if kind.is_file() {
            ("file", content_hash(&path))
        } else {
            (if kind.is_fifo() { "fifo" } else { "device" }, Vec::new())
        };
        let several = !meta.is_dir() && meta.nlink() > 1;
        let same_as = several.then(|| groups.entry(meta.ino()).or_insert_with(|| name.clone()).clone());
        let facts = Facts {
            kind,
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            device: meta.rdev(),
            size: if meta.is_dir() { 0 } else { meta.size() },
            mtime: (meta.mtime(), meta.mtime_nsec()),
            attributes: attributes(&path),
            content,
            same_as,
        };
        seen.insert(name, facts);
    }
    seen
}

/// Holes are not read: the gigabytes of a sparse file are no matter.
fn content_hash(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap();
    let (len, mut hasher, mut at) = (file.metadata().unwrap().len(), blake3::Hasher::new(), 0);
    while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).unwrap().min(len);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        file.read_exact_at(&mut bytes, start).unwrap();
        // Zeros that are stored and holes look alike: what counts is where other bytes stand.
        for (block, number) in bytes.chunks(512).zip(0u64..).filter(|(block, _)| block.iter().any(|byte| *byte != 0)) {
            hasher.update(&(start + 512 * number).to_le_bytes()).update(block);
        }
        at = end;
    }
    hasher.finalize().as_bytes().to_vec()
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value.truncate(len);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}
