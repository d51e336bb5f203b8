//! Options of the commands that look at snapshots, and the filter that several commands share.

use clap::Args;

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only snapshots of this host; may be repeated [env: .._HOST]
    #[arg(short = 'H', long, value_name = "NAME", help_heading = FILTER)]
    pub host: Vec<String>,
    /// Only snapshots with all of these tags; repeated: or all of those. An empty one stands for no tags at all
    #[arg(long, value_name = "TAG[,TAG]", help_heading = FILTER)]
    pub tag: Vec<String>,
    /// Only snapshots that saved this absolute path; repeated: and that one
    #[arg(long, value_name = "PATH", help_heading = FILTER)]
    pub path: Vec<std::ffi::OsString>,
}

/// Options of `snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Ids of snapshots, or the first digits of them, or `latest` [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Which snapshots are listed.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Leave the paths out
    #[arg(short, long)]
    pub compact: bool,
    /// Only the newest N of each host and set of paths
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
    /// List them in groups: host, paths, tags, separated by commas
    #[arg(short, long, value_name = "GROUP")]
    pub group_by: Option<String>,
}

/// Options of `ls`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
pub struct LsArgs {
    /// Id of the snapshot, the first digits of it, or `latest`; with :FOLDER only what lies there
    #[arg(value_name = "ID[:FOLDER]")]
    pub snapshot: String,
    /// Only these absolute directories and what they hold
    #[arg(value_name = "DIR")]
    pub dirs: Vec<std::ffi::OsString>,
    /// Which snapshots `latest` chooses from.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Let `latest` choose unfinished snapshots too
    #[arg(long)]
    pub include_partial: bool,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// With directories given: show what lies below their subdirectories too
    #[arg(long)]
    pub recursive: bool,
    /// With --long: show sizes with units
    #[arg(long)]
    pub human_readable: bool,
}

const FILTER: &str = "Which snapshots";
