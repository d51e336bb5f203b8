//! Saves one stream as one file: `--stdin`, `--stdin-from-command`.

use std::io::Read;

use crate::catalog::{Entry, FileNode, Metadata, Node, StoredPage, Timestamp, TreeWriter};

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::events::{Progress, Watch};
use crate::path::TreePath;
use crate::repo::{BlobKind, BlobWriter, Repository, Session, Status, Summary};
use crate::volume::{OwnerNames, ReadRate};

use super::assemble::Outcome;
use super::finish::{self, Saved};
use super::options::{BackupOptions, BackupReport};
use super::parent::Parent;
use super::read::Reading;
use super::seal::{self, Sealer};

/// Where the bytes come from, and how they ended.
pub struct Stream<'a> {
    /// Name of the file in the snapshot.
    pub name: TreePath,
    /// The bytes.
    pub input: &'a mut (dyn Read + Send),
    /// Called at the end of the bytes, before anything is published: a command that failed must not look like a short file.
    pub finished: &'a mut (dyn FnMut() -> Result<()> + Send),
}

/// Saves a stream as a snapshot of one file.
///
/// # Errors
/// Errors of the stream and of `finished`: then there is no snapshot. `Interrupted` when a stop was requested: half a stream is not saved.
pub fn run_stream(
    repo: &Repository,
    options: &BackupOptions,
    stream: Stream<'_>,
    watch: &Watch<'_>,
) -> Result<BackupReport> {
    let start = repo.clock().now();
    let session = if options.dry_run { repo.observe()? } else { repo.write_session()? };
    let alone = BackupOptions { parent: super::ParentChoice::None, ..options.clone() };
    let report = Parent::choose(&session, &alone).and_then(|parent| {
        let writer = BlobWriter::new(&session, options.dry_run).obeying(watch.stop);
        let outcome = save(&session, &writer, stream, watch)?;
        let stored = (outcome, writer.finish()?);
        finish::finish(&session, &writer, &parent, Saved { stored, options, start, status: Status::Complete })
    });
    if report.is_err() {
        session.end("failed");
    }
    report
}

fn save(session: &Session<'_>, writer: &BlobWriter<'_>, stream: Stream<'_>, watch: &Watch<'_>) -> Result<Outcome> {
    let repo = session.repo();
    let threads = repo.limits().workers.max(1);
    let (sealer, tasks) = Sealer::queue(threads);
    let names = OwnerNames::load();
    let input = stream.input;
    let (content, size) = std::thread::scope(|scope| {
        for _ in 0..threads {
            let tasks = tasks.clone();
            scope.spawn(move || seal::work(writer, &tasks));
        }
        drop(tasks);
        let reading = Reading {
            names: &names,
            keys: repo.keys(),
            chunker: repo.chunker(),
            writer,
            sealer,
            stop: watch.stop,
            progress: watch.progress,
            pace: &ReadRate::new(repo.clock().clone(), watch.stop, None),
            buffer: std::cell::RefCell::default(),
        };
        reading.stream(&mut |buffer| loop {
            match input.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                answer => return answer.attempt(|| "read the stream".to_owned()),
            }
        })
    })?;
    if watch.stop.requested() {
        return Err(Error::new(ErrorKind::Interrupted, "interrupted before the end of the stream; nothing was saved"));
    }
    (stream.finished)()?;
    let now = repo.clock().now();
    let time = Timestamp { seconds: now.timestamp(), nanos: now.timestamp_subsec_nanos() };
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let meta = Metadata {
        mode: 0o600,
        uid,
        gid,
        user: names.user(uid),
        group: names.group(gid),
        mtime: time,
        ctime: time,
        inode: 0,
        xattrs: std::sync::Arc::default(),
    };
    let node = Node::File(FileNode { size, content, extents: None, incomplete: false });
    let mut tree = TreeWriter::new(repo.keys().page_cut());
    let mut store = |page: &[u8]| {
        let stored = writer.put(BlobKind::Tree, page)?;
        Ok(StoredPage { id: stored.blob.id, raw_len: stored.blob.raw_len, place: None })
    };
    let mut above: Vec<TreePath> =
        std::iter::successors(stream.name.parent(), TreePath::parent).filter(|path| !path.is_root()).collect();
    while let Some(path) = above.pop() {
        let meta = Metadata { mode: 0o755, ..meta.clone() };
        tree.push(&Entry { path, meta, node: Node::Directory, link: None }, &mut store)?;
    }
    tree.push(&Entry { path: stream.name, meta, node, link: None }, &mut store)?;
    let root = tree.finish(&mut store)?;
    Progress::add(&watch.progress.files_done, 1);
    let summary = Summary { files_new: 1, total_files_processed: 1, total_bytes_processed: size, ..Summary::default() };
    Ok(Outcome { root, summary, problems: 0, sparse: Vec::new() })
}
