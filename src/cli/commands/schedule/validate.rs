//! `validate`.

use serde::Serialize;

use super::read;
use crate::cli::App;
use crate::cli::args::ValidateArgs;
use crate::cli::exit::Outcome;
use crate::error::Result;
use crate::schedule::{Checked, Reach, check};

/// One document could not run.
const NOT_VALID: u8 = 1;

#[derive(Serialize)]
struct ResourceLine<'a> {
    message_type: &'static str,
    role: &'a str,
    namespace: &'a str,
    name: &'a str,
    method: &'a str,
    valid: bool,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct Summary<'a> {
    message_type: &'static str,
    resources: usize,
    invalid: usize,
    notes: &'a [String],
}

/// Checks documents, and reaches what they name.
pub(in crate::cli) fn validate(app: &App<'_>, args: &ValidateArgs) -> Result<Outcome> {
    let stop = app.signals.stop_in_good_order();
    let files = std::env::temp_dir().join(format!("volvault-validate-{}", std::process::id()));
    let (documents, setup) = read(app, &args.documents, files)?;
    let reach = (!args.offline).then(|| Reach { clock: app.clock.clone(), runtime: app.runtime.clone(), stop });
    let checked = check(&documents, &setup, app.environment, reach.as_ref());
    let invalid = checked.iter().filter(|checked| checked.outcome.is_err()).count();
    let json = app.console.settings().json;
    for note in documents.notes.iter().filter(|_| !json) {
        app.console.warn(&format!("note: {note}"));
    }
    for checked in &checked {
        tell(app, checked);
    }
    if json {
        let (resources, notes) = (checked.len(), documents.notes.as_slice());
        app.console.json(&Summary { message_type: "summary", resources, invalid, notes });
    }
    Ok(if invalid > 0 { Outcome::Told(NOT_VALID) } else { Outcome::Complete })
}

fn tell(app: &App<'_>, checked: &Checked) {
    let Checked { id, method, outcome } = checked;
    let (message, hint) = match outcome {
        Ok(message) => (message.clone(), None),
        Err(error) => (error.chain(), error.hint()),
    };
    if app.console.settings().json {
        app.console.json(&ResourceLine {
            message_type: "resource",
            role: id.role.as_str(),
            namespace: &id.namespace,
            name: &id.name,
            method: method.as_str(),
            valid: outcome.is_ok(),
            message: &message,
            hint,
        });
        return;
    }
    let word = if outcome.is_ok() { "ok" } else { "WRONG" };
    app.console.row(&format!("{id}: {word}: {message}"));
    if let Some(hint) = hint {
        app.console.row(&format!("  hint: {hint}"));
    }
}
