//! Reads the files that options name: patterns and lists of paths.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::cli::App;
use crate::cli::settings::{Excludes, NameFormat, NameList, Wanted};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::path::escape;
use crate::size::ByteSize;
use crate::volume::pattern::read_patterns;
use crate::volume::rules::{
    RuleOptions, SelectionOptions, TagFile, expand_glob, parse_files_from, parse_files_from_raw,
    parse_files_from_verbatim,
};

/// Longest list: some hundred bytes for each of millions of files, and an end to a wrong path such as `/dev/zero`.
const LIST_MAX: u64 = 1 << 30;

impl App<'_> {
    /// The rules that the options ask for, with their pattern files read; whether file systems are crossed is not among them.
    pub(super) fn rule_options(&self, excludes: &Excludes) -> Result<RuleOptions> {
        let parse_tag =
            |text: &OsString| TagFile::parse(text.as_bytes()).map_err(|error| error.within("--exclude-if-present"));
        Ok(RuleOptions {
            excludes: self.patterns(&excludes.patterns, &excludes.files)?,
            iexcludes: self.patterns(&excludes.ipatterns, &excludes.ifiles)?,
            exclude_larger_than: excludes.larger_than.map(ByteSize::bytes),
            exclude_caches: excludes.caches,
            exclude_if_present: excludes.if_present.iter().map(parse_tag).collect::<Result<_>>()?,
            one_file_system: false,
        })
    }

    /// The selection that the options ask for, with its pattern files read.
    pub(super) fn selection_options(&self, wanted: &Wanted) -> Result<SelectionOptions> {
        let patterns = self.patterns(&wanted.patterns, &wanted.files)?;
        let ipatterns = self.patterns(&wanted.ipatterns, &wanted.ifiles)?;
        Ok(if wanted.include {
            SelectionOptions { includes: patterns, iincludes: ipatterns, ..SelectionOptions::default() }
        } else {
            SelectionOptions { excludes: patterns, iexcludes: ipatterns, ..SelectionOptions::default() }
        })
    }

    fn patterns(&self, given: &[OsString], files: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
        let mut patterns: Vec<Vec<u8>> = given.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        let variable =
            |name: &[u8]| self.environment.raw(std::str::from_utf8(name).ok()?).map(|value| value.as_bytes().to_vec());
        for file in files {
            patterns.extend(read_patterns(&read(file)?, &variable));
        }
        Ok(patterns)
    }

    /// The paths in the lists; a pattern that matches nothing is told of and passed over.
    pub(super) fn listed_paths(&self, lists: &[NameList]) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for list in lists {
            let bytes = read(&list.file)?;
            let said = || format!("list of files {}", shown(&list.file));
            let names = match list.format {
                NameFormat::Verbatim => parse_files_from_verbatim(&bytes),
                NameFormat::Raw => parse_files_from_raw(&bytes).attempt(said)?,
                NameFormat::Patterns => self.expanded(&bytes).attempt(said)?,
            };
            paths.extend(names.into_iter().map(|name| PathBuf::from(OsString::from_vec(name))));
        }
        Ok(paths)
    }

    fn expanded(&self, list: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for pattern in parse_files_from(list) {
            let found = expand_glob(&pattern, &|path| exists(path), &|directory| names_in(directory))?;
            if found.is_empty() && !self.settings.output.json {
                self.console.warn(&format!("pattern {} does not match any files, skipping", escape(&pattern)));
            }
            names.extend(found);
        }
        Ok(names)
    }
}

fn exists(path: &[u8]) -> bool {
    std::fs::symlink_metadata(OsStr::from_bytes(path)).is_ok()
}

fn names_in(directory: &[u8]) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(OsStr::from_bytes(directory)).into_iter().flatten();
    entries.flatten().map(|entry| entry.file_name().into_vec()).collect()
}

/// The bytes of a file, or of standard input for `-`.
fn read(path: &Path) -> Result<Vec<u8>> {
    let said = || format!("read {}", shown(path));
    let mut bytes = Vec::new();
    let from: Box<dyn Read> = match path.as_os_str().as_bytes() {
        b"-" => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).attempt(said)?),
    };
    from.take(LIST_MAX + 1).read_to_end(&mut bytes).attempt(said)?;
    if bytes.len() as u64 > LIST_MAX {
        return Err(Error::new(ErrorKind::Invalid, format!("{}: longer than a list can be", said())));
    }
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}
