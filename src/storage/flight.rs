//! How many requests are in flight: as many as the store bears.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on requests in flight that grows by one after a round of good answers and is halved when
/// the store says that it is overloaded, or stops answering.
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
        let state = State { limit, most, owed: 0, good: 0, epoch: 0 };
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
                if state.good >= state.limit && state.limit < state.most {
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
    async fn a_cancelled_request_gives_its_place_back() {
        let flight = Flight::new(1, 1);
        drop(flight.enter().await);
        flight.enter().await.leave(Load::Fine);
        assert_eq!(flight.permits.available_permits(), 1);
    }
}
