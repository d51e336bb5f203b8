//! volvault moves the data of stateful workloads into object storage and back.
//!
//! The rooms of the house and the doors between them are in `docs/architecture.md`; the repository format is in
//! `docs/format.md`. The library returns values and events; only the command prints.

pub mod backup;
pub mod catalog;
pub mod chunker;
pub mod cli;
pub mod clock;
pub mod crypto;
pub mod environment;
pub mod error;
pub mod events;
pub mod id;
pub mod limits;
pub mod maintenance;
pub mod monitor;
pub mod mover;
pub mod path;
pub mod pins;
pub mod rclone_sync;
pub mod repo;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod secret;
pub mod size;
pub mod storage;
pub mod volume;

pub use error::{Error, ErrorKind, Result};
