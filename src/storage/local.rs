//! A directory as a store: opened when it is first needed, made when asked, swept of what killed writers left.
//!
//! `object_store` syncs the file, then the directory after the rename or link (read in its source, version 0.14.2).
//! Directories are made here, and synced before anything is put into them: two writers that need the same new one
//! would both count on the other. It cannot set modes, so privacy rests on the root, which is made with mode 0700.
//! `tests/peers/durable.py` watches the system calls.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
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
    opened: Arc<OnceLock<Opened>>,
}

#[derive(Debug)]
struct Opened {
    store: LocalFileSystem,
    folders: Arc<Folders>,
}

/// How often a folder is made again because somebody removed it, empty as it was, just before it was used.
const FOLDER_TRIES: u32 = 20;

/// The folders that are there for certain, as far as this process knows, with their names on the disk.
#[derive(Debug)]
struct Folders {
    root: PathBuf,
    known: RwLock<HashSet<PathBuf>>,
    making: Mutex<()>,
}

impl Folders {
    fn knows(&self, folder: &FilePath) -> bool {
        folder == self.root || self.known.read().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    /// Makes `folder` and what is missing between it and the root, which must be there. Whoever finds it made finds
    /// it synced.
    fn make(&self, folder: &FilePath) -> io::Result<()> {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let above: Vec<&FilePath> = folder.ancestors().take_while(|path| !self.knows(path)).collect();
        for path in above.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => File::open(path.parent().unwrap_or(path))?.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            self.known.write().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        }
        Ok(())
    }

    /// Somebody else has removed some.
    fn forget(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Removes the folders that the removal of `file` left empty. Nothing depends on it: a folder that somebody is
    /// about to use is made again, see [`Directory::put_opts`].
    fn tidy(&self, file: &FilePath) {
        for folder in file.ancestors().skip(1).take_while(|folder| *folder != self.root) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
            self.known.write().unwrap_or_else(PoisonError::into_inner).remove(folder);
        }
    }
}

