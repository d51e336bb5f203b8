//! `run`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::read;
use crate::cli::App;
use crate::cli::args::{ListenArgs, RunArgs};
use crate::cli::exit::Outcome;
use crate::cli::output::json;
use crate::cli::settings;
use crate::environment::Environment;
use crate::error::{Attempt, Error, Result};
use crate::monitor::{Serving, serve};
use crate::schedule::{Board, EngineOptions, Say, Service, ServiceWorld, Zone, parse_duration};

#[derive(Serialize)]
struct Line<'a> {
    message_type: &'static str,
    text: &'a str,
}

/// Runs the documents until it is asked to stop.
pub(in crate::cli) fn run(app: &App<'_>, args: &RunArgs) -> Result<Outcome> {
    let directory = match &args.state_dir {
        Some(directory) => directory.clone(),
        None => state_directory(app.environment)?,
    };
    let (documents, setup) = read(app, &args.documents, directory.join("files"))?;
    let options = EngineOptions {
        zone: args.time_zone.as_deref().map(Zone::named).transpose()?.unwrap_or(Zone::Machine),
        jitter: args
            .jitter
            .as_deref()
            .map(parse_duration)
            .transpose()
            .attempt(|| "--jitter".to_owned())?
            .unwrap_or_default(),
        rest: parse_duration(&args.rest).attempt(|| "--rest".to_owned())?,
        jobs: usize::from(args.jobs),
    };
    let (notes, count) = (documents.notes.clone(), documents.resources.len());
    let say = say(app);
    let world = ServiceWorld {
        environment: app.environment,
        clock: app.clock.clone(),
        runtime: app.runtime.clone(),
        stop: app.signals.stop_in_good_order(),
        say: Arc::clone(&say),
    };
    let service = Service::new(documents, &setup, &directory, options, &world)?;
    for note in &notes {
        say(note);
    }
    let plural = if count == 1 { "" } else { "s" };
    say(&format!("running {count} resource{plural}; the status is in {}", directory.join("status.json").display()));
    let _serving = show(app, &args.listen, service.board(), &say)?;
    service.run(&world)?;
    say("stopped");
    // To be stopped is how a service ends.
    Ok(Outcome::Complete)
}

/// Shows the board over HTTP. That the usual address is taken is no reason to save nothing; that one which was asked for is taken, is.
fn show(app: &App<'_>, args: &ListenArgs, board: Board, say: &Say) -> Result<Option<Serving>> {
    let Some(options) = settings::monitor(args, app.environment)? else { return Ok(None) };
    match serve(&options, board, app.clock.clone(), &app.runtime) {
        Ok(serving) => {
            say(&format!("the status page is at http://{}/", serving.address()));
            Ok(Some(serving))
        }
        Err(error) if args.listen.is_none() => {
            say(&format!("there is no status page: {}; --listen names another address", error.chain()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Takes lines from any thread, also while the console is at work for another.
fn say(app: &App<'_>) -> Say {
    let settings = app.console.settings();
    Arc::new(move |text: &str| {
        // A log that nobody takes is no reason to stop.
        let mut out = std::io::stdout().lock();
        let _ = if settings.json {
            writeln!(out, "{}", json::line(&Line { message_type: "log", text }))
        } else if settings.quiet {
            Ok(())
        } else {
            writeln!(out, "{text}")
        };
        let _ = out.flush();
    })
}

fn state_directory(environment: &Environment) -> Result<PathBuf> {
    let of = |name: &str| environment.raw(name).map(PathBuf::from);
    // systemd names several with colons between them.
    if let Some(list) = environment.text("STATE_DIRECTORY")? {
        return Ok(PathBuf::from(list.split(':').next().unwrap_or(list)));
    }
    let state = of("XDG_STATE_HOME").or_else(|| of("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("volvault/run")).ok_or_else(|| {
        Error::invalid("there is no directory to keep the status in").with_hint("name one with --state-dir")
    })
}
