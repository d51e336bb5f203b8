//! A prune, which may copy what is needed out of the packs that it deletes.

use super::decide::{Look, decision, plans};
use super::setup::{Setup, Shortcut};
use super::state::{
    Actor, Merged, Move, PRUNES, Places, Prune, SEGMENTS, State, WRITERS, bit, bits, in_packs, merged, packs_of, places,
};
use super::writer::store_segment;

/// What a prune does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// List packs and snapshots, before anything else.
    #[default]
    ListBefore,
    /// List what other prunes condemned, and take over what belongs to none that is at work.
    ListCondemned,
    /// List tombstones and segments, and make the plan.
    Survey,
    /// Store copies of what is needed.
    StorePacks,
    /// Store the index segment of the copies.
    StoreSegment,
    /// Say which packs are to go.
    Condemn,
    /// List the sessions.
    ListSessions,
    /// Say whom it waits for.
    StoreWaits,
    /// Wait for them, or mark those that seem dead, or give up.
    AwaitSessions,
    /// List a second time what others condemned,
    LookCondemned,
    /// the tombstones and the index segments,
    LookIndex,
    /// and the snapshots.
    LookSnapshots,
    /// Read the new ones, and decide what must stay.
    Decide,
    /// Store the tombstones.
    Drop,
    /// Delete the packs.
    DeletePacks,
    /// Delete the condemned record, and that of a prune whose packs were taken over if all of them are gone.
    Uncondemn,
    /// Remove the markers of snapshots that are whole.
    ClearSuspect,
    /// It is over.
    Done,
    /// Gave up, but the tombstones land late.
    LandDrop,
    /// Delete the index segments that were rewritten (a shortcut).
    DeleteSegments,
}

pub(super) fn moves(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    match state.prunes[number].step {
        Step::ListBefore | Step::ListCondemned | Step::Survey => survey(setup, state, number, moves),
        Step::StorePacks | Step::StoreSegment | Step::Condemn => copy(setup, state, number, moves),
        Step::ListSessions | Step::StoreWaits | Step::AwaitSessions => wait(setup, state, number, moves),
        Step::LookCondemned | Step::LookIndex | Step::LookSnapshots | Step::Decide => look(setup, state, number, moves),
        Step::Drop | Step::LandDrop | Step::DeleteSegments => drop_packs(setup, state, number, moves),
        Step::DeletePacks | Step::Uncondemn | Step::ClearSuspect => tidy(setup, state, number, moves),
        Step::Done => {}
    }
}

