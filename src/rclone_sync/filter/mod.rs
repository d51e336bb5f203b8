//! Which files take part: rclone's filter flags and their grammar.
//!
//! Rules are tried in order and the first that matches decides; what none matches is included. The flags come in rclone's
//! fixed order, whatever that of the command line was: include, include-from, exclude, exclude-from, filter, filter-from;
//! an include adds a last rule that excludes everything else. Directories have rules of their own, derived from those of the
//! files: a directory that they exclude is not looked into, even if a rule would include a file in it.
//!
//! Where rclone's page and rclone differ, this does as rclone does: `[!a]` is the class of `!` and `a`; `[^a]` is all but `a`.
//! Pure: files of rules come in as bytes, times as they are.

mod dialect;
mod glob;
mod rules;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::BTreeSet;

pub use self::variables::{csv, from_variables, number};

use self::rules::{Draft, Rules, Sign, lines, raw_lines};
use super::includes::Includes;
use super::layout::LINK_END;
use crate::catalog::Timestamp;
use crate::error::{Error, Result};
use crate::path::TreePath;
use crate::size::ByteSize;
use crate::volume::EntryKind;

/// The filter flags, each as often as it was given. Those that name files hold the files' content.
#[derive(Debug, Clone, Default)]
pub struct FilterOptions {
    /// `--include`: globs.
    pub include: Vec<String>,
    /// `--include-from`.
    pub include_from: Vec<Vec<u8>>,
    /// `--exclude`: globs.
    pub exclude: Vec<String>,
    /// `--exclude-from`.
    pub exclude_from: Vec<Vec<u8>>,
    /// `--filter`: `+ glob`, `- glob`, or `!`, which forgets all rules before it.
    pub filter: Vec<String>,
    /// `--filter-from`.
    pub filter_from: Vec<Vec<u8>>,
    /// `--files-from`: names, a line each; not to be used with rules.
    pub files_from: Vec<Vec<u8>>,
    /// `--files-from-raw`: every line is a name, as it is.
    pub files_from_raw: Vec<Vec<u8>>,
    /// `--files-from0`: names that end in NUL.
    pub files_from0: Vec<Vec<u8>>,
    /// `--exclude-if-present`: names of files that exclude the directory that they are in.
    pub exclude_if_present: Vec<String>,
    /// `--min-size`.
    pub min_size: Option<ByteSize>,
    /// `--max-size`: files of exactly this size are left out, as rclone 1.75 does.
    pub max_size: Option<ByteSize>,
    /// `--max-age`, as the point in time that it means.
    pub modified_from: Option<Timestamp>,
    /// `--min-age`.
    pub modified_until: Option<Timestamp>,
    /// `--max-depth`: 1 is the files at the top, and so is 0.
    pub max_depth: Option<usize>,
    /// `--ignore-case`.
    pub ignore_case: bool,
}

/// What the flags say, ready to be asked. An empty one includes everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    files: Rules,
    directories: Rules,
    listed: Option<Listed>,
    markers: Vec<String>,
    size: (Option<ByteSize>, Option<ByteSize>),
    modified: (Option<Timestamp>, Option<Timestamp>),
    max_depth: Option<usize>,
}

/// The files of `--files-from`, and the directories above them.
#[derive(Debug, Clone, Default)]
struct Listed {
    files: BTreeSet<Vec<u8>>,
    directories: BTreeSet<Vec<u8>>,
}

