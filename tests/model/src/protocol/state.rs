//! The store and what each actor knows, as small sets of bits.

use std::fmt;

/// A set of blobs, x and y.
pub(crate) type Blobs = u8;
/// A set of packs.
pub(super) type Packs = u8;
/// A set of index segments.
pub(super) type Segments = u16;
/// A set of (pack, blob): two bits for each pack.
pub(super) type Places = u16;

pub(super) const WRITERS: usize = 2;
pub(super) const PRUNES: usize = 2;
/// Sessions: those of the writers, then those of prunes that copy.
pub(super) const SESSIONS: usize = WRITERS + PRUNES;
/// Snapshots: those of the writers, then two that are there at the beginning.
pub(super) const SNAPSHOTS: usize = WRITERS + 2;
/// Packs: two that are there at the beginning, then one of each writer, then one of each prune.
pub(super) const INITIAL_PACKS: usize = 2;
pub(super) const PACKS: usize = INITIAL_PACKS + WRITERS + PRUNES;
/// Segments: one for each pack, then a merged one and a rest of each writer.
pub(super) const SEGMENTS: usize = PACKS + 2 * WRITERS;
/// Who marks a session: one of the prunes, or itself.
pub(super) const SELF: usize = PRUNES;

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A backup.
    Writer(usize),
    /// A prune.
    Prune(usize),
    /// A forget.
    Forget(usize),
    /// Nobody: a late write lands.
    Store,
}

/// A step that can be taken, and where it leads.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Move {
    /// Who takes it.
    pub(crate) actor: Actor,
    /// Its name.
    pub(crate) step: &'static str,
    /// What is then.
    pub(crate) next: State,
}

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.actor, self.step)
    }
}

/// An index segment that a merge made (or, as a shortcut, a prune).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Merged {
    pub(super) places: Places,
    /// What did not fit, because a blob stands once in a segment.
    pub(super) rest: Places,
    pub(super) supersedes: Segments,
}

/// A backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is true or not, whatever the others are")]
pub(super) struct Writer {
    pub(super) step: super::writer::Step,
    /// Packs that count as not there.
    pub(super) absent: Packs,
    /// Blobs to store.
    pub(super) missing: Blobs,
    /// Segments that were listed.
    pub(super) known: Segments,
    /// Something was condemned when it came.
    pub(super) wary: bool,
    /// The snapshot may be there.
    pub(super) sent: bool,
    /// The merged segment was sent, and may land yet.
    pub(super) merge_late: bool,
    /// The user was told that all is well.
    pub(super) reported: bool,
}

/// A prune.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Prune {
    pub(super) step: super::prune::Step,
    /// Snapshots that were listed before it began.
    pub(super) before: u8,
    /// Packs that were listed before it began.
    pub(super) listed: Packs,
    /// Packs that must not be relied on, because others condemned them.
    pub(super) others: Packs,
    /// It took over what the other prune had condemned.
    pub(super) adopted: bool,
    /// Whom the other prune waited for, if it said so.
    pub(super) adopted_waits: Option<u8>,
    /// What the index names.
    pub(super) index: Places,
    /// What it condemns.
    pub(super) victims: Packs,
    /// For each blob in a victim, the pack outside that makes a copy needless.
    pub(super) relied: [Packs; 2],
    /// What it copies.
    pub(super) copies: Blobs,
    /// Snapshots that are marked and whole.
    pub(super) whole: u8,
    /// Snapshots that it knows to be forgotten.
    pub(super) forgotten: u8,
    /// Sessions to wait for.
    pub(super) wait: u8,
    /// It did not wait for all.
    pub(super) pending: bool,
    /// Snapshots that were listed when it began to wait.
    pub(super) since: u8,
    /// What it deletes.
    pub(super) doomed: Packs,
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) sessions: u8,
    pub(super) condemned: [Packs; PRUNES],
    /// The sessions for which each prune waits, once it said so.
    pub(super) waits: [Option<u8>; PRUNES],
    /// For each session, who marked it.
    pub(super) suspect: [u8; SESSIONS],
    pub(super) snapshots: u8,
    /// Snapshots that forgotten records name.
    pub(super) recorded: u8,
    /// Snapshots that dropped records name: they are not there, whatever is listed.
    pub(super) forgotten: u8,
    /// Snapshots that the user wanted to be gone, for the checks alone.
    pub(super) removed: u8,
    pub(super) dropped: Packs,
    pub(super) packs: Packs,
    /// What each pack holds that was ever stored.
    pub(super) contents: Places,
    pub(super) segments: Segments,
    pub(super) merged: [Merged; WRITERS],
    /// Kept only where things may land again.
    pub(super) segments_ever: Segments,
    pub(super) condemned_ever: [Packs; PRUNES],
    pub(super) writers: [Writer; WRITERS],
    pub(super) prunes: [Prune; PRUNES],
    pub(super) forgets: [super::forget::Forget; 2],
}

