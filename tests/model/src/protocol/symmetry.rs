//! States that differ only in which writer is which, which prune is which, or which blob is which, are one.

use std::cmp::Ordering;

use super::setup::Setup;
use super::state::{PACKS, Packs, Places, Segments, State, WRITERS, bit, of_blobs};

impl State {
    /// A number that all states have which differ from this one only in names, and, but for chance, no others.
    pub(crate) fn fingerprint(&self, setup: &Setup) -> u64 {
        // Who is further comes last, so that only those that are equally far need to be tried in both orders.
        let far = |number: usize| {
            let writer = &self.writers[number];
            let session = bit(number);
            (writer.step, self.sessions & session != 0, self.snapshots & session != 0, self.suspect[number] != 0)
        };
        let writers = if setup.writers_alike() { far(0).cmp(&far(1)) } else { Ordering::Less };
        let prunes = if setup.prunes == 2 { self.prunes[0].step.cmp(&self.prunes[1].step) } else { Ordering::Less };
        let blobs = setup.blobs_alike();
        let mut least = u64::MAX;
        for writers_swapped in orders(writers) {
            let state = if writers_swapped { self.with_other_writers() } else { *self };
            for prunes_swapped in orders(prunes) {
                let state = if prunes_swapped { state.with_other_prunes() } else { state };
                least = least.min(state.hashed());
                if let Some(packs_swapped) = blobs {
                    least = least.min(state.with_other_blobs(packs_swapped).hashed());
                }
            }
        }
        least
    }

    /// States that differ from this one only in names.
    pub(super) fn twins(&self, setup: &Setup) -> Vec<Self> {
        let writers = setup.writers_alike().then(|| self.with_other_writers());
        let blobs = setup.blobs_alike().map(|packs_swapped| self.with_other_blobs(packs_swapped));
        let prunes = (setup.prunes == 2).then(|| self.with_other_prunes());
        prunes.into_iter().chain(writers).chain(blobs).collect()
    }

    fn with_other_writers(&self) -> Self {
        let mut state = *self;
        state.rename(&Names { session: Some(0), pack: Setup::own_pack(0), writers: true });
        state.writers.swap(0, 1);
        state.merged.swap(0, 1);
        state
    }

    fn with_other_prunes(&self) -> Self {
        let mut state = *self;
        state.rename(&Names { session: Some(WRITERS), pack: Setup::copies_pack(0), writers: false });
        state.prunes.swap(0, 1);
        state.condemned.swap(0, 1);
        state.condemned_ever.swap(0, 1);
        state.waits.swap(0, 1);
        for marks in &mut state.suspect {
            *marks = swapped_byte(*marks, 0);
        }
        state
    }

    fn with_other_blobs(&self, packs_swapped: bool) -> Self {
        let mut state = *self;
        if packs_swapped {
            state.rename(&Names { session: None, pack: 0, writers: false });
        }
        let other = |places: &mut Places| {
            *places = (*places & of_blobs(1)) << 1 | (*places & of_blobs(2)) >> 1;
        };
        other(&mut state.contents);
        for merged in &mut state.merged {
            other(&mut merged.places);
            other(&mut merged.rest);
        }
        for writer in &mut state.writers {
            writer.missing = swapped_byte(writer.missing, 0);
        }
        for prune in &mut state.prunes {
            other(&mut prune.index);
            prune.relied.swap(0, 1);
            prune.copies = swapped_byte(prune.copies, 0);
        }
        state
    }

    fn rename(&mut self, names: &Names) {
        if let Some(session) = names.session {
            self.suspect.swap(session, session + 1);
        }
        names.sessions(&mut self.sessions);
        for snapshots in [&mut self.snapshots, &mut self.forgotten, &mut self.recorded, &mut self.removed] {
            names.snapshots(snapshots);
        }
        names.packs(&mut self.dropped);
        names.packs(&mut self.packs);
        for packs in self.condemned.iter_mut().chain(&mut self.condemned_ever) {
            names.packs(packs);
        }
        names.places(&mut self.contents);
        names.segments(&mut self.segments);
        names.segments(&mut self.segments_ever);
        self.waits.iter_mut().flatten().for_each(|waits| names.sessions(waits));
        for merged in &mut self.merged {
            names.places(&mut merged.places);
            names.places(&mut merged.rest);
            names.segments(&mut merged.supersedes);
        }
        for writer in &mut self.writers {
            names.packs(&mut writer.absent);
            names.segments(&mut writer.known);
        }
        for prune in &mut self.prunes {
            for packs in [&mut prune.listed, &mut prune.victims, &mut prune.others, &mut prune.doomed]
                .into_iter()
                .chain(&mut prune.relied)
            {
                names.packs(packs);
            }
            names.sessions(&mut prune.wait);
            prune.adopted_waits.iter_mut().for_each(|waits| names.sessions(waits));
            for snapshots in [&mut prune.before, &mut prune.whole, &mut prune.forgotten, &mut prune.since] {
                names.snapshots(snapshots);
            }
            names.places(&mut prune.index);
        }
        for forget in &mut self.forgets {
            names.snapshots(&mut forget.snapshot);
        }
    }
}

/// Two neighbours that change their places, and what belongs to them.
struct Names {
    session: Option<usize>,
    pack: usize,
    writers: bool,
}

impl Names {
    fn sessions(&self, set: &mut u8) {
        if let Some(session) = self.session {
            *set = swapped_byte(*set, session);
        }
    }

    fn snapshots(&self, set: &mut u8) {
        if self.writers {
            self.sessions(set);
        }
    }

    fn packs(&self, set: &mut Packs) {
        *set = swapped_byte(*set, self.pack);
    }

    fn places(&self, set: &mut Places) {
        *set = swapped(*set, 2 * self.pack, 2);
    }

    fn segments(&self, set: &mut Segments) {
        *set = swapped(*set, self.pack, 1);
        if self.writers {
            *set = swapped(swapped(*set, PACKS, 1), PACKS + WRITERS, 1);
        }
    }
}

/// `set` with bit `at` and the next one in each other's place.
fn swapped_byte(set: u8, at: usize) -> u8 {
    let [low, _] = swapped(u16::from(set), at, 1).to_le_bytes();
    low
}

/// `set` with the `width` bits from `at` and those after them in each other's place.
const fn swapped(set: u16, at: usize, width: usize) -> u16 {
    let mask = (1 << width) - 1;
    let (low, high) = (set >> at & mask, set >> (at + width) & mask);
    set & !(mask << at) & !(mask << (at + width)) | high << at | low << (at + width)
}

/// Whether to swap two that compare so: equals both ways.
fn orders(ordering: Ordering) -> impl Iterator<Item = bool> + Clone {
    [false, true].into_iter().filter(move |swapped| match ordering {
        Ordering::Less => !swapped,
        Ordering::Equal => true,
        Ordering::Greater => *swapped,
    })
}
