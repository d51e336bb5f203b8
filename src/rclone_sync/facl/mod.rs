//! `permissions.facl`: owners, modes and POSIX ACLs as `getfacl -R` writes and `setfacl --restore` reads them, in one text file.
//! `VolSync`'s mover for rclone keeps it beside the files, because rclone itself carries none of this.
//!
//! A record for each file or directory, symlinks none. All paths begin with the name of the top, which the first record gives:
//! `data` and `data/dir/file`, or `.` and `./dir/file`.

mod acl;
#[cfg(test)]
mod tests;

use std::io::{BufRead, Write};

use self::acl::{ACCESS, Acl, DEFAULT, Tag};
use crate::catalog::{Entry, Metadata, Node, Xattr};
use crate::error::{Attempt, Error, Result};
use crate::path::{PATH_MAX, TreePath, escape};

/// The name of the file in a prefix.
pub const FACL: &str = "permissions.facl";

/// User metadata of that object, with the generation for its value, when a push wrote it that publishes generations. Any other program that pushes to
/// the prefix replaces the object, and the mark is gone: [`Author`](super::Author).
pub const MARK: &str = "volvault-generation";

/// How the file begins that such a push writes; the generation follows. A comment to `setfacl`: it says the same where a store keeps no metadata, as a directory.
pub const HEAD: &str = "# volvault-generation: ";

/// The longest line: a path whose every byte is escaped, and its beginning.
const LINE_MAX: usize = 4 * PATH_MAX + 64;

/// An owner or a group, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Its number.
    Id(u32),
    /// Its name, where the machine that wrote it knew one.
    Name(Vec<u8>),
}

/// What the file says of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The path below the top.
    pub path: TreePath,
    /// The owner.
    pub owner: Principal,
    /// The group.
    pub group: Principal,
    /// The low 12 bits of the mode.
    pub mode: u16,
    access: Acl,
    default: Acl,
}

impl Record {
    /// What an entry's record says; none for a symlink.
    ///
    /// # Errors
    /// `Corrupt` for an entry whose ACL attribute is none.
    pub fn of(entry: &Entry) -> Result<Option<Self>> {
        if matches!(entry.node, Node::Symlink { .. }) {
            return Ok(None);
        }
        let meta = &entry.meta;
        let acl = |name: &[u8]| {
            let found = meta.xattrs.iter().find(|attr| attr.name == name);
            found.map(|attr| Acl::decode(&attr.value)).transpose().attempt(|| format!("read the ACL of {}", entry.path))
        };
        Ok(Some(Self {
            path: entry.path.clone(),
            owner: Principal::Id(meta.uid),
            group: Principal::Id(meta.gid),
            mode: meta.mode,
            access: acl(ACCESS)?.unwrap_or_else(|| Acl::of_mode(meta.mode)),
            default: acl(DEFAULT)?.unwrap_or_default(),
        }))
    }

    /// Gives metadata what the record says, and leaves the rest. A name that is none of `root` stays a name: the number beside
    /// it is what it was.
    pub fn apply(&self, meta: &mut Metadata) {
        for (principal, id, name) in
            [(&self.owner, &mut meta.uid, &mut meta.user), (&self.group, &mut meta.gid, &mut meta.group)]
        {
            match principal {
                Principal::Id(number) => (*id, *name) = (*number, None),
                Principal::Name(text) => {
                    if text == b"root" {
                        *id = 0;
                    }
                    *name = Some(text.as_slice().into());
                }
            }
        }
        meta.mode = self.mode;
        let others = meta.xattrs.iter().filter(|attr| attr.name != ACCESS && attr.name != DEFAULT).cloned();
        let access = self.access.is_extended().then_some((ACCESS, &self.access));
        let default = (!self.default.is_empty()).then_some((DEFAULT, &self.default));
        let ours = access.into_iter().chain(default);
        let ours = ours.map(|(name, acl)| Xattr { name: name.to_vec(), value: acl.encode() });
        let mut all: Vec<Xattr> = others.chain(ours).collect();
        all.sort_unstable();
        meta.xattrs = all.into();
    }

