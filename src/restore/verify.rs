//! Reads everything back and compares it with the snapshot.

use crate::catalog::{Entry, Node};
use crate::error::{Error, Result};
use crate::volume::EntryKind;

use super::compare::is_same;
use super::context::Restore;
use super::links::Groups;
use super::parallel::in_batches;
use super::steps::Step;
use super::survey::{content_len, is_linked_to_content};

/// Compares kinds, contents, link targets and hard links of all that was restored or found to be the same. A difference is
/// reported as a problem.
pub(super) fn verify<'r>(restore: &'r Restore<'r>, groups: &Groups) -> Result<()> {
    in_batches(
        restore,
        |batches| {
            let mut failed: Vec<bool> = Vec::new();
            for step in restore.steps() {
                restore.check()?;
                match step? {
                    Step::Enter(dir) => {
                        let above = failed.last().copied().unwrap_or_default();
                        failed.push(above || restore.is_failed_dir(&dir.path));
                    }
                    Step::Leave(_) => drop(failed.pop()),
                    Step::Leaf(entry) if failed.last() != Some(&true) && !restore.is_passed_over(&entry.path) => {
                        let len = content_len(&entry);
                        batches.push(entry, len)?;
                    }
                    Step::Leaf(_) | Step::Other(_) | Step::Refused(..) => {}
                }
            }
            Ok(())
        },
        |entry: Entry| match check(restore, groups, &entry) {
            Ok(()) => {
                restore.tally.verified();
                Ok(())
            }
            Err(error) => restore.problem(&entry.path, error.within("verify what was restored")),
        },
    );
    restore.outcome()
}

fn check(restore: &Restore<'_>, groups: &Groups, entry: &Entry) -> Result<()> {
    let target = restore.target()?;
    let wanted = EntryKind::of(&entry.node);
    let found = target.stat(&entry.path)?;
    let Some(stat) = found.filter(|stat| stat.kind == wanted) else {
        // Devices that could not be made are counted elsewhere.
        let is_node = matches!(entry.node, Node::CharDevice { .. } | Node::BlockDevice { .. });
        return if is_node {
            Ok(())
        } else {
            Err(Error::corrupt(format!("there is no {} at its place", wanted.name())))
        };
    };
    if let Some(head) = groups.head_of(entry) {
        let head = target.stat(&head)?;
        let linked = head.is_some_and(|head| (head.device, head.inode) == (stat.device, stat.inode));
        return if linked { Ok(()) } else { Err(Error::corrupt("it is not the same file as its other names")) };
    }
    let same = match &entry.node {
        // The content of a name whose first name is not selected is not at hand here: it was compared as it was written.
        Node::File(_) if is_linked_to_content(entry) => true,
        Node::File(node) => is_same(restore, &target.read_file(&entry.path)?, node)?,
        Node::Symlink { target: to } => target.link_target(&entry.path)?.as_ref() == Some(to),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => stat.rdev == (*major, *minor),
        Node::Fifo | Node::Directory => true,
    };
    if same { Ok(()) } else { Err(Error::corrupt("the content is not that of the snapshot")) }
}
