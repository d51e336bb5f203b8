//! States that differ only in which writer is which, or which prune is which, are one.

use super::setup::Setup;
use super::state::{PACKS, Packs, Places, Segments, State, WRITERS};

impl State {
    /// One of the states that differ from this one only in names, and the same one for most of them.
    #[must_use]
    pub(crate) fn representative(&self, writers_alike: bool) -> Self {
        let mut state = *self;
        if writers_alike && state.writers[1] < state.writers[0] {
            state.rename(&Names { session: 0, pack: Setup::own_pack(0), writers: true });
            state.writers.swap(0, 1);
            state.merged.swap(0, 1);
        }
        if state.prunes[1] < state.prunes[0] {
            state.rename(&Names { session: WRITERS, pack: Setup::copies_pack(0), writers: false });
            state.prunes.swap(0, 1);
            state.condemned.swap(0, 1);
            state.condemned_ever.swap(0, 1);
            state.waits.swap(0, 1);
            for marks in &mut state.suspect {
                *marks = swapped_byte(*marks, 0);
            }
        }
        state
    }

    fn rename(&mut self, names: &Names) {
        self.suspect.swap(names.session, names.session + 1);
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
    session: usize,
    pack: usize,
    writers: bool,
}

impl Names {
    fn sessions(&self, set: &mut u8) {
        *set = swapped_byte(*set, self.session);
    }

    fn snapshots(&self, set: &mut u8) {
        if self.writers {
            *set = swapped_byte(*set, self.session);
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