    /// Writes the record, as a tree with this name has it (`data`, without a slash before it).
    pub fn write(&self, top: &str, out: &mut impl Write) -> std::io::Result<()> {
        out.write_all(b"# file: ")?;
        quote(top.as_bytes(), out)?;
        if !self.path.is_root() {
            out.write_all(b"/")?;
            quote(self.path.as_bytes(), out)?;
        }
        for (what, principal) in [("owner", &self.owner), ("group", &self.group)] {
            write!(out, "\n# {what}: ")?;
            match principal {
                Principal::Id(id) => write!(out, "{id}")?,
                Principal::Name(name) => quote(name, out)?,
            }
        }
        if self.mode & 0o7000 != 0 {
            let flag = |bit: u16, letter| if self.mode & bit == 0 { '-' } else { letter };
            write!(out, "\n# flags: {}{}{}", flag(0o4000, 's'), flag(0o2000, 's'), flag(0o1000, 't'))?;
        }
        for (acl, prefix) in [(&self.access, ""), (&self.default, "default:")] {
            for (tag, permissions) in acl.entries() {
                let bit = |bit: u16, letter| if permissions & bit == 0 { '-' } else { letter };
                let letters: String = [bit(4, 'r'), bit(2, 'w'), bit(1, 'x')].into_iter().collect();
                match tag {
                    Tag::Owner => write!(out, "\n{prefix}user::{letters}")?,
                    Tag::User(id) => write!(out, "\n{prefix}user:{id}:{letters}")?,
                    Tag::OwningGroup => write!(out, "\n{prefix}group::{letters}")?,
                    Tag::Group(id) => write!(out, "\n{prefix}group:{id}:{letters}")?,
                    Tag::Mask => write!(out, "\n{prefix}mask::{letters}")?,
                    Tag::Other => write!(out, "\n{prefix}other::{letters}")?,
                }
            }
        }
        out.write_all(b"\n\n")
    }
}

/// The records of a file, in its order, which is that of the directories' own lists. In memory is one.
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    top: Option<Vec<u8>>,
    line: u64,
    is_over: bool,
}

impl<R: BufRead> Records<R> {
    /// Reads what `input` holds.
    pub fn new(input: R) -> Self {
        Self { input, top: None, line: 0, is_over: false }
    }

    fn try_next(&mut self) -> Result<Option<Record>> {
        let mut draft = Draft::default();
        while let Some(line) = self.next_line()? {
            if line.is_empty() {
                if draft.path.is_some() {
                    break;
                }
                continue;
            }
            draft.take(&line)?;
        }
        let Some(path) = draft.path.take() else { return Ok(None) };
        let path = self.below_top(&path)?;
        draft.finish(path).map(Some)
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        let read = std::io::Read::take(&mut self.input, limit).read_until(b'\n', &mut line);
        if read.attempt(|| format!("read {FACL}"))? == 0 {
            return Ok(None);
        }
        self.line += 1;
        if line.len() >= LINE_MAX {
            return Err(Error::corrupt("a line is too long"));
        }
        // Only the end of the line: a name may end in spaces.
        line.pop_if(|byte| *byte == b'\n');
        Ok(Some(line))
    }

    /// The first path is that of the top; all others lie below it.
    fn below_top(&mut self, path: &[u8]) -> Result<TreePath> {
        let Some(top) = &self.top else {
            let bare = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            self.top = Some(path.get(..bare).unwrap_or_default().to_vec());
            return Ok(TreePath::root());
        };
        let outside = || Error::corrupt(format!("{} does not lie below {}", escape(path), escape(top)));
        // The top of `getfacl -R /` is empty.
        let below = if top.is_empty() { Some(path) } else { path.strip_prefix(top.as_slice()) };
        let below = below.ok_or_else(outside)?;
        match (below, top.is_empty()) {
            ([b'/', below @ ..], _) | (below, true) => {
                TreePath::parse(below).map_err(|error| outside().with_source(error))
            }
            _ => Err(outside()),
        }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.try_next();
        self.is_over = !matches!(next, Ok(Some(_)));
        next.attempt(|| format!("read {FACL}, line {}", self.line)).transpose()
    }
}

