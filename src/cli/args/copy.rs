//! Options of `copy`.

use std::path::PathBuf;

use clap::Args;

use super::FilterArgs;

/// Options of `copy`.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the comments are the help text, which knows no markdown")]
pub struct CopyArgs {
    /// Ids of snapshots, or the first digits of them, or `latest` [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Where the snapshots are copied from; they go to the repository of -r [env: .._FROM_REPOSITORY]
    #[arg(long, value_name = "LOCATION", help_heading = FROM, conflicts_with = "from_repository_file")]
    pub from_repo: Option<String>,
    /// Read that location from the first line of this file [env: .._FROM_REPOSITORY_FILE]
    #[arg(long, value_name = "FILE", help_heading = FROM)]
    pub from_repository_file: Option<PathBuf>,
    /// Read the password of that repository from the first line of this file [env: .._FROM_PASSWORD_FILE, .._FROM_PASSWORD]
    #[arg(long, value_name = "FILE", help_heading = FROM, conflicts_with_all = ["from_password_command", "from_key_file"])]
    pub from_password_file: Option<PathBuf>,
    /// Run this program and take the first line of its output as that password [env: .._FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", help_heading = FROM, conflicts_with = "from_key_file")]
    pub from_password_command: Option<String>,
    /// Read the 32-byte key of that repository from this file [env: VOLVAULT_FROM_KEY_FILE]
    #[arg(long, value_name = "FILE", help_heading = FROM)]
    pub from_key_file: Option<PathBuf>,
    /// Accepted and without effect: the right key is found at once
    #[arg(long, value_name = "ID", hide = true)]
    pub from_key_hint: Option<String>,
    /// Which snapshots are copied.
    #[command(flatten)]
    pub filter: FilterArgs,
}

const FROM: &str = "Where from";
