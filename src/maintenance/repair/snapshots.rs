//! `repair snapshots`: for each snapshot that lacks something a new one with all that is left, in which files that lost content are marked.
//!
//! Order: the new snapshot is published; then, if that is wanted, the damaged one is copied to the trash and forgotten.

use std::collections::{BTreeSet, HashMap};

use chrono::TimeDelta;

use crate::catalog::{BlobRef, Content, Entry, Place, StoredPage, TreeWriter, store_chunks};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Silent, Watch};
use crate::id::{BlobId, SessionId};
use crate::repo::{
    BlobKind, BlobWriter, Repository, Selector, Session, Snapshot, SnapshotFilter, Summary, Trash, Unreadable,
};

use super::super::report::Findings;
use super::super::{Context, structure};
use super::survivors::{Heir, Survey};
use super::{Mode, REPAIRED, RepairReport, begin, go_on, note};

/// Which snapshots are repaired, and how.
#[derive(Clone, Debug, Default)]
pub struct RepairSnapshots {
    /// These; none: all that `filter` means.
    pub chosen: Vec<Selector>,
    /// Which ones are looked at.
    pub filter: SnapshotFilter,
    /// Whether the damaged ones are removed, also those that cannot be read at all; a copy of each goes to the trash.
    pub forget: bool,
    /// Whether to do it.
    pub mode: Mode,
}

/// Writes what is left of damaged snapshots anew.
///
/// # Errors
/// `Corrupt` while the index is damaged, names packs that are missing, or leaves out packs in which the lost content may lie; when the store cannot be read or written; `Interrupted`.
pub fn repair_snapshots(repo: &Repository, options: &RepairSnapshots, watch: &Watch<'_>) -> Result<RepairReport> {
    repo.config().check_maintainable()?;
    let trash = Trash::new(repo.store(), &repo.options().runtime, repo.clock())?;
    let mut report = RepairReport { applied: options.mode == Mode::Apply, ..RepairReport::default() };
    let session = repo.read_session()?;
    let outcome = run(&session, options, (watch, &trash), &mut report);
    session.end(if outcome.is_ok() { "done" } else { "failed" });
    outcome?;
    if report.applied && options.forget && !report.steps.is_empty() {
        report.trash = Some(trash.folder().to_owned());
    }
    Ok(report)
}

