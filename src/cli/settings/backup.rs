//! What `backup` is to do.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};

use crate::backup::ParentChoice;
use crate::cli::args::BackupArgs;
use crate::clock;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::path::TreePath;
use crate::size::ByteSize;

/// What is to be saved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WhatToSave {
    /// Files and directories.
    Paths {
        /// Named on the command line.
        named: Vec<PathBuf>,
        /// Named in files.
        lists: Vec<NameList>,
    },
    /// Standard input, as a file of this name.
    Stdin {
        /// The name.
        name: TreePath,
    },
    /// What a program prints, as a file of this name.
    Command {
        /// The program and its arguments; at least one.
        words: Vec<OsString>,
        /// The name.
        name: TreePath,
    },
}

/// A file that names what is to be saved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NameList {
    /// The file; `-` is standard input.
    pub(crate) file: PathBuf,
    /// How it is written.
    pub(crate) format: NameFormat,
}

/// How a [`NameList`] is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameFormat {
    /// Lines with wildcards and comments.
    Patterns,
    /// Lines, each a path as it stands.
    Verbatim,
    /// Paths, each ended by a zero byte.
    Raw,
}

/// What is left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Excludes {
    /// Patterns.
    pub(crate) patterns: Vec<OsString>,
    /// Patterns that ignore case.
    pub(crate) ipatterns: Vec<OsString>,
    /// Files of patterns.
    pub(crate) files: Vec<PathBuf>,
    /// Files of patterns that ignore case.
    pub(crate) ifiles: Vec<PathBuf>,
    /// `NAME[:HEADER]` of files that mark a directory.
    pub(crate) if_present: Vec<OsString>,
    /// Directories marked as caches.
    pub(crate) caches: bool,
    /// Files over this size.
    pub(crate) larger_than: Option<ByteSize>,
}

/// What `backup` is to do.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
pub(crate) struct BackupSettings {
    /// What is saved.
    pub(crate) what: WhatToSave,
    /// What is left out.
    pub(crate) excludes: Excludes,
    /// Whether other file systems are left out.
    pub(crate) one_file_system: bool,
    /// Tags of the snapshot, each once.
    pub(crate) tags: Vec<String>,
    /// Host of the snapshot; `None` for this machine.
    pub(crate) host: Option<String>,
    /// Time of the snapshot; `None` for now.
    pub(crate) time: Option<DateTime<FixedOffset>>,
    /// What to compare with.
    pub(crate) parent: ParentChoice,
    /// Whether an unchanged tree makes no snapshot.
    pub(crate) skip_if_unchanged: bool,
    /// Whether nothing is written.
    pub(crate) dry_run: bool,
    /// Whether a new inode number alone is no change.
    pub(crate) ignore_inode: bool,
    /// Whether a new ctime alone is no change.
    pub(crate) ignore_ctime: bool,
    /// Files read at once; `None` for what suits the machine.
    pub(crate) read_concurrency: Option<usize>,
}

impl BackupSettings {
    /// The settings that the options and the environment make.
    ///
    /// # Errors
    /// `Invalid` for a value that makes no sense.
    pub(crate) fn new(args: &BackupArgs, environment: &Environment) -> Result<Self> {
        let host = match &args.host {
            Some(host) => Some(host.clone()),
            None => environment.ours("HOST")?.map(|(_, host)| host.to_owned()),
        };
        let parent = match (&args.parent, args.force) {
            (_, true) => ParentChoice::None,
            (Some(id), false) => ParentChoice::Snapshot(id.trim().to_ascii_lowercase()),
            (None, false) => ParentChoice::Auto,
        };
        // A new inode number comes with a new ctime.
        let ignore_inode = args.ignore_inode || environment.switch("IGNORE_INODE")?;
        Ok(Self {
            what: what(args)?,
            excludes: excludes(args)?,
            one_file_system: args.one_file_system,
            tags: tags(&args.tag),
            host: host.filter(|host| !host.is_empty()),
            time: args.time.as_deref().map(clock::parse_time).transpose()?,
            parent,
            skip_if_unchanged: args.skip_if_unchanged,
            dry_run: args.dry_run,
            ignore_inode,
            ignore_ctime: ignore_inode || args.ignore_ctime || environment.switch("IGNORE_CTIME")?,
            read_concurrency: read_concurrency(args, environment)?,
        })
    }
}

fn what(args: &BackupArgs) -> Result<WhatToSave> {
    if args.stdin {
        return Ok(WhatToSave::Stdin { name: stream_name(&args.stdin_filename)? });
    }
    if args.stdin_from_command {
        return Ok(WhatToSave::Command { words: args.paths.clone(), name: stream_name(&args.stdin_filename)? });
    }
    let lists_of = |files: &[PathBuf], format| {
        files.iter().map(move |file| NameList { file: file.clone(), format }).collect::<Vec<_>>()
    };
    let mut lists = lists_of(&args.files_from, NameFormat::Patterns);
    lists.extend(lists_of(&args.files_from_verbatim, NameFormat::Verbatim));
    lists.extend(lists_of(&args.files_from_raw, NameFormat::Raw));
    if lists.iter().filter(|list| list.file.as_os_str() == "-").count() > 1 {
        return Err(Error::invalid("standard input can be only one of the lists of files"));
    }
    let named: Vec<PathBuf> = args.paths.iter().map(PathBuf::from).collect();
    if named.iter().any(|path| path.as_os_str().is_empty()) {
        return Err(Error::invalid("an empty path is not a file to back up"));
    }
    if named.is_empty() && lists.is_empty() {
        return Err(Error::invalid("nothing to back up").with_hint("name at least one file or directory"));
    }
    Ok(WhatToSave::Paths { named, lists })
}

