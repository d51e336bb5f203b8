//! Waiting for answers in a run that may be told to stop.

use std::time::Duration;

use crate::events::Stop;

/// Between two looks whether to stop.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Waits for something; none if the user asks to stop meanwhile.
pub(super) async fn unless_stopped<T>(stop: &Stop, mut future: impl Future<Output = T> + Unpin) -> Option<T> {
    loop {
        match tokio::time::timeout(LOOK, &mut future).await {
            Ok(done) => return Some(done),
            Err(_) if stop.was_requested() => return None,
            Err(_) => {}
        }
    }
}
