//! Options of `mirror`: rclone's names and meaning wherever rclone has them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The text below the help of `mirror`.
const AFTER_HELP: &str = "\
A location is a directory, s3:http://HOST/BUCKET/PREFIX, s3://BUCKET/PREFIX, gs:BUCKET:/PREFIX, azure:CONTAINER:/PREFIX, or a remote of rclone: \
NAME:BUCKET/PREFIX from its configuration or RCLONE_CONFIG_NAME_*, or :s3,KEY=VALUE:BUCKET/PREFIX.

Exit status, as rclone's: 0 success; 1 failure; 2 wrong command line; 3 directory not found; 5 try again; 6 trying again does not help; \
7 refused or fatal; 9 nothing was transferred (with --error-on-no-transfer); 130 interrupted.

The options that rclone reads from RCLONE_NAME are read from it here, too.";

/// Options of `mirror`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct MirrorArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: MirrorCommand,
}

/// What to do with a mirror.
#[derive(Debug, Subcommand)]
pub enum MirrorCommand {
    /// Publish a directory as the next generation, at one or many destinations
    Push(Box<PushArgs>),
    /// Bring a directory to the newest generation, or to an older one
    Pull(Box<PullArgs>),
    /// Show the newest generation, who pushed it, and what the store can do
    Status(StatusArgs),
    /// Compare what the store holds with what the generation says
    Verify(VerifyArgs),
    /// List the files of a generation
    Ls(MirrorLsArgs),
    /// Show what two generations, or a generation and a directory, differ in
    Diff(Box<MirrorDiffArgs>),
    /// List the generations
    Generations(GenerationsArgs),
    /// Make the first generation of what rclone or another tool stored there, without moving it
    Adopt(AdoptArgs),
}

/// How a mirror is reached.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the comments are the help text, which knows no markdown")]
pub struct RemoteArgs {
    /// Read remotes (NAME:BUCKET/PREFIX) from this rclone configuration [default: $RCLONE_CONFIG, ~/.config/rclone/rclone.conf]
    #[arg(long, visible_alias = "config", value_name = "FILE", help_heading = LOCATIONS)]
    pub rclone_config: Option<PathBuf>,
    /// Keep what is known of mirrors in this directory; it may be lost [default: $XDG_STATE_HOME/volvault/mirror]
    #[arg(long, value_name = "DIR", help_heading = LOCATIONS)]
    pub state_dir: Option<PathBuf>,
}

/// Which files are looked at.
#[derive(Debug, Args)]
pub struct MirrorFilterArgs {
    /// Include files that match the pattern, and no others
    #[arg(long, value_name = "PATTERN", help_heading = FILES)]
    pub include: Vec<String>,
    /// Read include patterns from the file
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub include_from: Vec<PathBuf>,
    /// Exclude files that match the pattern
    #[arg(long, value_name = "PATTERN", help_heading = FILES)]
    pub exclude: Vec<String>,
    /// Read exclude patterns from the file
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub exclude_from: Vec<PathBuf>,
    /// Add a rule: `+ PATTERN`, `- PATTERN`, or `!` to forget the rules before it
    #[arg(short, long, value_name = "RULE", help_heading = FILES, allow_hyphen_values = true)]
    pub filter: Vec<String>,
    /// Read rules from the file
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub filter_from: Vec<PathBuf>,
    /// Only the files that the file names, a line each; not together with rules
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub files_from: Vec<PathBuf>,
    /// The same, every line as it stands
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub files_from_raw: Vec<PathBuf>,
    /// The same, names ended by a zero byte
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub files_from0: Vec<PathBuf>,
    /// Only files of this size and more: KiB, or with a suffix B|K|M|G
    #[arg(long, value_name = "SIZE", help_heading = FILES)]
    pub min_size: Option<String>,
    /// Only files of this size and less
    #[arg(long, value_name = "SIZE", help_heading = FILES)]
    pub max_size: Option<String>,
    /// Only files older than this: 2d, 1h30m, or a date
    #[arg(long, value_name = "AGE", help_heading = FILES)]
    pub min_age: Option<String>,
    /// Only files younger than this
    #[arg(long, value_name = "AGE", help_heading = FILES)]
    pub max_age: Option<String>,
    /// Go no deeper than this
    #[arg(long, value_name = "N", help_heading = FILES, allow_negative_numbers = true)]
    pub max_depth: Option<i64>,
    /// Match patterns without regard to upper and lower case
    #[arg(long, help_heading = FILES)]
    pub ignore_case: bool,
}

