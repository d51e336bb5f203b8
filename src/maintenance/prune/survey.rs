//! The first half of a prune: what there is, what of it is used, and what is to be done about the rest. Writes nothing but notes.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::error::{Error, Result};
use crate::events::Watch;
use crate::id::{ObjectHash, SessionId};
use crate::repo::{MERGED_FROM, OpenSegment, Other, PackInfo, Repository, Session, SnapshotName, StoredPack};

use super::choose::{Choice, PackUse, choose};
use super::history::History;
use super::mark::Marker;
use super::notes::Notes;
use super::options::PruneOptions;
use super::report::PrunePlan;
use super::usage::Usage;

/// An index of up to so many bytes (a million entries) stays open for looking blobs up: one request less, for 3 bytes an entry. A larger one is opened again
/// by what has to be looked up; most pages are found by the hints of those above them.
const SHARED_MAX: u64 = 32 << 20;

/// What was listed before the session of the prune began: packs before the index, so that a pack which no index names is none that has been
/// indexed meanwhile; snapshots before the index, so that what they need is in it.
pub(super) struct Before {
    /// Sorted by name: 56 bytes each, where a map takes twice as much.
    packs: Vec<StoredPack>,
    pub(super) snapshots: Vec<SnapshotName>,
}

impl Before {
    pub(super) fn look(repo: &Repository) -> Result<Self> {
        Ok(Self { packs: repo.stored_packs()?.packs, snapshots: repo.listing()?.snapshots })
    }

    pub(super) fn pack(&self, name: &ObjectHash) -> Option<&StoredPack> {
        let at = self.packs.binary_search_by_key(name, |pack| pack.name).ok()?;
        self.packs.get(at)
    }

    /// As if these snapshots were gone.
    pub(super) fn without(mut self, snapshots: &BTreeSet<SessionId>) -> Self {
        self.snapshots.retain(|name| !snapshots.contains(&name.id));
        self
    }
}

/// What a prune knows before it changes anything.
pub(super) struct Survey {
    pub(super) usage: Usage,
    /// The index segments that it was made of: not those that were listed, if a merge took one away and they were listed again.
    pub(super) read: HashSet<ObjectHash>,
    /// Whether some of them should be rewritten.
    is_untidy: bool,
    /// Pages that were read: halves of their ids.
    pub(super) seen: HashSet<[u8; 16]>,
    /// Snapshots that were listed, but were not there to be read.
    pub(super) vanished: HashSet<SessionId>,
    /// Packs to be rewritten, by number.
    pub(super) repack: Vec<u32>,
    /// All packs that are to go, with their bytes.
    pub(super) victims: HashMap<ObjectHash, u64>,
    /// Those among them that no index names.
    pub(super) orphans: HashSet<ObjectHash>,
    /// Packs that must not be relied on: other prunes have condemned them, or they are lost.
    pub(super) unreliable: HashSet<ObjectHash>,
    /// Prunes that are over and left condemned packs.
    pub(super) adopted: BTreeSet<SessionId>,
    /// Index entries that name packs which are not there and which nobody needs.
    pub(super) lost: HashSet<ObjectHash>,
    /// Snapshots that are marked as suspect, and whether all that they need is there.
    pub(super) suspect: Vec<(SessionId, bool)>,
    /// Snapshots that were forgotten on purpose.
    pub(super) forgotten: BTreeSet<SessionId>,
    pub(super) plan: PrunePlan,
}

impl Survey {
    /// Whether there is nothing to remove, nothing to copy, nobody to judge, and nothing that a prune before left behind.
    pub(super) fn finds_nothing_to_do(&self, session: &Session<'_>) -> bool {
        let finds_nothing = self.victims.is_empty() && self.lost.is_empty() && self.suspect.is_empty();
        finds_nothing && !self.is_untidy && session.condemned().is_empty()
    }
}

/// The index as a prune needs it.
pub(super) struct Table {
    /// The places of all blobs.
    pub(super) usage: Usage,
    /// The packs that the index names but that are not there.
    lost: HashSet<ObjectHash>,
    /// The segments that say so.
    read: HashSet<ObjectHash>,
    /// Whether there are segments to be merged, or that name dropped packs.
    is_untidy: bool,
}

