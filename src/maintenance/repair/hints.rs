//! Where snapshots say that pages of their catalogues lie: for a page that no index names, in a pack whose directory is damaged, nothing else does.

use std::collections::{HashMap, HashSet};

use crate::catalog::{BlobRef, ChildRef, InnerPage};
use crate::error::Result;
use crate::events::Watch;
use crate::id::{BlobId, ObjectHash};
use crate::repo::{Hinted, Session, SnapshotFilter};

use super::super::is_damage;
use super::go_on;

/// What the catalogues of all snapshots that can be read say of these packs. Reads their inner pages, which only trees of more than some 300,000
/// entries have below the root.
pub(super) fn hints(
    session: &Session<'_>,
    packs: &HashSet<ObjectHash>,
    watch: &Watch<'_>,
) -> Result<HashMap<ObjectHash, Vec<Hinted>>> {
    let mut survey = Survey { session, packs, seen: HashSet::new(), found: HashMap::new() };
    for snapshot in session.load_all(&SnapshotFilter::default())?.0 {
        go_on(watch)?;
        survey.page(&snapshot.root, watch)?;
    }
    Ok(survey.found)
}

struct Survey<'s> {
    session: &'s Session<'s>,
    packs: &'s HashSet<ObjectHash>,
    /// Pages that were looked at.
    seen: HashSet<BlobId>,
    found: HashMap<ObjectHash, Vec<Hinted>>,
}

impl Survey<'_> {
    fn page(&mut self, page: &InnerPage, watch: &Watch<'_>) -> Result<()> {
        for child in &page.children {
            if !self.seen.insert(child.id) {
                continue;
            }
            if let Some(place) = child.hint
                && self.packs.contains(&place.pack.name)
            {
                let blob = BlobRef { id: child.id, raw_len: child.raw_len };
                self.found.entry(place.pack.name).or_default().push(Hinted { blob, place });
            }
            if page.level > 1 {
                go_on(watch)?;
                if let Some(below) = self.read(child)? {
                    self.page(&below, watch)?;
                }
            }
        }
        Ok(())
    }

    /// The inner page, if it can be read.
    fn read(&self, child: &ChildRef) -> Result<Option<InnerPage>> {
        match self.session.reader().pages(std::slice::from_ref(child)) {
            Ok(pages) => Ok(pages.first().and_then(|page| InnerPage::decode(page).ok())),
            Err(error) if is_damage(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
