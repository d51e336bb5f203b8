//! Snapshots that are gone although nobody removed them: the listing is not to be trusted, or somebody else deletes here.

use std::collections::{BTreeSet, HashSet};

use crate::id::SessionId;
use crate::repo::{Session, SnapshotName};

/// Which of the snapshots `ids` are neither in the listing of `session` nor in `also`, and were not forgotten. `forgotten` is to be read after the
/// listing: a forget stores its record first.
pub(super) fn vanished(
    session: &Session<'_>,
    also: &[SnapshotName],
    forgotten: &BTreeSet<SessionId>,
    ids: impl Iterator<Item = SessionId>,
) -> Vec<SessionId> {
    let listed: HashSet<SessionId> = session.snapshots().iter().chain(also).map(|name| name.id).collect();
    let dropped = &session.gone().forgotten;
    ids.filter(|id| !listed.contains(id) && !forgotten.contains(id) && !dropped.contains(id)).collect()
}
