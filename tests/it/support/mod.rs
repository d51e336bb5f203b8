//! What several integration tests share: S3 servers inside the test process and stores that fail on demand.

pub(crate) mod endpoint;
pub(crate) mod faults;
pub(crate) mod image;
pub(crate) mod memory_s3;
pub(crate) mod mirror;
pub(crate) mod nobody;
pub(crate) mod peer;
pub(crate) mod repo;
pub(crate) mod s3;
pub(crate) mod scripted;
pub(crate) mod stage;
pub(crate) mod tags;
pub(crate) mod trees;
pub(crate) mod vault;
pub(crate) mod web;

use std::time::Duration;

use volvault::storage::Patience;

/// Patience for tests: as many attempts as the default, but milliseconds between them.
pub(crate) fn hasty() -> Patience {
    Patience {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        total_pause: Duration::from_secs(2),
        answer: Duration::from_secs(5),
        total: Duration::from_secs(10),
        ..Patience::default()
    }
}
