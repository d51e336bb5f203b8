//! `repair --from`: brings back, from any copy of the repository, what is damaged or missing here. Needs no key: an object is the one that its name
//! promises if its bytes have that hash, wherever they come from.
//!
//! Packs are brought back when they are missing, too. Index segments and snapshots that are missing may have been merged or forgotten on purpose
//! since the copy was made, and key slots removed: these come back only when that is asked for, key slots only when none is left. What a prune has
//! noted as gone stays gone although its object is back; without a key nobody can read these notes.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind, Result};
use crate::events::{Progress, Watch};
use crate::limits::{OBJECT_MAX, PACK_MAX};
use crate::repo::{CONFIG, NamedKind, Promise, Trash, repo_id};
use crate::size::ByteSize;
use crate::storage::Store;

use super::{Mode, RepairReport, begin, go_on, note};

/// Objects that are read at once: packs of 12 MiB, rarely more.
const READ_AT_ONCE: usize = 4;

/// How to heal.
#[derive(Debug)]
pub struct Heal<'a> {
    /// What is to be healed.
    pub here: &'a Store,
    /// A copy of it.
    pub copy: &'a Store,
    /// Where requests run.
    pub runtime: &'a Handle,
    /// Whether index segments and snapshots that are missing come back, too: those that were lost. What was forgotten stays so.
    pub all: bool,
    /// Whether to do it.
    pub mode: Mode,
}

/// One object that is to come from the copy.
#[derive(Debug)]
struct Wound {
    key: String,
    /// Whether something lies there that has to be kept.
    is_there: bool,
}

/// Compares every object that is named by its hash with that name, and brings what is damaged or missing from the copy.
///
/// # Errors
/// `Invalid` when the other place is no copy of this repository; when a store cannot be read or written; `Interrupted`.
pub fn heal(heal: &Heal<'_>, trash: &Trash, watch: &Watch<'_>) -> Result<RepairReport> {
    let mut report = RepairReport { applied: heal.mode == Mode::Apply, ..RepairReport::default() };
    begin(watch, "compare the configurations")?;
    let mut wounds: Vec<Wound> = heal.config(watch, &mut report)?.into_iter().collect();
    begin(watch, "list both copies")?;
    let here = heal.list(heal.here)?;
    let copy = heal.list(heal.copy)?;
    wounds.extend(heal.missing(&here, &copy, (watch, &mut report)));
    begin(watch, "read all objects")?;
    wounds.extend(heal.damaged(&here, &copy, (watch, &mut report))?);
    for wound in &wounds {
        let why = if wound.is_there { "it is damaged" } else { "it is missing" };
        report.steps.push(format!("bring {} back from the copy: {why}", wound.key));
    }
    if heal.mode == Mode::Apply {
        begin(watch, "bring objects back")?;
        for wound in &wounds {
            go_on(watch)?;
            heal.bring(wound, trash, &mut report)?;
        }
        if wounds.iter().any(|wound| wound.is_there) {
            report.trash = Some(trash.folder().to_owned());
        }
    }
    Ok(report)
}

/// What lies in a store, with sizes, as far as names are hashes.
type Objects = BTreeMap<String, (Promise, u64)>;

