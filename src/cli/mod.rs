//! Words: options in; text, JSON, progress bars and exit codes out.
//!
//! [`args`] holds what is typed, [`environment`](crate::environment) what is set, `settings` what both mean; the `commands` call the use-cases with
//! that and print what comes back. Only this room and `main` print, ask, read the environment or decide on an exit
//! code. It must never show a secret, nor take one in an argument.

pub mod args;
mod commands;
mod exit;
mod movers;
mod opening;
mod output;
mod password;
mod process;
mod progress;
mod remembering;
mod settings;
mod signals;

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::Parser;
use tokio::runtime::{Handle, Runtime};

use args::{Cli, Command, MoverKind};
use exit::{Codes, Outcome};
use output::{Console, json};
use remembering::Followed;
use settings::{OutputSettings, Settings};
use signals::Signals;

use crate::clock::SharedClock;
use crate::environment::Environment;
use crate::error::{Attempt, Result};
use crate::mover::{Called, Demands};
use crate::storage::{RequestCounts, Store};

/// What every command works with.
struct App<'a> {
    console: &'a Console,
    settings: &'a Settings,
    environment: &'a Environment,
    clock: SharedClock,
    runtime: Handle,
    signals: Signals,
    /// The store, once it is connected.
    store: OnceLock<Store>,
    /// What is remembered of the repositories that were opened.
    followed: Followed,
}

/// Runs the command line, and returns the exit code. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment, clock: SharedClock) -> u8 {
    process::prepare();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(called) = arguments.first().and_then(|program| Called::by(program)) {
        return movers::called(called, &arguments, environment, clock);
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let early = OutputSettings { json: cli.global.json, quiet: cli.global.quiet, ..OutputSettings::default() };
    if matches!(cli.command, Command::Version) {
        let console = Console::of_process(early);
        commands::version::run(&console);
        return console.finish().map_or_else(|error| exit::report(&console, &error, Codes::Restic), |()| 0);
    }
    if let Command::Mover(args) = &cli.command {
        if arguments.iter().skip(1).any(|word| word.as_encoded_bytes().starts_with(b"-")) {
            let error = crate::Error::invalid("`volvault mover` takes no options")
                .with_hint("the environment says everything: see `volvault mover --help`");
            return exit::report(&Console::of_process(early), &error, Codes::Restic);
        }
        return match &args.kind {
            MoverKind::Restic { actions } => movers::restic(actions, Demands::Needed, environment, clock),
            MoverKind::Rclone => movers::rclone(Demands::Needed, environment, clock),
        };
    }
    let codes = Codes::of(&cli.command);
    let settings = match (codes, &cli.command) {
        (Codes::Rclone, _) | (_, Command::Run(_) | Command::Validate(_)) => {
            Settings::without_repository(&cli.global, environment)
        }
        (Codes::Restic, _) => Settings::new(&cli.global, environment),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return exit::report(&Console::of_process(early), &error, codes),
    };
    let console = Console::of_process(settings.output);
    let result = execute(&cli.command, &settings, &console, (environment, clock));
    match result.and_then(|outcome| console.finish().map(|()| outcome)) {
        Ok(outcome) => {
            exit::report_outcome(&console, outcome);
            outcome.code()
        }
        Err(error) => {
            console.flush();
            exit::report(&console, &error, codes)
        }
    }
}

fn execute(
    command: &Command,
    settings: &Settings,
    console: &Console,
    world: (&Environment, SharedClock),
) -> Result<Outcome> {
    let (environment, clock) = world;
    let runtime = runtime()?;
    let signals = Signals::listen(runtime.handle(), settings.output.json)?;
    let handle = runtime.handle().clone();
    let (store, followed) = (OnceLock::new(), Followed::default());
    let app = App { console, settings, environment, clock, runtime: handle, signals, store, followed };
    let result = dispatch(&app, command);
    // Also of a command that failed: what it saw, it saw.
    app.keep_pins_if_possible();
    app.tell_requests();
    // A request that still hangs is no reason to wait.
    runtime.shutdown_background();
    result
}

/// The threads that talk to the store.
fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("store")
        .enable_all()
        .build()
        .attempt(|| "start the threads that talk to the store".to_owned())
}

fn dispatch(app: &App<'_>, command: &Command) -> Result<Outcome> {
    match command {
        Command::Init(args) => commands::init::run(app, args),
        Command::Backup(args) => commands::backup::run(app, args),
        Command::Snapshots(args) => commands::snapshots::run(app, args),
        Command::Ls(args) => commands::ls::run(app, args),
        Command::Restore(args) => commands::restore::run(app, args),
        Command::Forget(args) => commands::forget::run(app, args),
        Command::Check(args) => commands::check::run(app, args),
        Command::Prune(args) => commands::prune::run(app, args),
        Command::Repair(args) => commands::repair::run(app, args),
        Command::Copy(args) => commands::copy::run(app, args),
        Command::Tag(args) => commands::tag::run(app, args),
        Command::Stats(args) => commands::stats::run(app, args),
        Command::Unlock(_) => Ok(commands::accepted::unlock(app)),
        Command::Cache(_) => Ok(commands::accepted::cache(app)),
        Command::Key(args) => commands::key::run(app, args),
        Command::Cat(args) => commands::cat::run(app, args),
        Command::Repo(args) => commands::repo::run(app, args),
        Command::Mirror(args) => commands::mirror::run(app, args),
        // Both were dealt with before there were settings.
        Command::Mover(_) => Ok(Outcome::Complete),
        Command::Run(args) => commands::schedule::run(app, args),
        Command::Validate(args) => commands::schedule::validate(app, args),
        Command::Version => {
            commands::version::run(app.console);
            Ok(Outcome::Complete)
        }
    }
}

impl App<'_> {
    /// The requests so far, if they are to be told of.
    fn requests(&self) -> Option<RequestCounts> {
        self.store.get().filter(|_| self.settings.output.stats).map(Store::requests)
    }

    fn tell_requests(&self) {
        match self.requests() {
            None => {}
            // On standard error, as some commands print one array and nothing else.
            Some(requests) if self.settings.output.json => {
                self.console.warn_json(&json::Requests { message_type: "requests", requests });
            }
            Some(requests) => self.console.warn(&requests.to_string()),
        }
    }
}

/// Help is a result; a wrong command line is a failure like any other, not clap's exit code 2.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
    if !error.use_stderr() {
        // A reader that left early has seen what it wanted.
        let _ = error.print();
        return 0;
    }
    let codes = Codes::of_words(arguments);
    if arguments.iter().any(|word| word == "--json") {
        let console = Console::of_process(OutputSettings { json: true, ..OutputSettings::default() });
        let text = error.to_string();
        return exit::report(&console, &crate::Error::invalid(text.trim_start_matches("error: ").trim_end()), codes);
    }
    let _ = error.print();
    codes.of_usage()
}
