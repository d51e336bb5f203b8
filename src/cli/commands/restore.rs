//! `restore`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::cli::App;
use crate::cli::args::RestoreArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::json::RestoreSummary;
use crate::cli::output::text;
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::RestoreSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::path::escape;
use crate::repo::{Session, Snapshot};
use crate::restore::{self, RestoreOptions, RestoreReport};
use crate::volume::rules::{Selection, SelectionOptions};

/// Brings the files of a snapshot back to disk.
pub(in crate::cli) fn run(app: &App<'_>, args: &RestoreArgs) -> Result<Outcome> {
    let start = app.clock.elapsed();
    let settings = RestoreSettings::new(args, app.environment)?;
    let options = options(app, &settings)?;
    let repository = app.open()?;
    app.tell_open(&repository);
    let stop = app.signals.stop_in_good_order();
    let report = super::reading(&repository, |session| {
        let snapshot = session.find(&settings.chosen.selector, &settings.filter)?;
        let target = escape(settings.target.as_os_str().as_bytes());
        tell_if_new(app, session, &snapshot);
        app.console.say(&format!("restoring {} to {target}", text::snapshot(&snapshot)));
        watched(app.console, app.clock.as_ref(), (Kind::Restore, stop), |watch| {
            restore::run(session, &snapshot, &options, watch)
        })
    })?;
    tell(app, &settings, &report, app.clock.elapsed().saturating_sub(start));
    if stop.requested() {
        return Ok(Outcome::Interrupted);
    }
    match report.problems {
        0 => Ok(Outcome::Complete),
        1 => Err(Error::new(ErrorKind::Local, "There was 1 error")),
        problems => Err(Error::new(ErrorKind::Local, format!("There were {problems} errors"))),
    }
}

/// Who has seen nothing of a repository cannot see whether it shows all: the user may know when the last backup was.
fn tell_if_new(app: &App<'_>, session: &Session<'_>, snapshot: &Snapshot) {
    let output = app.console.settings();
    if output.quiet || output.json || !app.is_new_here() {
        return;
    }
    let source = session.snapshots().iter().find(|name| name.id == snapshot.id).map(|name| name.source);
    if let Some(newest) = session.snapshots().iter().find(|name| Some(name.source) == source) {
        app.console.warn(&format!(
            "nothing was remembered here of this repository: the newest snapshot of this source that it shows is {} of {}",
            newest.id.short(),
            text::time(&newest.time)
        ));
    }
}

fn options(app: &App<'_>, settings: &RestoreSettings) -> Result<RestoreOptions> {
    let patterns = |texts: &[OsString]| -> Vec<Vec<u8>> { texts.iter().map(|text| text.as_bytes().to_vec()).collect() };
    let (includes, excludes) = (patterns(&settings.include_xattr), patterns(&settings.exclude_xattr));
    let xattrs = SelectionOptions { includes, excludes, ..SelectionOptions::default() };
    Ok(RestoreOptions {
        target: settings.target.clone(),
        selection: Selection::new(&app.selection_options(&settings.files)?)?,
        subfolder: settings.chosen.subfolder.clone(),
        overwrite: settings.overwrite,
        delete: settings.delete,
        dry_run: settings.dry_run,
        sparse: settings.sparse,
        verify: settings.verify,
        ownership_by_name: settings.ownership_by_name,
        privileged: None,
        xattrs: Selection::new(&xattrs)?,
    })
}

fn tell(app: &App<'_>, settings: &RestoreSettings, report: &RestoreReport, took: Duration) {
    if app.console.settings().json {
        app.console.json(&RestoreSummary {
            message_type: "summary",
            seconds_elapsed: took.as_secs(),
            total_files: report.files_total,
            files_restored: report.files_restored,
            files_skipped: report.files_skipped,
            files_deleted: report.files_deleted,
            total_bytes: report.bytes_total,
            bytes_restored: report.bytes_restored,
            bytes_skipped: report.bytes_skipped,
            requests: app.requests(),
        });
        return;
    }
    if settings.verify && !settings.dry_run {
        app.console.say(&format!("finished verifying {} files/dirs", report.files_verified));
    }
    app.console.say(&text::restore_report(report, took, settings.dry_run));
}
