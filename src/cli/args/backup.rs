//! Options of `backup`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Options of `backup`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status is 3 when a snapshot was made but some files could not be read.")]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
#[expect(clippy::doc_markdown, reason = "the comments are the help text, which knows no markdown")]
pub struct BackupArgs {
    /// Files and directories to save; with --stdin-from-command the program and its arguments
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,

    /// Leave out what matches this pattern; may be repeated
    #[arg(short, long, value_name = "PATTERN", help_heading = WHAT)]
    pub exclude: Vec<OsString>,
    /// The same without regard to upper and lower case
    #[arg(long, value_name = "PATTERN", help_heading = WHAT)]
    pub iexclude: Vec<OsString>,
    /// Read patterns from this file, one on each line
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub exclude_file: Vec<PathBuf>,
    /// The same without regard to upper and lower case
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub iexclude_file: Vec<PathBuf>,
    /// Leave out the content of directories that a CACHEDIR.TAG marks as caches
    #[arg(long, help_heading = WHAT)]
    pub exclude_caches: bool,
    /// Leave out the content of directories that hold this file, and if given, one that starts with this header
    #[arg(long, value_name = "NAME[:HEADER]", help_heading = WHAT)]
    pub exclude_if_present: Vec<OsString>,
    /// Leave out files over this size (512k, 10M, 2G)
    #[arg(long, value_name = "SIZE", help_heading = WHAT)]
    pub exclude_larger_than: Option<String>,
    /// Stay on the file systems of the named paths
    #[arg(short = 'x', long, help_heading = WHAT)]
    pub one_file_system: bool,
    /// Read paths from this file, one on each line, with wildcards and # comments; - is standard input
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub files_from: Vec<PathBuf>,
    /// Read paths from this file, one on each line, exactly as they stand there
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub files_from_verbatim: Vec<PathBuf>,
    /// Read paths from this file, each ended by a zero byte
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub files_from_raw: Vec<PathBuf>,

    /// Save what comes from standard input as one file
    #[arg(long, help_heading = STREAM, conflicts_with_all = ["stdin_from_command", "files_from", "files_from_verbatim", "files_from_raw", "paths"])]
    pub stdin: bool,
    /// Run the program that is given and save its output as one file; if it fails, so does the backup
    #[arg(long, help_heading = STREAM, conflicts_with_all = ["files_from", "files_from_verbatim", "files_from_raw"], requires = "paths")]
    pub stdin_from_command: bool,
    /// The name of that file
    #[arg(long, value_name = "NAME", default_value = "stdin", help_heading = STREAM)]
    pub stdin_filename: OsString,

    /// Mark the snapshot with these tags, separated by commas; may be repeated
    #[arg(long, value_name = "TAG[,TAG]", help_heading = SNAPSHOT)]
    pub tag: Vec<String>,
    /// Name of the host in the snapshot [env: .._HOST] [default: the name of this machine]
    #[arg(short = 'H', long, value_name = "NAME", help_heading = SNAPSHOT)]
    pub host: Option<String>,
    /// Time of the snapshot, such as '2024-03-01 22:08:41' or 2024-03-01T22:08:41Z [default: now]
    #[arg(long, value_name = "TIME", help_heading = SNAPSHOT)]
    pub time: Option<String>,
    /// Compare with this snapshot [default: the newest of the same host and paths]
    #[arg(long, value_name = "ID", help_heading = SNAPSHOT)]
    pub parent: Option<String>,
    /// Compare with nothing: read every file
    #[arg(short, long, help_heading = SNAPSHOT)]
    pub force: bool,
    /// Make no snapshot when nothing changed since the parent
    #[arg(long, help_heading = SNAPSHOT)]
    pub skip_if_unchanged: bool,
    /// Write nothing, show what would be done
    #[arg(short = 'n', long, help_heading = SNAPSHOT)]
    pub dry_run: bool,

    /// Do not take a changed inode number or ctime for a changed file [env: .._IGNORE_INODE]
    #[arg(long, help_heading = READING)]
    pub ignore_inode: bool,
    /// Do not take a changed ctime for a changed file [env: .._IGNORE_CTIME]
    #[arg(long, help_heading = READING)]
    pub ignore_ctime: bool,
    /// Read so many files at once [env: .._READ_CONCURRENCY]
    #[arg(long, value_name = "N", help_heading = READING)]
    pub read_concurrency: Option<u32>,
    /// Accepted and without effect: there is no separate scan
    #[arg(long, help_heading = READING)]
    pub no_scan: bool,
    /// Accepted and without effect: access times are not saved
    #[arg(long, hide = true)]
    pub with_atime: bool,
    /// Accepted and without effect: the parent is found by host and paths
    #[arg(short = 'g', long, value_name = "GROUP", hide = true)]
    pub group_by: Option<String>,
}

const WHAT: &str = "What is saved";
const STREAM: &str = "Saving a stream";
const SNAPSHOT: &str = "The snapshot";
const READING: &str = "Reading";
