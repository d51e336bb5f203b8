//! What the process asks of the system before it does anything.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Allows as many open files as the system lets us have, and no core dumps: they would hold keys. Both are
/// improvements only; a system that refuses them is no reason to refuse a backup.
pub(super) fn prepare() {
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
