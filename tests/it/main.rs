//! All integration tests, in one program: helpers are used by every part, and the linker runs once.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod architecture;
mod backup;
mod check;
mod clouds;
mod command;
mod crash;
mod damage;
mod decoders;
mod forget;
mod generated;
mod golden;
mod governor;
mod keys;
mod mirror_claim;
mod mirror_command;
mod mirror_edges;
mod mirror_golden;
mod mirror_pull;
mod mirror_push;
mod mirror_push_faults;
mod mirror_store;
mod mirror_torture;
mod mover_restic;
mod probe;
mod protocol;
mod prune;
mod repair;
mod restore;
mod restore_hostile;
mod simulation;
mod stops;
mod storage;
mod support;
mod upkeep;
mod volume;
