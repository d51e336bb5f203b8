//! `VolSync`'s documents: read from YAML into resources that say exactly what is to be done, or refused with the place of what is wrong.
//!
//! Every field of `volsync.backube/v1alpha1` is known here. Those that only mean something in a cluster are accepted and noted; those of other movers, and
//! those that nobody knows, are refused with their path, so that nothing a user wrote is silently without effect. Values of Secrets are never shown.

mod base64;
mod destination;
mod fields;
mod metadata;
mod mover_section;
mod secret;
mod source;
mod stream;
mod trigger;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::board::{Method, ResourceId, Role};
use super::cron::Cron;
use crate::error::{Attempt, Error, Result};
use fields::Fields;
use metadata::Metadata;

pub use secret::{Keys, SecretSource};

/// What the documents say.
#[derive(Debug, Default)]
pub struct Documents {
    /// Sources and destinations, sorted by id.
    pub resources: Vec<Resource>,
    /// Secrets, by namespace and name.
    pub secrets: BTreeMap<(String, String), Keys>,
    /// `ConfigMap`s, by namespace and name.
    pub config_maps: BTreeMap<(String, String), Keys>,
    /// Namespaces whose movers are privileged.
    pub privileged: Vec<String>,
    /// What was accepted and has no effect here: sentences for people.
    pub notes: Vec<String>,
}

/// A source or destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its name.
    pub id: ResourceId,
    /// The claim that names its volume.
    pub volume: String,
    /// When it runs.
    pub trigger: Trigger,
    /// Whether it does not run at all.
    pub paused: bool,
    /// What it does.
    pub task: Task,
}

/// When a resource runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trigger {
    /// By the clock.
    pub schedule: Option<Cron>,
    /// Whenever this changes; it comes before the schedule.
    pub manual: Option<String>,
    /// When the volume has changed and then been left alone for so long.
    pub on_change: Option<Duration>,
}

/// What a resource does.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Saves a volume in a repository.
    Backup(BackupTask),
    /// Fills a volume from a repository.
    Restore(RestoreTask),
    /// Makes a prefix like a volume, or the other way.
    Mirror(MirrorTask),
}

/// What saves a volume.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupTask {
    /// Where the repository is.
    pub repository: RepositoryRef,
    /// `FORGET_OPTIONS`.
    pub forget: String,
    /// Days between prunes.
    pub prune_interval_days: u32,
    /// What `spec.restic.unlock` says.
    pub unlock: Option<String>,
}

/// What fills a volume.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreTask {
    /// Where the repository is.
    pub repository: RepositoryRef,
    /// `RESTORE_AS_OF`.
    pub as_of: Option<String>,
    /// `SELECT_PREVIOUS`.
    pub previous: u32,
    /// Whether what the snapshot does not hold is deleted.
    pub delete: bool,
}

/// A repository, by the Secret that describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct RepositoryRef {
    /// The Secret.
    pub secret: String,
    /// Certificates to trust.
    pub custom_ca: Option<CaRef>,
    /// Volumes mounted at `/mnt/NAME`: a repository may lie there.
    pub mounts: Vec<Mount>,
}

/// A volume that a repository may lie on.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// Below `/mnt`.
    pub path: String,
    /// The claim; of what is none, the name below `/mnt`.
    pub volume: String,
}

/// A prefix of plain objects.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorTask {
    /// The Secret with `rclone.conf`.
    pub secret: String,
    /// The section of it.
    pub section: String,
    /// The path there.
    pub path: String,
    /// Certificates to trust.
    pub custom_ca: Option<CaRef>,
}

