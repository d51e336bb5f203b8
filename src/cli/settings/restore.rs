//! What `restore` is to do.

use std::ffi::OsString;
use std::path::{Component, PathBuf};

use crate::cli::args::{OverwriteArg, RestoreArgs};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::repo::SnapshotFilter;
use crate::restore::Overwrite;

use super::find::{Chosen, Latest, choose, filter};

/// What `restore` is to do.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command line")]
pub(crate) struct RestoreSettings {
    /// Which snapshot, and what of it.
    pub(crate) chosen: Chosen,
    /// Which snapshots `latest` chooses from.
    pub(crate) filter: SnapshotFilter,
    /// Where to.
    pub(crate) target: PathBuf,
    /// What is left out, or what alone is restored.
    pub(crate) files: Wanted,
    /// Patterns of extended attributes that are restored; none for all.
    pub(crate) include_xattr: Vec<OsString>,
    /// Patterns of extended attributes that are left out.
    pub(crate) exclude_xattr: Vec<OsString>,
    /// When existing files are replaced.
    pub(crate) overwrite: Overwrite,
    /// Whether what the snapshot does not hold is deleted.
    pub(crate) delete: bool,
    /// Whether nothing is written.
    pub(crate) dry_run: bool,
    /// Whether runs of zeros become holes.
    pub(crate) sparse: bool,
    /// Whether everything is read back.
    pub(crate) verify: bool,
    /// Whether owners are set by name.
    pub(crate) ownership_by_name: bool,
}

/// Patterns that choose files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Whether what matches is restored, or left out.
    pub(crate) include: bool,
    /// Patterns.
    pub(crate) patterns: Vec<OsString>,
    /// Patterns that ignore case.
    pub(crate) ipatterns: Vec<OsString>,
    /// Files of patterns.
    pub(crate) files: Vec<PathBuf>,
    /// Files of patterns that ignore case.
    pub(crate) ifiles: Vec<PathBuf>,
}

impl Wanted {
    /// Whether there are no patterns at all.
    pub(crate) fn is_everything(&self) -> bool {
        self.patterns.is_empty() && self.ipatterns.is_empty() && self.files.is_empty() && self.ifiles.is_empty()
    }
}

impl RestoreSettings {
    /// The settings that the options and the environment make.
    ///
    /// # Errors
    /// `Invalid` for a value that makes no sense, and for `--delete` on `/` without a filter.
    pub(crate) fn new(args: &RestoreArgs, environment: &Environment) -> Result<Self> {
        let latest =
            Latest { as_of: args.as_of.as_deref(), previous: args.previous, include_partial: args.include_partial };
        let files = wanted(args);
        if args.target.as_os_str().is_empty() {
            return Err(Error::invalid("the target is empty").with_hint("name a directory with --target"));
        }
        if args.delete && is_root(&args.target) && files.is_everything() {
            return Err(Error::invalid("--delete with the target / would delete this system")
                .with_hint("add --include or --exclude"));
        }
        Ok(Self {
            chosen: choose(&args.snapshot, latest)?,
            filter: filter(&args.filter, environment)?,
            target: args.target.clone(),
            files,
            include_xattr: args.include_xattr.clone(),
            exclude_xattr: args.exclude_xattr.clone(),
            overwrite: match args.overwrite {
                OverwriteArg::Always => Overwrite::Always,
                OverwriteArg::IfChanged => Overwrite::IfChanged,
                OverwriteArg::IfNewer => Overwrite::IfNewer,
                OverwriteArg::Never => Overwrite::Never,
            },
            delete: args.delete,
            dry_run: args.dry_run,
            sparse: args.sparse,
            verify: args.verify,
            ownership_by_name: args.ownership_by_name,
        })
    }
}

fn wanted(args: &RestoreArgs) -> Wanted {
    let include = Wanted {
        include: true,
        patterns: args.include.clone(),
        ipatterns: args.iinclude.clone(),
        files: args.include_file.clone(),
        ifiles: args.iinclude_file.clone(),
    };
    if !include.is_everything() {
        return include;
    }
    Wanted {
        include: false,
        patterns: args.exclude.clone(),
        ipatterns: args.iexclude.clone(),
        files: args.exclude_file.clone(),
        ifiles: args.iexclude_file.clone(),
    }
}

/// Whether a path is `/`, also as `//.` or `/a/..`.
fn is_root(path: &std::path::Path) -> bool {
    let mut depth = 0usize;
    for component in path.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth = depth.saturating_sub(1),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path.is_absolute() && depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    fn settings(line: &str) -> Result<RestoreSettings> {
        let cli = Cli::try_parse_from(["volvault", "restore"].into_iter().chain(line.split_whitespace())).unwrap();
        let Command::Restore(args) = cli.command else { panic!("restore") };
        RestoreSettings::new(&args, &Environment::default())
    }

    #[test]
    fn deleting_a_whole_system_needs_a_filter() {
        for target in ["/", "//", "/.", "/mnt/.."] {
            assert!(settings(&format!("latest --delete -t {target}")).is_err(), "{target}");
            assert!(settings(&format!("latest --delete -t {target} -i /etc")).is_ok(), "{target}");
            assert!(settings(&format!("latest -t {target}")).is_ok(), "{target}");
        }
        assert!(settings("latest --delete -t .").is_ok());
    }

    #[test]
    fn patterns_either_choose_or_leave_out() {
        assert!(settings("latest -t x").unwrap().files.is_everything());
        let made = settings("latest -t x -i a --iinclude B").unwrap().files;
        assert!(made.include && made.patterns == ["a"] && made.ipatterns == ["B"]);
        let made = settings("latest -t x --exclude-file f").unwrap().files;
        assert!(!made.include && made.files == [PathBuf::from("f")]);
    }

    #[test]
    fn existing_files_are_overwritten_unless_told_otherwise() {
        assert!(matches!(settings("latest -t x").unwrap().overwrite, Overwrite::Always));
        assert!(matches!(settings("latest -t x --overwrite if-newer").unwrap().overwrite, Overwrite::IfNewer));
    }
}
