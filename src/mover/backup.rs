//! `backup`: saves the volume, and forgets the snapshots that are not to be kept.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::content::{self, LOST_AND_FOUND};
use super::failure::Failure;
use super::job::STRICT;
use super::run::{Flow, Run};
use crate::backup::{self, BackupOptions, BackupReport, ParentChoice, Skip};
use crate::clock::in_minutes;
use crate::error::Result;
use crate::repo::{Repository, Status, Summary};
use crate::retention::Policy;
use crate::size::ByteSize;
use crate::volume::rules::{RuleOptions, Rules};
use crate::volume::sources_from_args;

impl Run<'_> {
    pub(super) fn backup(&self) -> Result<Flow, Failure> {
        self.log.say("== Checking directory for content ===");
        if content::is_empty(&self.job.volume).map_err(|error| Failure::of("the backup", error))? {
            self.log.say("== Directory is empty skipping backup ===");
            if self.job.strict {
                return Err(Failure::new(1, format!("the directory is empty, and {STRICT} is set")));
            }
            return Ok(Flow::End);
        }
        let repository = self.ensure(true)?;
        self.log.say("=== Starting backup ===");
        self.save(repository).map(|()| Flow::On)
    }

    fn save(&self, repository: &Repository) -> Result<(), Failure> {
        let failed = |error| Failure::of("the backup", error);
        let start = self.clock.elapsed();
        let options = self.backup_options().map_err(failed)?;
        let session = repository.write_session().map_err(failed)?;
        let report = self.watched(|watch| backup::run_in(&session, &options, watch)).map_err(failed)?;
        self.note_saved(&report);
        self.note_verified(&session);
        self.tell(&report, self.clock.elapsed().saturating_sub(start));
        if report.status == Status::Partial || self.stop.requested() {
            return Err(Failure::stopped());
        }
        if report.problems > 0 {
            let (files, plural) = (report.problems, if report.problems == 1 { "" } else { "s" });
            return Err(Failure::new(
                3,
                format!("{files} file{plural} could not be read and saved; nothing was forgotten"),
            )
            .with_hint("let the mover read them: by moverSecurityContext (runAsUser, fsGroup) or a privileged mover"));
        }
        self.forget(&session, report.stored.as_deref())
    }

    fn note_saved(&self, report: &BackupReport) {
        let summary = &report.summary;
        self.note(|numbers| {
            (numbers.files, numbers.bytes) = (summary.total_files_processed, summary.total_bytes_processed);
            (numbers.changed, numbers.moved) = (summary.files_new + summary.files_changed, summary.data_added);
            let complete = report.stored.as_ref().filter(|_| report.status == Status::Complete);
            numbers.newest = complete.map(|snapshot| snapshot.time.to_utc());
        });
    }

    fn backup_options(&self) -> Result<BackupOptions> {
        let (job, saving) = (self.job, &self.job.saving);
        let mut excludes = vec![LOST_AND_FOUND.as_bytes().to_vec()];
        excludes.extend(saving.excludes.iter().map(|pattern| job.pattern_on_disk(pattern)));
        let shown = excludes.iter().map(|pattern| String::from_utf8_lossy(pattern).into_owned()).collect();
        Ok(BackupOptions {
            sources: sources_from_args(&[PathBuf::from(".")], &job.volume)?,
            paths: self.paths(),
            rules: Arc::new(Rules::new(RuleOptions { excludes, ..RuleOptions::default() })?),
            excludes: shown,
            tags: Vec::new(),
            host: job.host.clone(),
            time: None,
            parent: ParentChoice::Auto,
            ignore_ctime: saving.ignore_ctime,
            ignore_inode: saving.ignore_inode,
            read_rate: saving.read_rate,
            dry_run: false,
            // A job that fails whatever it finds is started again and again, too.
            skip: if saving.policy.as_ref().is_some_and(Policy::is_empty) { Skip::Unchanged } else { Skip::Failing },
        })
    }

    /// What the snapshots of this job are of.
    pub(super) fn paths(&self) -> Vec<Vec<u8>> {
        vec![self.job.data.as_os_str().as_bytes().to_vec()]
    }

    fn tell(&self, report: &BackupReport, took: Duration) {
        let Summary { files_new, files_changed, files_unmodified, dirs_new, dirs_changed, dirs_unmodified, .. } =
            report.summary;
        let summary = &report.summary;
        match report.parent {
            Some(parent) => self.log.say(&format!("using parent snapshot {}", parent.short())),
            None => self.log.say("no parent snapshot found, will read all files"),
        }
        self.log.say(&format!("Files: {files_new} new, {files_changed} changed, {files_unmodified} unmodified"));
        self.log.say(&format!("Dirs: {dirs_new} new, {dirs_changed} changed, {dirs_unmodified} unmodified"));
        let (added, stored) = (ByteSize(summary.data_added), ByteSize(summary.data_added_packed));
        self.log.say(&format!("Added to the repository: {added} ({stored} stored)"));
        let (files, bytes) = (summary.total_files_processed, ByteSize(summary.total_bytes_processed));
        self.log.say(&format!("processed {files} files, {bytes} in {}{}", in_minutes(took), self.requests()));
        let Some(id) = report.snapshot else {
            return self.log.say("no snapshot was made: it would hold what the parent holds");
        };
        let partial = if report.status == Status::Partial { "partial " } else { "" };
        self.log.say(&format!("{partial}snapshot {} of {} saved", id.short(), self.job.host));
    }
}