/// A record that is being read.
#[derive(Default)]
struct Draft {
    path: Option<Vec<u8>>,
    owner: Option<Principal>,
    group: Option<Principal>,
    flags: u16,
    access: Acl,
    default: Acl,
}

impl Draft {
    fn take(&mut self, line: &[u8]) -> Result<()> {
        if let Some(comment) = line.strip_prefix(b"#") {
            return self.take_comment(comment.trim_ascii_start());
        }
        // `#effective:r--` may follow.
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        let refuse = || Error::corrupt(format!("{:?} is no entry of an ACL", escape(line)));
        let (acl, entry) = match line.strip_prefix(b"default:").or_else(|| line.strip_prefix(b"d:")) {
            Some(entry) => (&mut self.default, entry),
            None => (&mut self.access, line),
        };
        let mut parts = entry.split(|byte| *byte == b':');
        let (kind, who) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // `mask:r--` and `other:r--` are allowed, too.
        let letters = match (parts.next(), kind) {
            (Some(letters), _) => letters,
            (None, b"mask" | b"m" | b"other" | b"o") => who,
            (None, _) => return Err(refuse()),
        };
        let id = || id_of(&unquote(who)).ok_or_else(refuse);
        let tag = match kind {
            b"user" | b"u" if who.is_empty() => Tag::Owner,
            b"user" | b"u" => Tag::User(id()?),
            b"group" | b"g" if who.is_empty() => Tag::OwningGroup,
            b"group" | b"g" => Tag::Group(id()?),
            b"mask" | b"m" => Tag::Mask,
            b"other" | b"o" => Tag::Other,
            _ => return Err(refuse()),
        };
        if parts.next().is_some() {
            return Err(refuse());
        }
        acl.insert(tag, permissions(letters).ok_or_else(refuse)?)
    }

    fn take_comment(&mut self, comment: &[u8]) -> Result<()> {
        if let Some(path) = comment.strip_prefix(b"file: ") {
            if self.path.is_some() {
                return Err(Error::corrupt("two files in one record"));
            }
            self.path = Some(unquote(path));
        } else if let Some(owner) = comment.strip_prefix(b"owner: ") {
            self.owner = Some(principal(owner));
        } else if let Some(group) = comment.strip_prefix(b"group: ") {
            self.group = Some(principal(group));
        } else if let Some(flags) = comment.strip_prefix(b"flags: ") {
            let bits = [0o4000, 0o2000, 0o1000];
            self.flags = flags.iter().zip(bits).filter(|(letter, _)| **letter != b'-').map(|(_, bit)| bit).sum();
        }
        Ok(())
    }

    fn finish(self, path: TreePath) -> Result<Record> {
        let missing = || Error::corrupt(format!("the record of {path} is not complete"));
        let mode = self.access.mode().ok_or_else(missing)? | self.flags;
        let (owner, group) = (self.owner.ok_or_else(missing)?, self.group.ok_or_else(missing)?);
        Ok(Record { mode, owner, group, access: self.access, default: self.default, path })
    }
}

/// A number that is written as one. Names are not looked up here: on this machine they may be others.
fn id_of(text: &[u8]) -> Option<u32> {
    if text == b"root" {
        return Some(0);
    }
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

fn principal(text: &[u8]) -> Principal {
    let text = unquote(text.trim_ascii());
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
    number.map_or(Principal::Name(text), Principal::Id)
}

fn permissions(letters: &[u8]) -> Option<u16> {
    letters.iter().try_fold(0, |bits, letter| match letter {
        b'r' => Some(bits | 4),
        b'w' => Some(bits | 2),
        b'x' => Some(bits | 1),
        b'-' => Some(bits),
        _ => None,
    })
}

/// Writes bytes as `getfacl` does: those that would end a line, spaces and backslashes as `\ooo`.
fn quote(bytes: &[u8], out: &mut impl Write) -> std::io::Result<()> {
    for byte in bytes {
        match byte {
            0..=b' ' | b'\\' | 0x7f => write!(out, "\\{byte:03o}")?,
            byte => out.write_all(&[*byte])?,
        }
    }
    Ok(())
}

fn unquote(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.first_chunk::<3>().filter(|_| *first == b'\\');
        let octal = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    out
}
