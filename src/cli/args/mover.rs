//! Options of `mover`.

use clap::{Args, Subcommand};

/// Options of `mover`.
#[derive(Debug, Args)]
#[command(after_help = "\
The environment says everything else, as it does in VolSync's pods: RESTIC_REPOSITORY, RESTIC_PASSWORD and DATA_DIR must be set; FORGET_OPTIONS, \
RESTORE_AS_OF, SELECT_PREVIOUS, RESTORE_OPTIONS, CUSTOM_CA and the RCLONE_VOLVAULT_ switches may be. docs/kubernetes.md has all of them.")]
pub struct MoverArgs {
    /// Which mover.
    #[command(subcommand)]
    pub kind: MoverKind,
}

/// Which mover.
#[derive(Debug, Subcommand)]
pub enum MoverKind {
    /// Do what a restic mover of VolSync does
    Restic {
        /// What to do, one after the other: unlock, backup, prune, restore
        #[arg(value_name = "ACTION", required = true)]
        actions: Vec<String>,
    },
}
