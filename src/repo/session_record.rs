//! Records of sessions, by which runs see each other. Spec: `docs/format.md` section 11.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::crypto::ObjectKind;
use crate::error::Result;
use crate::id::SessionId;
use crate::limits::OBJECT_MAX;

use super::repository::{Io, Repository, program};
use super::small;

const SESSIONS: &str = "state/sessions/";

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// Writes one snapshot.
    Write,
    /// Reads.
    Read,
    /// Removes packs. Nobody waits for it: what it relies on, it protects by its condemned record.
    Maintain,
}

/// The record of a session, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) session: String,
    #[serde(rename = "type")]
    pub(super) kind: SessionKind,
    pub(super) started: String,
    pub(super) host: String,
    pub(super) pid: u32,
    /// Where `pid` means something: boot and process namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) machine: Option<String>,
    pub(super) program: String,
    pub(super) n: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<String>,
}

impl Record {
    /// That of a run which starts now.
    pub(super) fn new(repo: &Repository, id: SessionId, kind: SessionKind) -> Self {
        let options = repo.options();
        Self {
            session: id.to_hex(),
            kind,
            started: options.clock.now().to_rfc3339(),
            host: options.host.clone(),
            pid: std::process::id(),
            machine: machine(),
            program: program(),
            n: 0,
            outcome: None,
        }
    }

    /// Stores it as number `n`, or as `done`.
    pub(super) fn put(&self, io: &Io, id: SessionId, n: &str) -> Result<()> {
        let (key, bytes) = self.sealed(io, id, n)?;
        io.block(io.store.put(&key, bytes.into()))
    }

    pub(super) fn read(io: &Io, key: &str) -> Result<Self> {
        let bytes = io.block(io.store.get(key, OBJECT_MAX))?;
        small::open(&io.keys, ObjectKind::Session, key, &bytes)
    }

    fn sealed(&self, io: &Io, id: SessionId, n: &str) -> Result<(String, Vec<u8>)> {
        let key = record_key(id, n);
        let sealed = small::seal(&io.keys, ObjectKind::Session, &key, self)?;
        Ok((key, sealed.bytes))
    }
}

/// Which boot of which machine this is, and which process namespace on it; `None` where the kernel does not say.
pub(super) fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// Whether the process of a record has certainly ended: it is not there any more, and was of this machine and boot.
pub(super) fn has_died(record: &Record) -> bool {
    let pid = i32::try_from(record.pid).ok().and_then(rustix::process::Pid::from_raw);
    let is_gone = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
    record.machine.is_some() && record.machine == machine() && pid.is_some_and(is_gone)
}

pub(super) fn record_key(id: SessionId, n: &str) -> String {
    format!("{SESSIONS}{id}/{n}")
}

/// Stores a record every now and then, so that a prune on another machine knows that this run lives.
pub(super) fn heartbeat(
    repo: &Repository,
    id: SessionId,
    record: Record,
    beats: Arc<AtomicU32>,
) -> tokio::task::AbortHandle {
    let (io, limits) = (repo.io().clone(), repo.limits().clone());
    let beat = async move {
        for n in 1..=limits.heartbeats_max {
            tokio::time::sleep(limits.heartbeat).await;
            let record = Record { n, ..record.clone() };
            beats.store(n, Ordering::SeqCst);
            if let Ok((key, bytes)) = record.sealed(&io, id, &n.to_string()) {
                // A beat that is lost makes this run look older, no more.
                let _ = io.store.put(&key, bytes.into()).await;
            }
        }
    };
    repo.io().runtime.spawn(beat).abort_handle()
}
