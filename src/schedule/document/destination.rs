//! `ReplicationDestination`.

use super::fields::Fields;
use super::metadata::Metadata;
use super::source::{mirror, repository};
use super::{Resource, RestoreTask, Task, id, mover_section, trigger};
use crate::clock;
use crate::error::{Attempt, Error, Result};
use crate::schedule::board::Role;

const IN_PLACE: &str = "the volume is filled in place, and no image of it is made";

/// The resource, and what there is to say of it.
pub(super) fn read(mut document: Fields<'_>, metadata: &Metadata) -> Result<(Resource, Vec<String>)> {
    if metadata.on_change.is_some() {
        return Err(Error::invalid("annotation volvault.dev/on-change is for a ReplicationSource")
            .with_hint("a destination runs by spec.trigger: nothing tells it that a store has changed"));
    }
    document.skip("status");
    let spec = document.section("spec")?;
    document.finish()?;
    let mut spec = spec.ok_or_else(|| Error::invalid("spec is missing"))?;
    let trigger = trigger::read(&mut spec, None)?;
    let paused = spec.truth("paused")?;
    let (mut section, is_restic) = mover_section::choose(&mut spec)?;
    mover_section::copy_method(&mut section, IN_PLACE)?;
    mover_section::ignore_cluster(&mut section);
    // As the operator would name the claim that it makes.
    let volume = section.word("destinationPVC")?.unwrap_or_else(|| format!("volsync-{}-dest", metadata.name));
    for name in ["cleanupTempPVC", "cleanupCachePVC"] {
        section.ignore(name, "no claim is made");
    }
    let task = if is_restic { Task::Restore(restore(&mut section)?) } else { Task::Mirror(mirror(&mut section)?) };
    let mut notes = section.finish()?;
    notes.extend(spec.finish()?);
    Ok((Resource { id: id(metadata, Role::Destination), volume, trigger, paused, task }, notes))
}

fn restore(section: &mut Fields<'_>) -> Result<RestoreTask> {
    let place = section.at("restoreAsOf");
    let as_of = section.word("restoreAsOf")?;
    if let Some(text) = &as_of {
        clock::parse_time(text).attempt(|| format!("read {place}"))?;
    }
    Ok(RestoreTask {
        repository: repository(section)?,
        as_of,
        previous: section.count("previous")?.unwrap_or(0),
        delete: section.truth("enableFileDeletion")?,
    })
}
