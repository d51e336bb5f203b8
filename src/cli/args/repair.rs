//! Options of `repair`.

use clap::{Args, Subcommand};

use super::FilterArgs;

/// Options of `repair`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RepairArgs {
    /// Bring back what is damaged, and packs that are missing, from the copy of this repository at this location; needs no password
    #[arg(long, value_name = "LOCATION", required = true)]
    pub from: Option<String>,
    /// With --from: bring back index segments and snapshots that were lost, too; what was forgotten since the copy was made stays forgotten: restore it from the copy, which is a repository of its own
    #[arg(long, requires = "from")]
    pub all: bool,
    /// Whether to do it.
    #[command(flatten)]
    pub apply: ApplyArgs,
    /// What to repair from what is left.
    #[command(subcommand)]
    pub command: Option<RepairCommand>,
}

/// Whether a repair is done or only planned.
#[derive(Debug, Clone, Copy, Args)]
pub struct ApplyArgs {
    /// Do it; without this, only what would be done is printed
    #[arg(long)]
    pub apply: bool,
    /// Only print what would be done, and count that as success
    #[arg(short = 'n', long, conflicts_with = "apply")]
    pub dry_run: bool,
}

/// What to repair from what is left.
#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    /// Write anew what is missing or damaged of the index, from the directories of the packs
    Index {
        /// Read the directories of all packs and write the whole index anew
        #[arg(long)]
        read_all_packs: bool,
        /// Whether to do it.
        #[command(flatten)]
        apply: ApplyArgs,
    },
    /// Save what is whole in damaged packs into new ones, and move the damaged ones aside
    Packs {
        /// Names of packs, or the first digits of them, as `check --read-data` gives them [default: reads all to find out]
        #[arg(value_name = "PACK")]
        packs: Vec<String>,
        /// Whether to do it.
        #[command(flatten)]
        apply: ApplyArgs,
    },
    /// Write what is left of damaged snapshots as new ones, tagged `repaired`; the lost parts of files become holes
    Snapshots {
        /// Ids of snapshots, or the first digits of them, or `latest` [default: all]
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// Which snapshots are looked at.
        #[command(flatten)]
        filter: FilterArgs,
        /// Remove the damaged snapshots, also those that cannot be read at all; a copy of each is kept in trash/
        #[arg(long)]
        forget: bool,
        /// Whether to do it.
        #[command(flatten)]
        apply: ApplyArgs,
    },
}
