//! What an ordinary user sees, in tests that run as root.

use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Nobody in particular, and owner of nothing.
pub(crate) const NOBODY: u32 = 65_534;

/// Runs `body` in a thread that is an ordinary user, and so are the threads that it starts. Privileges are those of a thread on
/// Linux, and nothing gets them back.
pub(crate) fn as_nobody<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let unprivileged = scope.spawn(|| {
            let (uid, gid) = (rustix::fs::Uid::from_raw(NOBODY), rustix::fs::Gid::from_raw(NOBODY));
            if rustix::process::geteuid().is_root() {
                set_thread_groups(&[]).expect("drop groups");
                set_thread_res_gid(gid, gid, gid).expect("drop group");
                set_thread_res_uid(uid, uid, uid).expect("drop user");
            }
            body()
        });
        unprivileged.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
