//! `repo accept`: what the repository shows counts from now on, although it is less than what was seen of it before.

use serde::Serialize;

use crate::cli::App;
use crate::cli::exit::Outcome;
use crate::cli::output::text;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::Stance;

/// What was accepted, as JSON.
#[derive(Serialize)]
struct Accepted {
    message_type: &'static str,
    repository: String,
    /// How many snapshots are not missed any more.
    missing: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_missing: Option<String>,
    snapshots: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
}

pub(super) fn run(app: &App<'_>) -> Result<Outcome> {
    let (repository, location) = app.open_unpinned(app.limits())?;
    let (repository, memory) = app.followed(repository, &location, Stance::Accept);
    let Some(memory) = memory else {
        return Err(Error::new(ErrorKind::NotFound, "nothing is remembered of any repository here")
            .with_hint("there is neither VOLVAULT_STATE_DIR nor HOME, so no command refuses a state for being old"));
    };
    app.tell_open(&repository);
    let session = repository.observe()?;
    app.keep_pins()?;
    let (missing, newest_missing) = memory.accepted();
    let (snapshots, newest) = (session.snapshots().len(), session.snapshots().first().map(|name| name.time));
    if app.console.settings().json {
        app.console.json(&Accepted {
            message_type: "accepted",
            repository: repository.id().to_hex(),
            missing,
            newest_missing: newest_missing.map(|pin| pin.id.to_hex()),
            snapshots,
            newest: newest.map(|time| time.to_rfc3339()),
        });
        return Ok(Outcome::Complete);
    }
    match newest_missing {
        None => app.console.say("nothing is missing of what was seen from here"),
        Some(pin) => app.console.say(&format!(
            "{missing} snapshots that were seen from here are not expected any more, the newest {} of {}",
            pin.id.short(),
            text::time(&pin.time)
        )),
    }
    let newest = newest.map_or_else(String::new, |time| format!(", the newest of {}", text::time(&time)));
    app.console.say(&format!("what the repository shows counts from now on: {snapshots} snapshots{newest}"));
    Ok(Outcome::Complete)
}
