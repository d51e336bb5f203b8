//! The claim of the push that is under way: the object `push` of the control area. Spec: `docs/mirror.md`.
//!
//! Whoever holds it changes it every 15 seconds. Nobody compares clocks between machines: a claim that somebody else has watched for 45
//! seconds of his own without a change is dead, and may be taken over. Its holder counts from his last change that the store acknowledged,
//! by a clock that goes on while the machine sleeps, and makes sure of the claim before he writes anything 25 seconds later: so
//! two never believe at the same time that it is theirs, as long as one request takes less than 20 seconds. No lock is ever left that somebody
//! has to remove by hand. What the claim cannot do (a request that was on its way for longer) is caught by conditions on the objects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::layout::{PUSH, Places};
use super::root::Pusher;
use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Stop;
use crate::storage::{Attributes, Condition, Patience, Pin, Store};

/// More is no claim.
const CLAIM_MAX: u64 = 16 << 10;

/// How fast claims are kept and given up. All pushers of a mirror must agree.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two changes of a claim.
    pub beat: Duration,
    /// After so long without a change a claim is dead.
    pub dead: Duration,
    /// Time between two looks at somebody else's.
    pub look: Duration,
    /// The holder makes sure after so long without an acknowledged change.
    pub doubt: Duration,
    /// Where the store knows no conditions, a taker waits so long before he looks whose claim it became.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(15),
            dead: Duration::from_secs(45),
            look: Duration::from_secs(5),
            doubt: Duration::from_secs(25),
            settle: Duration::from_secs(3),
        }
    }
}

/// Who wants a claim, and how.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// The pusher, as others will read it.
    pub pusher: Pusher,
    /// The time.
    pub clock: SharedClock,
    /// See there.
    pub pace: Pace,
    /// Whether the store is known to honour conditions on writes. Without them a claim takes some seconds and requests more, and rests on the time
    /// that a write takes to be seen by others.
    pub conditional: bool,
}

/// What the object holds: JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    pusher: Pusher,
    /// By the clock of the pusher's machine, for people.
    since: DateTime<Utc>,
    /// Unlike that of any other claim: no two holders ever write the same bytes.
    nonce: u64,
    /// Counts the changes.
    beat: u64,
    /// The push ended, but not well: what it has begun is to be mended.
    ended: bool,
}

impl Text {
    fn bytes(&self) -> Result<Bytes> {
        let json = serde_json::to_vec(self).map_err(|cause| Error::bug("write the claim").with_source(cause))?;
        Ok(json.into())
    }
}

/// Somebody's claim, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose it is.
    pub pusher: Pusher,
    /// Since when, by the clock of his machine.
    pub since: DateTime<Utc>,
    /// Whether he said that he left something unfinished. If he did not, he may be at work or dead.
    pub is_unfinished: bool,
}

/// Looks who pushes, without waiting whether he is alive. None: nobody.
pub fn look(places: &Places) -> Result<Option<Seen>> {
    let found = places.block(read(&places.control))?;
    Ok(found.and_then(|(text, _)| text).map(|text| Seen {
        pusher: text.pusher,
        since: text.since,
        is_unfinished: text.ended,
    }))
}

