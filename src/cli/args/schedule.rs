//! Options of `run` and `validate`.

use std::path::PathBuf;

use clap::Args;

use super::ListenArgs;

/// Options of `run`.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the comments are the help text, which knows no markdown")]
#[command(after_help = "\
The documents are VolSync's own: ReplicationSource and ReplicationDestination of volsync.backube/v1alpha1 with restic and rclone sections, and the Secrets \
and ConfigMaps that they name. docs/scheduler.md begins from nothing.")]
pub struct RunArgs {
    /// What the documents are, and where what they name is.
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// Keep the status and the files of jobs here [default: $STATE_DIRECTORY, or volvault below $XDG_STATE_HOME]
    #[arg(long, value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
    /// Whose clocks schedules mean, such as Europe/Berlin [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Put each scheduled run off by up to so much, always the same for the same run, such as 10m
    #[arg(long, value_name = "DURATION")]
    pub jitter: Option<String>,
    /// Run so many jobs at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Rest so long between the runs of a resource without a trigger
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub rest: String,
    /// Where all this is shown.
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// Options of `validate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 when all can run; 1 when a document is wrong, something is missing or a store cannot be reached.")]
pub struct ValidateArgs {
    /// What the documents are, and where what they name is.
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// Only read the documents, and reach no store
    #[arg(long)]
    pub offline: bool,
}

/// What the documents are, and where what they name is.
#[derive(Debug, Args)]
pub struct DocumentArgs {
    /// Read documents from this file; may be repeated; - is standard input
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The volume of this claim is this directory; may be repeated
    #[arg(long = "volume", value_name = "[NAMESPACE/]CLAIM=DIRECTORY")]
    pub volumes: Vec<String>,
    /// A Secret is a directory with a file for each key, or the variables with a prefix: NAME=env:PREFIX_; may be repeated
    #[arg(long = "secret", value_name = "[NAMESPACE/]NAME=DIRECTORY")]
    pub secrets: Vec<String>,
}
