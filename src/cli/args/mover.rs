//! Options of `mover`.

use clap::{Args, Subcommand};

/// Options of `mover`.
#[derive(Debug, Args)]
#[command(after_help = "\
The environment says everything else, as it does in VolSync's pods. For the restic mover RESTIC_REPOSITORY, RESTIC_PASSWORD and DATA_DIR must be set; FORGET_OPTIONS, \
RESTORE_AS_OF, SELECT_PREVIOUS, RESTORE_OPTIONS, CUSTOM_CA and the RCLONE_VOLVAULT_ switches may be. The rclone mover must have RCLONE_CONFIG_SECTION, \
RCLONE_DEST_PATH, MOUNT_PATH and DIRECTION (source or destination). docs/kubernetes.md has all of them.")]
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
    /// Do what a rclone mover of VolSync does: push or pull, as DIRECTION says
    Rclone,
}