/// Looks at everything and makes the plan.
pub(super) fn survey(
    session: &Session<'_>,
    before: &Before,
    options: &PruneOptions,
    watch: &Watch<'_>,
) -> Result<Survey> {
    let forgotten = session.repo().forgotten()?;
    let history = History { session, before, forgotten: &forgotten, seen: session.seen_by_prunes(session.listing())? };
    history.shows_all_that_was_seen(options)?;
    super::step(watch, "loading indexes")?;
    let Table { usage, lost, read, is_untidy } = table(session, before, &HashSet::new())?;
    let mut survey = Survey {
        usage,
        read,
        is_untidy,
        seen: HashSet::new(),
        vanished: HashSet::new(),
        repack: Vec::new(),
        victims: HashMap::new(),
        orphans: HashSet::new(),
        unreliable: lost.clone(),
        adopted: BTreeSet::new(),
        lost,
        suspect: Vec::new(),
        forgotten: forgotten.ids.clone(),
        plan: PrunePlan { snapshots: before.snapshots.len() as u64, ..PrunePlan::default() },
    };
    super::step(watch, "finding data that is still in use")?;
    let notes = Notes::new(session, options.dry_run);
    let marked = mark(session, before, &mut survey, (&notes, watch));
    notes.finish(marked.is_ok());
    let chain = marked?;
    history.shows_all_that_came_before(&chain, options)?;
    super::step(watch, "deciding what to remove")?;
    let others = session.others(session.listing())?;
    let forced = adopt(session, &mut survey, (&others, options));
    let mut packs = weigh(&mut survey, &forced);
    let unnamed = orphans(session, before, &survey, (options, &forced));
    let (choice, unnamed) = decide(&history, (&survey, &forced, &others), options, &mut packs, unnamed)?;
    fill_plan(&mut survey, &packs, &choice.remove, &choice.repack, &forced);
    // A hundred bytes a pack, and from here on the table of victims grows.
    drop(packs);
    let names = |number: &u32| survey.usage.packs().get(*number as usize).map(|info| (info.pack.name, info.size));
    survey.victims = choice.remove.iter().chain(&choice.repack).filter_map(names).collect();
    survey.repack = choice.repack;
    for pack in unnamed {
        survey.victims.insert(pack.name, pack.size);
        survey.orphans.insert(pack.name);
        survey.plan.unreferenced_packs.add(pack.size);
    }
    Ok(survey)
}

/// What goes: by number, and of the `unnamed` packs. If that would be refused, what was stored since a run began that is still at work stays as it is, and is
/// for a later prune to judge: it may be what that run writes, and no snapshot can need it yet.
fn decide(
    history: &History<'_>,
    (survey, forced, others): (&Survey, &HashSet<ObjectHash>, &[Other]),
    options: &PruneOptions,
    packs: &mut [PackUse],
    mut unnamed: Vec<StoredPack>,
) -> Result<(Choice, Vec<StoredPack>)> {
    let full = history.session.repo().limits().pack_size.bytes();
    let name = |number: u32| survey.usage.packs().get(number as usize).map(|info| info.pack.name);
    // What an earlier prune condemned was judged by that one: it counts neither among what goes nor among all.
    let judged = |name: &ObjectHash| !forced.contains(name);
    let going = |choice: &Choice, unnamed: &[StoredPack]| {
        let named = choice.remove.iter().filter_map(|number| name(*number));
        named.chain(unnamed.iter().map(|pack| pack.name)).filter(judged).collect::<Vec<_>>()
    };
    let choice = choose(packs, options, full);
    if options.force {
        return Ok((choice, unnamed));
    }
    let all = going(&choice, &unnamed);
    let of = packs.iter().filter(|pack| !pack.forced).count() + unnamed.iter().filter(|p| judged(&p.name)).count();
    let Err(refused) = history.explains(&all, of) else { return Ok((choice, unnamed)) };
    let Some(since) = history.written_since(others, options) else { return Err(refused) };
    let stays = |name: &ObjectHash| judged(name) && history.stored(name).is_none_or(|stored| stored >= since);
    for pack in packs.iter_mut() {
        pack.taken |= name(pack.number).is_some_and(|name| stays(&name));
    }
    unnamed.retain(|pack| !stays(&pack.name));
    let choice = choose(packs, options, full);
    let left = going(&choice, &unnamed);
    history.explains(&left, of.saturating_sub(all.len() - left.len()))?;
    Ok((choice, unnamed))
}

