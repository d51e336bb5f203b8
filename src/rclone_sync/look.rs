//! Looks at a mirror and changes nothing in it: its generations, who pushed them, and what they hold.

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};

use super::claim::{self, Seen};
use super::layout::{Places, ROOT, root_key};
use super::root::{ROOT_MAX, Root};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::storage::Abilities;

/// Roots that are read at once.
const ROOTS_AT_ONCE: usize = 8;

/// One generation in a list.
#[derive(Debug)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// When the store got its root, by the store's clock.
    pub stored: DateTime<Utc>,
    /// Its root, or why it cannot be read.
    pub root: Result<Root>,
}

/// The generations that a mirror has a record of, newest first.
#[derive(Debug)]
pub struct Generations {
    /// The one that pulls get.
    pub newest: u64,
    /// The newest ones, as many as were asked for.
    pub listed: Vec<Generation>,
    /// How many older ones there are.
    pub older: usize,
}

/// How a mirror is.
#[derive(Debug)]
pub struct Status {
    /// Its newest generation.
    pub root: Root,
    /// The push that is under way, or that did not come to its end.
    pub claim: Option<Seen>,
    /// What the store can do, or why that cannot be found out: a reader may not write the object that shows it.
    pub abilities: Result<Abilities>,
}

/// Looks at the newest root, the claim, and what the store can do: about ten requests, some of which write and remove the scratch object
/// `probe` in the control area.
///
/// # Errors
/// `NotFound` when there is no mirror.
pub fn status(places: &Places, probe: &str) -> Result<Status> {
    let root = root(places, None)?;
    let claim = claim::look(places)?;
    let abilities = places.block(places.control.mirror_abilities(probe));
    Ok(Status { root, claim, abilities })
}

/// The newest root of the mirror, or that of a generation. One request for the newest one, two for another.
///
/// # Errors
/// `NotFound` when there is no mirror, or no record of that generation.
pub fn root(places: &Places, generation: Option<u64>) -> Result<Root> {
    let location = places.data.location();
    let newest = match places.block(places.control.get(ROOT, ROOT_MAX)) {
        Ok(text) => Root::decode(&text).attempt(|| format!("read the root of the mirror at {location}"))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no mirror at {location}"))
                .with_hint("make one with `volvault mirror push`"));
        }
        Err(error) => return Err(error),
    };
    match generation.filter(|wanted| *wanted != newest.generation) {
        None => Ok(newest),
        Some(wanted) => older(places, wanted).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!(
                    "the mirror at {location} has no record of generation {wanted}; its newest one is {}",
                    newest.generation
                ),
            )
            .with_hint("`volvault mirror generations` lists them"),
            _ => error,
        }),
    }
}

fn older(places: &Places, generation: u64) -> Result<Root> {
    let said = || format!("read the root of generation {generation} of the mirror at {}", places.data.location());
    let text = places.block(places.control.get(&root_key(generation), ROOT_MAX)).attempt(said)?;
    checked(&text, generation).attempt(said)
}

fn checked(text: &[u8], generation: u64) -> Result<Root> {
    let root = Root::decode(text)?;
    if root.generation == generation {
        return Ok(root);
    }
    Err(Error::corrupt(format!("it is the root of generation {}", root.generation)))
}

/// The generations of the mirror: one listing, and a request for each of the `most` newest.
///
/// # Errors
/// `NotFound` when there is no mirror.
pub fn generations(places: &Places, most: usize) -> Result<Generations> {
    let newest = root(places, None)?.generation;
    let mut numbers: Vec<(u64, DateTime<Utc>)> = places
        .block(places.control.list("roots/"))?
        .into_iter()
        .filter_map(|listed| {
            let number = listed.key.strip_prefix("roots/")?.parse().ok()?;
            // Of an adopt that did not come to pass, or of a mirror that was here before.
            (number <= newest).then_some((number, listed.modified))
        })
        .collect();
    numbers.sort_unstable_by(|left, right| right.cmp(left));
    let older = numbers.split_off(most.min(numbers.len())).len();
    let listed = places.block(async {
        let reads = numbers.into_iter().map(|(number, stored)| async move {
            let text = places.control.get(&root_key(number), ROOT_MAX).await;
            Generation { number, stored, root: text.and_then(|text| checked(&text, number)) }
        });
        stream::iter(reads).buffered(ROOTS_AT_ONCE).collect().await
    });
    Ok(Generations { newest, listed, older })
}
