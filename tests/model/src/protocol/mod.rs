//! The prune protocol as a state machine: one store, writers, prunes and forgets that act on it step by step, in any order.
//!
//! The steps carry the names that the code and `docs/durability.md` use. Nothing here depends on anything: `tests/model` explores it, the small worlds with stateright;
//! `tests/it/protocol.rs` explores the smallest on every `cargo test`.
//!
//! What can go wrong, and where it is:
//! * *Crash* of anybody at any step: an actor that takes no further step. Each state in which somebody stopped for ever is a state in
//!   which they have not gone on yet, so that a crash needs no move of its own.
//! * *Clock*: a prune may take any session for stale at any time.
//! * *Late writes*: a snapshot that was sent lands at any time, also again after it was removed; writers give up on packs, segments and merged
//!   segments that land later; with [`Setup::again`] everything that was ever stored may land once more. A write that lands after its actor stopped for ever is one that
//!   the actor made last, and needs no move of its own either: a prune goes on after none whose outcome it does not know.
//! * *Stale views*: what an actor read, it keeps, however the store changes.

mod decide;
mod fingerprint;
mod forget;
mod normal;
mod prune;
mod setup;
mod state;
mod symmetry;
mod witness;
mod worlds;
mod writer;

pub(crate) use setup::Setup;
pub(crate) use state::{Move, State};
pub(crate) use worlds::{Size, World, lossy, safe};

use state::{Actor, SNAPSHOTS, WRITERS, bit, bits};

impl Setup {
    /// All that can happen next.
    pub(crate) fn moves(&self, state: &State) -> Vec<Move> {
        let mut moves = Vec::with_capacity(16);
        for number in 0..self.writers.len() {
            writer::moves(self, state, number, &mut moves);
        }
        for number in 0..self.prunes {
            prune::moves(self, state, number, &mut moves);
        }
        for number in 0..self.forgets {
            forget::moves(state, self, number, &mut moves);
        }
        self.store_moves(state, &mut moves);
        moves
    }

    /// What happens in the store by itself: late writes land, records of sessions that no longer matter are swept (by whom does not matter).
    fn store_moves(&self, state: &State, moves: &mut Vec<Move>) {
        for (number, writer) in state.writers.iter().enumerate() {
            if writer.sent && state.snapshots & bit(number) == 0 {
                state.step(Actor::Store, "land_snapshot", moves, |next| next.snapshots |= bit(number));
            }
            if writer.merge_late {
                state.step(Actor::Store, "land_merged", moves, |next| {
                    next.writers[number].merge_late = false;
                    next.segments |= state::merged(number);
                });
            }
        }
        if self.sweeping {
            for session in bits(state.sessions) {
                let ended = session < WRITERS && state.ended(session);
                if ended || state.suspect[session] != 0 {
                    state.step(Actor::Store, "sweep_sessions", moves, |next| next.sessions &= !bit(session));
                }
            }
        }
        if self.again {
            let gone = state.stored_packs() & !state.packs;
            for pack in bits(gone) {
                state.step(Actor::Store, "land_pack_again", moves, |next| next.packs |= bit(pack));
            }
            for segment in 0..state::SEGMENTS {
                let segment = 1 << segment;
                if state.segments_ever & segment & !state.segments != 0 {
                    state.step(Actor::Store, "land_segment_again", moves, |next| next.segments |= segment);
                }
            }
            for prune in 0..self.prunes {
                if state.condemned[prune] == 0 && state.condemned_ever[prune] != 0 {
                    state.step(Actor::Store, "land_condemned_again", moves, |next| {
                        next.condemned[prune] = state.condemned_ever[prune];
                    });
                }
            }
        }
    }

    /// What a backup reported as saved, and nobody forgot, is there in full.
    pub(crate) fn reported_is_there(&self, state: &State) -> bool {
        let there = state.there();
        state.writers.iter().zip(&self.writers).enumerate().all(|(number, (writer, needs))| {
            !writer.reported || state.removed & bit(number) != 0 || needs & !there == 0
        })
    }

    /// A snapshot that is listed, and neither forgotten nor marked suspect, is there in full.
    pub(crate) fn unmarked_is_whole(&self, state: &State) -> bool {
        let there = state.there();
        (0..SNAPSHOTS)
            .filter(|number| state.snapshots & !state.forgotten & bit(*number) != 0)
            .filter(|number| *number >= WRITERS || state.suspect[*number] == 0)
            .all(|number| self.needs(number) & !there == 0)
    }
}
