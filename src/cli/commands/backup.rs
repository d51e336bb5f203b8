//! `backup`.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::backup::{self, BackupOptions, BackupReport, Skip, Stream};
use crate::cli::App;
use crate::cli::args::BackupArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::BackupSummary;
use crate::cli::output::text;
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::{BackupSettings, NameList, WhatToSave};
use crate::environment::host_name;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::Watch;
use crate::path::escape;
use crate::repo::{Repository, Status};
use crate::volume::rules::{RuleOptions, Rules};
use crate::volume::{Source, sources_from_args};

/// Saves files in a new snapshot.
pub(in crate::cli) fn run(app: &App<'_>, args: &BackupArgs) -> Result<Outcome> {
    let start = app.clock.elapsed();
    let settings = BackupSettings::new(args, app.environment)?;
    // Everything that can be wrong with the request is found before the store is asked anything.
    let rules = RuleOptions { one_file_system: settings.one_file_system, ..app.rule_options(&settings.excludes)? };
    let sources = match &settings.what {
        WhatToSave::Paths { named, lists } => sources(app, named, lists)?,
        WhatToSave::Stdin { .. } | WhatToSave::Command { .. } => Vec::new(),
    };
    let options = options(&settings, sources, rules)?;
    let mut limits = app.limits();
    limits.readers = settings.read_concurrency.unwrap_or(limits.readers);
    // A dry run writes nothing, so it makes no repository either.
    let repository = if settings.dry_run { app.open_with(limits) } else { app.open_or_make(limits) }?;
    app.tell_open(&repository);
    let stop = app.signals.stop_in_good_order();
    let report = watched(app.console, app.clock.as_ref(), (Kind::Backup, stop), |watch| {
        save(&repository, &settings.what, &options, watch)
    })?;
    tell(app, &settings, &report, start);
    Ok(match report.status {
        Status::Partial => Outcome::Interrupted,
        Status::Complete if report.problems > 0 => Outcome::SomeUnreadable,
        Status::Complete => Outcome::Complete,
    })
}

fn sources(app: &App<'_>, named: &[PathBuf], lists: &[NameList]) -> Result<Vec<Source>> {
    let mut paths = app.listed_paths(lists)?;
    paths.extend(named.iter().cloned());
    let cwd = std::env::current_dir().attempt(|| "find the current directory".to_owned())?;
    sources_from_args(&paths, &cwd)
}

fn options(settings: &BackupSettings, sources: Vec<Source>, rules: RuleOptions) -> Result<BackupOptions> {
    let shown = |pattern: &Vec<u8>| String::from_utf8_lossy(pattern).into_owned();
    let excludes = rules.excludes.iter().chain(&rules.iexcludes).map(shown).collect();
    let paths = match &settings.what {
        WhatToSave::Paths { .. } => {
            sources.iter().map(|source| source.path.as_os_str().as_encoded_bytes().to_vec()).collect()
        }
        WhatToSave::Stdin { name } | WhatToSave::Command { name, .. } => vec![[b"/", name.as_bytes()].concat()],
    };
    Ok(BackupOptions {
        sources,
        paths,
        rules: Arc::new(Rules::new(rules)?),
        excludes,
        tags: settings.tags.clone(),
        host: settings.host.clone().unwrap_or_else(host_name),
        time: settings.time,
        parent: settings.parent.clone(),
        ignore_ctime: settings.ignore_ctime,
        ignore_inode: settings.ignore_inode,
        read_rate: None,
        dry_run: settings.dry_run,
        skip: if settings.skip_if_unchanged { Skip::Unchanged } else { Skip::Never },
    })
}

fn save(
    repository: &Repository,
    what: &WhatToSave,
    options: &BackupOptions,
    watch: &Watch<'_>,
) -> Result<BackupReport> {
    match what {
        WhatToSave::Paths { .. } => backup::run(repository, options, watch),
        WhatToSave::Stdin { name } => {
            let stream = Stream { name: name.clone(), input: &mut std::io::stdin(), finished: &mut || Ok(()) };
            backup::run_stream(repository, options, stream, watch)
        }
        WhatToSave::Command { words, name } => {
            let mut program = Program::start(words)?;
            let mut output = program.output()?;
            let stream = Stream { name: name.clone(), input: &mut output, finished: &mut || program.finish() };
            backup::run_stream(repository, options, stream, watch)
        }
    }
}

/// The program whose output is saved; it does not outlive us.
struct Program {
    name: String,
    child: Child,
}

impl Program {
    fn start(words: &[OsString]) -> Result<Self> {
        let [program, arguments @ ..] = words else { return Err(Error::invalid("there is no command to run")) };
        let name = escape(program.as_encoded_bytes());
        let mut command = std::process::Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let child = command.spawn().attempt(|| format!("run {name}"))?;
        Ok(Self { name, child })
    }

    fn output(&mut self) -> Result<impl Read + use<>> {
        self.child.stdout.take().ok_or_else(|| Error::bug("output of a program taken twice"))
    }

    /// Waits for the program; what it printed is worth nothing if it failed.
    fn finish(&mut self) -> Result<()> {
        let status = self.child.wait().attempt(|| format!("wait for {}", self.name))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Local, format!("{} failed: {status}", self.name)).with_hint("no snapshot was made"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tell(app: &App<'_>, settings: &BackupSettings, report: &BackupReport, start: Duration) {
    let took = app.clock.elapsed().saturating_sub(start);
    if app.console.settings().json {
        app.console.json(&BackupSummary {
            dry_run: settings.dry_run,
            total_duration: took.as_secs_f64(),
            snapshot_id: report.snapshot.map(|id| id.to_hex()),
            status: (report.status == Status::Partial).then_some("partial"),
            requests: app.requests(),
            ..BackupSummary::new(&report.summary)
        });
        return;
    }
    if matches!(settings.what, WhatToSave::Paths { .. }) {
        match report.parent {
            Some(parent) => app.console.say(&format!("using parent snapshot {}", parent.short())),
            None => app.console.say("no parent snapshot found, will read all files"),
        }
    }
    let told = text::Told { took, dry_run: settings.dry_run, verbose: app.console.settings().verbosity > 0 };
    app.console.say(&text::backup_report(report, told));
}
