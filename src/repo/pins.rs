//! What a client remembers of a repository from one run to the next, and what a store that shows less than that is answered. Why so:
//! `docs/adr/0027-pins.md`.
//!
//! The rule: a snapshot that was listed once is listed later, or a forgotten record names it, or a dropped record does under `forgotten`
//! (`docs/format.md` section 11). One that is none of these says that the store shows an older state, or that somebody removes snapshots by hand. Of each
//! source two are remembered: the newest that was listed, and the latest that was opened or written. A name in a listing proves nothing, so it never
//! takes the place of a snapshot whose seal was seen. This is only about what is seen; where it is kept is the affair of `crate::pins`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{SessionId, SourceId};

use super::absent::FORGOTTEN_MAX;
use super::listing::Listing;
use super::session::{Session, look};
use super::snapshot::Snapshot;
use super::snapshot_names::SnapshotName;

/// A snapshot that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its id.
    #[serde(with = "as_text")]
    pub id: SessionId,
    /// Its time.
    pub time: DateTime<Utc>,
    /// How many snapshots of its source came before it, as it says itself; 0 for one that was only listed.
    #[serde(default)]
    pub seq: u64,
}

/// What is remembered of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Source {
    /// The newest that was listed.
    listed: Option<Pin>,
    /// Of those that were opened or written the last in the order in which they were made: no wrong clock keeps it where it is.
    read: Option<Pin>,
}

/// What is remembered of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<Line>", from = "Vec<Line>")]
pub struct Pins(BTreeMap<SourceId, Source>);

/// A source, as it is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    #[serde(with = "as_text")]
    source: SourceId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listed: Option<Pin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read: Option<Pin>,
}

/// What to do about a store that shows less than was seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stance {
    /// No session starts. The text is the hint of the error: how to accept what is shown.
    Refuse(String),
    /// What is shown counts from now on.
    Accept,
}

/// Holds the sessions of one run to what earlier runs saw, and collects what this one sees.
#[derive(Debug)]
pub struct Memory {
    before: Option<Pins>,
    stance: Stance,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    has_seen: bool,
    seen: Pins,
    /// Of the snapshots that are remembered those that were removed on purpose.
    explained: BTreeSet<SessionId>,
    lost: Vec<(SourceId, Pin)>,
}

impl Pins {
    /// How many sources are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest of all.
    pub fn newest(&self) -> Option<Pin> {
        self.each().map(|(_, pin)| pin).max_by_key(|pin| (pin.time, pin.id))
    }

    /// At most `most` sources: first those of which a snapshot was opened or written, then the newest.
    #[must_use]
    pub fn bounded(mut self, most: usize) -> Self {
        if self.len() > most {
            let mut sources: Vec<(SourceId, Source)> = self.0.into_iter().collect();
            let rank = |source: &Source| (source.read.is_some(), source.each().map(|pin| pin.time).max());
            sources.sort_by_key(|(_, source)| std::cmp::Reverse(rank(source)));
            sources.truncate(most);
            self.0 = sources.into_iter().collect();
        }
        self
    }

    fn each(&self) -> impl Iterator<Item = (SourceId, Pin)> {
        self.0.iter().flat_map(|(id, source)| source.each().map(|pin| (*id, pin)))
    }

    fn saw(&mut self, source: SourceId, seen: Source) {
        let known = self.0.entry(source).or_default();
        known.listed = known.listed.into_iter().chain(seen.listed).max_by_key(|pin| (pin.time, pin.id));
        known.read = known.read.into_iter().chain(seen.read).max_by_key(|pin| (pin.seq, pin.time, pin.id));
    }

