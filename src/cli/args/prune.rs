//! Options of `prune`, which `forget --prune` takes, too.

use clap::Args;

/// Options of `prune`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nobody has to stop for a prune: backups, restores and other prunes may run at the same time, and it may be killed at any moment; the next \
one goes on. A TIME is a number with a unit: s, m, h or d.")]
pub struct PruneArgs {
    /// How to prune.
    #[command(flatten)]
    pub options: PruneOptionArgs,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// How to prune.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
pub struct PruneOptionArgs {
    /// Let so much stay unused: a size like 10G, a percentage of what the repository holds like 5%, or `unlimited` [default: 5%]
    #[arg(long, value_name = "LIMIT", help_heading = PRUNE)]
    pub max_unused: Option<String>,
    /// Rewrite packs up to this size in all
    #[arg(long, value_name = "SIZE", help_heading = PRUNE)]
    pub max_repack_size: Option<String>,
    /// Rewrite packs smaller than 80% of a full one, too
    #[arg(long, help_heading = PRUNE)]
    pub repack_small: bool,
    /// Stop rewriting packs after this time; the next prune goes on
    #[arg(long, value_name = "TIME", help_heading = PRUNE)]
    pub max_time: Option<String>,
    /// Wait so long for runs that began before, and leave what they may need to the next prune [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = PRUNE)]
    pub wait: Option<String>,
    /// Do not wait for runs that gave no sign of life for so long; should one wake up, it notices and fails [default: 24h]
    #[arg(long, value_name = "TIME", help_heading = PRUNE)]
    pub stale_after: Option<String>,
    /// Prune although snapshots vanished that nobody forgot, or although more than half of the packs would go
    #[arg(long, help_heading = PRUNE)]
    pub force: bool,
    /// Accepted for restic's sake; there is no cache
    #[arg(long, hide = true)]
    pub repack_cacheable_only: bool,
    /// Accepted for restic's sake; what does not pay is not compressed
    #[arg(long, hide = true)]
    pub repack_uncompressed: bool,
}

const PRUNE: &str = "How to prune";
