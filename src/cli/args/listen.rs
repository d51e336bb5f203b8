//! Options of whatever shows its state over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Where the status page is, and who may ask for what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Status page and metrics")]
#[expect(clippy::doc_markdown, reason = "the comments are the help text, which knows no markdown")]
pub struct ListenArgs {
    /// Show a page, /status, /metrics, /healthz and /readyz at this address [default: 127.0.0.1:9731, if it is free]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Show nothing over HTTP
    #[arg(long, conflicts_with = "listen")]
    pub no_listen: bool,
    /// Answer to this name too, beside addresses and localhost; may be repeated
    #[arg(long, value_name = "NAME")]
    pub listen_name: Vec<String>,
    /// Let whoever shows the token in this file start runs: POST /sync/ROLE/NAMESPACE/NAME [default: $VOLVAULT_TOKEN; else nobody]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}