impl Heal<'_> {
    fn list(&self, store: &Store) -> Result<Objects> {
        let mut objects = Objects::new();
        for prefix in ["packs/", "state/index/", "state/keys/", "state/snapshots/"] {
            for object in self.runtime.block_on(store.list(prefix))? {
                objects.extend(Promise::of(&object.key).map(|promise| (object.key, (promise, object.size))));
            }
        }
        Ok(objects)
    }

    /// The configuration has no hash for a name: it is brought back only where there is none. It says whose copy the other place is.
    fn config(&self, watch: &Watch<'_>, report: &mut RepairReport) -> Result<Option<Wound>> {
        let read = |store: &Store| match self.runtime.block_on(store.get(CONFIG, OBJECT_MAX)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let refused = |why: String| {
            Error::invalid(format!("{} is no copy of {}: {why}", self.copy.location(), self.here.location()))
        };
        let theirs = read(self.copy)?.ok_or_else(|| refused("it has no config".to_owned()))?;
        let their_id = repo_id(&theirs).map_err(|error| refused(error.chain()))?;
        let Some(ours) = read(self.here)? else { return Ok(Some(Wound { key: CONFIG.to_owned(), is_there: false })) };
        if ours == theirs {
            return Ok(None);
        }
        match repo_id(&ours) {
            Ok(id) if id == their_id => {
                let text = "config is not the same in both places: whichever opens with the password is the right one"
                    .to_owned();
                note(watch, report, text);
                Ok(None)
            }
            Ok(id) => Err(refused(format!("it holds repository {}, not {}", their_id.short(), id.short()))),
            Err(_) => Ok(Some(Wound { key: CONFIG.to_owned(), is_there: true })),
        }
    }

    fn missing(&self, here: &Objects, copy: &Objects, (watch, report): (&Watch<'_>, &mut RepairReport)) -> Vec<Wound> {
        let has_slot = here.values().any(|(promise, _)| promise.kind == NamedKind::Slot);
        let (mut wounds, mut left) = (Vec::new(), 0u64);
        for (key, (promise, _)) in copy.iter().filter(|(key, _)| !here.contains_key(*key)) {
            let wanted = match promise.kind {
                NamedKind::Pack => true,
                NamedKind::Index | NamedKind::Snapshot => self.all,
                NamedKind::Slot => !has_slot,
            };
            if wanted {
                wounds.push(Wound { key: key.clone(), is_there: false });
            } else {
                left += u64::from(promise.kind != NamedKind::Slot);
            }
        }
        if left > 0 {
            let what = "index segments and snapshots of the copy are not here: merged or forgotten since, or lost";
            note(watch, report, format!("{left} {what}; --all brings back those that were lost"));
        }
        let is_snapshot = |wound: &Wound| Promise::of(&wound.key).is_some_and(|it| it.kind == NamedKind::Snapshot);
        if wounds.iter().any(is_snapshot) {
            let text = "snapshots that were forgotten since the copy was made stay forgotten: get them from the copy, which is a repository of its own";
            note(watch, report, text.to_owned());
        }
        wounds
    }

    /// Reads every object here.
    fn damaged(
        &self,
        here: &Objects,
        copy: &Objects,
        (watch, report): (&Watch<'_>, &mut RepairReport),
    ) -> Result<Vec<Wound>> {
        Progress::add(&watch.progress.files_total, here.len() as u64);
        Progress::add(&watch.progress.bytes_total, here.values().map(|(_, size)| size).sum());
        let mut wounds = Vec::new();
        let read = |(key, (promise, size)): (&String, &(Promise, u64))| {
            let (store, key, promise, size) = (self.here.clone(), key.clone(), promise.clone(), *size);
            async move {
                let bytes = store.get(&key, PACK_MAX).await;
                (key, promise, size, bytes)
            }
        };
        let mut objects = stream::iter(here.iter().map(read)).buffered(READ_AT_ONCE);
        while let Some((key, promise, size, bytes)) = self.runtime.block_on(objects.next()) {
            go_on(watch)?;
            Progress::add(&watch.progress.files_done, 1);
            Progress::add(&watch.progress.bytes_done, size);
            match bytes {
                Ok(bytes) if promise.is_kept_by(&bytes) => continue,
                // Merged, forgotten or pruned while this reads.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                Ok(_) | Err(_) => {}
            }
            if copy.contains_key(&key) {
                wounds.push(Wound { key, is_there: true });
            } else {
                report.lost.push(format!("{key} is damaged, and the copy does not have it"));
            }
        }
        Ok(wounds)
    }

    /// What lies there is kept first, then replaced in one write: there is no moment without the object.
    fn bring(&self, wound: &Wound, trash: &Trash, report: &mut RepairReport) -> Result<()> {
        let key = &wound.key;
        let bytes = match self.runtime.block_on(self.copy.get(key, PACK_MAX)) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                report.lost.push(format!("{key} cannot be read from the copy: {}", error.chain()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if Promise::of(key).is_some_and(|promise| !promise.is_kept_by(&bytes)) {
            let size = ByteSize(bytes.len() as u64);
            report
                .lost
                .push(format!("{key} is damaged in the copy, too ({size} that do not have the hash in its name)"));
            return Ok(());
        }
        if wound.is_there {
            trash.keep(key)?;
        }
        self.runtime.block_on(self.here.put(key, bytes)).map_err(|error| error.within(format!("bring {key} back")))
    }
}
