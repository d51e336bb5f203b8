//! A directory as a store whose objects may have the name of any file: `object_store` keeps `name#1` and names with control
//! characters for itself. Objects are files of their keys, with the time that their attributes say.
//!
//! A put writes a temporary file beside the object, syncs it, renames it, and syncs the directory. Conditions are checked under a lock
//! on the root, so that of all processes on this machine one succeeds; other programs do not know of the lock.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Error as StoreError, Extensions, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, PutMode, PutResult,
    Result,
};
use rustix::fs::{FlockOperation, OFlags, flock};

use super::failure::{Refusal, generic};
use super::local::Directory;
use super::pin::{Attributes, ObjectInfo, Pin};

/// What the names of temporary files begin with; 16 hexadecimal digits follow. No object may be called so.
const TEMPORARY: &str = ".volvault-put-";
/// How often a folder is made again because somebody removed it, empty as it was, just before it was used.
const FOLDER_TRIES: u32 = 20;
/// Objects of a listing that are read ahead.
const LISTED_AHEAD: usize = 1000;

/// The files of a directory, by key.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: Directory,
}

impl Files {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory }
    }

    /// Opens an object; its bytes are not read yet.
    pub(super) async fn get(&self, key: &str, options: GetOptions) -> Result<GetResult> {
        let place = self.place(key)?;
        blocking(move || place.open(&options)).await
    }

    /// Stores an object.
    pub(super) async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        attributes: &Attributes,
        mode: PutMode,
    ) -> Result<PutResult> {
        let (place, mtime) = (self.place(key)?, mtime_of(attributes)?);
        blocking(move || {
            let draft = place.begin()?;
            place.wrap(draft.file()?.write_all(&bytes))?;
            place.publish(draft, mtime, &mode)
        })
        .await
    }

    /// Begins an object that comes piece by piece.
    pub(super) async fn begin(&self, key: &str, attributes: &Attributes) -> Result<Writing> {
        let (place, mtime) = (self.place(key)?, mtime_of(attributes)?);
        blocking(move || {
            let draft = Mutex::new(Some(place.begin()?));
            Ok(Writing { place: Arc::new(place), mtime, draft: Arc::new(draft) })
        })
        .await
    }

    /// Copies an object, if it is still the pinned one.
    pub(super) async fn copy(&self, from: &str, pin: &Pin, to: &str, attributes: &Attributes) -> Result<PutResult> {
        let (source, place, mtime) = (self.place(from)?, self.place(to)?, mtime_of(attributes)?);
        let pinned = GetOptions { if_match: pin.etag.clone(), ..GetOptions::default() };
        blocking(move || {
            let GetResultPayload::File(mut content, _) = source.open(&pinned)?.payload else {
                return Err(source.failed(io::Error::other("not a file")));
            };
            let draft = place.begin()?;
            place.wrap(io::copy(&mut content, &mut draft.file()?))?;
            place.publish(draft, mtime, &PutMode::Overwrite)
        })
        .await
    }

    /// Deletes an object, and the folders that this leaves empty; a missing one is a success.
    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let place = self.place(key)?;
        blocking(move || match fs::remove_file(&place.file) {
            Ok(()) => {
                place.directory.tidy(&place.file);
                Ok(())
            }
            // A folder is no object.
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::IsADirectory => Ok(()),
            Err(error) => Err(place.failed(error)),
        })
        .await
    }

    /// All objects below a folder (none for all), in no particular order. Links and special files are none.
    pub(super) fn list(&self, folder: &str) -> BoxStream<'static, Result<ObjectInfo>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(LISTED_AHEAD);
        let files = self.clone();
        let folder = folder.to_owned();
        let walk = async move {
            // The walk ends when nobody listens any more.
            let walked = blocking(move || files.walk(&folder, &|found| sender.blocking_send(Ok(found)).is_ok())).await;
            walked.err().map(Err)
        };
        // Spawned at the first poll: whoever only makes the listing may have no runtime.
        let begin = async {
            let walking = tokio::spawn(walk);
            let listed = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
            listed.chain(stream::once(walking).filter_map(async |ended| ended.unwrap_or(None)))
        };
        stream::once(begin).flatten().boxed()
    }

    /// Removes the temporary files of writers that were killed; how many there were.
    pub(super) async fn remove_drafts(&self) -> Result<u64> {
        let files = self.clone();
        blocking(move || {
            let (mut folders, mut removed) = (vec![files.directory.opened_root()?], 0);
            while let Some(folder) = folders.pop() {
                // What cannot be read or removed is left to the next time.
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    let Ok(kind) = entry.file_type() else { continue };
                    if kind.is_dir() {
                        folders.push(entry.path());
                    } else if kind.is_file() && is_temporary(&entry.file_name()) {
                        removed += u64::from(fs::remove_file(entry.path()).is_ok());
                    }
                }
            }
            Ok(removed)
        })
        .await
    }

    fn walk(&self, folder: &str, tell: &dyn Fn(ObjectInfo) -> bool) -> Result<()> {
        let root = self.directory.opened_root()?;
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            let failed = |error| Place { file: folder.clone(), directory: self.directory.clone() }.failed(error);
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                // Somebody else tidied up, or there never was one.
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(failed(error)),
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && !is_temporary(&entry.file_name()) {
                    let meta = match entry.metadata() {
                        Ok(meta) => meta,
                        Err(error) if is_absent(&error) => continue,
                        Err(error) => return Err(failed(error)),
                    };
                    let path = entry.path();
                    let key = path.strip_prefix(&root).ok().and_then(FilePath::to_str).ok_or_else(|| {
                        failed(io::Error::other(format!(
                            "the name {} is not UTF-8 and cannot be a key",
                            path.display()
                        )))
                    })?;
                    if !tell(ObjectInfo::of(key.to_owned(), &meta_of(&meta))) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn place(&self, key: &str) -> Result<Place> {
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
        let name = key.rsplit('/').next().unwrap_or_default();
        if !key.split('/').all(is_name) || is_temporary(OsStr::new(name)) {
            let source = format!("{key:?} cannot be a file below the directory").into();
            return Err(StoreError::NotSupported { source });
        }
        Ok(Place { file: self.directory.opened_root()?.join(key), directory: self.directory.clone() })
    }
}

/// An object of which the first bytes are there.
#[derive(Debug)]
pub(super) struct Writing {
    place: Arc<Place>,
    mtime: Option<SystemTime>,
    /// None when it was published or given up.
    draft: Arc<Mutex<Option<Draft>>>,
}

impl Writing {
    /// Adds bytes.
    pub(super) async fn append(&self, bytes: Bytes) -> Result<()> {
        self.with_draft(move |place, draft| place.wrap(draft.file()?.write_all(&bytes))).await
    }

    /// Adds bytes of another object, if it is the pinned one.
    pub(super) async fn append_from(&self, source: &str, range: Range<u64>, pin: &Pin) -> Result<()> {
        let files = Files { directory: self.place.directory.clone() };
        let source = files.place(source)?;
        let pinned = GetOptions { if_match: pin.etag.clone(), ..GetOptions::default() };
        self.with_draft(move |_, draft| {
            let opened = source.open(&pinned)?;
            let GetResultPayload::File(mut content, _) = opened.payload else {
                return Err(source.failed(io::Error::other("not a file")));
            };
            range_of(Some(&GetRange::Bounded(range.clone())), opened.meta.size)?;
            source.wrap(content.seek(SeekFrom::Start(range.start)))?;
            let length = range.end.saturating_sub(range.start);
            let copied = source.wrap(io::copy(&mut content.take(length), &mut draft.file()?))?;
            if copied == length { Ok(()) } else { Err(source.failed(io::Error::from(io::ErrorKind::UnexpectedEof))) }
        })
        .await
    }

    /// Gives it its name.
    pub(super) async fn finish(&self, mode: PutMode) -> Result<PutResult> {
        let (place, mtime, draft) = (Arc::clone(&self.place), self.mtime, Arc::clone(&self.draft));
        blocking(move || {
            let draft = lock(&draft).take().ok_or_else(|| place.failed(io::Error::other("the file is closed")))?;
            place.publish(draft, mtime, &mode)
        })
        .await
    }

    /// Removes what was written.
    pub(super) fn discard(&self) {
        drop(lock(&self.draft).take());
    }

    async fn with_draft(&self, work: impl FnOnce(&Place, &Draft) -> Result<()> + Send + 'static) -> Result<()> {
        let (place, draft) = (Arc::clone(&self.place), Arc::clone(&self.draft));
        blocking(move || match &*lock(&draft) {
            Some(draft) => work(&place, draft),
            None => Err(place.failed(io::Error::other("the file is closed"))),
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file of one object.
#[derive(Debug)]
struct Place {
    file: PathBuf,
    directory: Directory,
}

/// A file that is being written. It goes with its value, unless it was published.
#[derive(Debug)]
struct Draft {
    path: Option<PathBuf>,
    file: Option<File>,
}

impl Draft {
    fn file(&self) -> Result<&File> {
        self.file.as_ref().ok_or_else(|| generic(io::Error::other("the file is not open")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = fs::remove_file(path);
        }
    }
}

impl Place {
    fn open(&self, options: &GetOptions) -> Result<GetResult> {
        // Not to wait for a writer, should it be a pipe.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = self.wrap(OpenOptions::new().read(true).custom_flags(flags).open(&self.file))?;
        let meta = self.wrap(file.metadata())?;
        if !meta.is_file() {
            return Err(self.failed(io::Error::from(io::ErrorKind::NotFound)));
        }
        let meta = meta_of(&meta);
        options.check_preconditions(&meta)?;
        let range = range_of(options.range.as_ref(), meta.size)?;
        Ok(GetResult {
            payload: GetResultPayload::File(file, self.file.clone()),
            attributes: Attributes { mtime: Some(seconds_of(meta.last_modified)), ..Attributes::default() }.seam(),
            meta,
            range,
            extensions: Extensions::new(),
        })
    }

    /// A temporary file in the folder of the object, which is made if it is missing.
    fn begin(&self) -> Result<Draft> {
        let folder = self.file.parent().unwrap_or(&self.file);
        let mut tries = 0;
        loop {
            let random = getrandom::u64().map_err(|error| generic(io::Error::other(error)))?;
            let path = folder.join(format!("{TEMPORARY}{random:016x}"));
            let made = self.make_folder(folder);
            match made.and_then(|()| OpenOptions::new().write(true).create_new(true).open(&path)) {
                Ok(file) => return Ok(Draft { path: Some(path), file: Some(file) }),
                // Somebody else tidied up between the two, or before.
                Err(error) if is_absent(&error) && tries < FOLDER_TRIES && self.directory.is_there() => {
                    self.directory.forget_folders();
                    tries += 1;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// An object in the way of a folder is removed: other stores keep both, a directory the one that came last.
    fn make_folder(&self, folder: &FilePath) -> io::Result<()> {
        let outcome = self.directory.make_folders(folder);
        if folder.is_dir() {
            return outcome;
        }
        let root = self.directory.opened_root().map_err(io::Error::other)?;
        let above = folder.ancestors().take_while(|path| path.starts_with(&root) && *path != root);
        for path in above.filter(|path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())) {
            fs::remove_file(path)?;
        }
        self.directory.forget_folders();
        self.directory.make_folders(folder)
    }

    fn publish(&self, mut draft: Draft, mtime: Option<SystemTime>, mode: &PutMode) -> Result<PutResult> {
        let file = draft.file()?;
        if let Some(mtime) = mtime {
            self.wrap(file.set_times(FileTimes::new().set_modified(mtime)))?;
        }
        self.wrap(file.sync_all())?;
        let e_tag = etag_of(&self.wrap(file.metadata())?);
        // Held until the rename is done.
        let lock = match mode {
            PutMode::Overwrite => None,
            PutMode::Create | PutMode::Update(_) => Some(self.lock()?),
        };
        self.check(mode)?;
        if let Some(path) = &draft.path {
            self.wrap(rustix::fs::rename(path, &self.file).map_err(io::Error::from))?;
        }
        draft.path = None;
        drop(lock);
        let folder = self.file.parent().unwrap_or(&self.file);
        self.wrap(File::open(folder).and_then(|folder| folder.sync_all()))?;
        Ok(PutResult { e_tag: Some(e_tag), version: None, extensions: Extensions::new() })
    }

    fn lock(&self) -> Result<File> {
        let root = self.wrap(File::open(self.directory.opened_root()?))?;
        match flock(&root, FlockOperation::LockExclusive) {
            Ok(()) => Ok(root),
            Err(error) => Err(StoreError::NotSupported { source: Box::new(io::Error::from(error)) }),
        }
    }

    fn check(&self, mode: &PutMode) -> Result<()> {
        let path = || self.file.display().to_string();
        let there = match fs::symlink_metadata(&self.file) {
            Ok(meta) => Some(etag_of(&meta)),
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(self.failed(error)),
        };
        match mode {
            PutMode::Create if there.is_some() => {
                Err(StoreError::AlreadyExists { path: path(), source: "the file exists".into() })
            }
            PutMode::Update(version) if there != version.e_tag => {
                Err(StoreError::Precondition { path: path(), source: "it is another file".into() })
            }
            PutMode::Overwrite | PutMode::Create | PutMode::Update(_) => Ok(()),
        }
    }

    fn wrap<T>(&self, outcome: io::Result<T>) -> Result<T> {
        outcome.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> StoreError {
        let path = self.file.display().to_string();
        if is_absent(&error) {
            return StoreError::NotFound { path, source: Box::new(error) };
        }
        generic(error)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(generic)?
}

/// Not there, or below something that is no folder.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_temporary(name: &OsStr) -> bool {
    let digits = name.as_bytes().strip_prefix(TEMPORARY.as_bytes());
    digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// Replacing a file gives it another inode; the time is that of the source, to the nanosecond.
fn etag_of(meta: &fs::Metadata) -> String {
    format!("\"{:x}-{:x}.{:x}-{:x}\"", meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size())
}

fn meta_of(meta: &fs::Metadata) -> ObjectMeta {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    ObjectMeta {
        location: Path::default(),
        last_modified: modified.into(),
        size: meta.size(),
        e_tag: Some(etag_of(meta)),
        version: None,
    }
}

/// What is there of a range; one that begins beyond the end is refused as HTTP refuses it.
fn range_of(range: Option<&GetRange>, size: u64) -> Result<Range<u64>> {
    let Some(range) = range else { return Ok(0..size) };
    range.as_range(size).map_err(|cause| {
        generic(Refusal { status: 416, code: "InvalidRange".to_owned(), message: cause.to_string(), after: None })
    })
}

/// The time that the attributes say, as rclone writes it: seconds since 1970, with up to nine decimals.
fn mtime_of(attributes: &Attributes) -> Result<Option<SystemTime>> {
    let Some(text) = attributes.mtime.as_deref() else { return Ok(None) };
    let refuse = || StoreError::NotSupported { source: format!("{text:?} is no time in seconds").into() };
    let (past, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (seconds, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let nanoseconds = format!("{decimals:0<9}").get(..9).and_then(|nine| nine.parse().ok()).ok_or_else(refuse)?;
    let since = Duration::new(seconds.parse().map_err(|_| refuse())?, nanoseconds);
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if past { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    time.map(Some).ok_or_else(refuse)
}

/// The other way round.
fn seconds_of(time: chrono::DateTime<chrono::Utc>) -> String {
    let (seconds, nanoseconds) = (time.timestamp(), time.timestamp_subsec_nanos());
    if seconds < 0 && nanoseconds > 0 {
        return format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds);
    }
    format!("{seconds}.{nanoseconds:09}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_as_rclone_does() {
        for (text, seconds, nanoseconds) in
            [("1754300000.123456789", 1_754_300_000, 123_456_789), ("0.500000000", 0, 500_000_000), ("12", 12, 0)]
        {
            let attributes = Attributes { mtime: Some(text.to_owned()), ..Attributes::default() };
            let time = mtime_of(&attributes).unwrap().unwrap();
            assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds), "{text}");
        }
        for text in ["-1.250000000", "1754300000.123456789", "0.000000000", "-3.000000000"] {
            let attributes = Attributes { mtime: Some(text.to_owned()), ..Attributes::default() };
            assert_eq!(seconds_of(mtime_of(&attributes).unwrap().unwrap().into()), text);
        }
        for text in ["", "x", "1.x", "1e9", "999999999999999999999"] {
            let attributes = Attributes { mtime: Some(text.to_owned()), ..Attributes::default() };
            assert!(mtime_of(&attributes).is_err(), "{text}");
        }
    }

    #[test]
    fn only_names_of_temporary_files_are_kept_back() {
        assert!(is_temporary(OsStr::new(".volvault-put-0123456789abcdef")));
        for name in [".volvault-put-", ".volvault-put-0123456789abcdex", "a#1", ".volvault-put-0123456789abcdef0"] {
            assert!(!is_temporary(OsStr::new(name)), "{name}");
        }
    }
}
