//! Key slots in the store. Spec: `docs/format.md` section 5.

use tokio::runtime::Handle;

use crate::crypto::{KdfParams, MasterKey, Slot, SlotLabel};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RepoId;
use crate::limits::{SLOT_MAX, SLOTS_TRIED};
use crate::secret::Credential;
use crate::storage::{Listed, Store};

use super::repository::{Io, OpenOptions};

/// Prefix of the keys of all slots.
pub(super) const PREFIX: &str = "state/keys/";

/// Memory to assume where the machine does not say (1 GiB).
const MEMORY_UNKNOWN: u64 = 1 << 30;

pub(super) fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

pub(super) fn seal(
    io: &Io,
    credential: &Credential,
    kdf: Option<KdfParams>,
    options: &OpenOptions,
    label: &str,
) -> Result<Slot> {
    let params = match (credential, kdf) {
        (_, Some(params)) => params,
        (Credential::Password(_), None) => KdfParams::calibrate(memory(), options.clock.as_ref())?,
        (Credential::Key(_), None) => KdfParams::LEAST,
    };
    let label = SlotLabel {
        host: options.host.clone(),
        user: options.user.clone(),
        label: label.to_owned(),
        created: options.clock.now().to_rfc3339(),
    };
    Slot::seal(&io.keys, credential, params, label)
}

/// The machine's memory or the control group's limit, whichever is less, in bytes: a password slot made in a
/// large pod must not kill a small one, so the smaller counts.
fn memory() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = match machine.totalram.saturating_mul(u64::from(machine.mem_unit).max(1)) {
        0 => MEMORY_UNKNOWN,
        bytes => bytes,
    };
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .min();
    group.map_or(machine, |group| group.min(machine))
}

/// Stores a slot; returns its name.
pub(super) fn store(io: &Io, slot: &Slot) -> Result<String> {
    let (name, bytes) = slot.encode();
    io.block(io.store.put(&key(&name), bytes.into())).map_err(|error| error.within("store a key slot"))?;
    Ok(name)
}

/// Finds the slot that `credential` opens.
///
/// # Errors
/// `WrongKey` when none does; `Corrupt` or `Unsupported` when none does and one of them cannot be read: it may be the one.
pub(super) fn open(
    store: &Store,
    runtime: &Handle,
    repo: RepoId,
    listed: &[Listed],
    credential: &Credential,
) -> Result<(String, MasterKey)> {
    let (mut damaged, mut foreign) = (None, 0);
    for object in listed.iter().take(SLOTS_TRIED) {
        let name = object.key.strip_prefix(PREFIX).unwrap_or(&object.key);
        let opened = runtime
            .block_on(store.get(&object.key, SLOT_MAX))
            .and_then(|bytes| Slot::decode(name, &bytes))
            .and_then(|slot| {
                if slot.repo()? == repo {
                    return slot.open(credential);
                }
                foreign += 1;
                Ok(None)
            });
        match opened {
            Ok(Some(master)) => return Ok((name.to_owned(), master)),
            Ok(None) => {}
            // Removed since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if is_unusable(&error) => {
                damaged.get_or_insert((name, error));
            }
            Err(error) => return Err(error),
        }
    }
    if let Some((name, cause)) = damaged {
        return Err(Error::new(
            cause.kind(),
            format!("key slot {name} cannot be used, and no other opens with the password or key that was given"),
        )
        .with_source(cause)
        .with_hint(format!("give another password or key of this repository, or put {} back from a copy", key(name))));
    }
    if foreign == listed.len() {
        // No key can be wrong where there is no lock for it.
        return Err(Error::corrupt(format!(
            "none of the {foreign} key slots is of repository {repo}, which config names"
        ))
        .with_hint("config was damaged or replaced, or the key slots were removed: put them back from a copy"));
    }
    let mut error = Error::new(ErrorKind::WrongKey, "wrong password or no key found");
    if listed.len() > SLOTS_TRIED {
        let tried = format!("only the first {SLOTS_TRIED} of {} key slots were tried", listed.len());
        error = error.with_source(Error::invalid(tried));
    }
    Err(error.with_hint("give the password or the key file of this repository"))
}

/// Whether an error is about a slot and not about the way to it.
fn is_unusable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)
}

/// One slot.
pub(super) fn get(io: &Io, name: &str) -> Result<Slot> {
    io.block(io.store.get(&key(name), SLOT_MAX)).and_then(|bytes| Slot::decode(name, &bytes))
}

/// All slots of this repository, and those that cannot be read, of whatever repository they are.
pub(super) fn all(io: &Io) -> Result<Vec<(String, Result<Slot>)>> {
    let mut slots = Vec::new();
    for object in io.block(io.store.list(PREFIX))? {
        let name = object.key.strip_prefix(PREFIX).unwrap_or(&object.key).to_owned();
        let slot = get(io, &name).and_then(|slot| Ok((slot.repo()?, slot)));
        match slot {
            Ok((repo, slot)) if repo == io.keys.repo() => slots.push((name, Ok(slot))),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if is_unusable(&error) => slots.push((name, Err(error))),
            Err(error) => return Err(error),
        }
    }
    Ok(slots)
}

/// Removes a slot, which need not be readable; returns its name.
pub(super) fn remove(io: &Io, prefix: &str, in_use: &str) -> Result<String> {
    let names = all(io)?.into_iter().map(|(name, _)| name);
    let mut found = names.filter(|name| !prefix.is_empty() && name.starts_with(prefix));
    match (found.next(), found.next()) {
        (None, _) => Err(Error::new(ErrorKind::NotFound, format!("there is no key slot {prefix}"))),
        (Some(name), None) if name == in_use => Err(Error::invalid(format!("key slot {name} is the one in use"))
            .with_hint("open the repository with another key to remove it")),
        (Some(name), None) => io.block(io.store.delete(&key(&name))).map(|()| name),
        (Some(_), Some(_)) => Err(Error::invalid(format!("several key slots start with {prefix}"))),
    }
}