/// Reads all segments of the index but those in `known`.
pub(super) fn table(session: &Session<'_>, before: &Before, known: &HashSet<ObjectHash>) -> Result<Table> {
    let is_small = session.listing().segments.iter().map(|(_, size)| size).sum::<u64>() <= SHARED_MAX;
    let mut segments = Vec::new();
    for (name, segment) in session.open_segments(is_small)? {
        let segment = segment.map_err(|error| {
            error.within("read the index").with_hint("nothing was removed; run `volvault repair index` first")
        })?;
        if !known.contains(&name) {
            segments.push(segment);
        }
    }
    if known.is_empty() && is_small {
        session.look_up_in(&segments);
    }
    let mut is_untidy = segments.len() >= MERGED_FROM;
    let read = segments.iter().map(OpenSegment::name).collect();
    let superseded: HashSet<ObjectHash> =
        segments.iter().flat_map(|segment| segment.supersedes().iter().copied()).collect();
    segments.retain(|segment| !superseded.contains(&segment.name()));
    let packs = segments.iter().map(|segment| segment.packs().len()).sum();
    let mut usage = Usage::with_capacity(segments.iter().map(OpenSegment::entries).sum(), packs);
    let mut lost = HashSet::new();
    for segment in segments {
        let mut numbers = Vec::with_capacity(segment.packs().len());
        for info in segment.packs() {
            let name = info.pack.name;
            is_untidy |= session.gone().packs.contains(&name);
            let is_there = !session.gone().packs.contains(&name) && !lost.contains(&name) && {
                let listed = before.pack(&name);
                if let Some(pack) = listed.filter(|pack| pack.size != info.size) {
                    return Err(Error::corrupt(format!(
                        "pack {name} has {} bytes, the index says {}",
                        pack.size, info.size
                    ))
                    .with_hint(
                        "nothing was removed; run `volvault repair packs`, or `volvault repair --from` a copy, first",
                    ));
                }
                let is_there = listed.is_some() || is_stored(session, info)?;
                if !is_there {
                    lost.insert(name);
                }
                is_there
            };
            numbers.push(if is_there { Some(usage.add_pack(info)?) } else { None });
        }
        segment.rows(&mut |row| {
            if let Some(pack) = numbers.get(row.pack as usize).copied().flatten() {
                usage.add(pack, row);
            }
        })?;
    }
    usage.sort();
    Ok(Table { usage, lost, read, is_untidy })
}

/// Packs that were stored after the packs were listed.
fn is_stored(session: &Session<'_>, info: &PackInfo) -> Result<bool> {
    session.repo().has_pack(&info.pack.name)
}

/// Marks what is used. Returns each snapshot with the one before it.
fn mark(
    session: &Session<'_>,
    before: &Before,
    survey: &mut Survey,
    (notes, watch): (&Notes<'_>, &Watch<'_>),
) -> Result<Vec<(SessionId, SessionId)>> {
    let is_live = |name: &&SnapshotName| !session.gone().forgotten.contains(&name.id);
    let live: Vec<&SnapshotName> = before.snapshots.iter().filter(is_live).collect();
    let looked = Marker::new(session, &survey.usage, watch, &|_| ()).noting(notes).look(&live)?;
    if let Some((snapshot, error)) = looked.lost.into_iter().next() {
        return Err(error
            .within(format!("snapshot {} needs what is not there; nothing was removed", snapshot.short()))
            .with_hint("run `volvault check`, then `volvault repair`, before pruning"));
    }
    (survey.seen, survey.vanished, survey.suspect) = (looked.seen, looked.vanished, looked.suspect);
    Ok(looked.chain)
}

/// Packs that prunes condemned which are over: they are ours now. Those of prunes at work are theirs.
fn adopt(
    session: &Session<'_>,
    survey: &mut Survey,
    (others, options): (&[Other], &PruneOptions),
) -> HashSet<ObjectHash> {
    let mut forced = HashSet::new();
    for (prune, condemned) in session.condemned() {
        let at_work = others.iter().any(|other| other.id == *prune && !super::is_over(other, options));
        if at_work {
            survey.unreliable.extend(&condemned.packs);
        } else {
            survey.adopted.insert(*prune);
            forced.extend(condemned.packs.iter().filter(|name| !session.gone().packs.contains(*name)));
        }
    }
    forced.retain(|name| !survey.unreliable.contains(name));
    forced
}