/// What push and pull have in common.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
pub struct TransferArgs {
    /// How the mirror is reached.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Which files are looked at.
    #[command(flatten)]
    pub files: MirrorFilterArgs,

    /// Take files for equal when size and content are; they are read for it
    #[arg(short, long, help_heading = COMPARING, conflicts_with = "size_only")]
    pub checksum: bool,
    /// Take files for equal when their size is
    #[arg(long, help_heading = COMPARING)]
    pub size_only: bool,
    /// Leave files alone that are newer on the receiving side
    #[arg(short, long, help_heading = COMPARING)]
    pub update: bool,
    /// Leave files alone that exist on the receiving side
    #[arg(long, help_heading = COMPARING)]
    pub ignore_existing: bool,

    /// Refuse to do anything when more files than this would be deleted
    #[arg(long, value_name = "N", help_heading = SAFETY, allow_negative_numbers = true)]
    pub max_delete: Option<i64>,
    /// Go on although the sending side is empty and the receiving side is not
    #[arg(long, help_heading = SAFETY)]
    pub allow_empty: bool,
    /// Show what would be done, with requests and bytes, and do nothing
    #[arg(short = 'n', long, help_heading = SAFETY)]
    pub dry_run: bool,

    /// Move so many files at once [default: 64, of a pull 128]
    #[arg(long, value_name = "N", help_heading = SPEED)]
    pub transfers: Option<usize>,
    /// Walk and compare with so many threads [default: 4]
    #[arg(long, value_name = "N", help_heading = SPEED)]
    pub checkers: Option<usize>,
    /// Move at most so much a second: KiB, or with suffix B|K|M|G, UP:DOWN, or a timetable such as `08:00,512k 18:00,off`
    #[arg(long, value_name = "BANDWIDTH", help_heading = SPEED)]
    pub bwlimit: Option<String>,

    /// Delete on the receiving side what the rules leave out
    #[arg(long, help_heading = FILES)]
    pub delete_excluded: bool,
    /// Print the statistics this often; 0 is never [default: 1m]
    #[arg(long, value_name = "DURATION", help_heading = TELLING)]
    pub stats: Option<String>,
    /// Exit with 9 when nothing was transferred
    #[arg(long, help_heading = TELLING)]
    pub error_on_no_transfer: bool,

    /// Options that change nothing.
    #[command(flatten)]
    pub accepted: AcceptedArgs,
}

/// Options of rclone that say what is done anyway.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
pub struct AcceptedArgs {
    /// Always so: symbolic links are kept, for other tools as files NAME.rclonelink
    #[arg(short, long, hide = true)]
    pub links: bool,
    /// Always so: everything a file has is kept
    #[arg(short = 'M', long, hide = true)]
    pub metadata: bool,
    /// Always so: empty directories are kept
    #[arg(long, hide = true)]
    pub create_empty_src_dirs: bool,
    /// Always so: what was renamed is not sent again
    #[arg(long, hide = true)]
    pub track_renames: bool,
    /// Always so: deletions come last
    #[arg(long, hide = true)]
    pub delete_after: bool,
    /// Nothing is listed
    #[arg(long, hide = true)]
    pub fast_list: bool,
    /// Requests are repeated by themselves
    #[arg(long, hide = true, value_name = "N")]
    pub retries: Option<u32>,
}

/// Options of `mirror push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The directory to publish
    pub source: PathBuf,
    /// Where to: one location or many; the source is read once
    #[arg(required = true, value_name = "DEST")]
    pub destinations: Vec<OsString>,
    /// Options that pull has, too.
    #[command(flatten)]
    pub transfer: TransferArgs,
    /// Do not leave the file system of the directory
    #[arg(short = 'x', long, help_heading = FILES)]
    pub one_file_system: bool,
    /// Keep the file permissions.facl up to date, for old pullers of VolSync
    #[arg(long, help_heading = WRITING)]
    pub facl: bool,
    /// List the destination and mend what another tool changed there, although nothing else is new; with --checksum all objects are read, too, and those that are damaged sent again
    #[arg(long, help_heading = WRITING)]
    pub relist: bool,
    /// Put files of up to SIZE into packs, too, so that a first pull of many small files takes few requests: KiB, or with a suffix B|K|M [default: 64K]
    #[arg(long, value_name = "SIZE", help_heading = WRITING, num_args = 0..=1, require_equals = true, default_missing_value = "64K")]
    pub pack_small: Option<String>,
    /// Keep what the last so many generations need, and what any needed a day ago; the rest is removed now and then
    #[arg(long, value_name = "N", help_heading = WRITING, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_generations: u64,
    /// Exit with 0 when so many destinations have the generation [default: all of them]
    #[arg(long, value_name = "N", help_heading = SAFETY)]
    pub quorum: Option<usize>,
}

