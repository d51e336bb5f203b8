//! Options of the commands that look after snapshots and of those that have nothing to do here.

use clap::{Args, ValueEnum};

use super::FilterArgs;

/// Options of `tag`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct TagArgs {
    /// Ids of snapshots, or the first digits of them, or `latest` [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Instead of all others, give these tags; an empty one takes all away; may be repeated
    #[arg(long, value_name = "TAG[,TAG]", conflicts_with_all = ["add", "remove"])]
    pub set: Vec<String>,
    /// Add these tags; may be repeated
    #[arg(long, value_name = "TAG[,TAG]")]
    pub add: Vec<String>,
    /// Remove these tags; may be repeated
    #[arg(long, value_name = "TAG[,TAG]")]
    pub remove: Vec<String>,
    /// Which snapshots are changed.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Options of `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Ids of snapshots, or the first digits of them, or `latest` [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// What is counted
    #[arg(long, value_enum, default_value_t = CountArg::RestoreSize)]
    pub mode: CountArg,
    /// Count in groups, each for itself: host, paths, tags, separated by commas
    #[arg(short, long, value_name = "GROUP")]
    pub group_by: Option<String>,
    /// Which snapshots are counted.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What `stats` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CountArg {
    /// What a restore of each snapshot writes
    RestoreSize,
    /// Files of the same content once
    FilesByContents,
    /// What the blobs take that these snapshots refer to, each once
    RawData,
    /// As restore-size, and the blobs of each file
    BlobsPerFile,
}

/// Options of `unlock`.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Accepted: there are no locks at all
    #[arg(long)]
    pub remove_all: bool,
}

/// Options of `cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// Accepted: there is no cache
    #[arg(long)]
    pub cleanup: bool,
    /// Accepted: there is no cache
    #[arg(long, value_name = "DAYS")]
    pub max_age: Option<u32>,
    /// Accepted: there is no cache
    #[arg(long)]
    pub no_size: bool,
}
