//! How many requests at once. It starts with as many as a healthy API server takes from one client, adds one for each round
//! that went well, and halves when the server says that it is too much.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Many answers at once say "too much" for one and the same reason: it counts once.
const HALVE_EVERY: Duration = Duration::from_millis(250);

/// A number of places that adapts.
#[derive(Debug)]
pub(crate) struct Limit {
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Places that are in use and have to go once they are free.
    owed: usize,
    /// Answers that went well since the last change.
    well: usize,
    halved: Option<Instant>,
    least: usize,
    most: usize,
}

/// How a request went, as far as the limit is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feedback {
    Well,
    /// The server says that it has too much to do, or was too slow.
    TooMuch,
    /// It says nothing about the server.
    Unclear,
}

impl Limit {
    pub(crate) fn new(start: usize, least: usize, most: usize) -> Self {
        let state = State { limit: start, owed: 0, well: 0, halved: None, least, most };
        Self { places: Arc::new(Semaphore::new(start)), state: Mutex::new(state) }
    }

    /// Waits for a place. It is given back by [`Self::leave`], or when dropped.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Gives a place back, and learns.
    pub(crate) fn leave(&self, place: Option<OwnedSemaphorePermit>, went: Feedback) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match went {
            Feedback::Well => {
                state.well += 1;
                if state.well >= state.limit && state.limit < state.most {
                    state.well = 0;
                    state.limit += 1;
                    if state.owed > 0 { state.owed -= 1 } else { self.places.add_permits(1) }
                }
            }
            Feedback::TooMuch if state.halved.is_none_or(|when| when.elapsed() >= HALVE_EVERY) => {
                let limit = (state.limit / 2).max(state.least);
                state.owed += state.limit - limit;
                (state.limit, state.well, state.halved) = (limit, 0, Some(Instant::now()));
            }
            Feedback::TooMuch | Feedback::Unclear => {}
        }
        if let (Some(place), true) = (place, state.owed > 0) {
            state.owed -= 1;
            place.forget();
        }
        state.owed -= self.places.forget_permits(state.owed);
    }

    /// As of now.
    #[cfg(test)]
    fn now(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_grows_slowly_shrinks_fast_and_never_below_the_least() {
        let limit = Limit::new(8, 2, 10);
        for _ in 0..100 {
            let place = limit.enter().await;
            limit.leave(place, Feedback::Well);
        }
        assert_eq!(limit.now(), 10, "never above the most");
        let held = [limit.enter().await, limit.enter().await, limit.enter().await];
        let place = limit.enter().await;
        limit.leave(place, Feedback::TooMuch);
        assert_eq!(limit.now(), 5);
        for place in held {
            limit.leave(place, Feedback::TooMuch);
        }
        assert_eq!(limit.now(), 5, "several answers of one moment count once");
        assert_eq!(limit.places.available_permits(), 5);
        for _ in 0..5 {
            tokio::time::sleep(HALVE_EVERY).await;
            let place = limit.enter().await;
            limit.leave(place, Feedback::TooMuch);
        }
        assert_eq!((limit.now(), limit.places.available_permits()), (2, 2));
    }

    #[tokio::test]
    async fn places_in_use_that_are_too_many_go_when_they_are_free() {
        let limit = Limit::new(4, 1, 4);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(limit.enter().await);
        }
        limit.leave(held.pop().flatten(), Feedback::TooMuch);
        limit.leave(held.pop().flatten(), Feedback::Unclear);
        assert_eq!(limit.places.available_permits(), 0, "two are in use, and that is the limit");
        limit.leave(held.pop().flatten(), Feedback::Well);
        assert_eq!(limit.places.available_permits(), 1);
    }
}