/// What each pack holds. Of a blob in several packs one place counts as used: that in the pack which is used most anyway.
fn weigh(survey: &mut Survey, forced: &HashSet<ObjectHash>) -> Vec<PackUse> {
    let (usage, plan) = (&survey.usage, &mut survey.plan);
    let mut packs: Vec<PackUse> = (0u32..)
        .zip(usage.packs())
        .map(|(number, info)| PackUse {
            number,
            kind: info.kind,
            size: info.size,
            blobs: u64::from(info.blobs),
            used_blobs: 0,
            used: 0,
            surplus_blobs: 0,
            surplus: 0,
            unused: 0,
            forced: forced.contains(&info.pack.name),
            taken: survey.unreliable.contains(&info.pack.name),
        })
        .collect();
    let mut rows = vec![(0u64, 0u64); packs.len()];
    let mut several = Vec::new();
    for (places, used) in usage.groups() {
        for place in &places {
            if let Some((count, bytes)) = rows.get_mut(place.pack as usize) {
                *count += 1;
                *bytes += u64::from(place.len);
            }
        }
        match places.as_slice() {
            [place] if used => {
                if let Some(pack) = packs.get_mut(place.pack as usize) {
                    pack.used_blobs += 1;
                    pack.used += u64::from(place.len);
                    plan.used.add(u64::from(place.len));
                }
            }
            _ if used => several.push(places),
            _ => places.iter().for_each(|place| plan.unused.add(u64::from(place.len))),
        }
    }
    for places in several {
        let worth = |number: u32| packs.get(number as usize).map(|pack| (!pack.taken, !pack.forced, pack.used));
        let numbers = places.iter().map(|place| place.pack);
        let keeper = numbers.max_by_key(|number| (worth(*number), std::cmp::Reverse(*number)));
        for place in places {
            let Some(pack) = packs.get_mut(place.pack as usize) else { continue };
            if Some(place.pack) == keeper {
                pack.used_blobs += 1;
                pack.used += u64::from(place.len);
                plan.used.add(u64::from(place.len));
            } else {
                pack.surplus_blobs += 1;
                pack.surplus += u64::from(place.len);
                plan.duplicate.add(u64::from(place.len));
            }
        }
    }
    for (pack, (count, bytes)) in packs.iter_mut().zip(rows) {
        pack.unused = bytes.saturating_sub(pack.used + pack.surplus);
        // Blobs that no segment names take about as much as the others.
        let unnamed = pack.blobs.saturating_sub(count);
        let average = (bytes.max(pack.size) / pack.blobs.max(1)).min(pack.size);
        pack.unused += unnamed * average;
        plan.unused.count += unnamed;
        plan.unused.bytes += unnamed * average;
    }
    packs
}

fn fill_plan(survey: &mut Survey, packs: &[PackUse], remove: &[u32], repack: &[u32], forced: &HashSet<ObjectHash>) {
    let plan = &mut survey.plan;
    let (remove, repack): (HashSet<&u32>, HashSet<&u32>) = (remove.iter().collect(), repack.iter().collect());
    for pack in packs {
        let wasted_blobs = pack.blobs.saturating_sub(pack.used_blobs);
        if remove.contains(&pack.number) {
            plan.remove_packs.add(pack.size);
            plan.remove.count += wasted_blobs;
            plan.remove.bytes += pack.unused + pack.surplus;
        } else if repack.contains(&pack.number) {
            plan.repack_packs.add(pack.size);
            plan.repack.count += pack.used_blobs;
            plan.repack.bytes += pack.used;
            plan.repack_remove.count += wasted_blobs;
            plan.repack_remove.bytes += pack.unused + pack.surplus;
        } else {
            plan.keep_packs.add(pack.size);
            plan.remain.count += wasted_blobs;
            plan.remain.bytes += pack.unused + pack.surplus;
            plan.remain_unused += pack.unused + pack.surplus;
        }
    }
    plan.remain.count += plan.used.count;
    plan.remain.bytes += plan.used.bytes;
    plan.adopted_packs = forced.len() as u64;
}

/// Packs that no index names, and that are too old to be of a run which is about to name them.
fn orphans(
    session: &Session<'_>,
    before: &Before,
    survey: &Survey,
    (options, forced): (&PruneOptions, &HashSet<ObjectHash>),
) -> Vec<StoredPack> {
    let listing = session.listing();
    let newest = listing.sessions.get(&session.id()).and_then(|own| own.seen).or(listing.newest);
    let is_old = |pack: &&StoredPack| {
        if survey.usage.number(&pack.name).is_some() || survey.unreliable.contains(&pack.name) {
            return false;
        }
        let age = newest.and_then(|now| (now - pack.modified).to_std().ok()).unwrap_or_default();
        let is_tombstoned = session.gone().packs.contains(&pack.name);
        age >= options.orphan_age || forced.contains(&pack.name) || is_tombstoned
    };
    before.packs.iter().filter(is_old).copied().collect()
}
