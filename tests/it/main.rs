//! All integration tests, in one program: helpers are used by every part, and the linker runs once.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod backup;
mod check;
mod crash;
mod governor;
mod storage;
mod support;
