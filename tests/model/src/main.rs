//! Explores the prune protocol of volvault with stateright.
//!
//! `cargo run --release` takes about three minutes on two cores: every shortcut must lose data, every small world must not, all of it explored, and the larger
//! ones are explored depth first for ten seconds each. `cargo run --release -- 1800` gives each of those half an hour, in which those with two backups, two prunes
//! and repacking come to their end.

#![expect(clippy::disallowed_methods, reason = "it says how long it took")]

mod protocol;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use protocol::{Move, Setup, Size, State, World, lossy, safe};
use stateright::{Checker, HasDiscoveries, Model, Property};

/// A world as stateright sees it.
struct Explored(Setup);

impl Model for Explored {
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

/// What exploring a world showed.
struct Outcome {
    states: usize,
    depth: usize,
    /// The property that fails, and the steps that lead there.
    failed: Option<(&'static str, Vec<Move>)>,
    is_complete: bool,
    took: Duration,
}

fn explore(world: &World, limit: Duration) -> Outcome {
    let started = Instant::now();
    let checker =
        Explored(world.setup.clone()).checker().threads(2).finish_when(HasDiscoveries::AnyFailures).timeout(limit);
    let alike: fn(&State) -> State = |state| state.representative(true);
    let different: fn(&State) -> State = |state| state.representative(false);
    let checker = checker.symmetry_fn(if world.setup.writers_alike() { alike } else { different });
    let checker = checker.spawn_dfs().join();
    let failed = checker.discoveries().into_iter().next().map(|(name, path)| (name, path.into_actions()));
    let took = started.elapsed();
    Outcome {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        failed,
        is_complete: took < limit,
        took,
    }
}

/// The shortest way to lose data.
fn shortest(world: &World) -> Outcome {
    let started = Instant::now();
    let checker = Explored(world.setup.clone()).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let failed = checker
        .discoveries()
        .into_iter()
        .map(|(name, path)| (name, path.into_actions()))
        .min_by_key(|(_, moves)| moves.len());
    Outcome {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        failed,
        is_complete: true,
        took: started.elapsed(),
    }
}

fn show(name: &str, outcome: &Outcome, verdict: &str) {
    let took = outcome.took.as_secs_f32();
    println!("{name:58} {:>11} states {:>3} deep {took:>7.1} s  {verdict}", outcome.states, outcome.depth);
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let limit = Duration::from_secs(arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10));
    let only = arguments.next().unwrap_or_default();
    let mut is_good = true;
    println!("Left out: loses data");
    for world in lossy().iter().filter(|world| world.name.contains(&only)) {
        let outcome = shortest(world);
        let verdict = outcome
            .failed
            .as_ref()
            .map_or_else(|| "LOSES NOTHING".to_owned(), |(_, moves)| format!("after {} steps", moves.len()));
        is_good &= outcome.failed.is_some();
        show(&world.name, &outcome, &verdict);
        if !only.is_empty() {
            outcome.failed.iter().flat_map(|(_, moves)| moves).for_each(|step| println!("      {step:?}"));
        }
    }
    println!("\nThe protocol: loses nothing");
    for world in safe().iter().filter(|world| world.name.contains(&only)) {
        let is_limited = matches!(world.size, Size::Large | Size::Endless);
        let limit = if is_limited { limit } else { Duration::from_mins(30) };
        let outcome = explore(world, limit);
        let verdict = match (&outcome.failed, outcome.is_complete) {
            (Some((name, _)), _) => format!("FAILS: {name}"),
            (None, true) => "all explored".to_owned(),
            (None, false) => "explored so far".to_owned(),
        };
        is_good &= outcome.failed.is_none();
        show(&world.name, &outcome, &verdict);
        outcome.failed.iter().flat_map(|(_, moves)| moves).for_each(|step| println!("      {step:?}"));
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
