//! `unlock` and `cache`: commands of restic that have nothing to do here, so that scripts which call them go on working.

use crate::cli::App;
use crate::cli::exit::Outcome;

/// There are no locks.
pub(in crate::cli) fn unlock(app: &App<'_>) -> Outcome {
    app.console.say("nothing to do: no command ever locks the repository");
    Outcome::Complete
}

/// There is no cache.
pub(in crate::cli) fn cache(app: &App<'_>) -> Outcome {
    app.console.say("nothing to do: there is no cache");
    Outcome::Complete
}