/// The set that has only this.
pub(super) const fn bit(number: usize) -> u8 {
    1 << number
}

/// What is in a set.
pub(super) fn bits(set: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |number| set & bit(*number) != 0)
}

/// The blobs as they lie in a pack.
pub(super) fn places(pack: usize, blobs: Blobs) -> Places {
    Places::from(blobs) << (2 * pack)
}

/// All places in these packs.
pub(super) fn in_packs(packs: Packs) -> Places {
    // Each bit to two.
    let mut spread = Places::from(packs);
    spread = (spread | (spread << 4)) & 0x0f0f;
    spread = (spread | (spread << 2)) & 0x3333;
    spread = (spread | (spread << 1)) & 0x5555;
    spread * 3
}

/// The packs of these places.
pub(super) fn packs_of(places: Places) -> Packs {
    (0..PACKS).filter(|pack| places >> (2 * pack) & 3 != 0).fold(0, |packs, pack| packs | bit(pack))
}

/// The blobs that have a place.
pub(super) fn blobs(places: Places) -> Blobs {
    let folded = places | (places >> 8);
    let folded = folded | (folded >> 4);
    let folded = folded | (folded >> 2);
    [0, 1, 2, 3][usize::from(folded & 3)]
}

/// All places of these blobs.
pub(super) fn of_blobs(blobs: Blobs) -> Places {
    Places::from(blobs) * 0x5555
}

/// The segment that a writer merges others into.
pub(super) const fn merged(writer: usize) -> Segments {
    1 << (PACKS + writer)
}

/// The segment for what a merge could not keep in the merged one.
pub(super) const fn rest(writer: usize) -> Segments {
    1 << (PACKS + WRITERS + writer)
}

impl State {
    /// Takes a step.
    pub(super) fn step(&self, actor: Actor, step: &'static str, moves: &mut Vec<Move>, change: impl FnOnce(&mut Self)) {
        let mut next = *self;
        change(&mut next);
        moves.push(Move { actor, step, next });
    }

    /// Whether a writer's session has ended by its snapshot, which may be forgotten by now.
    pub(super) fn ended(&self, writer: usize) -> bool {
        (self.snapshots | self.forgotten | self.recorded) & bit(writer) != 0
    }

    /// Packs that were stored once.
    pub(super) fn stored_packs(&self) -> Packs {
        packs_of(self.contents)
    }

    /// Places in segment number `segment`.
    fn segment(&self, segment: usize) -> Places {
        match segment.checked_sub(PACKS) {
            None => self.contents & in_packs(bit(segment)),
            Some(writer) if writer < WRITERS => self.merged[writer].places,
            Some(rest) => self.merged[rest - WRITERS].rest,
        }
    }

    /// All places that these segments name, those left out that another of them supersedes.
    pub(super) fn places_in(&self, segments: Segments) -> Places {
        let mut present = segments;
        for (writer, merged_segment) in self.merged.iter().enumerate() {
            if segments & merged(writer) != 0 {
                present &= !merged_segment.supersedes;
            }
        }
        (0..SEGMENTS)
            .filter(|segment| present >> segment & 1 != 0)
            .fold(0, |places, segment| places | self.segment(segment))
    }

    /// The live index: what the segments name, without the tombstones.
    pub(super) fn index(&self) -> Places {
        self.places_in(self.segments) & !in_packs(self.dropped)
    }

    /// Blobs that a reader finds.
    pub(super) fn there(&self) -> Blobs {
        blobs(self.index() & in_packs(self.packs))
    }

    pub(super) fn condemned_by_others(&self, prune: usize) -> Packs {
        self.condemned.iter().enumerate().filter(|(other, _)| *other != prune).fold(0, |packs, (_, more)| packs | more)
    }
}
