//! `repair packs`: what is whole in damaged packs goes into new ones; then the damaged ones leave the index and are moved aside.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt, stream};

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Progress, Watch};
use crate::id::ObjectHash;
use crate::limits::PACK_MAX;
use crate::repo::{
    BlobWriter, Hinted, IndexEntry, KnownPlaces, PackInfo, Repository, Salvaged, Session, Trash, pack_key, salvage,
    verify_pack,
};

use super::super::is_damage;
use super::hints::hints;
use super::segments::Segments;
use super::{Mode, RepairReport, begin, go_on, note};

/// Packs that are read at once: of 12 MiB each, rarely more.
const READ_AT_ONCE: usize = 3;

/// A damaged pack.
#[derive(Debug)]
struct Damaged {
    name: ObjectHash,
    /// Whether there is anything of it.
    is_there: bool,
    why: String,
}

/// Salvages the packs whose names begin with one of `names`, or with none given all that are found damaged: then every pack is read.
///
/// # Errors
/// `Corrupt` while the index is damaged; when the store cannot be read or written; `Interrupted`.
pub fn repair_packs(repo: &Repository, names: &[String], mode: Mode, watch: &Watch<'_>) -> Result<RepairReport> {
    repo.config().check_maintainable()?;
    let trash = Trash::new(repo.store(), &repo.options().runtime, repo.clock())?;
    let mut report = RepairReport { applied: mode == Mode::Apply, ..RepairReport::default() };
    let session = repo.read_session()?;
    let outcome = run(&session, names, (watch, &trash), &mut report);
    session.end(if outcome.is_ok() { "done" } else { "failed" });
    outcome?;
    if report.applied && !report.steps.is_empty() {
        report.trash = Some(trash.folder().to_owned());
    }
    Ok(report)
}

fn run(
    session: &Session<'_>,
    names: &[String],
    (watch, trash): (&Watch<'_>, &Trash),
    report: &mut RepairReport,
) -> Result<()> {
    begin(watch, "load indexes")?;
    let segments = Segments::read(session, watch)?;
    if let Some((name, why)) = segments.damaged.first() {
        return Err(Error::corrupt(format!("index segment {name} is damaged: {why}"))
            .with_hint("run `volvault repair index` first: what lies in packs is found through the index"));
    }
    begin(watch, "read packs")?;
    let damaged = find(session, &segments, names, (watch, report))?;
    let names: HashSet<ObjectHash> = damaged.iter().map(|pack| pack.name).collect();
    let found = if names.is_empty() { HashMap::new() } else { hints(session, &names, watch)? };
    let known = Told { segments: &segments, rows: segments.rows_of(&names)?, hints: found };
    for pack in &damaged {
        go_on(watch)?;
        let mut salvaged = known.take_out(session.repo(), pack)?;
        let mut lost = Vec::new();
        for (kind, id) in salvaged.lost {
            if !session.places(kind, &id)?.iter().any(|found| !names.contains(&found.place.pack.name)) {
                lost.push((kind, id));
            }
        }
        salvaged.lost = lost;
        tell(pack, &salvaged, report);
    }
    if report.applied && !damaged.is_empty() {
        apply(session, &known, &damaged, (watch, trash))?;
    }
    Ok(())
}

fn tell(pack: &Damaged, salvaged: &Salvaged, report: &mut RepairReport) {
    let (name, why) = (pack.name, &pack.why);
    let (whole, lost) = (salvaged.whole.len(), salvaged.lost.len());
    let step = if pack.is_there {
        format!("save {whole} blobs of pack {name} and move it aside: {why}")
    } else {
        format!("take pack {name} out of the index: {why}")
    };
    report.steps.push(step);
    if lost > 0 {
        report.lost.push(format!("{lost} blobs of pack {name} cannot be read and lie nowhere else"));
    }
}

/// Order: new packs, their index, the old packs out of the index, and only then the old packs themselves.
fn apply(
    session: &Session<'_>,
    known: &Told<'_>,
    damaged: &[Damaged],
    (watch, trash): (&Watch<'_>, &Trash),
) -> Result<()> {
    begin(watch, "save what is whole")?;
    let writer = BlobWriter::new(session, false);
    for pack in damaged {
        go_on(watch)?;
        for (kind, plain) in known.take_out(session.repo(), pack)?.whole {
            writer.put_again(kind, &plain)?;
        }
    }
    writer.finish()?;
    known.segments.forget(&damaged.iter().map(|pack| pack.name).collect(), trash)?;
    // A prune that did not wait for this run may hold the copies in the old packs for the ones to keep.
    if session.is_given_up()? {
        return Err(Error::new(ErrorKind::Unavailable, "a prune had given this run up while it stood still")
            .with_hint("run `repair index`, then this again: nothing was moved aside"));
    }
    for pack in damaged.iter().filter(|pack| pack.is_there) {
        trash.take(&pack_key(&pack.name))?;
    }
    Ok(())
}

/// What index and catalogues say of the damaged packs.
struct Told<'s> {
    segments: &'s Segments<'s>,
    rows: HashMap<ObjectHash, Vec<IndexEntry>>,
    hints: HashMap<ObjectHash, Vec<Hinted>>,
}

impl Told<'_> {
    fn take_out(&self, repo: &Repository, pack: &Damaged) -> Result<Salvaged> {
        let rows = self.rows.get(&pack.name).map(Vec::as_slice).unwrap_or_default();
        if !pack.is_there {
            let lost = rows.iter().map(IndexEntry::blob).collect();
            return Ok(Salvaged { whole: Vec::new(), lost });
        }
        let bytes = repo.options().runtime.block_on(repo.store().get(&pack_key(&pack.name), PACK_MAX))?;
        let indexed = self.segments.packs.get(&pack.name).map(|pack| (&pack.info, rows));
        let hinted = self.hints.get(&pack.name).map(Vec::as_slice).unwrap_or_default();
        Ok(salvage(repo, pack.name, KnownPlaces { indexed, hinted }, &bytes))
    }
}

