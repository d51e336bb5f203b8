//! The command `volvault`.

use std::process::ExitCode;

use volvault::cli::{self, environment::Environment};
use volvault::clock::SystemClock;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os(), &Environment::of_process(), SystemClock::new()))
}
