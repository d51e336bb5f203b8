//! Explores the prune protocol of volvault.
//!
//! `cargo run --release` takes some two minutes on two cores. Every shortcut must lose data, and every small world must not: stateright says so, state by state.
//! The larger worlds are explored by [`explore`], which takes states for one that differ in nothing that matters. That it may is shown in every state of all the small
//! worlds, on ways through the large ones, and by finding the same in the small ones as stateright. Large worlds are explored for ten seconds each;
//! `cargo run --release -- 3600` gives each of them an hour, in which all but the last two come to their end.

#![expect(clippy::disallowed_methods, reason = "it says how long it took")]

mod explore;
mod protocol;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use explore::Explored;
use protocol::{Move, Setup, Size, State, World, lossy, safe};
use stateright::{Checker, HasDiscoveries, Model, Property};

/// A world as stateright sees it.
struct Protocol(Setup);

impl Model for Protocol {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        vec![self.0.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Move>) {
        actions.extend(self.0.moves(state));
    }

    fn next_state(&self, _: &State, action: Move) -> Option<State> {
        Some(action.next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what was reported is there", |world: &Self, state: &State| {
                world.0.reported_is_there(state)
            }),
            Property::always("what is listed and not marked is whole", |world: &Self, state: &State| {
                world.0.unmarked_is_whole(state)
            }),
        ]
    }
}

/// What stateright finds; with one thread by the shortest way.
fn by_stateright(world: &World, threads: usize) -> Explored {
    let started = Instant::now();
    let checker = Protocol(world.setup.clone()).checker().threads(threads);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let ways = checker.discoveries().into_values().map(stateright::Path::into_actions);
    let shortest = ways.min_by_key(Vec::len);
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        is_complete: true,
        found: shortest.map(|moves| moves.iter().map(|step| format!("{step:?}")).collect()),
        took: started.elapsed(),
    }
}

fn show(name: &str, explored: &Explored, verdict: &str) {
    let took = explored.took.as_secs_f32();
    println!("{name:66} {:>11} states {:>3} deep {took:>7.1} s  {verdict}", explored.states, explored.depth);
}

fn show_steps(explored: &Explored) {
    explored.found.iter().flatten().for_each(|step| println!("      {step}"));
}

/// Whether a world in which part of the protocol is left out loses data, and does so too if states are taken for one.
fn loses(world: &World, with_steps: bool) -> bool {
    let stateright = by_stateright(world, 1);
    let compared = explore::compare(&world.setup);
    let fewer = explore::explore(&world.setup, Duration::from_mins(30));
    let verdict = match (&stateright.found, &fewer.found) {
        (Some(steps), Some(_)) => format!("after {} steps; compared in {}", steps.len(), compared.states),
        (None, _) => "LOSES NOTHING".to_owned(),
        (_, None) => "LOSES NOTHING WHERE STATES ARE TAKEN FOR ONE".to_owned(),
    };
    let verdict = if compared.found.is_none() { verdict } else { "NOT THE SAME, BUT TAKEN FOR ONE".to_owned() };
    show(&world.name, &stateright, &verdict);
    if with_steps {
        show_steps(&stateright);
    }
    show_steps(&compared);
    verdict.starts_with("after")
}

/// Whether a small world loses nothing, and states that are taken for one are the same in every state that there is.
fn is_safe(world: &World) -> bool {
    let stateright = by_stateright(world, 2);
    let compared = explore::compare(&world.setup);
    let fewer = explore::explore(&world.setup, Duration::from_mins(30));
    let verdict = match (&stateright.found, &compared.found, &fewer.found) {
        (None, None, None) if stateright.states == compared.states => {
            format!("all explored; {} that differ", fewer.states)
        }
        (None, None, None) => format!("COUNTED {} STATES", compared.states),
        (None, Some(_), _) => "NOT THE SAME, BUT TAKEN FOR ONE".to_owned(),
        _ => "FAILS".to_owned(),
    };
    show(&world.name, &stateright, &verdict);
    [&stateright, &compared, &fewer].into_iter().for_each(show_steps);
    verdict.starts_with("all")
}

/// Whether a large world loses nothing as far as the time goes.
fn is_safe_so_far(world: &World, limit: Duration) -> bool {
    const WAYS: usize = 1_000;
    let (compared, differs) = explore::compare_on_the_way(&world.setup, WAYS);
    let fewer = explore::explore(&world.setup, limit);
    let verdict = match (&fewer.found, differs) {
        (Some(_), _) => "FAILS".to_owned(),
        (None, Some(state)) => format!("NOT THE SAME, BUT TAKEN FOR ONE: {state:?}"),
        (None, None) if fewer.is_complete => format!("all explored; compared in {compared}"),
        (None, None) => format!("explored so far; compared in {compared}"),
    };
    show(&world.name, &fewer, &verdict);
    show_steps(&fewer);
    fewer.found.is_none() && differs.is_none()
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let limit = Duration::from_secs(arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10));
    let only = arguments.next().unwrap_or_default();
    let mut is_good = true;
    println!("Left out: loses data");
    for world in lossy().iter().filter(|world| world.name.contains(&only)) {
        is_good &= loses(world, !only.is_empty());
    }
    println!("\nThe protocol: loses nothing");
    for world in safe().iter().filter(|world| world.name.contains(&only)) {
        let is_limited = matches!(world.size, Size::Large | Size::Endless);
        is_good &= if is_limited { is_safe_so_far(world, limit) } else { is_safe(world) };
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