impl Filter {
    /// Reads the flags.
    ///
    /// # Errors
    /// `Invalid` for a malformed rule, and for lists of files beside other flags, as in rclone.
    pub fn new(options: FilterOptions) -> Result<Self> {
        let drafts = Drafts::read(&options)?;
        let (files, directories) =
            (drafts.files.finish(options.ignore_case)?, drafts.directories.finish(options.ignore_case)?);
        if let (Some(from), Some(until)) = (options.modified_from, options.modified_until)
            && until < from
        {
            return Err(Error::invalid("--min-age can't be larger than --max-age"));
        }
        let mut filter = Self {
            files,
            directories,
            listed: None,
            markers: options.exclude_if_present,
            size: (options.min_size, options.max_size),
            modified: (options.modified_from, options.modified_until),
            // As with rclone, the files at the top are the least.
            max_depth: options.max_depth.map(|depth| depth.max(1)),
        };
        let named = [&options.files_from, &options.files_from_raw, &options.files_from0];
        if named.iter().any(|lists| !lists.is_empty()) {
            if filter.has_rules() {
                return Err(Error::invalid("the usage of --files-from overrides all other filters")
                    .with_hint("use it alone, or with --files-from-raw or --files-from0"));
            }
            filter.listed = Some(Listed::read(&options.files_from, &options.files_from_raw, &options.files_from0));
        }
        Ok(filter)
    }

    /// Whether everything takes part.
    pub fn is_empty(&self) -> bool {
        !self.has_rules() && self.listed.is_none() && self.max_depth.is_none()
    }

    fn has_rules(&self) -> bool {
        !(self.files.is_empty() && self.directories.is_empty() && self.markers.is_empty())
            || self.size != (None, None)
            || self.modified != (None, None)
    }

    /// Names of files whose presence excludes the directory that they are in, with all below it; even the root. Only who
    /// sees the whole directory can tell, so the caller asks for them before it goes in.
    pub fn markers(&self) -> &[String] {
        &self.markers
    }

    fn includes_named(&self, path: &TreePath, suffix: &str, size: u64, mtime: Timestamp) -> bool {
        if self.is_empty() {
            return true;
        }
        if path.components().count() > self.max_depth.unwrap_or(usize::MAX) {
            return false;
        }
        if let Some(listed) = &self.listed {
            let whole;
            let name = if suffix.is_empty() {
                path.as_bytes()
            } else {
                whole = [path.as_bytes(), suffix.as_bytes()].concat();
                &whole
            };
            return listed.files.contains(name);
        }
        let ((least, most), (from, until)) = (self.size, self.modified);
        let in_range = least.is_none_or(|least| size >= least.bytes())
            && most.is_none_or(|most| size < most.bytes())
            && from.is_none_or(|from| mtime >= from)
            && until.is_none_or(|until| mtime <= until);
        in_range
            && (self.files.is_empty() || self.files.include(&(name_of(path.as_bytes()) + suffix)))
            && path.parent().is_none_or(|directory| self.may_descend(&directory))
    }
}

impl Includes for Filter {
    /// What `--exclude-if-present` says is not part of the answer: see [`Filter::markers`]. Pipes and devices are asked for like
    /// files. A symlink is what it is to rclone: a file whose name ends in `.rclonelink`.
    fn includes(&self, path: &TreePath, kind: EntryKind, size: u64, mtime: Timestamp) -> bool {
        match kind {
            EntryKind::Directory => self.may_descend(path),
            EntryKind::Symlink => self.includes_named(path, LINK_END, size, mtime),
            EntryKind::File | EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Socket => {
                self.includes_named(path, "", size, mtime)
            }
        }
    }

    fn reaches(&self, path: &TreePath, kind: EntryKind) -> bool {
        let below = usize::from(kind == EntryKind::Directory);
        self.max_depth.is_none_or(|depth| path.components().count() + below <= depth)
    }

    fn words(&self) -> Option<String> {
        (self.modified == (None, None)).then(|| format!("{self:?}"))
    }

    /// As far as the rules and the directories above it say. The root always may.
    fn may_descend(&self, directory: &TreePath) -> bool {
        if self.is_empty() || directory.is_root() {
            return true;
        }
        if self.max_depth.is_some_and(|depth| directory.components().count() >= depth) {
            return false;
        }
        if let Some(listed) = &self.listed {
            return listed.directories.contains(directory.as_bytes());
        }
        if self.directories.is_empty() {
            return true;
        }
        let mut name = name_of(directory.as_bytes());
        name.push('/');
        let ends: Vec<usize> = name.match_indices('/').map(|(at, _)| at + 1).collect();
        ends.iter().all(|end| name.get(..*end).is_some_and(|directory| self.directories.include(directory)))
    }
}

