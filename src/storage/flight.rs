//! How many requests are in flight: as many as the store bears.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on requests in flight. Until the store says for the first time that it is overloaded, or stops answering, the limit doubles in a round trip,
/// as far as it is used: it grows by one with each good answer that comes while all places are taken. By one a round, as after that, it takes two
/// thousand requests from 8 to 64, and 56 round trips. An overload halves it.
#[derive(Debug)]
pub(super) struct Flight {
    permits: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    most: usize,
    /// Permits to take away as soon as they come back.
    owed: usize,
    /// Good answers since the limit changed.
    good: usize,
    /// The store has never said that it is overloaded.
    is_opening: bool,
    /// Counts the halvings. A refusal of a request that was sent before the last halving says nothing new.
    epoch: u64,
}

/// What an answer says about the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// The store answered as it should, be it with an error.
    Fine,
    /// The store refused for overload, or did not answer.
    TooMuch,
}

/// A place in flight. Dropping it (a cancelled request) gives it back and says nothing about the load.
#[derive(Debug)]
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    epoch: u64,
    permits: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

impl Flight {
    /// Starts with `first` places and never has more than `most`.
    pub(super) fn new(first: usize, most: usize) -> Self {
        let most = most.max(1);
        let limit = first.clamp(1, most);
        let state = State { limit, most, owed: 0, good: 0, is_opening: true, epoch: 0 };
        Self { permits: Arc::new(Semaphore::new(limit)), state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a place, in turn.
    pub(super) async fn enter(&self) -> Place {
        // The semaphore is never closed; without a permit the request goes out all the same.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let epoch = lock(&self.state).epoch;
        Place { permit, epoch, permits: Arc::clone(&self.permits), state: Arc::clone(&self.state) }
    }

    #[cfg(test)]
    fn limit(&self) -> usize {
        lock(&self.state).limit
    }
}

impl Place {
    /// Gives the place back, with what the answer said about the load.
    pub(super) fn leave(self, load: Load) {
        let mut state = lock(&self.state);
        match load {
            Load::Fine => {
                state.good += 1;
                // This place is given back only after this.
                let is_due = state.good >= state.limit || state.is_opening && self.permits.available_permits() == 0;
                if is_due && state.limit < state.most {
                    state.limit += 1;
                    state.good = 0;
                    if state.owed > 0 {
                        state.owed -= 1;
                    } else {
                        self.permits.add_permits(1);
                    }
                }
            }
            Load::TooMuch if self.epoch == state.epoch => {
                let half = (state.limit / 2).max(1);
                state.owed += state.limit - half;
                state.limit = half;
                state.good = 0;
                state.is_opening = false;
                state.epoch += 1;
            }
            Load::TooMuch => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.owed > 0
            && let Some(permit) = self.permit.take()
        {
            state.owed -= 1;
            permit.forget();
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::stream::{FuturesUnordered, StreamExt};
    use tokio::task::unconstrained;

    use super::*;

    #[tokio::test]
    async fn the_limit_grows_by_one_a_round_and_is_halved_once_per_overload() {
        let flight = Flight::new(4, 6);
        for _ in 0..4 {
            flight.enter().await.leave(Load::Fine);
        }
        assert_eq!(flight.limit(), 5);
        let mut places = Vec::new();
        for _ in 0..5 {
            places.push(flight.enter().await);
        }
        for place in places {
            place.leave(Load::TooMuch);
        }
        assert_eq!(flight.limit(), 2, "five refusals of one round are one overload");
        assert_eq!(flight.permits.available_permits(), 2);
        for _ in 0..100 {
            flight.enter().await.leave(Load::Fine);
        }
        assert_eq!((flight.limit(), flight.permits.available_permits()), (6, 6), "never above the most");
        for _ in 0..10 {
            flight.enter().await.leave(Load::TooMuch);
        }
        assert_eq!((flight.limit(), flight.permits.available_permits()), (1, 1), "one request may always go");
    }

    #[tokio::test]
    async fn the_limit_doubles_in_a_round_until_the_first_overload() {
        let flight = Flight::new(8, 64);
        let mut waiting: FuturesUnordered<_> = (0..400).map(|_| unconstrained(flight.enter())).collect();
        let mut round = async |count: usize, load: Load| {
            assert_eq!(flight.limit(), count);
            let places: Vec<Place> = waiting.by_ref().take(count).collect().await;
            assert!(waiting.next().now_or_never().is_none(), "all others wait");
            for place in places {
                place.leave(load);
            }
        };
        for limit in [8, 16, 32, 64] {
            round(limit, Load::Fine).await;
        }
        round(64, Load::TooMuch).await;
        round(32, Load::Fine).await;
        round(33, Load::Fine).await;
        assert_eq!(flight.limit(), 34, "by one a round after it");
    }

    #[tokio::test]
    async fn places_that_nobody_takes_do_not_double() {
        let flight = Flight::new(8, 64);
        for _ in 0..7 {
            flight.enter().await.leave(Load::Fine);
        }
        assert_eq!(flight.limit(), 8);
    }

    #[tokio::test]
    async fn a_cancelled_request_gives_its_place_back() {
        let flight = Flight::new(1, 1);
        drop(flight.enter().await);
        flight.enter().await.leave(Load::Fine);
        assert_eq!(flight.permits.available_permits(), 1);
    }
}
