//! `validate`.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::read;
use crate::cli::App;
use crate::cli::args::ValidateArgs;
use crate::cli::exit::Outcome;
use crate::error::{Attempt, Result};
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
    let files = Private::new(&std::env::temp_dir())?;
    let (documents, setup) = read(app, &args.documents, files.path.clone())?;
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

/// A directory for files with secrets: it was not there before, nobody else can look into it, and it goes away at the end.
struct Private {
    path: PathBuf,
}

impl Private {
    /// Names that are tried: others may have been made by somebody who wants to read along, or be left from a process of the same number.
    const NAMES: u32 = 100;

    fn new(parent: &Path) -> Result<Self> {
        let mut number = 0;
        loop {
            let path = parent.join(format!("volvault-validate-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < Self::NAMES => number += 1,
                made => {
                    made.attempt(|| format!("make {}", path.display()))?;
                    return Ok(Self { path });
                }
            }
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // What is left holds secrets, but only its owner can read them.
        let _ = std::fs::remove_dir_all(&self.path);
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_somebody_made_before_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let first = Private::new(parent.path()).unwrap();
        let second = Private::new(parent.path()).unwrap();
        assert_ne!(first.path, second.path);
        let mode = std::fs::metadata(&second.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop((first, second));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