/// The rules for files and those for directories.
#[derive(Debug, Default)]
struct Drafts {
    files: Draft,
    directories: Draft,
}

impl Drafts {
    fn read(options: &FilterOptions) -> Result<Self> {
        let mut drafts = Self::default();
        for (sign, globs, files) in [
            (Sign::Include, &options.include, &options.include_from),
            (Sign::Exclude, &options.exclude, &options.exclude_from),
        ] {
            for glob in globs {
                drafts.add(sign, glob)?;
            }
            for line in files.iter().flat_map(|file| lines(file)) {
                drafts.add(sign, &text_of(line))?;
            }
        }
        for rule in &options.filter {
            drafts.add_rule(rule)?;
        }
        for line in options.filter_from.iter().flat_map(|file| lines(file)) {
            drafts.add_rule(&text_of(line))?;
        }
        if !options.include.is_empty() || !options.include_from.is_empty() {
            drafts.add(Sign::Exclude, "/**")?;
        }
        Ok(drafts)
    }

    fn add_rule(&mut self, rule: &str) -> Result<()> {
        if rule == "!" {
            self.files.clear();
            self.directories.clear();
            return Ok(());
        }
        match (rule.strip_prefix("+ "), rule.strip_prefix("- ")) {
            (Some(glob), _) => self.add(Sign::Include, glob),
            (_, Some(glob)) => self.add(Sign::Exclude, glob),
            _ => Err(Error::invalid(format!("malformed rule {rule:?}"))
                .with_hint("a rule is `+ PATTERN`, `- PATTERN` or `!`")),
        }
    }

    /// A glob that ends in `/` speaks of directories, one with `**` of both, any other of files. A file that is included
    /// includes the directories that lead to it; one that is excluded excludes no directory, unless it is every file.
    fn add(&mut self, sign: Sign, glob: &str) -> Result<()> {
        let only_directories = glob.ends_with('/');
        let whole = if only_directories && sign == Sign::Exclude { format!("{glob}**") } else { glob.to_owned() };
        let both = whole.contains("**");
        if both || !only_directories {
            self.files.add(sign, &whole)?;
            if sign == Sign::Include || whole == "*" {
                for directory in glob::directories_of(&whole).iter().filter(|directory| *directory != "/") {
                    self.directories.add(sign, directory)?;
                }
            }
        }
        if both || only_directories {
            self.directories.add(sign, &whole)?;
        }
        Ok(())
    }
}

impl Listed {
    fn read(plain: &[Vec<u8>], raw: &[Vec<u8>], nul: &[Vec<u8>]) -> Self {
        let mut listed = Self::default();
        for name in plain.iter().flat_map(|file| lines(file)).chain(raw.iter().flat_map(|file| raw_lines(file))) {
            listed.add(name);
        }
        for name in nul.iter().flat_map(|file| file.split(|byte| *byte == 0)) {
            listed.add(name);
        }
        listed
    }

    fn add(&mut self, name: &[u8]) {
        let start = name.iter().position(|byte| *byte != b'/').unwrap_or(name.len());
        let end = name.iter().rposition(|byte| *byte != b'/').map_or(start, |last| last + 1);
        let name = name.get(start..end).unwrap_or_default();
        let above = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        self.directories.extend(above.filter_map(|(at, _)| name.get(..at)).map(<[u8]>::to_vec));
        self.files.insert(name.to_vec());
    }
}

/// A path as rclone's rules see it: control characters are shown by their symbols, and every byte that is not UTF-8 is one character.
fn name_of(path: &[u8]) -> String {
    let symbol = |c: char| match u32::from(c) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or(c),
        0x7f => '\u{2421}',
        _ => c,
    };
    text_of(path).chars().map(symbol).collect()
}

fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 1);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}