/// The claim as it is there. What cannot be read as one is one of nobody known.
async fn read(control: &Store) -> Result<Option<(Option<Text>, Pin)>> {
    match control.get_with_pin(PUSH, CLAIM_MAX).await {
        Ok((bytes, pin)) => Ok(Some((serde_json::from_slice(&bytes).ok(), pin))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The right to publish, until it is given back. Dropped without a word it dies in 45 seconds, and the next push mends.
#[derive(Debug)]
pub struct Claim {
    held: Arc<Held>,
    places: Places,
    beats: JoinHandle<()>,
    found_unfinished: bool,
}

#[derive(Debug)]
struct Held {
    /// Small requests in a lane of their own: a beat must not wait for parts of big files.
    control: Store,
    claimant: Claimant,
    state: Mutex<State>,
    /// When the last acknowledged change was sent, in milliseconds of the clock.
    acknowledged: AtomicU64,
    is_lost: AtomicBool,
}

#[derive(Debug)]
struct State {
    text: Text,
    pin: Pin,
    /// Somebody else has it, or it was given back.
    is_over: bool,
}

impl Claim {
    /// Takes the claim: one request when nobody has it. `Unavailable` when somebody else is at work; one who died is found out in 45 seconds.
    pub fn take(places: &Places, claimant: &Claimant) -> Result<Self> {
        Self::take_unless(places, claimant, &Stop::new())
    }

    /// As [`Claim::take`]; `Interrupted` if it is asked to stop while it waits.
    pub fn take_unless(places: &Places, claimant: &Claimant, stop: &Stop) -> Result<Self> {
        let control = places.control.in_own_lane(patience());
        let mut taker = Taker { control: &control, claimant, stop, unfinished: false };
        let (state, sent) = places.block(taker.take())?;
        let found_unfinished = taker.unfinished;
        let held = Arc::new(Held {
            control,
            claimant: claimant.clone(),
            state: Mutex::new(state),
            acknowledged: AtomicU64::new(sent),
            is_lost: AtomicBool::new(false),
        });
        let beats = places.runtime().spawn(keep(Arc::clone(&held)));
        Ok(Self { held, places: places.clone(), beats, found_unfinished })
    }

    /// Whether the push before this one did not come to its end: what is in the mirror may not be what its root says.
    pub fn found_unfinished(&self) -> bool {
        self.found_unfinished
    }

    /// To be called before every write. `Changed` if the claim was lost; asks the store only when the last change of the claim is old.
    pub fn guard(&self) -> Result<()> {
        if self.held.is_fresh() { Ok(()) } else { self.check() }
    }

    /// As [`Claim::guard`], but the store is asked in any case.
    pub fn check(&self) -> Result<()> {
        self.places.block(self.held.beat())
    }

    /// Gives the claim back after a push that came to its end. A claim that was lost is left alone.
    pub fn release(self) -> Result<()> {
        self.places.block(self.held.release())
    }

    /// Gives the claim back after a push that did not: the next one need not wait, and mends.
    pub fn abandon(self) -> Result<()> {
        self.places.block(self.held.abandon())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

/// A request that is not answered by then is as good as none: the next one has to be in time.
fn patience() -> Patience {
    Patience {
        attempts: 3,
        first_pause: Duration::from_millis(200),
        longest_pause: Duration::from_secs(1),
        total_pause: Duration::from_secs(3),
        answer: Duration::from_secs(5),
        total: Duration::from_secs(8),
        ..Patience::default()
    }
}

/// Changes the claim again and again. A change that fails is tried again sooner; the holder finds out by [`Claim::guard`].
async fn keep(held: Arc<Held>) {
    let pace = held.claimant.pace;
    let mut pause = pace.beat;
    loop {
        tokio::time::sleep(pause).await;
        pause = match held.beat().await {
            Ok(()) => pace.beat,
            Err(error) if error.kind() == ErrorKind::Changed => return,
            Err(_) => pace.beat / 5,
        };
    }
}

impl Held {
    fn now(&self) -> u64 {
        millis(&self.claimant.clock)
    }

    fn is_fresh(&self) -> bool {
        if self.is_lost.load(Ordering::SeqCst) {
            return false;
        }
        let age = self.now().saturating_sub(self.acknowledged.load(Ordering::SeqCst));
        Duration::from_millis(age) < self.claimant.pace.doubt
    }

    /// Changes the claim, if it is still ours.
    async fn beat(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if state.is_over {
            return Err(lost());
        }
        let next = Text { beat: state.text.beat.saturating_add(1), ..state.text.clone() };
        let sent = self.now();
        match self.replace(&state, &next).await {
            Ok(pin) => {
                (state.pin, state.text) = (pin, next);
                self.acknowledged.store(sent, Ordering::SeqCst);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Changed => {
                state.is_over = true;
                self.is_lost.store(true, Ordering::SeqCst);
                Err(lost().with_source(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn replace(&self, state: &State, next: &Text) -> Result<Pin> {
        let bytes = next.bytes()?;
        if self.claimant.conditional {
            return self.control.put_with(PUSH, bytes, &attributes(), Condition::Match(&state.pin)).await;
        }
        self.is_still_ours(state).await?;
        self.control.put_with(PUSH, bytes, &attributes(), Condition::Any).await
    }

    /// `Changed` if somebody else's claim is there. A change of ours whose answer was lost is ours.
    async fn is_still_ours(&self, state: &State) -> Result<()> {
        match self.control.get_if_changed(PUSH, CLAIM_MAX, &state.pin).await {
            Ok(None) => Ok(()),
            Ok(Some((bytes, _))) => match serde_json::from_slice::<Text>(&bytes) {
                Ok(found) if found.nonce == state.text.nonce => Ok(()),
                _ => Err(lost()),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Err(lost()),
            Err(error) => Err(error),
        }
    }

    async fn release(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if std::mem::replace(&mut state.is_over, true) {
            return Ok(());
        }
        // Nobody takes over what has changed so recently. Otherwise somebody else may have it by now.
        if !self.is_fresh() && self.is_still_ours(&state).await.is_err() {
            return Ok(());
        }
        self.control.delete(PUSH).await
    }

    async fn abandon(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if std::mem::replace(&mut state.is_over, true) {
            return Ok(());
        }
        let last = Text { ended: true, beat: state.text.beat.saturating_add(1), ..state.text.clone() };
        match self.replace(&state, &last).await {
            Err(error) if error.kind() == ErrorKind::Changed => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// On the way to a claim.
struct Taker<'a> {
    control: &'a Store,
    claimant: &'a Claimant,
    stop: &'a Stop,
    unfinished: bool,
}

/// Whoever is always a moment late does not wait for ever.
const ROUNDS: u32 = 8;

impl Taker<'_> {
    /// The claim, and when it was sent.
    async fn take(&mut self) -> Result<(State, u64)> {
        let clock = &self.claimant.clock;
        let since = clock.now().to_utc();
        let nonce =
            getrandom::u64().map_err(|cause| Error::new(ErrorKind::Local, "draw a number").with_source(cause))?;
        let text = Text { pusher: self.claimant.pusher.clone(), since, nonce, beat: 0, ended: false };
        let mut there = if self.claimant.conditional { None } else { read(self.control).await? };
        for _ in 0..ROUNDS {
            if let Some((found, pin)) = &there
                && !self.is_free(found.as_ref(), pin).await?
            {
                return Err(busy(found.as_ref()));
            }
            let sent = millis(clock);
            match self.put(&text, there.as_ref().map(|(_, pin)| pin)).await {
                Ok(pin) => {
                    // Even one that could not be read was somebody's.
                    self.unfinished = there.is_some();
                    return Ok((State { text, pin, is_over: false }, sent));
                }
                Err(error) if error.kind() == ErrorKind::Changed => there = read(self.control).await?,
                Err(error) => return Err(error),
            }
        }
        Err(busy(there.and_then(|(found, _)| found).as_ref()))
    }

    async fn put(&self, text: &Text, there: Option<&Pin>) -> Result<Pin> {
        let bytes = text.bytes()?;
        if self.claimant.conditional {
            let condition = there.map_or(Condition::New, Condition::Match);
            return self.control.put_with(PUSH, bytes, &attributes(), condition).await;
        }
        let (clock, settle) = (&self.claimant.clock, self.claimant.pace.settle);
        let sent = clock.elapsed();
        let pin = self.control.put_with(PUSH, bytes, &attributes(), Condition::Any).await?;
        // Whoever saw nobody before this was there has put his own by then, unless his put takes longer than ours did, twice, and the pause.
        tokio::time::sleep(settle + clock.elapsed().saturating_sub(sent) * 2).await;
        match read(self.control).await? {
            Some((Some(found), _)) if found == *text => Ok(pin),
            _ => Err(lost()),
        }
    }

    /// Whether a claim was given up, or does not change while it is watched. A pause counts as two at most, however long it took: a
    /// machine that slept has seen nothing meanwhile.
    async fn is_free(&self, found: Option<&Text>, pin: &Pin) -> Result<bool> {
        // One of the same pusher is not ours either: two runs may have one state.
        if found.is_some_and(|text| text.ended) {
            return Ok(true);
        }
        let (pace, clock) = (&self.claimant.pace, &self.claimant.clock);
        let mut watched = Duration::ZERO;
        while watched < pace.dead {
            if self.stop.requested() {
                return Err(Error::new(ErrorKind::Interrupted, "wait for another push"));
            }
            let before = clock.elapsed();
            tokio::time::sleep(pace.look).await;
            match self.control.get_if_changed(PUSH, CLAIM_MAX, pin).await {
                Ok(None) => {}
                // Given back or given up meanwhile: the next round sees.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
                Ok(Some((bytes, _))) => {
                    let now = serde_json::from_slice::<Text>(&bytes).ok();
                    return Ok(now.is_some_and(|now| now.ended));
                }
                Err(error) => return Err(error),
            }
            watched += clock.elapsed().saturating_sub(before).clamp(Duration::ZERO, pace.look * 2);
        }
        Ok(true)
    }
}

fn attributes() -> Attributes {
    Attributes { content_type: Some("application/json".to_owned()), no_cache: true, ..Attributes::default() }
}

fn millis(clock: &SharedClock) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn lost() -> Error {
    Error::new(ErrorKind::Changed, "another push has taken this mirror over")
        .with_hint("this one stood still for too long; run it again")
}

fn busy(found: Option<&Text>) -> Error {
    let whose = found.map_or_else(
        || "another push is under way".to_owned(),
        |text| {
            let (host, since) = (&text.pusher.host, text.since.format("%Y-%m-%d %H:%M:%S UTC"));
            format!("{host} has been pushing to this mirror since {since}")
        },
    );
    Error::new(ErrorKind::Unavailable, whose).with_hint("it ends by itself: try again later")
}
