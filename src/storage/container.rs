//! What holds the objects: a directory or a bucket, made when it is missing, and left as it was found.

use std::io;

use super::bucket;
use super::local::make;
use super::location::Location;
use super::store::Store;
use crate::error::{Attempt, Error, Result};

impl Store {
    /// Makes the directory (for its owner only) or the S3 bucket, if it is missing; says whether it was made.
    /// Containers of GCS and Azure must exist.
    pub async fn ensure_container(&self) -> Result<bool> {
        match (&*self.location, &self.access) {
            (Location::Local(path), _) => {
                let root = path.clone();
                let made = tokio::task::spawn_blocking(move || make(&root)).await;
                made.map_err(|error| Error::bug("make the directory").with_source(error))?
                    .attempt(|| format!("make the directory {}", path.display()))
            }
            (Location::S3 { .. }, Some(access)) => bucket::ensure(access, &self.governor.shared.counters).await,
            (Location::S3 { .. } | Location::Gcs { .. } | Location::Azure { .. } | Location::Memory, _) => Ok(false),
        }
    }

    /// Uploads in parts below a folder that were neither finished nor given up; none where that cannot be asked.
    pub(super) async fn unfinished_uploads(&self, folder: &str) -> Result<Option<usize>> {
        let (Location::S3 { prefix, .. }, Some(access)) = (&*self.location, &self.access) else { return Ok(None) };
        let slash = if prefix.is_empty() { "" } else { "/" };
        bucket::unfinished_uploads(access, &self.governor.shared.counters, &format!("{prefix}{slash}{folder}/")).await
    }

    /// Removes folders that are empty, in this order. Only a directory has any.
    pub(super) async fn remove_empty_folders(&self, folders: &[&str]) -> Result<()> {
        let Location::Local(root) = &*self.location else { return Ok(()) };
        for folder in folders {
            match tokio::fs::remove_dir(root.join(folder)).await {
                Ok(()) => {}
                // Another probe is at work.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
                Err(error) => return Err(error).attempt(|| format!("remove {}", root.join(folder).display())),
            }
        }
        Ok(())
    }
}
