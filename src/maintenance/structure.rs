//! Records, index and packs: what there is, and whether it is as each says of the other.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::id::ObjectHash;
use crate::repo::{OpenSegment, PackInfo};

use super::blobs::Blobs;
use super::{Context, is_damage};

/// Opens config, key slots and all small records.
pub(super) fn records(context: &Context<'_>) -> Result<()> {
    let (count, damaged) = context.session.repo().inspect_records()?;
    for (key, error) in damaged {
        context.findings.error(&key, &error);
    }
    let listing = context.session.listing();
    for key in &listing.unknown {
        context.findings.note(format!("{key} is no object of a repository"));
    }
    for id in &listing.suspect {
        if listing.snapshots.iter().any(|snapshot| snapshot.id == *id) {
            let id = id.short();
            context
                .findings
                .note(format!("snapshot {id} is marked as suspect: a prune did not wait for the run that wrote it"));
        }
    }
    context.findings.update(|report| report.records = count);
    Ok(())
}

/// Names snapshots that the last prune saw, and that are gone although nobody forgot them.
pub(super) fn vanished(context: &Context<'_>) -> Result<()> {
    let session = context.session;
    let seen = session.seen_by_prunes(session.listing());
    let known = seen.and_then(|seen| Ok((seen.snapshots, session.repo().forgotten()?.ids)));
    let (seen, forgotten) = match known {
        // A record that cannot be read is named already.
        Err(error) if is_damage(&error) => return Ok(()),
        known => known?,
    };
    for id in super::vanished::vanished(session, &[], &forgotten, seen.into_iter()) {
        let missing = Error::corrupt("it is missing: the last prune saw it, and nobody forgot it")
            .with_hint("bring it back from a copy (`volvault repair --from COPY --all`); if it was removed on purpose, `volvault prune --force` accepts that");
        context.findings.error(&format!("snapshot {}", id.short()), &missing);
    }
    Ok(())
}

/// Reads every index segment to its last byte. The live ones make the table of blobs.
pub(super) fn index(context: &Context<'_>) -> Result<Blobs> {
    let mut segments = Vec::new();
    for (name, segment) in context.session.open_segments_now(false)? {
        match segment {
            Ok(segment) => segments.push(segment),
            Err(error) => damaged_segment(context, &name, error)?,
        }
    }
    let superseded: HashSet<ObjectHash> =
        segments.iter().flat_map(|segment| segment.supersedes().iter().copied()).collect();
    let live = |segment: &&OpenSegment<'_>| !superseded.contains(&segment.name());
    let entries: u64 = segments.iter().filter(live).map(OpenSegment::entries).sum();
    let mut blobs = Blobs::new(entries, entries <= context.session.repo().limits().table_blobs);
    for segment in &segments {
        context.go_on()?;
        let outcome = read_segment(context, segment, live(&segment), &mut blobs);
        outcome.or_else(|error| damaged_segment(context, &segment.name(), error))?;
    }
    blobs.sort();
    context.findings.update(|report| {
        report.index_segments = segments.len() as u64;
        report.blobs = entries;
        report.packs = blobs.packs().len() as u64;
        report.pack_bytes = blobs.packs().iter().map(|pack| pack.size).sum();
    });
    Ok(blobs)
}

fn damaged_segment(context: &Context<'_>, name: &ObjectHash, error: Error) -> Result<()> {
    if !is_damage(&error) {
        return Err(error);
    }
    context.findings.error(&name.to_hex(), &error);
    context.findings.update(|report| report.suggest_repair_index = true);
    Ok(())
}

fn read_segment(context: &Context<'_>, segment: &OpenSegment<'_>, live: bool, blobs: &mut Blobs) -> Result<()> {
    let wrong = |what: String| Error::corrupt(format!("index segment {} {what}", segment.name()));
    let absent = context.session.absent_packs();
    // What a prune dropped is not in the live index, wherever it is named; the packs of superseded segments count for nothing.
    let counts = |info: &PackInfo| live && !absent.contains(&info.pack.name);
    let mut numbers = Vec::with_capacity(segment.packs().len());
    let mut outcome = Ok(());
    for info in segment.packs() {
        let number = if counts(info) { blobs.add_pack(info) } else { None };
        if counts(info) && number.is_none() {
            outcome = Err(wrong(format!("describes pack {} unlike another segment", info.pack.name)));
        }
        numbers.push(number);
    }
    let mut rows = vec![0u32; numbers.len()];
    let checksums = segment.rows_and_checksums(&mut |row| {
        if let Some(count) = rows.get_mut(row.pack as usize) {
            *count += 1;
        }
        if let Some(number) = numbers.get(row.pack as usize).copied().flatten() {
            blobs.add(number, row);
        }
    })?;
    for (number, checksum) in numbers.iter().zip(checksums) {
        if let Some(number) = number {
            blobs.checksums.keep(*number, checksum);
        }
    }
    let overfull = segment.packs().iter().zip(&rows).find(|(info, count)| **count > info.blobs);
    if let Some((info, count)) = overfull {
        return Err(wrong(format!("has {count} entries for pack {}, which has {} blobs", info.pack.name, info.blobs)));
    }
    outcome
}

/// Compares the packs that are there with those that the index names: names, sizes and checksums. Returns those that can be read.
pub(super) fn packs(context: &Context<'_>, blobs: &mut Blobs) -> Result<Vec<PackInfo>> {
    let stored = context.session.repo().stored_packs_with_checksums(&mut |name, checksum| {
        if let Some(number) = blobs.number(name) {
            blobs.checksums.listed(number, checksum);
        }
    })?;
    for key in &stored.strays {
        context.findings.note(format!("{key} is no pack of a repository"));
    }
    let mut sizes: HashMap<ObjectHash, u64> = stored.packs.into_iter().map(|pack| (pack.name, pack.size)).collect();
    let (mut readable, mut broken) = (Vec::new(), Vec::new());
    for info in blobs.packs() {
        let (name, lost) = (info.pack.name, info.blobs);
        let error = match sizes.remove(&name) {
            Some(size) if size == info.size => {
                readable.push(*info);
                continue;
            }
            Some(size) => format!("pack {name} has {size} bytes, the index says {}; {lost} blobs are in it", info.size),
            None => format!("pack {name} is missing, and with it {lost} blobs"),
        };
        context.findings.broken_pack(&name, &Error::corrupt(error));
        broken.push(name);
    }
    for name in broken {
        blobs.set_broken(name, HashSet::new());
    }
    unreferenced(context, &sizes);
    Ok(readable)
}

fn unreferenced(context: &Context<'_>, sizes: &HashMap<ObjectHash, u64>) {
    if sizes.is_empty() {
        return;
    }
    let (count, bytes) = (sizes.len() as u64, sizes.values().sum::<u64>());
    let absent = context.session.absent_packs();
    let unnamed = sizes.keys().filter(|name| !absent.contains(*name)).count() as u64;
    context.findings.note(format!(
        "{count} packs ({}) are in no index segment: left by an interrupted run, or of one that is under way",
        crate::size::ByteSize(bytes)
    ));
    context.findings.update(|report| {
        report.unreferenced_packs = count;
        report.unreferenced_bytes = bytes;
        report.unnamed_packs = unnamed;
        report.suggest_prune = true;
    });
}
