//! A forget: removes one snapshot.

use super::setup::{Setup, Shortcut};
use super::state::{Actor, Move, State, bit, bits};

/// What a forget does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Store the record of what goes.
    #[default]
    Record,
    /// Delete it.
    Remove,
    /// It is over.
    Done,
}

/// A forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Forget {
    pub(super) step: Step,
    /// What it removes.
    pub(super) snapshot: u8,
}

pub(super) fn moves(state: &State, setup: &Setup, number: usize, moves: &mut Vec<Move>) {
    let actor = Actor::Forget(number);
    let forget = state.forgets[number];
    match forget.step {
        Step::Record => {
            for snapshot in bits(state.snapshots & !state.forgotten & !state.removed) {
                state.step(actor, "record_forgotten", moves, |next| {
                    next.removed |= bit(snapshot);
                    if !setup.takes(Shortcut::ForgetWithoutRecord) {
                        next.recorded |= bit(snapshot);
                    }
                    next.forgets[number] = Forget { step: Step::Remove, snapshot: bit(snapshot) };
                });
            }
        }
        Step::Remove => state.step(actor, "remove_snapshots", moves, |next| {
            next.snapshots &= !forget.snapshot;
            next.forgets[number] = Forget { step: Step::Done, snapshot: 0 };
        }),
        Step::Done => {}
    }
}