fn stream_name(name: &OsStr) -> Result<TreePath> {
    let bytes = name.as_bytes();
    let start = bytes.iter().position(|byte| *byte != b'/').unwrap_or(bytes.len());
    let path =
        TreePath::parse(bytes.get(start..).unwrap_or_default()).map_err(|error| error.within("--stdin-filename"))?;
    if path.is_root() { Err(Error::invalid("--stdin-filename is empty")) } else { Ok(path) }
}

fn excludes(args: &BackupArgs) -> Result<Excludes> {
    let larger_than = args.exclude_larger_than.as_deref().map(str::parse).transpose();
    Ok(Excludes {
        patterns: args.exclude.clone(),
        ipatterns: args.iexclude.clone(),
        files: args.exclude_file.clone(),
        ifiles: args.iexclude_file.clone(),
        if_present: args.exclude_if_present.clone(),
        caches: args.exclude_caches,
        larger_than: larger_than.map_err(|error: Error| error.within("--exclude-larger-than"))?,
    })
}

fn tags(lists: &[String]) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for tag in lists.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|tag| !tag.is_empty()) {
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

fn read_concurrency(args: &BackupArgs, environment: &Environment) -> Result<Option<usize>> {
    let count = match args.read_concurrency {
        Some(count) => Some(count),
        None => environment.parsed::<u32>("READ_CONCURRENCY")?,
    };
    Ok(count.and_then(Limits::readers_of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    fn settings(line: &str, environment: &[(&str, &str)]) -> Result<BackupSettings> {
        let cli = Cli::try_parse_from(["volvault", "backup"].into_iter().chain(line.split_whitespace())).unwrap();
        let Command::Backup(args) = cli.command else { panic!("backup") };
        BackupSettings::new(&args, &environment.iter().copied().collect())
    }

    #[test]
    fn options_come_before_our_variables_and_those_before_restics() {
        let all = [
            ("VOLVAULT_HOST", "ours"),
            ("RESTIC_HOST", "restics"),
            ("RESTIC_READ_CONCURRENCY", "3"),
            ("RESTIC_IGNORE_INODE", "true"),
        ];
        let made = settings(". --host given --read-concurrency 5", &all).unwrap();
        assert_eq!((made.host.as_deref(), made.read_concurrency), (Some("given"), Some(5)));
        let made = settings(".", &all).unwrap();
        assert_eq!((made.host.as_deref(), made.read_concurrency), (Some("ours"), Some(3)));
        assert!(made.ignore_inode && made.ignore_ctime);
        assert_eq!(settings(".", &all[1..]).unwrap().host.as_deref(), Some("restics"));
        // An empty option overrides the variable, and stands for this machine.
        assert_eq!(settings(". --host=", &all).unwrap().host, None);
    }

    #[test]
    fn values_that_make_no_sense_are_errors_that_name_their_origin() {
        for (line, environment, word) in [
            (". --time soon", ("A", "b"), "soon"),
            (". --exclude-larger-than 1.5x", ("A", "b"), "--exclude-larger-than"),
            (".", ("RESTIC_READ_CONCURRENCY", "many"), "RESTIC_READ_CONCURRENCY"),
            (".", ("VOLVAULT_IGNORE_CTIME", "maybe"), "VOLVAULT_IGNORE_CTIME"),
            ("", ("A", "b"), "nothing to back up"),
            ("--stdin --stdin-filename ../x", ("A", "b"), "--stdin-filename"),
            ("--stdin --stdin-filename /", ("A", "b"), "--stdin-filename"),
            ("--files-from - --files-from-raw -", ("A", "b"), "standard input"),
        ] {
            let error = settings(line, &[environment]).unwrap_err();
            assert!(error.chain().contains(word), "{line}: {}", error.chain());
        }
    }

    #[test]
    fn tags_are_split_and_named_once() {
        assert_eq!(settings(". --tag a,b --tag b --tag=,c,", &[]).unwrap().tags, ["a", "b", "c"]);
    }

    #[test]
    fn a_stream_stands_below_the_root() {
        let made = settings("--stdin-from-command --stdin-filename /dumps/db.sql -- pg_dump --all", &[]).unwrap();
        let WhatToSave::Command { words, name } = made.what else { panic!("command") };
        assert_eq!((words, name.display().as_str()), (vec!["pg_dump".into(), "--all".into()], "/dumps/db.sql"));
        let made = settings("--stdin", &[]).unwrap();
        assert!(matches!(made.what, WhatToSave::Stdin { name } if name.display() == "/stdin"));
    }

    #[test]
    fn force_comes_before_a_parent() {
        assert!(matches!(settings(". --parent 12AB", &[]).unwrap().parent, ParentChoice::Snapshot(id) if id == "12ab"));
        assert!(matches!(settings(". --parent 12ab -f", &[]).unwrap().parent, ParentChoice::None));
        assert!(matches!(settings(".", &[]).unwrap().parent, ParentChoice::Auto));
    }
}
