//! A directory as a store: opened when it is first needed, made when asked, swept of what killed writers left.
//!
//! `object_store` syncs the file, then the directory after the rename or link, and every directory that it had to
//! make (read in its source, version 0.14.2). It cannot set modes, so privacy rests on the root, which is made with
//! mode 0700.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// A directory that need not exist yet. Until it does, every request says so, and none makes it: a repository on a
/// disk that is not mounted must not begin anew under the mount point.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: PathBuf,
    opened: Arc<OnceLock<LocalFileSystem>>,
}

impl Directory {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, opened: Arc::default() }
    }

    fn open(&self) -> Result<&LocalFileSystem> {
        if let Some(store) = self.opened.get() {
            return Ok(store);
        }
        match fs::metadata(&self.root) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(self.fail(io::Error::from(io::ErrorKind::NotADirectory))),
            Err(error) => return Err(self.fail(error)),
        }
        let store = LocalFileSystem::new_with_prefix(&self.root)?.with_fsync(true);
        Ok(self.opened.get_or_init(|| store))
    }

    fn fail(&self, error: io::Error) -> StoreError {
        let path = self.root.display().to_string();
        if error.kind() == io::ErrorKind::NotFound {
            let source = format!("the directory {path} does not exist").into();
            return StoreError::NotFound { path, source };
        }
        StoreError::Generic { store: "local", source: Box::new(error) }
    }
}

/// Makes `root` and what is missing above it, for its owner only, durably. Says whether anything was made.
pub(super) fn make(root: &FilePath) -> io::Result<bool> {
    if fs::metadata(root).is_ok_and(|meta| meta.is_dir()) {
        return Ok(false);
    }
    let missing: Vec<&FilePath> = root.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    for path in missing {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(true)
}

/// Deletes the temporary files (`name#1`) of writers that were killed, if they were not touched since `before`.
/// Listings do not show them.
pub(super) fn sweep(root: &FilePath, before: SystemTime) -> io::Result<usize> {
    let mut swept = 0;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_leftover(&entry.file_name()) && entry.metadata()?.modified()? < before {
                fs::remove_file(entry.path())?;
                swept += 1;
            }
        }
    }
    Ok(swept)
}

/// `object_store` writes to `name#1`, or `name#2` if that is taken, and so on.
fn is_leftover(name: &std::ffi::OsStr) -> bool {
    let Some((_, number)) = name.to_str().and_then(|name| name.rsplit_once('#')) else { return false };
    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

/// The moment `ago` before `now`.
pub(super) fn moment_before(now: chrono::DateTime<chrono::FixedOffset>, ago: Duration) -> SystemTime {
    let now = SystemTime::from(now);
    now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl std::fmt::Display for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

fn broken<T: Send + 'static>(error: StoreError) -> BoxStream<'static, Result<T>> {
    stream::once(async { Err(error) }).boxed()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Directory {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.open()?.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.open()?.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.open()?.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.open()?.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.open().map_or_else(broken, |store| store.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.open().map_or_else(broken, |store| store.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.open().map_or_else(broken, |store| store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.open()?.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.open()?.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.open()?.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_root_is_made_for_its_owner_only_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b");
        assert!(make(&root).unwrap());
        assert!(!make(&root).unwrap());
        for made in [&root, &folder.path().join("a")] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn only_old_leftovers_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("packs")).unwrap();
        for name in ["packs/ab#1", "packs/ab", "cd#12", "ef#x", "#"] {
            File::create(folder.path().join(name)).unwrap();
        }
        let now = crate::clock::SystemClock::new().now();
        assert_eq!(sweep(folder.path(), moment_before(now, Duration::from_hours(1))).unwrap(), 0);
        assert_eq!(sweep(folder.path(), moment_before(now + Duration::from_mins(1), Duration::ZERO)).unwrap(), 2);
        assert!(folder.path().join("packs/ab").exists() && folder.path().join("ef#x").exists());
    }
}
