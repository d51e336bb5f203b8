//! Who takes part, what is there at the beginning, and which part of the protocol is left out.

use super::state::{Blobs, INITIAL_PACKS, PACKS, State, WRITERS, bit, places};

/// A part of the protocol that somebody might leave out to make it simpler. Each costs data, and the tests show how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortcut {
    /// A prune does not look for sessions.
    NoSessionWait,
    /// A prune goes past a session that seems dead without marking it.
    StaleWithoutMarker,
    /// A writer reports success without looking for markers.
    NoRecheck,
    /// A writer that gives up on its snapshot leaves no marker.
    NoSelfMarker,
    /// A prune does not look a second time what others condemned.
    CondemnedListedOnce,
    /// A prune does not look a second time what was dropped.
    DroppedListedOnce,
    /// A prune does not look a second time which snapshots there are.
    SnapshotsListedOnce,
    /// A prune rewrites index segments instead of storing tombstones.
    SegmentsRewritten,
    /// A repack drops the old places before the new ones are in the index.
    OldDroppedBeforeNewStored,
    /// A repack does not look whether another prune condemned its copies.
    CopiesNotRechecked,
    /// A prune that finds its orphans in the index at the second look deletes them all the same.
    OrphansNotRechecked,
    /// Nobody notes which snapshots were forgotten.
    ForgetWithoutRecord,
    /// What is forgotten is noted as of the beginning of the wait, not of the second look.
    ForgottenAsOfWait,
    /// A merge of index segments keeps one place of a blob that has several.
    MergeKeepsOnePlace,
    /// As `MergeKeepsOnePlace`, but only while nothing is condemned.
    MergeKeepsOnePlaceUncondemned,
    /// A merge stores what did not fit into the merged segment after it.
    MergeStoresRestLast,
    /// A merged segment that is taken back goes after the further copies that were stored beside it.
    RestTakenBackFirst,
    /// With a merged segment that is taken back go the further copies that were stored beside it.
    RestTakenBackToo,
    /// A snapshot that was listed, and forgotten before it could be read, counts as known.
    VanishedCountedAsKnown,
    /// A snapshot that the second look listed, and that was forgotten before it could be read, is named in no record.
    VanishedNotNamed,
    /// Packs that no index names are deleted without tombstones.
    OrphansWithoutTombstones,
    /// A writer lists the tombstones before the condemned packs (a store whose listings have no order).
    DroppedListedBeforeCondemned,
    /// A prune that does not know whether its tombstones were stored frees its condemned packs.
    UnknownDropFreed,
    /// A prune removes markers from snapshots that were whole when it began.
    MarkerClearedAsOfSurvey,
    /// A writer does not look up what its parent snapshot has, even if that snapshot is marked.
    SuspectParentTrusted,
}

/// A world to explore.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, whatever the others are")]
pub(crate) struct Setup {
    /// What the backup of each writer consists of.
    pub(crate) writers: Vec<Blobs>,
    /// How many prunes run.
    pub(crate) prunes: usize,
    /// How many snapshots are forgotten.
    pub(crate) forgets: usize,
    /// What the packs hold that are there at the beginning, each with its index segment.
    pub(crate) packs: Vec<Blobs>,
    /// What the snapshots consist of that are there at the beginning.
    pub(crate) snapshots: Vec<Blobs>,
    /// Prunes may copy what is needed out of condemned packs.
    pub(crate) repack: bool,
    /// Prunes may take over the condemned packs of others.
    pub(crate) adopt: bool,
    /// Writers merge index segments.
    pub(crate) merge: bool,
    /// Writers take what their parent has for granted while nothing is condemned.
    pub(crate) parent: bool,
    /// Session records that no longer matter are removed.
    pub(crate) sweeping: bool,
    /// Writers give up on packs and segments that land later.
    pub(crate) late: bool,
    /// Time passes between the listing of snapshots and their reading.
    pub(crate) reading: bool,
    /// A listing may leave out a segment: once when a prune makes its plan, and when a merge looks whether what it merged is still there.
    pub(crate) lies: bool,
    /// Whatever was stored may land once more after it was deleted.
    pub(crate) again: bool,
    /// Prunes condemn only what a survey would choose, instead of any packs.
    pub(crate) sensible: bool,
    /// What is left out.
    pub(crate) shortcut: Option<Shortcut>,
}

/// Blob x.
pub(crate) const X: Blobs = 1;
/// Blob y.
pub(crate) const Y: Blobs = 2;

impl Setup {
    /// `writers` backups of x and y, `prunes` prunes and nothing else, in an empty repository.
    pub(crate) fn new(writers: &[Blobs], prunes: usize) -> Self {
        assert!(writers.len() <= WRITERS && prunes <= super::state::PRUNES);
        Self {
            writers: writers.to_vec(),
            prunes,
            forgets: 0,
            packs: Vec::new(),
            snapshots: Vec::new(),
            repack: false,
            adopt: false,
            merge: false,
            parent: false,
            sweeping: false,
            late: false,
            reading: false,
            lies: false,
            again: false,
            sensible: false,
            shortcut: None,
        }
    }

    /// With these packs, and snapshots made from them.
    pub(crate) fn with(mut self, packs: &[Blobs], snapshots: &[Blobs]) -> Self {
        assert!(packs.len() <= INITIAL_PACKS && snapshots.len() <= 2);
        self.packs = packs.to_vec();
        self.snapshots = snapshots.to_vec();
        self
    }

    /// With a change.
    pub(crate) fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// With a part of the protocol left out.
    pub(crate) fn without(mut self, shortcut: Shortcut) -> Self {
        self.shortcut = Some(shortcut);
        self
    }

    pub(super) fn takes(&self, shortcut: Shortcut) -> bool {
        self.shortcut == Some(shortcut)
    }

    /// What snapshot `number` consists of.
    pub(super) fn needs(&self, number: usize) -> Blobs {
        let initial = number.checked_sub(WRITERS).and_then(|number| self.snapshots.get(number));
        self.writers.get(number).or(initial).copied().unwrap_or_default()
    }

    /// How it begins.
    pub(crate) fn start(&self) -> State {
        let mut state = State::default();
        for (pack, blobs) in self.packs.iter().enumerate() {
            state.packs |= bit(pack);
            state.contents |= places(pack, *blobs);
            state.segments |= 1 << pack;
        }
        for number in 0..self.snapshots.len() {
            state.snapshots |= bit(WRITERS + number);
        }
        state
    }

    /// Whether two writers are alike, so that states that differ only in which is which are one.
    pub(super) fn writers_alike(&self) -> bool {
        matches!(self.writers.as_slice(), [one, two] if one == two)
    }

    /// Whether x and y are alike, and whether the two packs of the beginning change their places with them.
    pub(super) fn blobs_alike(&self) -> Option<bool> {
        let both = |blobs: &Blobs| *blobs == X | Y;
        let alike = self.writers.iter().chain(&self.snapshots).all(both);
        match self.packs.as_slice() {
            _ if !alike => None,
            [X, Y] => Some(true),
            packs if packs.iter().all(both) => Some(false),
            _ => None,
        }
    }

    pub(super) const fn own_pack(number: usize) -> usize {
        INITIAL_PACKS + number
    }

    pub(super) const fn copies_pack(number: usize) -> usize {
        let pack = INITIAL_PACKS + WRITERS + number;
        assert!(pack < PACKS);
        pack
    }
}
