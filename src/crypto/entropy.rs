//! Random bytes, an argument like time: the program always takes those of the operating system, and nothing else in it draws random numbers for
//! keys, salts or ids.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// Where random bytes come from. Keys and salts are as good as these are: whoever implements this for anything but a test breaks the encryption.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// `Local` when there are none.
    fn fill(&self, bytes: &mut [u8]) -> Result<()>;

    /// What is new each time, also where the random bytes repeat (a cloned virtual machine). It is no secret.
    fn occasion(&self) -> Vec<u8>;
}

/// A shared source.
pub type SharedEntropy = Arc<dyn Entropy>;

/// The operating system's.
#[derive(Debug)]
pub struct SystemEntropy;

impl SystemEntropy {
    /// The operating system's.
    #[expect(clippy::new_ret_no_self, reason = "a source is always used shared")]
    pub fn new() -> SharedEntropy {
        Arc::new(Self)
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        getrandom::fill(bytes).map_err(|cause| Error::new(ErrorKind::Local, "draw random bytes").with_source(cause))
    }

    /// The process id, a counter of this process, both clocks of the boot and the name of the machine.
    fn occasion(&self) -> Vec<u8> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&std::process::id().to_le_bytes());
        bytes.extend_from_slice(&DRAWN.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let clock = rustix::time::clock_gettime;
        for time in [clock(rustix::time::ClockId::Boottime), clock(rustix::time::ClockId::Realtime)] {
            bytes.extend_from_slice(&time.tv_sec.to_le_bytes());
            bytes.extend_from_slice(&time.tv_nsec.to_le_bytes());
        }
        bytes.extend_from_slice(rustix::system::uname().nodename().to_bytes());
        bytes
    }
}

/// `N` random bytes.
///
/// # Errors
/// As [`Entropy::fill`].
pub fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// A 32-byte salt that differs even where the random numbers repeat: random bytes hashed under `key` with the occasion and `context`.
pub(super) fn hedged_salt(entropy: &dyn Entropy, key: &[u8; 32], context: &[u8]) -> Result<[u8; 32]> {
    let random = random::<32>(entropy)?;
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&random).update(&entropy.occasion()).update(context);
    Ok(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The system's, of a virtual machine that was cloned.
    #[derive(Debug)]
    struct Cloned;

    impl Entropy for Cloned {
        fn fill(&self, bytes: &mut [u8]) -> Result<()> {
            bytes.fill(0);
            Ok(())
        }

        fn occasion(&self) -> Vec<u8> {
            SystemEntropy.occasion()
        }
    }

    #[test]
    fn salts_differ_even_when_the_random_numbers_repeat() {
        let mut salts: Vec<_> = (0..1000).map(|_| hedged_salt(&Cloned, &[1; 32], b"").unwrap()).collect();
        salts.sort_unstable();
        salts.dedup();
        assert_eq!(salts.len(), 1000);
    }
}
