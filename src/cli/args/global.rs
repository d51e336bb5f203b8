//! Options that every command takes.

use std::path::PathBuf;

use clap::{ArgAction, Args};

/// Options that every command takes, before or after its name.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
#[expect(clippy::doc_markdown, reason = "the comments are the help text, which knows no markdown")]
pub struct GlobalArgs {
    /// Where the repository is: a directory, s3:, gs: or azure: location [env: VOLVAULT_REPOSITORY, RESTIC_REPOSITORY]
    #[arg(short, long, global = true, value_name = "LOCATION", help_heading = REPOSITORY, conflicts_with = "repository_file")]
    pub repo: Option<String>,
    /// Read the repository's location from the first line of this file [env: .._REPOSITORY_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = REPOSITORY)]
    pub repository_file: Option<PathBuf>,
    /// Read the password from the first line of this file [env: .._PASSWORD_FILE; the password itself: .._PASSWORD]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = REPOSITORY, conflicts_with_all = ["password_command", "key_file"])]
    pub password_file: Option<PathBuf>,
    /// Run this program, without a shell, and take the first line of its output as password [env: .._PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", help_heading = REPOSITORY, conflicts_with = "key_file")]
    pub password_command: Option<String>,
    /// Read a 32-byte key from this file, raw, hex or base64: opens without a password hash [env: VOLVAULT_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = REPOSITORY)]
    pub key_file: Option<PathBuf>,
    /// Accepted and without effect: the right key is found at once
    #[arg(long, global = true, value_name = "ID", help_heading = ACCEPTED)]
    pub key_hint: Option<String>,

    /// Print only errors and what was asked for
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    pub quiet: bool,
    /// Say more; twice: name every file
    #[arg(short, long, global = true, action = ArgAction::Count, value_name = "N", help_heading = OUTPUT)]
    pub verbose: u8,
    /// Print JSON, in restic's shapes
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub json: bool,
    /// At the end, print how many requests the store was sent, by kind
    // As text and not as a switch, because `mirror` takes a value with it, as rclone does.
    #[arg(long, global = true, num_args = 0, default_missing_value = "", help_heading = OUTPUT)]
    pub stats: Option<String>,

    /// Compress new data: auto, off, fastest, better or max [env: .._COMPRESSION] [default: auto]
    #[arg(long, global = true, value_name = "MODE", help_heading = REPOSITORY)]
    pub compression: Option<String>,
    /// Size of new packs in MiB, 1 to 128 [env: .._PACK_SIZE] [default: 12]
    #[arg(long, global = true, value_name = "MIB", help_heading = REPOSITORY)]
    pub pack_size: Option<u32>,
    /// Do not decompress what was just compressed to compare it before it is stored
    #[arg(long, global = true, help_heading = REPOSITORY)]
    pub no_extra_verify: bool,

    /// Trust the certificates in this file beside the system's; may be repeated [env: .._CACERT, a list with commas]
    #[arg(long, global = true, value_name = "FILE", help_heading = STORE)]
    pub cacert: Vec<PathBuf>,
    /// Accept any certificate
    #[arg(long, global = true, help_heading = STORE)]
    pub insecure_tls: bool,
    /// Send at most so many KiB a second
    #[arg(long, global = true, value_name = "KIB", help_heading = STORE)]
    pub limit_upload: Option<u64>,
    /// Receive at most so many KiB a second
    #[arg(long, global = true, value_name = "KIB", help_heading = STORE)]
    pub limit_download: Option<u64>,
    /// Set an option of the store, such as s3.region=eu-central-1; may be repeated
    #[arg(short, long, global = true, value_name = "KEY=VALUE", help_heading = STORE)]
    pub option: Vec<String>,
    /// Call ourselves this in requests [env: .._HTTP_USER_AGENT]
    #[arg(long, global = true, value_name = "TEXT", help_heading = STORE)]
    pub http_user_agent: Option<String>,

    /// Accepted and without effect: there are no locks
    #[arg(long, global = true, help_heading = ACCEPTED)]
    pub no_lock: bool,
    /// Accepted and without effect: there are no locks
    #[arg(long, global = true, value_name = "DURATION", help_heading = ACCEPTED)]
    pub retry_lock: Option<String>,
    /// Accepted and without effect: there is no cache
    #[arg(long, global = true, help_heading = ACCEPTED)]
    pub no_cache: bool,
    /// Accepted and without effect: there is no cache
    #[arg(long, global = true, value_name = "DIR", help_heading = ACCEPTED)]
    pub cache_dir: Option<PathBuf>,
    /// Accepted and without effect: there is no cache
    #[arg(long, global = true, help_heading = ACCEPTED)]
    pub cleanup_cache: bool,
}

const REPOSITORY: &str = "Repository options";
const OUTPUT: &str = "Output options";
const STORE: &str = "Store options";
const ACCEPTED: &str = "Options of restic that are accepted and have no effect";