fn go(
    state: &State,
    number: usize,
    moves: &mut Vec<Move>,
    (name, to): (&'static str, Step),
    change: impl FnOnce(&mut State, &mut Prune),
) {
    state.step(Actor::Prune(number), name, moves, |next| {
        let mut prune = next.prunes[number];
        prune.step = to;
        change(next, &mut prune);
        if prune.step == Step::Done {
            prune = Prune { step: Step::Done, ..Prune::default() };
        }
        next.prunes[number] = prune;
    });
}

fn survey(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    match state.prunes[number].step {
        Step::ListBefore => go(state, number, moves, ("list_before", Step::ListCondemned), |next, prune| {
            prune.listed = next.packs;
            prune.before = next.snapshots & !next.forgotten;
        }),
        Step::ListCondemned => {
            let others = state.condemned_by_others(number);
            go(state, number, moves, ("list_condemned", Step::Survey), |_, prune| prune.others = others);
            if setup.adopt && others != 0 {
                go(state, number, moves, ("adopt_condemned", Step::Survey), |next, prune| {
                    prune.others = others;
                    prune.adopted = true;
                    prune.adopted_waits = next.waits[1 - number];
                });
            }
        }
        _ => {
            let mut prune = state.prunes[number];
            let listed = prune.before;
            if setup.reading {
                // What is gone when it is to be read is new if it is there again later.
                prune.before &= state.snapshots;
            }
            if setup.takes(Shortcut::ForgottenAsOfWait) {
                prune.forgotten = state.recorded;
            }
            for index in indexes(setup, state) {
                prune.index = index;
                for mut plan in plans(setup, state, &prune) {
                    if setup.takes(Shortcut::VanishedCountedAsKnown) {
                        plan.before = listed;
                    }
                    go(state, number, moves, ("survey", plan.step), |_, prune| *prune = plan);
                }
            }
        }
    }
}

/// What a prune may find in the index when it makes its plan.
fn indexes(setup: &Setup, state: &State) -> Vec<Places> {
    let mut indexes = vec![state.index()];
    let present = (0..SEGMENTS).map(|segment| 1 << segment).filter(|segment| state.segments & segment != 0);
    for hidden in present.filter(|_| setup.lies) {
        let index = state.places_in(state.segments & !hidden) & !in_packs(state.dropped);
        if !indexes.contains(&index) {
            indexes.push(index);
        }
    }
    indexes
}

fn copy(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    let pack = Setup::copies_pack(number);
    let late_copies = setup.takes(Shortcut::OldDroppedBeforeNewStored);
    match state.prunes[number].step {
        Step::StorePacks => go(state, number, moves, ("store_packs", Step::StoreSegment), |next, prune| {
            next.packs |= bit(pack);
            next.contents |= places(pack, prune.copies);
        }),
        Step::StoreSegment => {
            let after = if late_copies { Step::Uncondemn } else { Step::Condemn };
            go(state, number, moves, ("store_segment", after), |next, _| store_segment(setup, next, 1 << pack));
        }
        _ => {
            let after = if setup.takes(Shortcut::NoSessionWait) { Step::LookCondemned } else { Step::ListSessions };
            go(state, number, moves, ("condemn", after), |next, prune| {
                next.condemned[number] = prune.victims;
                if setup.again {
                    next.condemned_ever[number] = prune.victims;
                }
            });
        }
    }
}

fn wait(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    let prune = state.prunes[number];
    match prune.step {
        Step::ListSessions => {
            let at_work = at_work(state);
            let after = if at_work == 0 { Step::LookCondemned } else { Step::StoreWaits };
            go(state, number, moves, ("list_sessions", after), |next, prune| {
                prune.wait = at_work;
                if setup.takes(Shortcut::ForgottenAsOfWait) {
                    prune.since = next.snapshots & !next.forgotten;
                }
            });
        }
        Step::StoreWaits => go(state, number, moves, ("store_waits", Step::AwaitSessions), |next, prune| {
            next.waits[number] = setup.adopt.then_some(prune.wait);
        }),
        _ => {
            let left = prune.wait & at_work(state);
            if left == 0 {
                go(state, number, moves, ("await_sessions", Step::LookCondemned), |_, prune| prune.wait = 0);
            }
            for session in bits(left) {
                go(state, number, moves, ("mark_stale", Step::AwaitSessions), |next, prune| {
                    prune.wait = left & !bit(session);
                    if !setup.takes(Shortcut::StaleWithoutMarker) {
                        next.suspect[session] |= bit(number);
                    }
                });
            }
            // What the other prune had condemned before these began is known to them.
            let ripe = prune.adopted_waits.is_some_and(|waits| waits & left == 0);
            if left != 0 && ripe && prune.adopted {
                go(state, number, moves, ("stop_waiting", Step::LookCondemned), |_, prune| {
                    prune.wait = 0;
                    prune.pending = true;
                });
            }
        }
    }
}

/// Sessions that have not ended and that nobody marked.
fn at_work(state: &State) -> u8 {
    let over = (0..WRITERS).filter(|writer| state.ended(*writer) || state.suspect[*writer] != 0);
    state.sessions & !over.fold(0, |set, writer| set | bit(writer))
}

/// The second look: what others condemned, the tombstones and the index, the snapshots, in this order; then the decision.
fn look(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    let prune = state.prunes[number];
    let after_index = if setup.reading { Step::LookSnapshots } else { Step::Decide };
    match prune.step {
        Step::LookCondemned => go(state, number, moves, ("look_condemned", Step::LookIndex), |next, prune| {
            let others = if prune.adopted { 0 } else { next.condemned_by_others(number) };
            prune.others = if setup.takes(Shortcut::CondemnedListedOnce) { 0 } else { others };
        }),
        Step::LookIndex => go(state, number, moves, ("look_index", after_index), |next, prune| {
            let gone = if setup.takes(Shortcut::DroppedListedOnce) { 0 } else { next.dropped };
            let look = Look { others: prune.others, gone, index: next.index() };
            *prune = Prune { step: after_index, ..decision(setup, next, prune, &look, number) };
        }),
        Step::LookSnapshots => go(state, number, moves, ("look_snapshots", Step::Decide), |next, prune| {
            prune.since = next.snapshots & !next.forgotten;
        }),
        _ => {
            let mut prune = prune;
            let listed = if setup.reading { prune.since } else { state.snapshots & !state.forgotten };
            if !setup.takes(Shortcut::SnapshotsListedOnce) {
                let new = listed & state.snapshots & !prune.before;
                let Some(doomed) = super::decide::spared_for_new(setup, state, &prune, new) else {
                    // A snapshot needs what is not there: nothing is removed, and what was condemned stays so.
                    go(state, number, moves, ("decide_to_stop", Step::Done), |_, _| {});
                    return;
                };
                prune.doomed = doomed;
            }
            if !setup.takes(Shortcut::ForgottenAsOfWait) {
                prune.forgotten = state.recorded;
                // Listed, and there to be read.
                prune.since = if setup.takes(Shortcut::VanishedNotNamed) { listed } else { listed & state.snapshots };
            }
            if prune.pending {
                prune.doomed &= state.condemned_by_others(number);
            }
            prune.before = 0;
            prune.step = if prune.doomed == 0 { Step::Uncondemn } else { Step::Drop };
            if !setup.takes(Shortcut::SegmentsRewritten) {
                prune.index = 0;
            }
            go(state, number, moves, ("decide", prune.step), |_, next| *next = prune);
        }
    }
}

fn drop_packs(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    let prune = state.prunes[number];
    match prune.step {
        Step::Drop if setup.takes(Shortcut::SegmentsRewritten) => {
            go(state, number, moves, ("rewrite_segments", Step::DeleteSegments), |next, prune| {
                next.merged[number] = Merged { places: prune.index & !in_packs(prune.doomed), ..Merged::default() };
                next.segments |= merged(number);
                let [segments, _] = state.segments.to_le_bytes();
                prune.since = segments;
            });
        }
        Step::DeleteSegments => go(state, number, moves, ("delete_segments", Step::DeletePacks), |next, prune| {
            next.segments &= !u16::from(prune.since);
            prune.index = 0;
            prune.since = 0;
        }),
        Step::Drop => {
            let named = packs_of(state.index());
            go(state, number, moves, ("drop", Step::DeletePacks), |next, prune| {
                let bare = setup.takes(Shortcut::OrphansWithoutTombstones);
                next.dropped |= if bare { prune.doomed & named } else { prune.doomed };
                next.forgotten |= prune.forgotten & !prune.since;
                prune.forgotten = 0;
                prune.since = 0;
            });
            if setup.late && setup.adopt {
                go(state, number, moves, ("give_up_drop", Step::LandDrop), |_, _| {});
            }
            if setup.takes(Shortcut::UnknownDropFreed) {
                go(state, number, moves, ("give_up", Step::LandDrop), |next, _| next.condemned[number] = 0);
            }
        }
        _ => go(state, number, moves, ("land_drop", Step::Done), |next, prune| {
            next.dropped |= prune.doomed;
            next.forgotten |= prune.forgotten & !prune.since;
        }),
    }
}

fn tidy(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    let prune = state.prunes[number];
    match prune.step {
        Step::DeletePacks => {
            let late_copies = setup.takes(Shortcut::OldDroppedBeforeNewStored) && prune.copies != 0;
            let after = if late_copies { Step::StorePacks } else { Step::Uncondemn };
            go(state, number, moves, ("delete_packs", after), |next, prune| {
                next.packs &= !prune.doomed;
                prune.doomed = 0;
            });
        }
        Step::Uncondemn => {
            let after = if prune.whole != 0 && !prune.pending { Step::ClearSuspect } else { Step::Done };
            go(state, number, moves, ("uncondemn", after), |next, prune| {
                if !prune.pending {
                    next.condemned[number] = 0;
                    next.waits[number] = None;
                }
                for other in (0..PRUNES).filter(|_| prune.adopted) {
                    if next.condemned[other] & !next.dropped == 0 {
                        next.condemned[other] = 0;
                        next.waits[other] = None;
                    }
                }
                *prune = Prune { step: after, whole: prune.whole, ..Prune::default() };
            });
        }
        _ => {
            // In any order, or it would matter which snapshot is which.
            let marked: Vec<usize> = bits(prune.whole).filter(|snapshot| state.suspect[*snapshot] != 0).collect();
            if marked.is_empty() {
                go(state, number, moves, ("end", Step::Done), |_, _| {});
            }
            for snapshot in marked {
                go(state, number, moves, ("clear_suspect", Step::ClearSuspect), |next, prune| {
                    next.suspect[snapshot] = 0;
                    prune.whole &= !bit(snapshot);
                });
            }
        }
    }
}
