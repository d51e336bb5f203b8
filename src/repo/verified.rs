//! When the data of which packs was last read: one small record, so that checks which each read a part know which part is next. Spec:
//! `docs/format.md` section 11.
//!
//! Packs are told apart by the first byte of their names, which is as good as chance: 256 slices. The new record is stored before the old ones go;
//! where there are several, the later time of a slice counts.

use serde::{Deserialize, Serialize};

use crate::crypto::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;
use crate::limits::OBJECT_MAX;

use super::session::Session;
use super::small;

const PREFIX: &str = "state/verified/";

/// Unix seconds of the last reading of each of the 256 slices; 0 for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When a check last read a part and noted so; 0 for never.
    pub noted: i64,
    /// By the first byte of the packs' names.
    pub slices: Vec<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    noted: i64,
    slices: Vec<i64>,
}

impl Default for Verified {
    fn default() -> Self {
        Self { noted: 0, slices: vec![0; 256] }
    }
}

impl Session<'_> {
    /// What earlier checks noted. A record that is damaged counts for nothing: its slices are read again.
    pub fn verified(&self) -> Result<Verified> {
        let io = self.repo().io();
        let listed = io.block(io.store.list(PREFIX))?;
        self.read_notes(listed.into_iter().map(|object| object.key))
    }

    /// What had been noted when the session began: a GET where something had, and no request at all where nothing had.
    pub fn verified_before(&self) -> Result<Verified> {
        self.read_notes(self.listing().verified.iter().cloned())
    }

    fn read_notes(&self, keys: impl Iterator<Item = String>) -> Result<Verified> {
        let io = self.repo().io();
        let mut all = Verified::default();
        for key in keys {
            let bytes = match io.block(io.store.get(&key, OBJECT_MAX)) {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => continue,
                bytes => bytes?,
            };
            let Ok(record) = small::open::<Record>(&io.keys, ObjectKind::Verified, &key, &bytes) else {
                continue;
            };
            all.noted = all.noted.max(record.noted);
            all.slices.iter_mut().zip(record.slices).for_each(|(mine, its)| *mine = its.max(*mine));
        }
        Ok(all)
    }

    /// Notes this instead of all earlier notes.
    pub fn note_verified(&self, verified: &Verified) -> Result<()> {
        let io = self.repo().io();
        let old = io.block(io.store.list(PREFIX))?.into_iter().map(|object| object.key);
        let key = key_of(self.id());
        let record = Record { noted: verified.noted, slices: verified.slices.clone() };
        let sealed = small::seal(&io.keys, ObjectKind::Verified, &key, &record)?;
        let said = |error: Error| error.within("note which packs were read");
        io.block(io.store.put(&key, sealed.bytes.into())).map_err(said)?;
        let old: Vec<String> = old.filter(|listed| *listed != key).collect();
        // Best effort: a note too many says nothing that is not so.
        let _ = io.block(io.store.delete_many(old));
        Ok(())
    }
}

fn key_of(session: SessionId) -> String {
    format!("{PREFIX}{session}")
}
