//! `mirror`: a directory as plain files in one or many stores, in generations.

mod adopt;
mod diff;
mod filter;
mod look;
mod ls;
mod pull;
mod push;
mod reach;
mod verify;

use crate::cli::App;
use crate::cli::args::{MirrorArgs, MirrorCommand};
use crate::cli::exit::{Codes, Outcome};
use crate::cli::output::json::mirror::FailedSummary;
use crate::error::Result;

/// Does what is to be done with a mirror.
pub(in crate::cli) fn run(app: &App<'_>, args: &MirrorArgs) -> Result<Outcome> {
    match &args.command {
        MirrorCommand::Push(args) => summed_up(app, push::run(app, args)),
        MirrorCommand::Pull(args) => summed_up(app, pull::run(app, args)),
        MirrorCommand::Status(args) => look::status(app, args),
        MirrorCommand::Generations(args) => look::generations(app, args),
        MirrorCommand::Ls(args) => ls::run(app, args),
        MirrorCommand::Diff(args) => summed_up(app, diff::run(app, args)),
        MirrorCommand::Verify(args) => summed_up(app, verify::run(app, args)),
        MirrorCommand::Adopt(args) => summed_up(app, adopt::run(app, args)),
    }
}

/// Commands that end with a summary end with one too when they fail: whoever reads standard output need not know of the other stream.
fn summed_up(app: &App<'_>, outcome: Result<Outcome>) -> Result<Outcome> {
    if let Err(error) = &outcome
        && app.console.settings().json
    {
        app.console.json(&FailedSummary {
            message_type: "summary",
            exit_code: Codes::Rclone.of_error(error.kind()),
            status: "failed",
            message: error.chain(),
            hint: error.hint(),
        });
    }
    outcome
}
