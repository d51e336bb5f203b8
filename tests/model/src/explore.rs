//! Explores worlds that are too large for stateright, which keeps with every state that waits the whole way to it: depth first, some five times as fast, and with eight
//! bytes for each state that was seen (some twelve with the room that the tables need).
//!
//! Of states that are [the same but for what nobody looks at any more](State::normal) and [for names](State::fingerprint) one is explored; [`compare`] shows that
//! they are the same. Of a state only a fingerprint of 64 bits is kept, the least of up to eight: that of n states any two have the same has a chance of at most
//! 4.3 n²/2⁶⁵, which is 1 in 10,000 for 28 millions; only then might a state be left out that was not seen.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::protocol::{Setup, State};

/// What is to be found out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Whether something is lost in any state, exploring one of each kind.
    IsLost,
    /// Whether states that are taken for the same are, in every single one.
    IsSame,
}

/// What exploring a world showed.
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) depth: usize,
    pub(crate) is_complete: bool,
    /// The steps that lead to a loss, or to a state that was wrongly taken for another.
    pub(crate) found: Option<Vec<String>>,
    pub(crate) took: Duration,
}

/// Fingerprints, in tables of their own by their first bits, so that threads seldom wait for each other.
struct Known {
    tables: Vec<Mutex<Table>>,
}

const TABLES: usize = 1 << 12;

/// Fingerprints by open addressing; 0 is an empty place.
struct Table {
    places: Vec<u64>,
    used: usize,
}

impl Table {
    /// Whether it was not there.
    fn insert(&mut self, fingerprint: u64) -> bool {
        if self.used * 8 > self.places.len() * 7 {
            let more = vec![0; self.places.len() * 3 / 2];
            for old in std::mem::replace(&mut self.places, more) {
                if old != 0 {
                    put(&mut self.places, old);
                }
            }
        }
        let is_new = put(&mut self.places, fingerprint);
        self.used += usize::from(is_new);
        is_new
    }
}

fn put(places: &mut [u64], fingerprint: u64) -> bool {
    // The tables took the first twelve bits.
    let spread = (u128::from(fingerprint << 12) * places.len() as u128) >> 64;
    let mut at = usize::try_from(spread).unwrap_or(0);
    loop {
        match places[at] {
            0 => {
                places[at] = fingerprint;
                return true;
            }
            here if here == fingerprint => return false,
            _ => at = if at + 1 == places.len() { 0 } else { at + 1 },
        }
    }
}

impl Known {
    fn new() -> Self {
        let tables = (0..TABLES).map(|_| Mutex::new(Table { places: vec![0; 64], used: 0 })).collect();
        Self { tables }
    }

    fn insert(&self, fingerprint: u64) -> bool {
        let fingerprint = fingerprint.max(1);
        let table = usize::try_from(fingerprint >> 52).unwrap_or(0);
        locked(&self.tables[table]).insert(fingerprint)
    }

    fn count(&self) -> usize {
        self.tables.iter().map(|table| locked(table).used).sum()
    }
}

/// A state to go on from.
struct Frame {
    state: State,
    depth: usize,
}

/// What threads share.
struct Shared<'a> {
    setup: &'a Setup,
    question: Question,
    known: Known,
    /// States that wait for a thread, each after those that led to it.
    open: Mutex<VecDeque<Vec<State>>>,
    /// Threads that have none to go on from.
    idle: AtomicUsize,
    stop: AtomicBool,
    deadline: Instant,
    is_cut: AtomicBool,
    depth: AtomicUsize,
    /// The states that lead to what was looked for.
    found: Mutex<Option<Vec<State>>>,
}

const THREADS: usize = 2;

/// Looks for a loss as far as the time goes.
pub(crate) fn explore(setup: &Setup, limit: Duration) -> Explored {
    answer(setup, Question::IsLost, limit)
}

/// Looks in every state, none left out, whether those that are taken for the same are.
pub(crate) fn compare(setup: &Setup) -> Explored {
    answer(setup, Question::IsSame, Duration::from_mins(30))
}

/// As [`compare`], in the states on so many ways from the beginning to an end, which are chosen at random, but always the same. How many states these were, and
/// the first that differs.
pub(crate) fn compare_on_the_way(setup: &Setup, ways: usize) -> (usize, Option<State>) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut states = 0;
    for _ in 0..ways {
        let mut state = setup.start();
        loop {
            states += 1;
            if setup.difference(&state).is_some() {
                return (states, Some(state));
            }
            let moves = setup.moves(&state);
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let chosen = (u128::from(random) * moves.len() as u128) >> 64;
            let Some(step) = moves.get(usize::try_from(chosen).unwrap_or(0)) else { break };
            state = step.next;
        }
    }
    (states, None)
}