/// The damaged ones among the packs that are meant.
fn find(
    session: &Session<'_>,
    segments: &Segments<'_>,
    names: &[String],
    (watch, report): (&Watch<'_>, &mut RepairReport),
) -> Result<Vec<Damaged>> {
    let repo = session.repo();
    let stored: BTreeMap<ObjectHash, u64> =
        repo.stored_packs()?.packs.into_iter().map(|pack| (pack.name, pack.size)).collect();
    let mut all: BTreeMap<ObjectHash, Option<PackInfo>> = stored.keys().map(|name| (*name, None)).collect();
    all.extend(segments.packs.iter().map(|(name, pack)| (*name, Some(pack.info))));
    choose(&mut all, names)?;
    all.retain(|name, _| !session.absent_packs().contains(name));
    let mut damaged = Vec::new();
    Progress::add(&watch.progress.files_total, all.len() as u64);
    let read = |(name, info): (ObjectHash, Option<PackInfo>)| {
        let store = repo.store().clone();
        async move { (name, info, store.get(&pack_key(&name), PACK_MAX).await) }
    };
    let mut packs = stream::iter(all).map(read).buffered(READ_AT_ONCE);
    while let Some((name, info, bytes)) = repo.options().runtime.block_on(packs.next()) {
        go_on(watch)?;
        Progress::add(&watch.progress.files_done, 1);
        let outcome = bytes.and_then(|bytes| verify(repo, &name, info.as_ref(), &bytes));
        match outcome {
            Ok(()) if names.is_empty() => {}
            Ok(()) => note(watch, report, format!("pack {name} is whole and stays")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                damaged.push(Damaged { name, is_there: false, why: "it is missing".to_owned() });
            }
            Err(error) if is_damage(&error) => {
                let is_there = stored.get(&name).is_none_or(|size| *size <= PACK_MAX);
                damaged.push(Damaged { name, is_there, why: error.chain() });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Keeps the packs that are named.
fn choose(all: &mut BTreeMap<ObjectHash, Option<PackInfo>>, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut chosen: HashSet<ObjectHash> = HashSet::new();
    for text in names {
        let found: Vec<ObjectHash> =
            all.keys().filter(|name| name.to_hex().starts_with(text.as_str())).copied().collect();
        match found.as_slice() {
            [name] => drop(chosen.insert(*name)),
            [] => {
                return Err(Error::new(ErrorKind::NotFound, format!("no pack has a name that starts with {text:?}"))
                    .with_hint("`volvault check --read-data` names the broken packs"));
            }
            [_, ..] => {
                return Err(Error::invalid(format!("several packs have names that start with {text:?}"))
                    .with_hint("give more digits"));
            }
        }
    }
    all.retain(|name, _| chosen.contains(name));
    Ok(())
}

fn verify(repo: &Repository, name: &ObjectHash, info: Option<&PackInfo>, bytes: &[u8]) -> Result<()> {
    if blake3::hash(bytes).as_bytes() != name.as_bytes() {
        return Err(Error::corrupt("its bytes do not have the hash that names them"));
    }
    match info {
        // One that the index does not know is not read further: nothing depends on it.
        None => Ok(()),
        Some(info) => verify_pack(repo, info, &mut bytes.to_vec(), &mut |_| ()),
    }
}