    fn saw_names<'n>(&mut self, names: impl Iterator<Item = &'n SnapshotName>) {
        for name in names {
            let listed = Some(Pin { id: name.id, time: name.time, seq: 0 });
            self.saw(name.source, Source { listed, read: None });
        }
    }

    fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(id, source)| self.saw(*id, *source));
    }

    fn remove(&mut self, ids: &BTreeSet<SessionId>) {
        self.0.retain(|_, source| {
            source.listed = source.listed.filter(|pin| !ids.contains(&pin.id));
            source.read = source.read.filter(|pin| !ids.contains(&pin.id));
            source.each().next().is_some()
        });
    }
}

impl Source {
    fn each(&self) -> impl Iterator<Item = Pin> + use<> {
        let read = self.read.filter(|read| self.listed.is_none_or(|listed| listed.id != read.id));
        self.listed.into_iter().chain(read)
    }
}

impl From<Pins> for Vec<Line> {
    fn from(pins: Pins) -> Self {
        pins.0.into_iter().map(|(source, Source { listed, read })| Line { source, listed, read }).collect()
    }
}

impl From<Vec<Line>> for Pins {
    fn from(lines: Vec<Line>) -> Self {
        Self(lines.into_iter().map(|Line { source, listed, read }| (source, Source { listed, read })).collect())
    }
}

impl Memory {
    /// With what earlier runs saw; none when this is the first that anybody knows of.
    pub fn new(before: Option<Pins>, stance: Stance) -> Self {
        Self { before, stance, state: Mutex::default() }
    }

    /// Whether nothing was known of the repository before this run.
    pub fn is_new(&self) -> bool {
        self.before.is_none()
    }

    /// Whether this run has seen anything that counts.
    pub fn has_seen(&self) -> bool {
        self.state().has_seen
    }

    /// What is to be kept in the place of `kept`, which may be newer than what this run began with: it gains, and loses only what was removed on
    /// purpose. A run that accepts keeps what it saw, and nothing else.
    pub fn after(&self, mut kept: Pins) -> Pins {
        if self.stance == Stance::Accept {
            kept = Pins::default();
        }
        let state = self.state();
        kept.merge(&state.seen);
        kept.remove(&state.explained);
        kept
    }

    /// What was remembered, is not there, and was accepted as lost: how many snapshots, and the newest of them.
    pub fn accepted(&self) -> (usize, Option<Pin>) {
        let state = self.state();
        (state.lost.len(), state.lost.iter().map(|(_, pin)| *pin).max_by_key(|pin| pin.time))
    }

    /// A snapshot of `source` was opened or stored.
    pub(super) fn saw(&self, source: SourceId, snapshot: &Snapshot) {
        let pin = Some(Pin { id: snapshot.id, time: snapshot.time.to_utc(), seq: snapshot.seq });
        self.state().seen.saw(source, Source { listed: pin, read: pin });
    }