fn answer(setup: &Setup, question: Question, limit: Duration) -> Explored {
    let started = Instant::now();
    let start = setup.start();
    let shared = Shared {
        setup,
        question,
        known: Known::new(),
        open: Mutex::new(VecDeque::from([vec![start]])),
        idle: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        deadline: started + limit,
        is_cut: AtomicBool::new(false),
        depth: AtomicUsize::new(0),
        found: Mutex::new(None),
    };
    shared.known.insert(shared.fingerprint(&start));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| shared.work());
        }
    });
    let found = locked(&shared.found).take();
    Explored {
        states: shared.known.count(),
        depth: shared.depth.load(Ordering::Relaxed),
        is_complete: !shared.is_cut.load(Ordering::Relaxed),
        found: found.map(|states| shared.steps(&states)),
        took: started.elapsed(),
    }
}

impl Shared<'_> {
    /// A thread: takes what is open, until nothing is, and nobody has anything from which more might come.
    fn work(&self) {
        self.idle.fetch_add(1, Ordering::SeqCst);
        while !self.stop.load(Ordering::Relaxed) {
            let mut open = locked(&self.open);
            let next = open.pop_front();
            if next.is_none() && self.idle.load(Ordering::SeqCst) == THREADS {
                return;
            }
            self.idle.fetch_sub(usize::from(next.is_some()), Ordering::SeqCst);
            drop(open);
            if let Some(path) = next {
                self.go_on(path);
                self.idle.fetch_add(1, Ordering::SeqCst);
            }
            thread::yield_now();
        }
    }

    /// Explores what comes after the last state of this path, but for what is handed to threads that have nothing to do.
    fn go_on(&self, mut path: Vec<State>) {
        let Some(state) = path.pop() else { return };
        let mut stack = vec![Frame { state, depth: path.len() }];
        let (mut count, mut deepest) = (0_usize, 0);
        while let Some(Frame { state, depth }) = stack.pop() {
            path.truncate(depth);
            path.push(state);
            deepest = deepest.max(depth);
            if self.is_found(&state) {
                *locked(&self.found) = Some(path);
                self.stop.store(true, Ordering::Relaxed);
                break;
            }
            for step in self.setup.moves(&state) {
                let state = self.kept(&step.next);
                if self.known.insert(self.fingerprint(&state)) {
                    stack.push(Frame { state, depth: depth + 1 });
                }
            }
            count += 1;
            if count.is_multiple_of(1 << 10) {
                self.share(&mut stack, &path);
                if Instant::now() >= self.deadline {
                    self.is_cut.store(true, Ordering::Relaxed);
                    self.stop.store(true, Ordering::Relaxed);
                }
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        self.depth.fetch_max(deepest, Ordering::Relaxed);
    }

    fn is_found(&self, state: &State) -> bool {
        match self.question {
            Question::IsLost => !self.setup.reported_is_there(state) || !self.setup.unmarked_is_whole(state),
            Question::IsSame => self.setup.difference(state).is_some(),
        }
    }

    fn kept(&self, state: &State) -> State {
        if self.question == Question::IsLost { state.normal(self.setup) } else { *state }
    }

    fn fingerprint(&self, state: &State) -> u64 {
        if self.question == Question::IsLost { state.fingerprint(self.setup) } else { state.hashed() }
    }

    /// Hands the state at the bottom of the stack, from which most is to come, to a thread that has none.
    fn share(&self, stack: &mut Vec<Frame>, path: &[State]) {
        if self.idle.load(Ordering::Relaxed) == 0 || stack.len() < 2 {
            return;
        }
        let Frame { state, depth } = stack.remove(0);
        let mut path = path.get(..depth).unwrap_or(path).to_vec();
        path.push(state);
        locked(&self.open).push_back(path);
    }

    fn steps(&self, states: &[State]) -> Vec<String> {
        let step = |pair: &[State]| {
            let [before, after] = pair else { return None };
            let moves = self.setup.moves(before);
            moves.iter().find(|step| self.kept(&step.next) == *after).map(|step| format!("{step:?}"))
        };
        states.windows(2).filter_map(step).collect()
    }
}

/// A thread that panicked ends the whole run, so that what it left is never looked at.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
