//! Options of `restore`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::FilterArgs;

/// When an existing file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteArg {
    /// Whenever its content differs.
    Always,
    /// When its size or time differs.
    IfChanged,
    /// When the snapshot's is newer.
    IfNewer,
    /// Never.
    Never,
}

/// Options of `restore`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
pub struct RestoreArgs {
    /// Id of the snapshot, the first digits of it, or `latest`; with :FOLDER only what lies there
    #[arg(value_name = "ID[:FOLDER]")]
    pub snapshot: String,
    /// Directory to restore to
    #[arg(short, long, value_name = "DIR")]
    pub target: PathBuf,

    /// Which snapshots `latest` chooses from.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// With `latest`: the newest one that is not newer than this time
    #[arg(long, value_name = "TIME", help_heading = SNAPSHOT)]
    pub as_of: Option<String>,
    /// With `latest`: the N-th before it
    #[arg(long, value_name = "N", help_heading = SNAPSHOT)]
    pub previous: Option<u32>,
    /// With `latest`: choose unfinished snapshots too
    #[arg(long, help_heading = SNAPSHOT)]
    pub include_partial: bool,

    /// Leave out what matches this pattern; may be repeated
    #[arg(short, long, value_name = "PATTERN", help_heading = FILES, conflicts_with_all = INCLUDES)]
    pub exclude: Vec<OsString>,
    /// The same without regard to upper and lower case
    #[arg(long, value_name = "PATTERN", help_heading = FILES, conflicts_with_all = INCLUDES)]
    pub iexclude: Vec<OsString>,
    /// Read patterns from this file, one on each line
    #[arg(long, value_name = "FILE", help_heading = FILES, conflicts_with_all = INCLUDES)]
    pub exclude_file: Vec<PathBuf>,
    /// The same without regard to upper and lower case
    #[arg(long, value_name = "FILE", help_heading = FILES, conflicts_with_all = INCLUDES)]
    pub iexclude_file: Vec<PathBuf>,
    /// Restore only what matches this pattern; may be repeated
    #[arg(short, long, value_name = "PATTERN", help_heading = FILES)]
    pub include: Vec<OsString>,
    /// The same without regard to upper and lower case
    #[arg(long, value_name = "PATTERN", help_heading = FILES)]
    pub iinclude: Vec<OsString>,
    /// Read patterns from this file, one on each line
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub include_file: Vec<PathBuf>,
    /// The same without regard to upper and lower case
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub iinclude_file: Vec<PathBuf>,
    /// Restore extended attributes that match this pattern; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = FILES, conflicts_with = "exclude_xattr")]
    pub include_xattr: Vec<OsString>,
    /// Do not restore extended attributes that match this pattern; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = FILES)]
    pub exclude_xattr: Vec<OsString>,

    /// When to replace existing files
    #[arg(long, value_enum, default_value = "always", value_name = "WHEN", help_heading = WRITING)]
    pub overwrite: OverwriteArg,
    /// Delete what is in the target and not in the snapshot; try it with --dry-run -vv
    #[arg(long, help_heading = WRITING)]
    pub delete: bool,
    /// Write nothing, show what would be done
    #[arg(short = 'n', long, help_heading = WRITING, conflicts_with = "verify")]
    pub dry_run: bool,
    /// Make holes where files hold zeros
    #[arg(long, help_heading = WRITING)]
    pub sparse: bool,
    /// Read everything back afterwards and compare
    #[arg(long, help_heading = WRITING)]
    pub verify: bool,
    /// Set owners by their names, not by their numbers
    #[arg(long, help_heading = WRITING)]
    pub ownership_by_name: bool,
}

const INCLUDES: [&str; 4] = ["include", "iinclude", "include_file", "iinclude_file"];
const SNAPSHOT: &str = "Which snapshots";
const FILES: &str = "What is restored";
const WRITING: &str = "Writing";
