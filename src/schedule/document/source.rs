//! `ReplicationSource`.

use std::fmt::Write as _;

use super::fields::Fields;
use super::metadata::Metadata;
use super::{BackupTask, MirrorTask, RepositoryRef, Resource, Task, id, mover_section, trigger};
use crate::error::{Error, Result};
use crate::retention::Policy;
use crate::schedule::board::Role;

/// `VolSync`'s default.
const PRUNE_INTERVAL_DAYS: u32 = 7;

/// What `VolSync` keeps where nothing is said.
const KEEP: &str = "--keep-last 1";

const LIVE: &str = "the volume is read as it is, while others may write to it";

/// The resource, and what there is to say of it.
pub(super) fn read(mut document: Fields<'_>, metadata: &Metadata) -> Result<(Resource, Vec<String>)> {
    document.skip("status");
    let spec = document.section("spec")?;
    document.finish()?;
    let mut spec = spec.ok_or_else(|| Error::invalid("spec is missing"))?;
    let volume = spec.needed_text("sourcePVC")?.to_owned();
    let trigger = trigger::read(&mut spec, metadata.on_change.as_deref())?;
    let paused = spec.truth("paused")?;
    let (mut section, is_restic) = mover_section::choose(&mut spec)?;
    mover_section::copy_method(&mut section, LIVE)?;
    mover_section::ignore_cluster(&mut section);
    let task = if is_restic { Task::Backup(backup(&mut section)?) } else { Task::Mirror(mirror(&mut section)?) };
    let mut notes = section.finish()?;
    notes.extend(spec.finish()?);
    Ok((Resource { id: id(metadata, Role::Source), volume, trigger, paused, task }, notes))
}

fn backup(section: &mut Fields<'_>) -> Result<BackupTask> {
    Ok(BackupTask {
        repository: repository(section)?,
        forget: forget(section)?,
        // As `VolSync` has it: 0 is no interval.
        prune_interval_days: section
            .count("pruneIntervalDays")?
            .filter(|days| *days > 0)
            .unwrap_or(PRUNE_INTERVAL_DAYS),
        unlock: section.word("unlock")?,
    })
}

pub(super) fn repository(section: &mut Fields<'_>) -> Result<RepositoryRef> {
    Ok(RepositoryRef {
        secret: section.needed_text("repository")?.to_owned(),
        custom_ca: mover_section::custom_ca(section)?,
        mounts: mover_section::mover_volumes(section)?,
    })
}

pub(super) fn mirror(section: &mut Fields<'_>) -> Result<MirrorTask> {
    let task = MirrorTask {
        secret: section.needed_text("rcloneConfig")?.to_owned(),
        section: section.needed_text("rcloneConfigSection")?.to_owned(),
        path: section.needed_text("rcloneDestPath")?.to_owned(),
        custom_ca: mover_section::custom_ca(section)?,
    };
    let instead =
        "there is no pod to mount them in; a path /mnt/NAME of rclone.conf or of the Secret is that of this machine";
    section.ignore("moverVolumes", instead);
    Ok(task)
}

/// `FORGET_OPTIONS` as the operator makes them.
fn forget(section: &mut Fields<'_>) -> Result<String> {
    let Some(mut retain) = section.section("retain")? else { return Ok(KEEP.to_owned()) };
    let path = retain.at("");
    let mut options = String::new();
    for name in ["hourly", "daily", "weekly", "monthly", "yearly"] {
        if let Some(count) = retain.count(name)? {
            let _ = write!(options, " --keep-{name} {count}");
        }
    }
    for name in ["within", "last"] {
        if let Some(text) = retain.word(name)? {
            let _ = write!(options, " --keep-{name} {text}");
        }
    }
    retain.finish()?;
    if options.is_empty() {
        return Ok(KEEP.to_owned());
    }
    let place = path.trim_end_matches('.');
    let policy = Policy::from_options(&options).map_err(|error| error.within(format!("read {place}")))?;
    if policy.is_empty() {
        return Err(
            Error::invalid(format!("{place} keeps nothing")).with_hint("keep at least one snapshot, or leave it out")
        );
    }
    Ok(options)
}
