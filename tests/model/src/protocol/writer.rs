//! A backup, and whoever else publishes a snapshot.

use super::setup::{Setup, Shortcut};
use super::state::{
    Actor, Merged, Move, Places, SELF, SNAPSHOTS, State, WRITERS, Writer, bit, blobs, in_packs, merged, of_blobs,
    places, rest,
};

/// What a writer does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// Store a session record, before anything is listed.
    #[default]
    Register,
    /// List what prunes condemned: it counts as not there.
    ListCondemned,
    /// List the tombstones.
    ListDropped,
    /// List and open the index segments.
    OpenIndex,
    /// List the snapshots, and take what the parent has for granted, if nothing is condemned and nobody marked it.
    ListSnapshots,
    /// Store what is missing.
    StorePacks,
    /// Store the index segment of the new packs.
    StoreSegment,
    /// Merge index segments, or not.
    MergeSegments,
    /// Store what a merge cannot keep in one segment.
    StoreRest,
    /// Store the merged segment.
    StoreMerged,
    /// List the segments: one that was merged is missing if somebody else merged it, or took it out, or the listing lies.
    CheckSegments,
    /// Delete the merged segment: it must not bring anything back.
    TakeBack,
    /// Delete the further copies, too (a shortcut).
    TakeBackRest,
    /// Delete the segments that are superseded.
    DeleteSuperseded,
    /// Send the snapshot.
    Publish,
    /// Wait for the answer.
    Await,
    /// Look for markers.
    Recheck,
    /// Mark the own snapshot before giving up, because it may yet land.
    MarkSelf,
    /// End the session.
    End,
    /// It is over, but the packs land late.
    LandPacks,
    /// It is over, but the segment lands late.
    LandSegment,
    /// It is over.
    Done,
}

pub(super) fn moves(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    match state.writers[number].step {
        Step::Register | Step::ListCondemned | Step::ListDropped | Step::OpenIndex | Step::ListSnapshots => {
            read(setup, state, number, moves);
        }
        Step::StorePacks | Step::StoreSegment | Step::LandPacks | Step::LandSegment => {
            store(setup, state, number, moves);
        }
        Step::MergeSegments | Step::StoreRest | Step::StoreMerged | Step::DeleteSuperseded => {
            merge(setup, state, number, moves);
        }
        Step::CheckSegments | Step::TakeBack | Step::TakeBackRest => take_back(setup, state, number, moves),
        Step::Publish | Step::Await | Step::Recheck | Step::MarkSelf | Step::End => {
            publish(setup, state, number, moves);
        }
        Step::Done => {}
    }
}

