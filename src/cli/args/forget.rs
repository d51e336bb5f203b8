//! Options of `forget`.

use std::ffi::OsString;

use clap::Args;

use super::{FilterArgs, PruneOptionArgs};

/// Options of `forget`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
#[command(after_help = "\
A snapshot stays if one of the --keep options keeps it. N is a number or `unlimited`; a DURATION is like 1y5m7d2h, with the units y, m \
(months), w, d and h, and counts back from the newest snapshot of the group. Days, weeks and months are those of the time zone in which \
the snapshot was made. Exit status is 3 when some snapshots could not be removed.")]
pub struct ForgetArgs {
    /// Ids of snapshots to remove, or the first digits of them, or `latest`; the --keep options do not count then
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,

    /// Keep the newest N snapshots
    #[arg(short = 'l', long, value_name = "N", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_last: Option<String>,
    /// Keep the newest snapshot of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_hourly: Option<String>,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_daily: Option<String>,
    /// The same for weeks, from Monday to Sunday
    #[arg(short = 'w', long, value_name = "N", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_weekly: Option<String>,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_monthly: Option<String>,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_yearly: Option<String>,
    /// Keep all snapshots newer than this
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_within: Option<String>,
    /// Of the snapshots newer than this, keep the newest of each hour
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_within_hourly: Option<String>,
    /// The same for days
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_within_daily: Option<String>,
    /// The same for weeks
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_within_weekly: Option<String>,
    /// The same for months
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_within_monthly: Option<String>,
    /// The same for years
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = KEEP)]
    pub keep_within_yearly: Option<String>,
    /// Keep the snapshots that have all of these tags; may be repeated
    #[arg(long, value_name = "TAG[,TAG]", help_heading = KEEP)]
    pub keep_tag: Vec<String>,
    /// Without any --keep option: remove all snapshots that --host, --tag and --path mean
    #[arg(long, help_heading = KEEP)]
    pub unsafe_allow_remove_all: bool,

    /// Only snapshots of this host; may be repeated [env: .._HOST]
    #[arg(long, alias = "hostname", value_name = "NAME", help_heading = FILTER)]
    pub host: Vec<String>,
    /// Only snapshots with all of these tags; repeated: or all of those. An empty one stands for no tags at all
    #[arg(long, value_name = "TAG[,TAG]", help_heading = FILTER)]
    pub tag: Vec<String>,
    /// Only snapshots that saved this absolute path; repeated: and that one
    #[arg(long, value_name = "PATH", help_heading = FILTER)]
    pub path: Vec<OsString>,
    /// Apply the policy to each group by itself: host, paths, tags, separated by commas; '' for one group
    #[arg(short, long, value_name = "GROUP", default_value = "host,paths", help_heading = FILTER)]
    pub group_by: String,

    /// Only say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Leave reasons and paths out of the tables
    #[arg(short, long)]
    pub compact: bool,
    /// If snapshots were removed, prune at once
    #[arg(long)]
    pub prune: bool,
    /// How to prune then.
    #[command(flatten)]
    pub prune_options: PruneOptionArgs,
}

impl ForgetArgs {
    /// Which snapshots are meant. `-H` is `--keep-hourly` here, as in restic, so the shared options cannot be taken as they are.
    pub fn filter(&self) -> FilterArgs {
        FilterArgs { host: self.host.clone(), tag: self.tag.clone(), path: self.path.clone() }
    }
}

const KEEP: &str = "What to keep";
const FILTER: &str = "Which snapshots";
