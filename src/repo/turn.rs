//! Whose turn it is, of several who make a repository at one place at once. For stores that overlook create-only writes: nothing else keeps the second one from
//! replacing the first one's `config`. Spec: `docs/durability.md`, what is asked of the store.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

use super::repository::Io;
use super::{config, slots};

/// Time between two looks for a repository that somebody else makes at the same time.
const LOOK: Duration = Duration::from_millis(200);
/// Two seconds: what comes between the last look and `config` is two requests.
const LOOKS_A_TURN: usize = 10;
/// More whose turn comes first make nobody wait longer at a time.
const BEFORE_MAX: usize = 20;
/// Times that others are found to have come meanwhile whose turn comes first: each of them has stored one name that is smaller than all of its own before.
const LISTED_MAX: usize = 12;

/// Waits for others who make a repository here at the same time; whether one of them has. The slot of a run that was killed costs one wait.
///
/// Whoever stores a slot later than another sees that one, and who saw nobody need not wait. Of several that see each other one goes on at a time, in the order
/// of the names. Somebody may come while others wait, and have the smallest name: so they look once more before they go on, and wait its turn, too. Who comes
/// after that look waits himself for two seconds at least, and finds `config`. Alone it is one LIST; else one more for each time, and a HEAD for each look.
pub(super) fn give_way(io: &Io, own: &str) -> Result<bool> {
    let mut queue = Queue::new(slots::key(own));
    for _ in 0..LISTED_MAX {
        let listed = io.block(io.store.list(slots::PREFIX))?;
        let looks = queue.looks(listed.into_iter().map(|slot| slot.key));
        if looks == 0 {
            return Ok(false);
        }
        for _ in 0..looks {
            if is_made(io)? {
                return Ok(true);
            }
            // The timer is made where the runtime is known.
            io.block(async { tokio::time::sleep(LOOK).await });
        }
        if is_made(io)? {
            return Ok(true);
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("others begin to make a repository at {} all the time", io.store.location()),
    )
    .with_hint("run it again when they have ended"))
}

fn is_made(io: &Io) -> Result<bool> {
    match io.block(io.store.head(config::KEY)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.within("look whether somebody else has made a repository")),
    }
}

/// Those who were seen.
struct Queue {
    own: String,
    seen: Option<BTreeSet<String>>,
}

impl Queue {
    const fn new(own: String) -> Self {
        Self { own, seen: None }
    }

    /// How often to look, now that these slots are there, before they are listed again; not at all when it is our turn.
    fn looks(&mut self, listed: impl Iterator<Item = String>) -> usize {
        let is_first = self.seen.is_none();
        let seen = self.seen.get_or_insert_default();
        let new: Vec<String> = listed.filter(|key| *key != self.own && !seen.contains(key)).collect();
        let before = new.iter().filter(|key| **key < self.own).count().min(BEFORE_MAX);
        let is_alone = new.is_empty();
        seen.extend(new);
        // One that came later is waited for twice as long, for it may itself wait for one that came still later.
        let turns = if is_first { usize::from(!is_alone) + before } else { 2 * before };
        turns * LOOKS_A_TURN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process does next.
    #[derive(Clone, Copy)]
    enum Op {
        StoreSlot,
        List,
        /// So many looks are left.
        Look(usize),
        Make,
        ReadBack,
    }

    /// Milliseconds between 0 and `most` that follow from these numbers.
    fn draw(numbers: [u64; 3], most: u64) -> u64 {
        let hash = blake3::hash(&numbers.map(u64::to_le_bytes).concat());
        u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()) % (most + 1)
    }

    /// So many inits that begin within so many milliseconds, on a store that overlooks conditions and takes up to 100 ms for a request. Returns whose
    /// `config` stands, and who says that he has made it.
    fn simulate(seed: u64, count: u64, within: u64) -> (Option<String>, Vec<String>) {
        let (mut slots, mut config, mut made) = (BTreeSet::new(), None, Vec::new());
        let name = |who| format!("{:03}-{who}", draw([seed, who, 0], 999));
        let mut queues: Vec<Queue> = (0..count).map(|who| Queue::new(name(who))).collect();
        let mut events: Vec<(u64, u64, Op)> =
            (0..count).map(|who| (draw([seed, who, 1], within), who, Op::StoreSlot)).collect();
        let mut drawn = 1;
        while let Some(at) = (0..events.len()).min_by_key(|at| (events[*at].0, events[*at].1)) {
            let (now, who, op) = events.swap_remove(at);
            let own = name(who);
            let queue = &mut queues[usize::try_from(who).unwrap()];
            let step = u64::try_from(LOOK.as_millis()).unwrap();
            let (wait, next) = match op {
                Op::StoreSlot => {
                    slots.insert(own);
                    (0, Some(Op::List))
                }
                Op::List => match queue.looks(slots.iter().cloned()) {
                    0 => (0, Some(Op::Make)),
                    looks => (0, Some(Op::Look(looks))),
                },
                Op::Look(_) if config.is_some() => {
                    slots.remove(&own);
                    (0, None)
                }
                Op::Look(0) => (0, Some(Op::List)),
                Op::Look(left) => (step, Some(Op::Look(left - 1))),
                Op::Make => {
                    config = Some(own);
                    (0, Some(Op::ReadBack))
                }
                Op::ReadBack => {
                    made.extend(config.clone().filter(|config| *config == own));
                    (0, None)
                }
            };
            drawn += 1;
            events.extend(next.map(|next| (now + wait + 1 + draw([seed, who, drawn], 99), who, next)));
        }
        (config, made)
    }

    #[test]
    fn of_many_inits_at_once_on_a_store_that_overlooks_conditions_one_makes_the_repository() {
        for (count, within) in [(2, 50), (3, 50), (3, 2500), (5, 200), (10, 50), (10, 200), (10, 6000), (30, 1000)] {
            for seed in 0..300 {
                let (config, made) = simulate(seed, count, within);
                assert_eq!(made, Vec::from_iter(config), "seed {seed}: {count} within {within} ms");
            }
        }
    }

    #[test]
    fn who_is_alone_does_not_wait_and_the_slot_of_a_run_that_was_killed_is_waited_for_once() {
        let slots = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter();
        let mut queue = Queue::new("b".to_owned());
        assert_eq!(queue.looks(slots(&["b"])), 0);
        let mut queue = Queue::new("b".to_owned());
        assert_eq!(queue.looks(slots(&["a", "b", "c"])), 2 * LOOKS_A_TURN);
        assert_eq!(queue.looks(slots(&["a", "b", "c", "d"])), 0);
    }
}
