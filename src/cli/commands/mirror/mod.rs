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
use crate::cli::exit::Outcome;
use crate::error::Result;

/// Does what is to be done with a mirror.
pub(in crate::cli) fn run(app: &App<'_>, args: &MirrorArgs) -> Result<Outcome> {
    match &args.command {
        MirrorCommand::Push(args) => push::run(app, args),
        MirrorCommand::Pull(args) => pull::run(app, args),
        MirrorCommand::Status(args) => look::status(app, args),
        MirrorCommand::Generations(args) => look::generations(app, args),
        MirrorCommand::Ls(args) => ls::run(app, args),
        MirrorCommand::Diff(args) => diff::run(app, args),
        MirrorCommand::Verify(args) => verify::run(app, args),
        MirrorCommand::Adopt(args) => adopt::run(app, args),
    }
}
