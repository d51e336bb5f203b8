//! The environment of a restic mover, as `internal/controller/mover/restic/mover.go` of `VolSync` makes it.

use std::path::Path;

use super::{Building, DATA};
use crate::error::{Attempt, Error, Result};
use crate::schedule::document::{BackupTask, Keys, Mount, RepositoryRef, RestoreTask};
use crate::storage::Location;

const REPOSITORY: &str = "RESTIC_REPOSITORY";
const PASSWORD: &str = "RESTIC_PASSWORD";
const GOOGLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// Keys of the Secret that the operator hands on, beside those that begin with `RCLONE_`. All others have no effect, there as here.
const KEYS: [&str; 51] = [
    "RESTIC_COMPRESSION",
    "RESTIC_PACK_SIZE",
    "RESTIC_READ_CONCURRENCY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "RESTIC_AWS_ASSUME_ROLE_ARN",
    "RESTIC_AWS_ASSUME_ROLE_SESSION_NAME",
    "RESTIC_AWS_ASSUME_ROLE_EXTERNAL_ID",
    "RESTIC_AWS_ASSUME_ROLE_POLICY",
    "RESTIC_AWS_ASSUME_ROLE_REGION",
    "RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT",
    "ST_AUTH",
    "ST_USER",
    "ST_KEY",
    "OS_AUTH_URL",
    "OS_REGION_NAME",
    "OS_USERNAME",
    "OS_USER_ID",
    "OS_PASSWORD",
    "OS_TENANT_ID",
    "OS_TENANT_NAME",
    "OS_USER_DOMAIN_NAME",
    "OS_USER_DOMAIN_ID",
    "OS_PROJECT_NAME",
    "OS_PROJECT_DOMAIN_NAME",
    "OS_PROJECT_DOMAIN_ID",
    "OS_TRUST_ID",
    "OS_APPLICATION_CREDENTIAL_ID",
    "OS_APPLICATION_CREDENTIAL_NAME",
    "OS_APPLICATION_CREDENTIAL_SECRET",
    "OS_STORAGE_URL",
    "OS_AUTH_TOKEN",
    "B2_ACCOUNT_ID",
    "B2_ACCOUNT_KEY",
    "AZURE_ACCOUNT_NAME",
    "AZURE_ACCOUNT_KEY",
    "AZURE_ACCOUNT_SAS",
    "AZURE_ENDPOINT_SUFFIX",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "GOOGLE_PROJECT_ID",
    "RESTIC_REST_USERNAME",
    "RESTIC_REST_PASSWORD",
    // Beside `VolSync`'s list: what it leaves to the service account of a pod.
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
];

pub(super) fn backup(job: &mut Building<'_>, task: &BackupTask) -> Result<()> {
    repository(job, &task.repository)?;
    job.set("FORGET_OPTIONS", &task.forget);
    Ok(())
}

pub(super) fn restore(job: &mut Building<'_>, task: &RestoreTask) -> Result<()> {
    repository(job, &task.repository)?;
    job.set("RESTORE_AS_OF", task.as_of.as_deref().unwrap_or_default());
    job.set("SELECT_PREVIOUS", &task.previous.to_string());
    job.set("RESTORE_OPTIONS", if task.delete { "--delete" } else { "" });
    Ok(())
}

fn repository(job: &mut Building<'_>, repository: &RepositoryRef) -> Result<()> {
    let keys = job.secret(&repository.secret)?;
    let location = required(keys, REPOSITORY, &repository.secret)?;
    let password = required(keys, PASSWORD, &repository.secret)?;
    let location = moved(job, location, &repository.mounts)?;
    job.set_bytes(REPOSITORY, &location);
    job.set_bytes(PASSWORD, password);
    for (key, value) in keys.iter() {
        if key.starts_with("RCLONE_") || KEYS.contains(&key) {
            job.set_bytes(key, value);
        }
    }
    if let Some(credentials) = keys.get(GOOGLE) {
        job.file(GOOGLE, "gcs.json", credentials);
    }
    job.custom_ca(repository.custom_ca.as_ref())?;
    job.set("DATA_DIR", DATA);
    job.set("RESTIC_CACHE_DIR", "/cache");
    Ok(())
}

fn required<'k>(keys: &'k Keys, key: &str, secret: &str) -> Result<&'k [u8]> {
    let value = keys.get(key).filter(|value| !value.is_empty());
    value.ok_or_else(|| Error::invalid(format!("Secret {secret} has no key {key}")))
}

/// A repository below `/mnt/NAME` lies on the volume that is mounted there in a pod. Where nobody said which directory that is, it is refused: the
/// path as it stands would be one of this machine's own disk.
fn moved(job: &Building<'_>, location: &[u8], mounts: &[Mount]) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(location);
    // What is no location at all is for the mover to refuse.
    let Ok(Location::Local(path)) = text.trim().parse() else { return Ok(location.to_vec()) };
    for mount in mounts {
        let Ok(below) = path.strip_prefix(Path::new("/mnt").join(&mount.path)) else { continue };
        let said = || format!("find the repository {}, which lies on moverVolume {}", path.display(), mount.path);
        let mut volume = job.volume(&mount.volume).attempt(said)?;
        if below.components().next().is_some() {
            volume.push(below);
        }
        return Ok(volume.into_os_string().into_encoded_bytes());
    }
    Ok(location.to_vec())
}
