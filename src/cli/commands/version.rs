//! `version`.

use crate::cli::output::Console;
use crate::cli::output::json::ProgramVersion;

/// Prints the version.
pub(in crate::cli) fn run(console: &Console) {
    let version = env!("CARGO_PKG_VERSION");
    let arch = go_arch();
    if console.settings().json {
        console.json(&ProgramVersion { message_type: "version", version, go_os: std::env::consts::OS, go_arch: arch });
    } else {
        console.line(&format!("volvault {version} on {}/{arch}", std::env::consts::OS));
    }
}

/// The architecture by the name that container images and restic use.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