impl Directory {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, opened: Arc::default() }
    }

    fn open(&self) -> Result<&Opened> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        match fs::metadata(&self.root) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(self.fail(io::Error::from(io::ErrorKind::NotADirectory))),
            Err(error) => return Err(self.fail(error)),
        }
        let store = LocalFileSystem::new_with_prefix(&self.root)?.with_fsync(true);
        let root = fs::canonicalize(&self.root).map_err(|error| self.fail(error))?;
        let folders = Arc::new(Folders { root, known: RwLock::default(), making: Mutex::default() });
        Ok(self.opened.get_or_init(|| Opened { store, folders }))
    }

    fn store(&self) -> Result<&LocalFileSystem> {
        self.open().map(|opened| &opened.store)
    }

    /// Makes the folder of an object. One that is found missing is made anew the next time.
    async fn make_folder(&self, location: &Path) -> Result<()> {
        let Opened { store, folders } = self.open()?;
        let file = store.path_to_filesystem(location)?;
        let folder = file.parent().unwrap_or(&folders.root).to_owned();
        if folders.knows(&folder) {
            return Ok(());
        }
        let folders = Arc::clone(folders);
        let made = tokio::task::spawn_blocking(move || folders.make(&folder)).await;
        made.map_err(io::Error::other).flatten().map_err(|error| self.fail(error))
    }

    /// The root with its name on the disk, if it is there.
    pub(super) fn opened_root(&self) -> Result<PathBuf> {
        self.open().map(|opened| opened.folders.root.clone())
    }

    /// Whether the root is there still.
    pub(super) fn is_there(&self) -> bool {
        self.root.is_dir()
    }

    /// Makes a folder below the root, and those above it.
    pub(super) fn make_folders(&self, folder: &FilePath) -> io::Result<()> {
        let folders = &self.open().map_err(io::Error::other)?.folders;
        if folders.knows(folder) { Ok(()) } else { folders.make(folder) }
    }

    /// Somebody else has removed folders.
    pub(super) fn forget_folders(&self) {
        if let Some(opened) = self.opened.get() {
            opened.folders.forget();
        }
    }

    /// Removes the folders that the removal of `file` left empty.
    pub(super) fn tidy(&self, file: &FilePath) {
        if let Some(opened) = self.opened.get() {
            opened.folders.tidy(file);
        }
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

/// Whether a file or directory was not there.
fn is_missing(error: &StoreError) -> bool {
    let mut next = Some(error as &(dyn std::error::Error + 'static));
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return true;
        }
        next = cause.source();
    }
    matches!(error, StoreError::NotFound { .. })
}

fn broken<T: Send + 'static>(error: StoreError) -> BoxStream<'static, Result<T>> {
    stream::once(async { Err(error) }).boxed()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Directory {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let Opened { store, folders } = self.open()?;
        for _ in 0..FOLDER_TRIES {
            let answer = match self.make_folder(location).await {
                Ok(()) => store.put_opts(location, payload.clone(), options.clone()).await,
                Err(error) => Err(error),
            };
            match answer {
                // Somebody else tidied up between the two, or before.
                Err(error) if is_missing(&error) && self.root.is_dir() => folders.forget(),
                answer => return answer,
            }
        }
        store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store()?.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store()?.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store()?.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let Opened { store, folders } = match self.open() {
            Ok(opened) => opened,
            Err(error) => return broken(error),
        };
        let (names, folders) = (store.clone(), Arc::clone(folders));
        store
            .delete_stream(locations)
            .inspect_ok(move |location| {
                if let Ok(file) = names.path_to_filesystem(location) {
                    folders.tidy(&file);
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store().map_or_else(broken, |store| store.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store().map_or_else(broken, |store| store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store()?.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store()?.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.store()?.rename_opts(from, to, options).await
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

    async fn delete(store: &Directory, key: &str) -> Result<()> {
        let keys = stream::iter([Ok(Path::from(key))]).boxed();
        store.delete_stream(keys).try_collect::<Vec<_>>().await.map(drop)
    }

    #[tokio::test]
    async fn an_emptied_folder_goes_and_those_above_it_and_never_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::new(folder.path().to_owned());
        for key in ["state/sessions/a/0", "state/sessions/b/0", "state/sessions/b/1"] {
            store.put_opts(&key.into(), "x".into(), PutOptions::default()).await.unwrap();
        }
        let is_there = |name: &str| folder.path().join(name).exists();
        delete(&store, "state/sessions/a/0").await.unwrap();
        delete(&store, "state/sessions/b/0").await.unwrap();
        assert!(!is_there("state/sessions/a") && is_there("state/sessions/b/1"));
        delete(&store, "state/sessions/b/1").await.unwrap();
        assert!(!is_there("state") && folder.path().exists());
        store.put_opts(&"state/sessions/a/0".into(), "x".into(), PutOptions::default()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_fails_where_others_tidy_up() {
        let folder = tempfile::tempdir().unwrap();
        // Two processes, each with its own idea of what is there.
        let writers = (0..4u64).map(|writer| {
            let store = Directory::new(folder.path().to_owned());
            tokio::spawn(async move {
                for n in 0..200 {
                    let key = format!("state/sessions/{}/{writer}", n % 2);
                    store.put_opts(&key.as_str().into(), "x".into(), PutOptions::default()).await?;
                    delete(&store, &key).await?;
                }
                Ok::<(), StoreError>(())
            })
        });
        for outcome in futures::future::join_all(writers).await {
            outcome.unwrap().unwrap();
        }
        assert!(!folder.path().join("state").exists());
    }

    #[tokio::test]
    async fn a_root_that_is_gone_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::new(folder.path().join("mounted"));
        fs::create_dir(folder.path().join("mounted")).unwrap();
        store.put_opts(&"a/b".into(), "x".into(), PutOptions::default()).await.unwrap();
        fs::remove_dir_all(folder.path().join("mounted")).unwrap();
        store.put_opts(&"c/d".into(), "x".into(), PutOptions::default()).await.unwrap_err();
        assert!(!folder.path().join("mounted").exists());
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