    /// This run is removing the snapshots `ids` of `listing` on purpose, and has recorded that.
    pub(super) fn forgot(&self, listing: &Listing, ids: &BTreeSet<SessionId>) {
        let mut state = self.state();
        state.explained.extend(ids);
        state.seen.remove(ids);
        state.seen.saw_names(listing.snapshots.iter().filter(|name| !ids.contains(&name.id)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The remembered snapshots that are neither listed nor known to have been removed on purpose.
    fn absent(&self, session: &Session<'_>) -> Vec<(SourceId, Pin)> {
        let Some(before) = self.before.as_ref().filter(|before| !before.is_empty()) else { return Vec::new() };
        let listed: HashSet<SessionId> = session.snapshots().iter().map(|name| name.id).collect();
        let state = self.state();
        before.each().filter(|(_, pin)| !listed.contains(&pin.id) && !state.explained.contains(&pin.id)).collect()
    }

    /// Takes those that `is_removed` says were removed on purpose out of `absent`.
    fn explain(&self, absent: &mut Vec<(SourceId, Pin)>, is_removed: impl Fn(&SessionId) -> bool) {
        let mut state = self.state();
        absent.retain(|(_, pin)| {
            let is_removed = is_removed(&pin.id);
            if is_removed {
                state.explained.insert(pin.id);
            }
            !is_removed
        });
    }
}

/// Holds a session that has just listed the repository's state to what earlier runs saw. No request as long as all of that is listed or named by a
/// dropped record; else a LIST and a GET of each forgotten record, and where that gives no reason another look at all.
///
/// # Errors
/// `RolledBack` when something is missing and nobody forgot it.
pub(super) fn compare(session: &Session<'_>) -> Result<()> {
    let Some(memory) = session.repo().memory() else { return Ok(()) };
    let mut absent = memory.absent(session);
    memory.explain(&mut absent, |id| session.gone().forgotten.contains(id));
    if !absent.is_empty() {
        match (look_for_reasons(session, memory, &mut absent), &memory.stance) {
            (Err(error), Stance::Refuse(_)) => {
                return Err(error.within("find out whether somebody forgot snapshots that are not there any more"));
            }
            // Who accepts whatever is shown needs no reason.
            (Ok(()), _) | (Err(_), Stance::Accept) => {}
        }
    }
    match &memory.stance {
        Stance::Refuse(way_out) if !absent.is_empty() => return Err(rolled_back(session, &absent, way_out)),
        Stance::Refuse(_) | Stance::Accept => {}
    }
    let mut state = memory.state();
    (state.has_seen, state.lost) = (true, absent);
    state.seen.saw_names(session.snapshots().iter());
    Ok(())
}

/// Takes those out of `absent` that were removed on purpose.
///
/// # Errors
/// `Unavailable` when all others are listed by now: then the session's own listing left something out.
fn look_for_reasons(session: &Session<'_>, memory: &Memory, absent: &mut Vec<(SourceId, Pin)>) -> Result<()> {
    // Read after the snapshots were listed: a forget stores its record first.
    let forgotten = session.repo().forgotten()?.ids;
    memory.explain(absent, |id| forgotten.contains(id));
    if absent.is_empty() {
        return Ok(());
    }
    // A name leaves the forgotten records when a dropped one has it, which may have been stored since the session looked.
    let (listing, _, gone) = look(session.repo())?;
    memory.explain(absent, |id| gone.forgotten.contains(id));
    if !absent.is_empty() && is_later_than(session, absent)? {
        memory.explain(absent, |_| true);
    }
    let is_listed = |id: &SessionId| listing.snapshots.iter().any(|name| name.id == *id);
    if !absent.is_empty() && absent.iter().all(|(_, pin)| is_listed(&pin.id)) {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the store left snapshots out of one listing that it shows in the next",
        )
        .with_hint("run the command again"));
    }
    Ok(())
}

/// Where more snapshots were forgotten than dropped records name, one that nothing names may be among them. Then a state counts as no older one when its
/// newest snapshot, which has to open, was made after all that are missed. One GET.
fn is_later_than(session: &Session<'_>, absent: &[(SourceId, Pin)]) -> Result<bool> {
    let Some(newest) = session.snapshots().first().filter(|_| session.gone().forgotten.len() >= FORGOTTEN_MAX) else {
        return Ok(false);
    };
    match session.load(newest) {
        Ok(snapshot) => Ok(absent.iter().all(|(_, pin)| pin.time < snapshot.time)),
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::NotFound) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn rolled_back(session: &Session<'_>, lost: &[(SourceId, Pin)], way_out: &str) -> Error {
    let shown = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let Some((source, pin)) = lost.iter().max_by_key(|(_, pin)| pin.time) else {
        return Error::bug("nothing is lost, and it is refused all the same");
    };
    let others = match lost.len() {
        1 => String::new(),
        count => format!(", the newest of {count} that are missing,"),
    };
    let mut of_source = session.snapshots().iter().filter(|name| name.source == *source);
    let newest = of_source.next().map_or_else(
        || "of this source none is shown".to_owned(),
        |name| format!("the newest shown of this source is {} of {}", name.id.short(), shown(name.time)),
    );
    Error::new(
        ErrorKind::RolledBack,
        format!(
            "repository {} shows an older state than was seen before: snapshot {} of {}{others} is gone and nobody forgot it; {newest}",
            session.repo().id().short(),
            pin.id.short(),
            shown(pin.time),
        ),
    )
    .with_hint(way_out)
}

/// Ids as hex.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(id: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u8) -> SourceId {
        SourceId::new([n; 16])
    }

