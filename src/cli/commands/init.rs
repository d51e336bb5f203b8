//! `init`.

use crate::chunker::Params;
use crate::cli::App;
use crate::cli::args::InitArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::Initialized;
use crate::error::{Error, Result};

/// Makes a repository.
pub(in crate::cli) fn run(app: &App<'_>, args: &InitArgs) -> Result<Outcome> {
    let chunker = match args.chunk_size {
        None => Params::default(),
        Some(kib) => {
            let bytes =
                kib.checked_mul(1024).ok_or_else(|| Error::invalid(format!("--chunk-size {kib} is too large")))?;
            Params::around(bytes).map_err(|error| error.within("--chunk-size"))?
        }
    };
    let repository = app.make(chunker)?;
    let (id, location) = (repository.id().to_hex(), app.location()?.to_string());
    if app.console.settings().json {
        app.console.json(&Initialized { message_type: "initialized", id: &id, repository: &location });
        return Ok(Outcome::Complete);
    }
    let short: String = id.chars().take(10).collect();
    app.console.say(&format!("created volvault repository {short} at {location}"));
    app.tell_place();
    app.console.say("");
    app.console.say("Please note that your password or key is required to access the repository.");
    app.console.say("Losing it means that your data is irrecoverably lost.");
    Ok(Outcome::Complete)
}
