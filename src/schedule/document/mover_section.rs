//! What the sections of restic and rclone have in common.

use super::fields::Fields;
use super::{CaRef, Mount};
use crate::error::{Error, Result};

/// The movers that `spec` may name, in `VolSync`'s order.
const OTHERS: [&str; 5] = ["rsync", "rsyncTLS", "syncthing", "external", "kopia"];

const STORAGE: &str = "the volume is the directory that --volume names";
const POD: &str = "there is no pod; the job runs with the rights of this process";
const CACHE: &str = "there is no cache";

/// The section of one of our movers, which has to be the only one.
pub(super) fn choose<'v>(spec: &mut Fields<'v>) -> Result<(Fields<'v>, bool)> {
    if let Some(other) = OTHERS.iter().find(|other| spec.has(other)) {
        return Err(Error::invalid(format!("{}: this mover is not ours", spec.at(other)))
            .with_hint("restic and rclone are; the others need VolSync in a cluster"));
    }
    let (restic, rclone) = (spec.section("restic")?, spec.section("rclone")?);
    match (restic, rclone) {
        (Some(restic), None) => Ok((restic, true)),
        (None, Some(rclone)) => Ok((rclone, false)),
        (Some(_), Some(_)) => {
            Err(Error::invalid("spec.restic and spec.rclone are both there; a resource has one mover"))
        }
        (None, None) => {
            // All that may stand beside them has been taken: a name that is left over is a mistyped one.
            spec.all_known()?;
            Err(Error::invalid("spec.restic or spec.rclone is missing"))
        }
    }
}

/// Fields that only mean something in a cluster.
pub(super) fn ignore_cluster(section: &mut Fields<'_>) {
    for name in ["capacity", "storageClassName", "accessModes", "volumeSnapshotClassName"] {
        section.ignore(name, STORAGE);
    }
    for name in ["cacheCapacity", "cacheStorageClassName", "cacheAccessModes"] {
        section.ignore(name, CACHE);
    }
    for name in ["moverSecurityContext", "moverServiceAccount", "moverPodLabels", "moverResources", "moverAffinity"] {
        section.ignore(name, POD);
    }
}

/// `copyMethod`, one of `VolSync`'s.
pub(super) fn copy_method(section: &mut Fields<'_>, effect: &str) -> Result<()> {
    let path = section.at("copyMethod");
    match section.text("copyMethod")? {
        None | Some("Direct" | "None") => {}
        Some(method @ ("Clone" | "Snapshot")) => section.note(format!("{path} {method} has no effect here: {effect}")),
        Some(_) => return Err(Error::invalid(format!("{path} is not Direct, None, Clone or Snapshot"))),
    }
    Ok(())
}

pub(super) fn custom_ca(section: &mut Fields<'_>) -> Result<Option<CaRef>> {
    let Some(mut fields) = section.section("customCA")? else { return Ok(None) };
    let path = fields.at("key");
    let (secret, map, key) = (fields.word("secretName")?, fields.word("configMapName")?, fields.word("key")?);
    fields.finish()?;
    let (name, in_config_map) = match (secret, map) {
        (None, None) => return Ok(None),
        (Some(name), None) => (name, false),
        (None, Some(name)) => (name, true),
        (Some(_), Some(_)) => {
            return Err(Error::invalid("customCA names a Secret and a ConfigMap; one of them is meant"));
        }
    };
    let key = key.ok_or_else(|| Error::invalid(format!("{path} is missing")))?;
    Ok(Some(CaRef { in_config_map, name, key }))
}

/// `moverVolumes`: a repository may lie on them. What is no claim goes by the name that it is mounted under.
pub(super) fn mover_volumes(section: &mut Fields<'_>) -> Result<Vec<Mount>> {
    let path = section.at("moverVolumes");
    let mut mounts = Vec::new();
    for (at, value) in section.list("moverVolumes")?.into_iter().flatten().enumerate() {
        let mut volume = Fields::of(value, &format!("{path}[{at}]"))?;
        let mount = volume.needed_text("mountPath")?.to_owned();
        if mount.contains('/') || mount.starts_with('.') {
            return Err(Error::invalid(format!("{} is not a single name", volume.at("mountPath"))));
        }
        let (from, place) = (volume.section("volumeSource")?, volume.at("volumeSource"));
        volume.finish()?;
        let mut from = from.ok_or_else(|| Error::invalid(format!("{place} is missing")))?;
        let mut name = mount.clone();
        if let Some(mut claim) = from.section("persistentVolumeClaim")? {
            claim.needed_text("claimName")?.clone_into(&mut name);
            claim.skip("readOnly");
            claim.finish()?;
        }
        for name in ["secret", "nfs"] {
            let instead =
                format!("there is no pod to mount it in; --volume {mount}=DIRECTORY names what stands for it");
            from.ignore(name, &instead);
        }
        mounts.push(Mount { path: mount, volume: name });
        for note in from.finish()? {
            section.note(note);
        }
    }
    Ok(mounts)
}