    fn pin(id: u8, time: i64, seq: u64) -> Pin {
        Pin { id: SessionId::new([id; 16]), time: DateTime::from_timestamp(time, 7).unwrap(), seq }
    }

    fn pins(list: &[(u8, Option<Pin>, Option<Pin>)]) -> Pins {
        Pins(list.iter().map(|(id, listed, read)| (source(*id), Source { listed: *listed, read: *read })).collect())
    }

    #[test]
    fn what_two_runs_saw_is_merged_upward_in_either_order() {
        let one = pins(&[(1, Some(pin(1, 100, 0)), Some(pin(2, 50, 9))), (2, Some(pin(3, 10, 0)), None)]);
        let two = pins(&[(1, Some(pin(4, 90, 0)), Some(pin(5, 60, 10))), (3, None, Some(pin(6, 1, 1)))]);
        let both = pins(&[
            (1, Some(pin(1, 100, 0)), Some(pin(5, 60, 10))),
            (2, Some(pin(3, 10, 0)), None),
            (3, None, Some(pin(6, 1, 1))),
        ]);
        for (first, second) in [(&one, &two), (&two, &one)] {
            let mut merged = first.clone();
            merged.merge(second);
            assert_eq!(merged, both);
            merged.merge(first);
            assert_eq!(merged, both, "a second time changes nothing");
        }
    }

    #[test]
    fn a_name_takes_no_place_of_a_snapshot_that_was_opened() {
        let mut pins = pins(&[(1, Some(pin(1, 100, 0)), Some(pin(1, 100, 4)))]);
        let name = SnapshotName::parse(&format!(
            "state/snapshots/{}/21000101T000000.000000000Z-{}-{}",
            source(1),
            SessionId::new([9; 16]),
            "ab".repeat(16)
        ));
        pins.saw_names([name.unwrap()].iter());
        let ids: Vec<u8> = pins.each().map(|(_, pin)| pin.id.as_bytes()[0]).collect();
        assert_eq!(ids, [9, 1], "the planted name is remembered, and the real snapshot still is");
    }

    #[test]
    fn what_was_removed_on_purpose_leaves_and_the_rest_stays_and_is_bounded() {
        let mut list = pins(&[
            (1, Some(pin(1, 100, 0)), Some(pin(2, 50, 3))),
            (2, Some(pin(3, 900, 0)), None),
            (3, Some(pin(4, 10, 0)), None),
        ]);
        list.remove(&BTreeSet::from([pin(1, 0, 0).id, pin(4, 0, 0).id]));
        assert_eq!(list, pins(&[(1, None, Some(pin(2, 50, 3))), (2, Some(pin(3, 900, 0)), None)]));
        // A listing full of names that nobody wrote does not push out what was opened.
        assert_eq!(list.bounded(1), pins(&[(1, None, Some(pin(2, 50, 3)))]));
    }

    #[test]
    fn pins_are_written_as_text_and_read_back() {
        let list = pins(&[(1, Some(pin(0xab, 1_700_000_000, 0)), Some(pin(2, 50, 3)))]);
        let text = serde_json::to_value(&list).unwrap();
        assert_eq!(text[0]["source"], "01".repeat(16));
        assert_eq!(text[0]["listed"]["id"], "ab".repeat(16));
        assert_eq!(serde_json::from_value::<Pins>(text).unwrap(), list);
        for damaged in [r#"[{"source":"01"}]"#, r#"{"a":1}"#, r#"[{"source":1}]"#] {
            assert!(serde_json::from_str::<Pins>(damaged).is_err(), "{damaged}");
        }
    }
}