fn go(
    state: &State,
    number: usize,
    moves: &mut Vec<Move>,
    (name, to): (&'static str, Step),
    change: impl FnOnce(&mut State, &mut Writer),
) {
    state.step(Actor::Writer(number), name, moves, |next| {
        let mut writer = next.writers[number];
        writer.step = to;
        change(next, &mut writer);
        next.writers[number] = writer;
    });
}

fn read(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    let after_reading = if setup.parent { Step::ListSnapshots } else { Step::StorePacks };
    match state.writers[number].step {
        Step::Register => {
            go(state, number, moves, ("register", first_listing(setup)), |next, _| next.sessions |= bit(number));
        }
        Step::ListCondemned => go(state, number, moves, ("list_condemned", after_condemned(setup)), |next, writer| {
            writer.absent |= next.condemned[0] | next.condemned[1];
            writer.wary = next.condemned != [0, 0];
        }),
        Step::ListDropped => go(state, number, moves, ("list_dropped", after_dropped(setup)), |next, writer| {
            writer.absent |= next.dropped;
        }),
        Step::OpenIndex => go(state, number, moves, ("open_index", after_reading), |next, writer| {
            let there = blobs(next.places_in(next.segments) & !in_packs(writer.absent));
            writer.missing = setup.needs(number) & !there;
            writer.known = if setup.merge { next.segments } else { 0 };
            if !setup.parent {
                decided(setup, writer);
            }
        }),
        _ => go(state, number, moves, ("list_snapshots", Step::StorePacks), |next, writer| {
            if !writer.wary {
                writer.missing &= !granted(setup, next);
            }
            decided(setup, writer);
        }),
    }
}

fn store(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    match state.writers[number].step {
        Step::StorePacks => {
            let store = |next: &mut State, writer: &mut Writer| {
                next.packs |= bit(Setup::own_pack(number));
                next.contents |= places(Setup::own_pack(number), writer.missing);
            };
            go(state, number, moves, ("store_packs", Step::StoreSegment), store);
            if setup.late {
                go(state, number, moves, ("give_up", Step::LandPacks), |next, _| next.sessions &= !bit(number));
            }
        }
        Step::StoreSegment => {
            let after = if setup.merge { Step::MergeSegments } else { Step::Publish };
            go(state, number, moves, ("store_segment", after), |next, writer| {
                store_segment(setup, next, 1 << Setup::own_pack(number));
                writer.known |= if setup.merge { 1 << Setup::own_pack(number) } else { 0 };
                writer.missing = 0;
            });
            if setup.late {
                go(state, number, moves, ("give_up", Step::LandSegment), |next, _| next.sessions &= !bit(number));
            }
        }
        Step::LandPacks => go(state, number, moves, ("land_packs", Step::Done), |next, writer| {
            next.packs |= bit(Setup::own_pack(number));
            next.contents |= places(Setup::own_pack(number), writer.missing);
        }),
        _ => {
            go(state, number, moves, ("land_segment", Step::Done), |next, _| {
                store_segment(setup, next, 1 << Setup::own_pack(number));
            });
        }
    }
}

fn publish(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    match state.writers[number].step {
        Step::Publish => go(state, number, moves, ("publish", Step::Await), |_, writer| writer.sent = true),
        Step::Await => {
            if state.snapshots & bit(number) != 0 {
                let after = if setup.takes(Shortcut::NoRecheck) { Step::Done } else { Step::Recheck };
                go(state, number, moves, ("publish_acknowledged", after), |_, writer| {
                    writer.reported = after == Step::Done;
                });
            }
            let after = if setup.takes(Shortcut::NoSelfMarker) { Step::End } else { Step::MarkSelf };
            go(state, number, moves, ("give_up", after), |_, _| {});
        }
        Step::Recheck if state.suspect[number] == 0 => {
            go(state, number, moves, ("recheck", Step::Done), |_, writer| writer.reported = true);
        }
        Step::Recheck => go(state, number, moves, ("recheck", Step::End), |_, _| {}),
        Step::MarkSelf => {
            go(state, number, moves, ("mark_self", Step::End), |next, _| next.suspect[number] |= bit(SELF));
        }
        _ => go(state, number, moves, ("end", Step::Done), |next, _| next.sessions &= !bit(number)),
    }
}

fn first_listing(setup: &Setup) -> Step {
    if setup.takes(Shortcut::DroppedListedBeforeCondemned) { Step::ListDropped } else { Step::ListCondemned }
}

fn after_condemned(setup: &Setup) -> Step {
    if setup.takes(Shortcut::DroppedListedBeforeCondemned) { Step::OpenIndex } else { Step::ListDropped }
}

fn after_dropped(setup: &Setup) -> Step {
    if setup.takes(Shortcut::DroppedListedBeforeCondemned) { Step::ListCondemned } else { Step::OpenIndex }
}

/// With everything read, what was listed is forgotten, and a backup without news has nothing to store.
fn decided(setup: &Setup, writer: &mut Writer) {
    writer.absent = 0;
    writer.wary = false;
    if writer.missing == 0 {
        writer.step = if setup.merge { Step::MergeSegments } else { Step::Publish };
    }
}

/// What snapshots have that may be taken for parents.
fn granted(setup: &Setup, state: &State) -> u8 {
    let trusted = |number: &usize| {
        *number >= WRITERS || state.suspect[*number] == 0 || setup.takes(Shortcut::SuspectParentTrusted)
    };
    (0..SNAPSHOTS)
        .filter(|number| state.snapshots & !state.forgotten & bit(*number) != 0)
        .filter(trusted)
        .fold(0, |granted, number| granted | setup.needs(number))
}

pub(super) fn store_segment(setup: &Setup, state: &mut State, segment: u16) {
    state.segments |= segment;
    if setup.again {
        state.segments_ever |= segment;
    }
}

fn merge(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    let actor = Actor::Writer(number);
    let writer = state.writers[number];
    let to = |next: &mut State, step| {
        next.writers[number].step = step;
        if step == Step::Publish {
            next.writers[number].known = 0;
        }
    };
    let rest_last = setup.takes(Shortcut::MergeStoresRestLast);
    match writer.step {
        Step::MergeSegments => {
            state.step(actor, "merge_nothing", moves, |next| to(next, Step::Publish));
            let uncondemned = !setup.takes(Shortcut::MergeKeepsOnePlaceUncondemned)
                || state.condemned == [0, 0] && state.dropped == 0;
            if writer.known.count_ones() > 1 && uncondemned {
                let first = if rest_last { Step::StoreMerged } else { Step::StoreRest };
                for result in merges(setup, state, writer.known) {
                    state.step(actor, "merge_segments", moves, |next| {
                        next.merged[number] = result;
                        to(next, if result.rest == 0 { Step::StoreMerged } else { first });
                    });
                }
            }
        }
        Step::StoreRest => state.step(actor, "store_rest", moves, |next| {
            store_segment(setup, next, rest(number));
            to(next, if rest_last { Step::DeleteSuperseded } else { Step::StoreMerged });
        }),
        Step::StoreMerged => {
            let after = if setup.lies { Step::CheckSegments } else { Step::DeleteSuperseded };
            let then = if rest_last && state.merged[number].rest != 0 { Step::StoreRest } else { after };
            state.step(actor, "store_merged", moves, |next| {
                store_segment(setup, next, merged(number));
                to(next, then);
            });
            if setup.late && setup.lies {
                state.step(actor, "store_merged_twice", moves, |next| {
                    store_segment(setup, next, merged(number));
                    next.writers[number].merge_late = true;
                    to(next, then);
                });
            }
            if setup.late {
                state.step(actor, "give_up_merge", moves, |next| {
                    next.writers[number].merge_late = true;
                    to(next, Step::Publish);
                });
            }
        }
        _ => state.step(actor, "delete_superseded", moves, |next| {
            next.segments &= !next.merged[number].supersedes;
            to(next, Step::Publish);
        }),
    }
}

/// A merge looks whether what it merged is still there, and is undone if not. The further copies stay: a write of the merged segment that lands late
/// hides their other places.
fn take_back(setup: &Setup, state: &State, number: usize, moves: &mut Vec<Move>) {
    let rest_first = setup.takes(Shortcut::RestTakenBackFirst);
    let has_rest = state.merged[number].rest != 0;
    let publish = |writer: &mut Writer| {
        writer.step = Step::Publish;
        writer.known = 0;
    };
    match state.writers[number].step {
        Step::CheckSegments => {
            if state.merged[number].supersedes & !state.segments == 0 {
                go(state, number, moves, ("check_segments", Step::DeleteSuperseded), |_, _| {});
            }
            let first = if rest_first && has_rest { Step::TakeBackRest } else { Step::TakeBack };
            go(state, number, moves, ("check_segments_missing", first), |_, _| {});
        }
        Step::TakeBack => go(state, number, moves, ("take_back", Step::TakeBackRest), |next, writer| {
            next.segments &= !merged(number);
            if !(setup.takes(Shortcut::RestTakenBackToo) && has_rest) {
                publish(writer);
            }
        }),
        _ => go(state, number, moves, ("take_back_rest", Step::TakeBack), |next, writer| {
            next.segments &= !rest(number);
            if !rest_first {
                publish(writer);
            }
        }),
    }
}

/// What may come out when these segments are merged: of a blob with several places one goes into the merged segment, the others beside it.
fn merges(setup: &Setup, state: &State, segments: u16) -> Vec<Merged> {
    let all = state.places_in(segments) & !in_packs(state.dropped);
    let lossy = setup.takes(Shortcut::MergeKeepsOnePlace) || setup.takes(Shortcut::MergeKeepsOnePlaceUncondemned);
    let mut results: Vec<Merged> = Vec::with_capacity(4);
    for x in any_place(all, 1) {
        for y in any_place(all, 2) {
            let kept = x | y;
            results.push(Merged { places: kept, rest: if lossy { 0 } else { all & !kept }, supersedes: segments });
        }
    }
    results
}

/// Each place of a blob; none, if it has none.
fn any_place(places: Places, blob: u8) -> Vec<Places> {
    let places = places & of_blobs(blob);
    let each = (0..Places::BITS).map(|number| 1 << number).filter(|place| places & place != 0);
    if places == 0 { vec![0] } else { each.collect() }
}
