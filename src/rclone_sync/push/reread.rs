//! Whether the store still has the bytes that were sent to it, for a push that is to mend what neither size nor entity tag shows. A store gives the
//! tag that it has noted, and not that of what its disk says today: only the bytes tell.

use crate::catalog::{Content, FileNode};
use crate::error::{ErrorKind, Result};
use crate::events::Event;
use crate::volume::Found;

use super::super::key::key_of;
use super::super::proof::Proof;
use super::send::{Sender, pin_of};

/// Bytes of one request: one for each small file.
const RANGE: u64 = 8 << 20;

impl Sender<'_> {
    /// Whether this push reads what the store has: it was told to list the mirror *and* to compare by content. That is as many bytes as there are.
    pub(super) fn rereads(&self) -> bool {
        self.shared.options.relist && self.shared.options.checksum
    }

    /// Whether the object of a file that is as it was is not what was sent. It is told. What nobody knows a hash of counts as right.
    pub(super) fn is_rotten(&self, found: &Found, kept: Option<&FileNode>) -> Result<bool> {
        let Some(FileNode { size, content: Content::Object(object), .. }) = kept.filter(|_| self.rereads()) else {
            return Ok(false);
        };
        let (places, key, pin) = (&self.destination.places, key_of(&found.path), pin_of(object));
        let (mut proof, mut at) = (Proof::of(object), 0);
        if matches!(proof, Proof::Nothing) {
            return Ok(false);
        }
        while at < *size {
            let end = at.saturating_add(RANGE).min(*size);
            // Nothing else is held meanwhile, so nobody waits for ever.
            let _held = self.budget.hold(end - at)?;
            let read = Box::pin(places.data.get_pinned(&key, at..end, *size, &pin));
            match places.block(self.budget.unless_stopped(read))? {
                Ok(bytes) => proof.update(&bytes),
                Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound | ErrorKind::Corrupt) => {
                    return Ok(self.tell_rotten(found));
                }
                Err(error) => return Err(error),
            }
            at = end;
        }
        Ok(proof.finish() == Some(false) && self.tell_rotten(found))
    }

    fn tell_rotten(&self, found: &Found) -> bool {
        let text = format!("{}: {} has other bytes than were pushed: sent again", found.path, self.destination.name);
        self.shared.watch.observer.on(&Event::Note { text: &text });
        true
    }
}
