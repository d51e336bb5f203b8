//! The command `volvault`.

use std::process::ExitCode;

use volvault::cli;
use volvault::clock::SystemClock;
use volvault::environment::Environment;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os(), &Environment::of_process(), SystemClock::new()))
}
