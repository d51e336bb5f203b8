//! The prune protocol, explored in small worlds: each part of it that is left out loses data, and all of it together does not. The larger worlds are
//! those of `tests/model`.

use std::collections::{HashMap, HashSet, VecDeque};

#[path = "../model/src/protocol/mod.rs"]
mod steps;

use steps::{Size, State, World, lossy, safe};

/// The shortest way to a state in which something is lost, and how many states there are.
fn explore(world: &World) -> (usize, Option<Vec<String>>) {
    let setup = &world.setup;
    let mut known: HashMap<State, (Option<State>, String)> = HashMap::new();
    let mut left = VecDeque::from([setup.start()]);
    known.insert(setup.start(), (None, String::new()));
    while let Some(state) = left.pop_front() {
        if !setup.reported_is_there(&state) || !setup.unmarked_is_whole(&state) {
            let mut steps = Vec::new();
            let mut at = state;
            while let Some((Some(before), step)) = known.get(&at) {
                steps.push(step.clone());
                at = *before;
            }
            steps.reverse();
            return (known.len(), Some(steps));
        }
        for step in setup.moves(&state) {
            let next = step.next.normal(setup);
            known.entry(next).or_insert_with(|| {
                left.push_back(next);
                (Some(state), format!("{step:?}"))
            });
        }
    }
    (known.len(), None)
}

#[test]
fn every_part_that_is_left_out_of_the_protocol_loses_data() {
    let worlds: Vec<World> = lossy().into_iter().filter(|world| world.size == Size::Tiny).collect();
    assert!(worlds.len() > 15);
    for world in worlds {
        let (states, lost) = explore(&world);
        assert!(lost.is_some(), "{} loses nothing in {states} states", world.name);
    }
}

#[test]
fn the_whole_protocol_loses_nothing_in_small_worlds() {
    for world in safe().into_iter().filter(|world| world.size == Size::Tiny) {
        let (states, lost) = explore(&world);
        assert!(lost.is_none(), "{}: {:#?}", world.name, lost);
        assert!(states > 300, "{}: {states} states", world.name);
    }
}

#[test]
fn states_of_the_protocol_that_are_taken_for_one_are_the_same() {
    for world in safe().into_iter().filter(|world| world.size == Size::Tiny) {
        let setup = &world.setup;
        let mut known = HashSet::from([setup.start()]);
        let mut left = vec![setup.start()];
        while let Some(state) = left.pop() {
            assert!(setup.difference(&state).is_none(), "{}: {state:#?}", world.name);
            left.extend(setup.moves(&state).into_iter().map(|step| step.next).filter(|next| known.insert(*next)));
        }
        assert!(known.len() > 600, "{}: {} states", world.name, known.len());
    }
}
