//! Runs jobs when they are due, and tells how it went: `VolSync`'s documents without a cluster.
//!
//! The documents say what is to be done ([`Documents`]), [`Cron`] and the engine when, the mover does it in this process with the environment that
//! `VolSync`'s operator would have given a pod, and the [`Board`] shows what became of it. It never reads the process's environment, prints or exits.
//! For users: `docs/scheduler.md`.

mod board;
mod check;
mod cron;
mod document;
mod engine;
mod go_duration;
mod job;
mod logs;
mod service;
mod status;
mod watch;

pub use board::{Board, HISTORY_MAX, Method, Outcome, Past, ResourceId, ResourceView, Role, Runs, View};
pub use check::{Checked, Reach, check};
pub use cron::{Cron, Zone};
pub use document::{Documents, Keys, Resource, SecretSource, Task, Trigger};
pub use engine::EngineOptions;
pub use go_duration::parse as parse_duration;
pub use job::Setup;
pub use service::{Say, Service, ServiceWorld};
pub use status::{Condition, MoverResult, MoverStatus, ResticStatus, Status, documents};
