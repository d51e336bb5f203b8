//! The environment of an rclone mover, as `internal/controller/mover/rclone/mover.go` of `VolSync` makes it.

use super::{Building, DATA};
use crate::error::{Error, Result};
use crate::schedule::board::Role;
use crate::schedule::document::MirrorTask;

const CONFIG: &str = "rclone.conf";

pub(super) fn mirror(job: &mut Building<'_>, task: &MirrorTask) -> Result<()> {
    let keys = job.secret(&task.secret)?;
    let config = keys.get(CONFIG);
    let config = config.ok_or_else(|| Error::invalid(format!("Secret {} has no key {CONFIG}", task.secret)))?;
    // What a run remembers of its mirror, so that one without changes is one request.
    job.directory("RCLONE_VOLVAULT_STATE", "state");
    // Before what is set here: of two variables of one name the later counts, as in a pod.
    for (key, value) in keys.iter().filter(|(key, _)| key.starts_with("RCLONE_")) {
        job.set_bytes(key, value);
    }
    job.file("RCLONE_CONFIG", CONFIG, config);
    job.set("RCLONE_DEST_PATH", &task.path);
    job.set("RCLONE_CONFIG_SECTION", &task.section);
    job.set("MOUNT_PATH", DATA);
    job.set(
        "DIRECTION",
        match job.id.role {
            Role::Source => "source",
            Role::Destination => "destination",
        },
    );
    job.custom_ca(task.custom_ca.as_ref())
}