/// Options of `mirror pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// The location to pull from
    pub source: OsString,
    /// The directory to bring to the generation
    pub target: PathBuf,
    /// Options that push has, too.
    #[command(flatten)]
    pub transfer: TransferArgs,
    /// Leave what lies on file systems that are mounted below the directory
    #[arg(short = 'x', long, help_heading = FILES)]
    pub one_file_system: bool,
    /// Take this generation, not the newest one
    #[arg(long, value_name = "N", help_heading = FILES)]
    pub generation: Option<u64>,
    /// Wait so long for a push to come to an end that replaces what is pulled [default: 5m]
    #[arg(long, value_name = "DURATION", help_heading = SAFETY)]
    pub wait: Option<String>,
    /// Do not look for local changes when the generation is the one that was pulled last
    #[arg(long, help_heading = COMPARING)]
    pub trust_target: bool,
    /// Move files that are replaced or deleted into this directory; it must be on the target's file system
    #[arg(long, value_name = "DIR", help_heading = WRITING)]
    pub backup_dir: Option<PathBuf>,
    /// Fail when an owner or an attribute cannot be set for lack of privileges
    #[arg(long, help_heading = WRITING)]
    pub strict: bool,
}

/// Options of `mirror status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The locations to look at
    #[arg(required = true, value_name = "LOCATION")]
    pub locations: Vec<OsString>,
    /// How they are reached.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// Options of `mirror verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The location to look at
    pub location: OsString,
    /// How it is reached.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Read all bytes and compare their hashes
    #[arg(long)]
    pub read: bool,
    /// Look at so many files at once [default: 8]
    #[arg(long, value_name = "N")]
    pub checkers: Option<usize>,
}

/// Options of `mirror ls`.
#[derive(Debug, Args)]
pub struct MirrorLsArgs {
    /// The location to look at
    pub location: OsString,
    /// Only this directory or file, relative to the root of the mirror
    pub path: Option<OsString>,
    /// How it is reached.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Take this generation, not the newest one
    #[arg(long, value_name = "N")]
    pub generation: Option<u64>,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
}

/// Options of `mirror diff`.
#[derive(Debug, Args)]
pub struct MirrorDiffArgs {
    /// The location to look at
    pub location: OsString,
    /// Compare the generation with this directory
    #[arg(conflicts_with = "from")]
    pub directory: Option<PathBuf>,
    /// How it is reached.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Which files are looked at in the directory, and in the generation.
    #[command(flatten)]
    pub files: MirrorFilterArgs,
    /// Do not leave the file system of the directory
    #[arg(short = 'x', long, help_heading = FILES)]
    pub one_file_system: bool,
    /// Compare with this generation [default: the one before]
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// The generation, not the newest one
    #[arg(long, value_name = "N", visible_alias = "to")]
    pub generation: Option<u64>,
}

/// Options of `mirror adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The location to adopt
    pub location: OsString,
    /// How it is reached.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Read every object once, so that pulls can verify its BLAKE3 and not only its entity tag
    #[arg(long)]
    pub read: bool,
    /// Take the time at which an object was stored for that of the file; saves a request for each
    #[arg(long)]
    pub use_server_modtime: bool,
    /// Read so many objects at once [default: 16]
    #[arg(long, value_name = "N")]
    pub transfers: Option<usize>,
    /// Show what it would take, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Options of `mirror generations`.
#[derive(Debug, Args)]
pub struct GenerationsArgs {
    /// Show so many of the newest ones
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub last: usize,
    /// The location to look at
    pub location: OsString,
    /// How it is reached.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

const LOCATIONS: &str = "Locations";
const FILES: &str = "Which files";
const COMPARING: &str = "Comparing";
const SAFETY: &str = "Safety";
const SPEED: &str = "Speed";
const WRITING: &str = "Writing";
const TELLING: &str = "Telling";
