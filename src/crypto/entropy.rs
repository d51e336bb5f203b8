//! Random bytes from the operating system; nothing else in the program draws random numbers for keys, salts or ids.

use crate::error::{Error, ErrorKind, Result};

/// `N` random bytes.
///
/// # Errors
/// `Local` when the operating system has none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::new(ErrorKind::Local, "draw random bytes").with_source(cause))?;
    Ok(bytes)
}

/// A 32-byte salt that differs even where the random numbers repeat (a cloned virtual machine): the system's
/// random bytes hashed under `key` with the process id, a counter of this process, both clocks of the boot and `context`.
pub(super) fn hedged_salt(key: &[u8; 32], context: &[u8]) -> Result<[u8; 32]> {
    Ok(hedge(key, &random::<32>()?, context))
}

fn hedge(key: &[u8; 32], random: &[u8; 32], context: &[u8]) -> [u8; 32] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let day = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(random);
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(&DRAWN.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    for time in [now, day] {
        hasher.update(&time.tv_sec.to_le_bytes());
        hasher.update(&time.tv_nsec.to_le_bytes());
    }
    hasher.update(rustix::system::uname().nodename().to_bytes());
    hasher.update(context);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_differ_even_when_the_random_numbers_repeat() {
        let mut salts: Vec<_> = (0..1000).map(|_| hedge(&[1; 32], &[0; 32], b"")).collect();
        salts.sort_unstable();
        salts.dedup();
        assert_eq!(salts.len(), 1000);
    }
}