fn run(
    session: &Session<'_>,
    options: &RepairSnapshots,
    (watch, trash): (&Watch<'_>, &Trash),
    report: &mut RepairReport,
) -> Result<()> {
    begin(watch, "load indexes")?;
    let quiet = Watch { observer: &Silent, progress: watch.progress, stop: watch.stop };
    let context = Context { session, watch: &quiet, findings: Findings::new(&quiet) };
    let mut blobs = structure::index(&context)?;
    structure::packs(&context, &mut blobs)?;
    let (mut errors, mut unnamed) = (0, 0);
    context.findings.update(|report| (errors, unnamed) = (report.num_errors, report.unnamed_packs));
    if errors > 0 {
        return Err(Error::corrupt("the index is damaged, or names packs that are damaged or missing")
            .with_hint("run `volvault repair index` and `volvault repair packs` first"));
    }
    begin(watch, "look for damaged snapshots")?;
    let (snapshots, unreadable) = candidates(session, options)?;
    let repaired = repaired(session)?;
    let mut survey = Survey::new(&context, &blobs);
    let mut going = BTreeSet::new();
    for snapshot in &snapshots {
        go_on(watch)?;
        if !survey.is_damaged(&snapshot.root)? {
            continue;
        }
        if unnamed > 0 {
            return Err(may_be_whole(snapshot, unnamed));
        }
        if session.listing().suspect.contains(&snapshot.id) {
            note(watch, report, format!("snapshot {} is marked as suspect, and left as it is", snapshot.id.short()));
            continue;
        }
        let before = repaired.get(&snapshot.first()).map(Vec::as_slice).unwrap_or_default();
        match repaired_as(session, &mut survey, snapshot, before)? {
            Some(by) if options.forget => {
                report.steps.push(format!(
                    "remove snapshot {}, repaired before as {}",
                    snapshot.id.short(),
                    by.short()
                ));
                going.insert(snapshot.id);
            }
            Some(by) => {
                note(watch, report, format!("snapshot {} was repaired before as {}", snapshot.id.short(), by.short()));
            }
            None if one(&mut survey, snapshot, options, (session.repo(), report))? => drop(going.insert(snapshot.id)),
            None => {}
        }
    }
    for (name, error) in unreadable {
        let what = format!("snapshot {} cannot be read: {}", name.id.short(), error.chain());
        if options.forget {
            report.steps.push(format!("remove it: {what}"));
            going.insert(name.id);
        } else {
            report.lost.push(what);
        }
    }
    if options.mode == Mode::Apply && options.forget {
        begin(watch, "remove damaged snapshots")?;
        remove(session, &going, trash)?;
    }
    Ok(())
}

/// An index segment that is gone, or that a listing leaves out, is no error that a check could name, but for the packs that then are in none.
fn may_be_whole(snapshot: &Snapshot, unnamed: u64) -> Error {
    let id = snapshot.id.short();
    let text = format!(
        "snapshot {id} lacks something that may lie in one of the {unnamed} packs that no index segment names; nothing was changed"
    );
    Error::corrupt(text).with_hint(
        "run `volvault repair index` first; if a backup is under way, let it end: its packs are named when it is done",
    )
}

/// The snapshots that are meant, oldest first, and those that cannot be read.
fn candidates(session: &Session<'_>, options: &RepairSnapshots) -> Result<(Vec<Snapshot>, Unreadable)> {
    let (mut snapshots, unreadable) = if options.chosen.is_empty() {
        session.load_all(&options.filter)?
    } else {
        let find = |selector| session.find(selector, &options.filter);
        (options.chosen.iter().map(find).collect::<Result<_>>()?, Unreadable::new())
    };
    snapshots.sort_by_key(|snapshot| snapshot.time);
    Ok((snapshots, unreadable))
}

/// What repairs made of snapshots before, by the snapshot that each was at first.
fn repaired(session: &Session<'_>) -> Result<HashMap<SessionId, Vec<Snapshot>>> {
    let filter = SnapshotFilter { tags: vec![vec![REPAIRED.to_owned()]], ..SnapshotFilter::default() };
    let mut repaired: HashMap<SessionId, Vec<Snapshot>> = HashMap::new();
    for snapshot in session.load_all(&filter)?.0 {
        if let Some(original) = snapshot.original.filter(|_| !session.listing().suspect.contains(&snapshot.id)) {
            repaired.entry(original).or_default().push(snapshot);
        }
    }
    Ok(repaired)
}

/// The one of `before` that holds just what is left of `snapshot` now: not what a copy has brought back since.
fn repaired_as(
    session: &Session<'_>,
    survey: &mut Survey<'_>,
    snapshot: &Snapshot,
    before: &[Snapshot],
) -> Result<Option<SessionId>> {
    for by in before.iter().filter(|by| by.id != snapshot.id) {
        if holds_the_same(session, survey, snapshot, by)? {
            return Ok(Some(by.id));
        }
    }
    Ok(None)
}

/// Whether what is left of `snapshot` now is just what `by` has. Stores nothing.
fn holds_the_same(session: &Session<'_>, survey: &mut Survey<'_>, snapshot: &Snapshot, by: &Snapshot) -> Result<bool> {
    let writer = BlobWriter::new(session, true);
    let mut author = Author { writer: &writer, tree: TreeWriter::new(session.repo().keys().page_cut()) };
    survey.survivors(&snapshot.root, &mut author)?;
    let root = author.tree.finish(&mut |page| store(&writer, page))?;
    Ok(root.name() == by.root.name())
}

/// Repairs one damaged snapshot; says whether it can go.
fn one(
    survey: &mut Survey<'_>,
    snapshot: &Snapshot,
    options: &RepairSnapshots,
    (repo, report): (&Repository, &mut RepairReport),
) -> Result<bool> {
    let id = snapshot.id.short();
    let (losses, made) = match options.mode {
        Mode::Plan => {
            let mut count = Count(0);
            (survey.survivors(&snapshot.root, &mut count)?, (count.0 > 0).then_some(None))
        }
        Mode::Apply => {
            let (losses, made) = rewrite(survey, snapshot, options.forget, repo)?;
            (losses, made.map(Some))
        }
    };
    report.marked.extend(losses.into_iter().map(|loss| format!("snapshot {id}: {loss}")));
    let of = format!("snapshot {id} of {}", snapshot.time.format("%Y-%m-%d %H:%M:%S"));
    match made {
        None if options.forget => {}
        None => report.lost.push(format!("nothing is left of {of}; --forget removes it")),
        Some(None) => report.steps.push(format!("write what is left of {of} as a new snapshot")),
        Some(Some(new)) => report.steps.push(format!("write what is left of {of} as snapshot {}", new.short())),
    }
    if options.forget {
        report.steps.push(format!("remove {of}"));
    }
    Ok(options.forget)
}

/// Writes what is left as a snapshot of its own; `None` when that is nothing.
fn rewrite(
    survey: &mut Survey<'_>,
    snapshot: &Snapshot,
    forget: bool,
    repo: &Repository,
) -> Result<(Vec<String>, Option<SessionId>)> {
    let session = repo.write_session()?;
    let outcome = rewrite_in(&session, survey, snapshot, forget);
    match &outcome {
        Ok((_, Some(_))) => {}
        Ok((_, None)) => session.end("empty"),
        Err(_) => session.end("failed"),
    }
    outcome
}

fn rewrite_in(
    session: &Session<'_>,
    survey: &mut Survey<'_>,
    snapshot: &Snapshot,
    forget: bool,
) -> Result<(Vec<String>, Option<SessionId>)> {
    let gone = || Error::new(ErrorKind::Unavailable, format!("snapshot {} was removed meanwhile", snapshot.id.short()));
    let old = session.snapshots().iter().find(|name| name.id == snapshot.id).cloned().ok_or_else(gone)?;
    let writer = BlobWriter::new(session, false);
    let mut author = Author { writer: &writer, tree: TreeWriter::new(session.repo().keys().page_cut()) };
    let losses = survey.survivors(&snapshot.root, &mut author)?;
    let mut root = author.tree.finish(&mut |page| store(&writer, page))?;
    writer.finish()?;
    if root.entries() == 0 {
        return Ok((losses, None));
    }
    let hints: HashMap<BlobId, Place> =
        snapshot.root.children.iter().filter_map(|child| Some((child.id, child.hint?))).collect();
    root.fill_hints(&|id| writer.place(&id).or_else(|| hints.get(&id).copied()));
    // Where both stay, the one that can be read is the later one.
    let later = TimeDelta::nanoseconds(i64::from(!forget));
    let mut tags = snapshot.tags.clone();
    if !tags.iter().any(|tag| tag == REPAIRED) {
        tags.push(REPAIRED.to_owned());
    }
    // What could not be had counts as it does in a backup. It also tells this snapshot from the whole one when somebody takes the tag away.
    let errors = snapshot.summary.errors.saturating_add(losses.len() as u64);
    let new = Snapshot {
        id: session.id(),
        time: snapshot.time + later,
        tags,
        original: Some(snapshot.first()),
        prev: session.prev_in_place_of(snapshot),
        root,
        summary: Summary { errors, ..snapshot.summary.clone() },
        ..snapshot.clone()
    };
    session.publish_beside(&new, &old)?;
    Ok((losses, Some(new.id)))
}

/// A copy of each goes to the trash first.
fn remove(session: &Session<'_>, going: &BTreeSet<SessionId>, trash: &Trash) -> Result<()> {
    let listing = session.listing();
    for name in listing.snapshots.iter().filter(|name| going.contains(&name.id)) {
        trash.keep(&name.key())?;
    }
    match session.repo().forget(listing, going, "repair snapshots --forget")?.pop() {
        None => Ok(()),
        Some((id, error)) => Err(error.within(format!("remove snapshot {}", id.short()))),
    }
}

/// Writes a tree.
struct Author<'w, 's> {
    writer: &'w BlobWriter<'s>,
    tree: TreeWriter,
}

fn store(writer: &BlobWriter<'_>, page: &[u8]) -> Result<StoredPage> {
    let stored = writer.put(BlobKind::Tree, page)?;
    Ok(StoredPage { id: stored.blob.id, raw_len: stored.blob.raw_len, place: None })
}

impl Heir for Author<'_, '_> {
    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let writer = self.writer;
        self.tree.push(entry, &mut |page| store(writer, page))
    }

    fn content(&mut self, chunks: Vec<BlobRef>) -> Result<Content> {
        store_chunks(chunks, &mut |list| store(self.writer, list))
    }
}

/// Counts entries.
struct Count(u64);

impl Heir for Count {
    fn entry(&mut self, _entry: &Entry) -> Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn content(&mut self, chunks: Vec<BlobRef>) -> Result<Content> {
        Ok(Content::Chunks(chunks))
    }
}
