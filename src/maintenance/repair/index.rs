//! `repair index`: the index anew from the packs' own directories, where it is damaged or says what is not so.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Progress, Watch};
use crate::id::ObjectHash;
use crate::repo::{CONFIG, IndexWriter, Repository, Session, Trash};

use super::super::is_damage;
use super::segments::Segments;
use super::{Mode, RepairReport, begin, go_on, note};

/// Directories that are in memory at once: of packs of 12 MiB, some 2 MiB.
const DIRECTORIES_AT_ONCE: usize = 256;

/// How to repair the index.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepairIndex {
    /// Read the directories of all packs and write the whole index anew, instead of what is missing.
    pub read_all_packs: bool,
    /// Whether to do it.
    pub mode: Mode,
}

/// What is to be done to the index.
#[derive(Debug, Default)]
struct Plan {
    /// Packs whose directories are to be read into new segments.
    add: Vec<(ObjectHash, u64)>,
    /// Packs that the index names and that are not there.
    forget: HashSet<ObjectHash>,
    /// Segments that cannot be read.
    damaged: Vec<ObjectHash>,
}

/// Brings the index in line with the packs that are there; records that cannot be read and keep sessions from starting are moved aside first.
///
/// # Errors
/// When the store cannot be read or written; `Interrupted`.
pub fn repair_index(repo: &Repository, options: RepairIndex, watch: &Watch<'_>) -> Result<RepairReport> {
    repo.config().check_maintainable()?;
    let trash = Trash::new(repo.store(), &repo.options().runtime, repo.clock())?;
    let mut report = RepairReport { applied: options.mode == Mode::Apply, ..RepairReport::default() };
    begin(watch, "check records")?;
    let blocked = records(repo, &trash, &mut report)?;
    if blocked && options.mode == Mode::Plan {
        note(watch, &mut report, "what else is to be done shows once these records are moved aside".to_owned());
        return Ok(report);
    }
    let session = repo.read_session()?;
    let outcome = run(&session, options, (watch, &trash), &mut report);
    session.end(if outcome.is_ok() { "done" } else { "failed" });
    outcome?;
    if report.applied && !report.steps.is_empty() {
        report.trash = Some(trash.folder().to_owned());
    }
    Ok(report)
}

/// Small records that cannot be opened say nothing any more, and some of them keep every session from starting. Returns whether there is one of those.
fn records(repo: &Repository, trash: &Trash, report: &mut RepairReport) -> Result<bool> {
    let mut blocked = false;
    for (key, error) in repo.inspect_records()?.1 {
        if key == CONFIG {
            report.lost.push(format!("{key} is damaged ({}): it comes back only from a copy", error.chain()));
            continue;
        }
        // The key of these says what others need to know, and what is in them stops nobody. A newer program's records are none of ours.
        if key.starts_with("state/sessions/")
            || key.starts_with("state/suspect/")
            || error.kind() == ErrorKind::Unsupported
        {
            continue;
        }
        blocked |= key.starts_with("state/condemned/") || key.starts_with("state/dropped/");
        report.steps.push(format!("move {key} aside: {}", error.chain()));
        if report.applied {
            trash.take(&key)?;
        }
    }
    Ok(blocked)
}

