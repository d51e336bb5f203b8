//! From a resource to a job of the mover: the environment that `VolSync`'s operator would have given its pod, and the files that it would have mounted.
//!
//! What differs is only what has to: files lie in a directory of ours and not at `/customCA`, and the volume is not at `/data`, though it goes by that
//! name, so that snapshots made in a cluster are found here and the other way round.

mod name;
mod rclone;
mod restic;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::board::{Method, ResourceId};
use super::document::{CaRef, Documents, Keys, Resource, Task};
use crate::environment::Environment;
use crate::error::{Attempt, Error, Result};
use crate::volume::durable::{Publish, publish};

/// Where a volume is in a pod, and what it goes by everywhere.
const DATA: &str = "/data";

/// What the operator hands on from its own environment.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// What stands in no document.
#[derive(Debug, Default)]
pub struct Setup {
    /// Directories of volumes, by the name of the claim or `namespace/claim`.
    pub volumes: BTreeMap<String, PathBuf>,
    /// Secrets that stand in no document, by name or `namespace/name`.
    pub secrets: BTreeMap<String, Keys>,
    /// Where files for jobs are put: certificates, `rclone.conf`. Only this user can read them.
    pub files: PathBuf,
}

/// A job that can be run again and again.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) method: Method,
    pub(super) environment: Environment,
    /// Where the volume really is.
    pub(super) volume: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// A job that is being put together.
struct Building<'a> {
    documents: &'a Documents,
    setup: &'a Setup,
    id: &'a ResourceId,
    variables: Vec<(String, OsString)>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Job {
    /// The job of a resource.
    ///
    /// # Errors
    /// `Invalid` when a volume, a Secret or a key of it is missing.
    pub(super) fn new(resource: &Resource, documents: &Documents, setup: &Setup, world: &Environment) -> Result<Self> {
        let id = &resource.id;
        let mut building = Building { documents, setup, id, variables: Vec::new(), files: Vec::new() };
        let volume = building.volume(&resource.volume)?;
        match &resource.task {
            Task::Backup(task) => restic::backup(&mut building, task)?,
            Task::Restore(task) => restic::restore(&mut building, task)?,
            Task::Mirror(task) => rclone::mirror(&mut building, task)?,
        }
        let privileged = documents.privileged.contains(&id.namespace);
        building.set("PRIVILEGED_MOVER", if privileged { "1" } else { "0" });
        building.set("POD_NAMESPACE", &id.namespace);
        building.set("HOSTNAME", &name::of_pod(id, resource.method()));
        for name in PROXIES {
            if let Some(value) = world.raw(name) {
                building.variables.push((name.to_owned(), value.clone()));
            }
        }
        let Building { variables, files, .. } = building;
        let environment = variables.into_iter().map(|(name, value)| (OsString::from(name), value)).collect();
        Ok(Self { method: resource.method(), environment, volume, files })
    }

    /// Puts the files where the job looks for them.
    pub(super) fn place_files(&self) -> Result<()> {
        for (path, bytes) in &self.files {
            let directory = path.parent().unwrap_or(Path::new("."));
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .attempt(|| format!("make {}", directory.display()))?;
            publish(path, bytes, Publish::Replace)?;
        }
        Ok(())
    }
}

impl<'a> Building<'a> {
    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), OsString::from(value)));
    }

    fn set_bytes(&mut self, name: &str, value: &[u8]) {
        self.variables.push((name.to_owned(), OsString::from_vec(value.to_vec())));
    }

    /// A file of this job, with the variable that names it.
    fn file(&mut self, variable: &str, name: &str, bytes: &[u8]) {
        let path = self.place(name);
        self.variables.push((variable.to_owned(), path.clone().into_os_string()));
        self.files.push((path, bytes.to_vec()));
    }

    /// A directory of this job, with the variable that names it.
    fn directory(&mut self, variable: &str, name: &str) {
        let path = self.place(name).into_os_string();
        self.variables.push((variable.to_owned(), path));
    }

    fn place(&self, name: &str) -> PathBuf {
        let ResourceId { namespace, name: resource, role } = self.id;
        self.setup.files.join(format!("{namespace}_{}_{resource}", role.as_str())).join(name)
    }

    fn volume(&self, claim: &str) -> Result<PathBuf> {
        let volumes = &self.setup.volumes;
        let full = format!("{}/{claim}", self.id.namespace);
        let path = volumes.get(&full).or_else(|| volumes.get(claim)).ok_or_else(|| {
            Error::invalid(format!("where the volume of claim {claim} is was not said"))
                .with_hint(format!("say it with --volume {claim}=DIRECTORY"))
        })?;
        std::path::absolute(path).attempt(|| format!("find {}", path.display()))
    }

    fn secret(&self, name: &str) -> Result<&'a Keys> {
        let given = &self.setup.secrets;
        let key = (self.id.namespace.clone(), name.to_owned());
        let found = given.get(&format!("{}/{name}", key.0)).or_else(|| given.get(name));
        found.or_else(|| self.documents.secrets.get(&key)).ok_or_else(|| {
            Error::invalid(format!("Secret {}/{name} is missing", key.0)).with_hint(format!(
                "put it into the documents, or say where it is: --secret {name}=DIRECTORY or --secret {name}=env:PREFIX_"
            ))
        })
    }

    fn custom_ca(&mut self, custom_ca: Option<&CaRef>) -> Result<()> {
        let Some(CaRef { in_config_map, name, key }) = custom_ca else { return Ok(()) };
        let (kind, keys) = if *in_config_map {
            let id = (self.id.namespace.clone(), name.clone());
            let missing = || Error::invalid(format!("ConfigMap {}/{name} is missing", id.0));
            ("ConfigMap", self.documents.config_maps.get(&id).ok_or_else(missing)?)
        } else {
            ("Secret", self.secret(name)?)
        };
        let bytes = keys.get(key).ok_or_else(|| Error::invalid(format!("{kind} {name} has no key {key}")))?;
        self.file("CUSTOM_CA", "ca.crt", bytes);
        Ok(())
    }
}