/// Where certificates stand.
#[derive(Debug, Clone, PartialEq)]
pub struct CaRef {
    /// Whether it is a `ConfigMap` and not a Secret.
    pub in_config_map: bool,
    /// Its name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

impl Resource {
    /// What moves its data.
    pub const fn method(&self) -> Method {
        match self.task {
            Task::Backup(_) | Task::Restore(_) => Method::Restic,
            Task::Mirror(_) => Method::Rclone,
        }
    }
}

impl Documents {
    /// Adds the documents of one file, of which `name` is the name.
    ///
    /// # Errors
    /// `Invalid` for what is no YAML, what is too much of it, and every document that is not entirely understood.
    pub fn read(&mut self, name: &str, text: &str) -> Result<()> {
        let documents = stream::parse(text).attempt(|| format!("read {name}"))?;
        for (number, document) in (1_u32..).zip(&documents) {
            self.add(document).attempt(|| format!("{name}, document {number}"))?;
        }
        self.resources.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(())
    }

    fn add(&mut self, document: &Value) -> Result<()> {
        let mut fields = Fields::of(document, "")?;
        let (version, kind) =
            (fields.required_text("apiVersion")?.to_owned(), fields.required_text("kind")?.to_owned());
        match (version.as_str(), kind.as_str()) {
            ("v1", "List") => {
                fields.skip("metadata");
                let items = fields.list("items")?;
                fields.finish()?;
                items.into_iter().flatten().try_for_each(|item| self.add(item))
            }
            ("volsync.backube/v1alpha1", "ReplicationSource") => {
                let metadata = Metadata::read(&mut fields)?;
                self.resource(source::read(fields, &metadata)?, metadata)
            }
            ("volsync.backube/v1alpha1", "ReplicationDestination") => {
                let metadata = Metadata::read(&mut fields)?;
                self.resource(destination::read(fields, &metadata)?, metadata)
            }
            ("v1", "Secret") => {
                let metadata = Metadata::read(&mut fields)?;
                let keys = secret::read_secret(fields)?;
                put(&mut self.secrets, metadata.key(), keys, "Secret")
            }
            ("v1", "ConfigMap") => {
                let metadata = Metadata::read(&mut fields)?;
                let keys = secret::read_config_map(fields)?;
                put(&mut self.config_maps, metadata.key(), keys, "ConfigMap")
            }
            ("v1", "Namespace") => {
                let metadata = Metadata::read(&mut fields)?;
                if metadata.privileged_movers() {
                    self.privileged.push(metadata.name);
                }
                Ok(())
            }
            ("v1", "PersistentVolumeClaim") => {
                let metadata = Metadata::read(&mut fields)?;
                self.notes.push(format!(
                    "PersistentVolumeClaim {}: nothing is made of it; --volume {}=DIRECTORY says where the volume is",
                    metadata.name, metadata.name
                ));
                Ok(())
            }
            _ => Err(Error::invalid(format!("kind {kind} of {version} is not known")).with_hint(
                "known are ReplicationSource and ReplicationDestination of volsync.backube/v1alpha1, Secret, ConfigMap, Namespace, PersistentVolumeClaim and List of v1",
            )),
        }
    }

    fn resource(&mut self, (resource, notes): (Resource, Vec<String>), metadata: Metadata) -> Result<()> {
        if self.resources.iter().any(|other| other.id == resource.id) {
            return Err(Error::invalid(format!("{} is there twice", resource.id)));
        }
        let notes = notes.into_iter().chain(metadata.notes);
        self.notes.extend(notes.map(|note| format!("{}: {note}", resource.id)));
        self.resources.push(resource);
        Ok(())
    }
}

fn put<T>(map: &mut BTreeMap<(String, String), T>, key: (String, String), value: T, kind: &str) -> Result<()> {
    let shown = format!("{kind} {}/{} is there twice", key.0, key.1);
    if map.insert(key, value).is_some() { Err(Error::invalid(shown)) } else { Ok(()) }
}

/// What both kinds of resource say of themselves.
fn id(metadata: &Metadata, role: Role) -> ResourceId {
    ResourceId { namespace: metadata.namespace.clone(), name: metadata.name.clone(), role }
}