fn run(
    session: &Session<'_>,
    options: RepairIndex,
    (watch, trash): (&Watch<'_>, &Trash),
    report: &mut RepairReport,
) -> Result<()> {
    begin(watch, "load indexes")?;
    let segments = Segments::read(session, watch)?;
    let plan = plan(session, &segments, options.read_all_packs, (watch, report))?;
    if options.mode == Mode::Plan {
        return Ok(());
    }
    begin(watch, "write the index")?;
    let mut writer = IndexWriter::new(session.repo());
    for packs in plan.add.chunks(DIRECTORIES_AT_ONCE) {
        go_on(watch)?;
        for directory in session.repo().directories(packs) {
            let (info, entries) = directory?;
            writer.add(info, entries)?;
            Progress::add(&watch.progress.files_done, 1);
        }
    }
    writer.finish()?;
    // All that is known is in new segments now: what they replace can go.
    if options.read_all_packs {
        segments.retire(trash)?;
    } else {
        segments.forget(&plan.forget, trash)?;
    }
    for name in &plan.damaged {
        trash.take(&format!("state/index/{name}"))?;
    }
    Ok(())
}

fn plan(
    session: &Session<'_>,
    segments: &Segments<'_>,
    read_all_packs: bool,
    (watch, report): (&Watch<'_>, &mut RepairReport),
) -> Result<Plan> {
    let repo = session.repo();
    begin(watch, "list packs")?;
    let stored: HashMap<ObjectHash, u64> =
        repo.stored_packs()?.packs.into_iter().map(|pack| (pack.name, pack.size)).collect();
    let mut plan = Plan::default();
    for (name, why) in &segments.damaged {
        report.steps.push(format!("move index segment {name} aside: {why}"));
        plan.damaged.push(*name);
    }
    for (name, pack) in &segments.packs {
        match stored.get(name) {
            None if repo.is_missing(name)? => {
                let blobs = pack.info.blobs;
                report
                    .steps
                    .push(format!("take pack {name} out of the index: it is missing, and with it {blobs} blobs"));
                plan.forget.insert(*name);
            }
            Some(size) if *size != pack.info.size => note(
                watch,
                report,
                format!("pack {name} has {size} bytes, the index says {}: run `repair packs`", pack.info.size),
            ),
            Some(_) | None => {}
        }
    }
    // A merge keeps one place of a blob that stands in two packs; when that pack is gone, the other has to be looked at.
    let has_gaps = !plan.forget.is_empty() || !plan.damaged.is_empty();
    let mut candidates: Vec<(ObjectHash, u64)> = Vec::new();
    for (name, size) in &stored {
        let wanted = match segments.packs.get(name) {
            None => !session.absent_packs().contains(name),
            Some(pack) if pack.info.size != *size => false,
            Some(pack) => read_all_packs || (has_gaps && pack.rows < pack.info.blobs),
        };
        if wanted {
            candidates.push((*name, *size));
        }
    }
    candidates.sort_unstable();
    plan.add = readable(session, segments, &candidates, (watch, report))?;
    if read_all_packs {
        report.steps.push(format!("write the index anew from the directories of {} packs", plan.add.len()));
        // What lies in a pack without a readable directory is found only through the index that is there.
        let added: HashSet<ObjectHash> = plan.add.iter().map(|(name, _)| *name).collect();
        let unreadable = segments.packs.keys().find(|name| !added.contains(*name) && !plan.forget.contains(*name));
        if let Some(name) = unreadable {
            return Err(Error::corrupt(format!("pack {name} is damaged, and only the index tells what is in it"))
                .with_hint("run `volvault repair packs` first, or leave --read-all-packs out"));
        }
    }
    Ok(plan)
}

/// Those packs whose directories can be read.
fn readable(
    session: &Session<'_>,
    segments: &Segments<'_>,
    candidates: &[(ObjectHash, u64)],
    (watch, report): (&Watch<'_>, &mut RepairReport),
) -> Result<Vec<(ObjectHash, u64)>> {
    begin(watch, "read the directories of packs")?;
    Progress::add(&watch.progress.files_total, candidates.len() as u64);
    let mut readable = Vec::new();
    for packs in candidates.chunks(DIRECTORIES_AT_ONCE) {
        go_on(watch)?;
        for (pack, directory) in packs.iter().zip(session.repo().directories(packs)) {
            let name = pack.0;
            match directory {
                Ok((info, _)) => {
                    if !segments.packs.contains_key(&name) {
                        report.steps.push(format!("index pack {name} with {} blobs", info.blobs));
                    } else if segments.packs.get(&name).is_some_and(|known| known.rows < info.blobs) {
                        report.steps.push(format!("index all blobs of pack {name}"));
                    }
                    readable.push(*pack);
                }
                Err(error) if is_damage(&error) => {
                    let what =
                        format!("the directory of pack {name} cannot be read ({}): run `repair packs`", error.chain());
                    note(watch, report, what);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(readable)
}
