//! One pass over the source beside the last generation, in catalogue order: what differs, and in what. Constant memory, but for the files
//! with several names and what a listing holds.

use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;

use crate::catalog::{Entry, FileNode, LinkGroup, Node, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Event;
use crate::path::TreePath;
use crate::volume::rules::RuleOptions;
use crate::volume::{EntryKind, Found, Rules, Source, WalkItem, WalkOptions, walk};

use super::super::facl::FACL;
use super::super::tally::Tally;
use super::compare::{Link, Side, Verdict, group_of, judge, key_for, object_key, same_description};
use super::packs::{PackRule, PackUse};
use super::shared::{PULL_STAGE, Shared};
use super::standing::{Standing, There};

/// At the top of a source: what file systems keep for themselves (rclone's movers leave it out, too), and what a pull has not finished.
const LEFT_OUT: [&[u8]; 2] = [b"lost+found", PULL_STAGE];

/// Something to be done.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) what: What,
    /// The entry of the last generation at this path.
    pub(super) old: Option<Box<Entry>>,
    /// The key of its object, if the new entry has another one or none.
    pub(super) gone: Option<String>,
    /// What is known of the object at the key of the new entry.
    pub(super) there: There,
    /// The object of the old entry is not in the store any more.
    pub(super) displaced: bool,
}

/// What is to be done at a path.
#[derive(Debug)]
pub(super) enum What {
    /// The content of a file, or the target of a link, has to be read, and to be sent unless it is that of `kept`.
    Read { found: Found, link: Option<Link>, kept: Option<FileNode> },
    /// Only the description is new; a file keeps this content.
    Describe { found: Found, link: Option<Link>, kept: Option<FileNode> },
    /// It is not in the source any more.
    Remove,
}

/// The last generation, as an iterator over its entries in catalogue order.
pub(super) type OldEntries = Box<dyn Iterator<Item = Result<Entry>> + Send>;

/// Hears of differences, in catalogue order. `false` ends the pass.
pub(super) type Hear<'a> = dyn FnMut(Difference) -> Result<bool> + 'a;

/// See the module.
pub(super) struct Survey<'a> {
    shared: &'a Shared<'a>,
    old: Peekable<OldEntries>,
    /// What the store was seen to hold, when that is in doubt; what the new generation has is taken out.
    standing: Option<&'a mut Standing>,
    groups: HashMap<(u64, u64), LinkGroup>,
    /// A part of the source that could not be read: what was there stays.
    shield: Option<TreePath>,
    /// A directory that the filter does not enter.
    hidden: Option<TreePath>,
    /// The last thing found that is no directory: nothing of the last generation can stay below it.
    solid: Option<TreePath>,
    /// Directories that the source has no more, but that hold what the filter leaves out: they stay, too.
    needed: &'a mut HashSet<TreePath>,
    racy_from: Option<Timestamp>,
    packing: PackRule<'a>,
    packs: PackUse,
    tally: Tally,
    /// Entries of the source, its root aside.
    present: u64,
    /// Entries of the last generation, its root aside.
    before: u64,
}

/// What a pass has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) tally: Tally,
    pub(super) present: u64,
    pub(super) before: u64,
    /// The root of the source could not be read.
    pub(super) unreadable: bool,
    /// The pass was ended by whoever heard of the differences.
    pub(super) ended: bool,
    /// Packs that entries are in which stay as they are.
    pub(super) packs: PackUse,
}

/// Goes over the source. `needed` is filled by one pass for the next: a directory comes before what is found to need it.
pub(super) fn survey(
    shared: &Shared<'_>,
    old: OldEntries,
    (standing, needed): (Option<&mut Standing>, &mut HashSet<TreePath>),
    (racy_from, packing): (Option<Timestamp>, PackRule<'_>),
    hear: &mut Hear<'_>,
) -> Result<Seen> {
    let mut survey = Survey {
        shared,
        old: old.peekable(),
        standing,
        needed,
        racy_from,
        packing,
        packs: PackUse::default(),
        solid: None,
        groups: HashMap::new(),
        shield: None,
        hidden: None,
        tally: Tally::default(),
        present: 0,
        before: 0,
    };
    let options = shared.options;
    let rules = Rules::new(RuleOptions { one_file_system: options.one_file_system, ..RuleOptions::default() })?;
    // Most entries are as they were, and none has to be opened for that.
    let attributes = racy_from.is_some();
    let walk_options = WalkOptions { rules: Arc::new(rules), threads: options.checkers, attributes };
    let stop = shared.watch.stop;
    let goes_on = walk(sources(shared.source), &walk_options, stop, |batches| {
        for item in batches.flatten() {
            if !survey.item(item, hear)? {
                return Ok(false);
            }
        }
        if stop.requested() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted before the end; the mirror is as it was"));
        }
        survey.drain(None, hear)
    })?;
    let unreadable = survey.shield.as_ref().is_some_and(TreePath::is_root);
    let Survey { tally, present, before, packs, .. } = survey;
    Ok(Seen { tally, present, before, unreadable, ended: !goes_on, packs })
}

fn sources(path: &Path) -> Vec<Source> {
    vec![Source { at: TreePath::root(), path: path.to_owned(), explicit: true }]
}

impl Survey<'_> {
    fn item(&mut self, item: WalkItem, hear: &mut Hear<'_>) -> Result<bool> {
        if !self.drain(Some(item.path()), hear)? {
            return Ok(false);
        }
        match item {
            WalkItem::Found(found) => return self.found(found, hear),
            WalkItem::Problem { path, error } => {
                self.shared.problem("scan", &path.display(), &error);
                self.shield = Some(path);
            }
            WalkItem::Socket { path } => {
                let text = format!("{path} is a socket, which is not pushed");
                self.shared.once(&text, || self.shared.watch.observer.on(&Event::Note { text: &text }));
            }
        }
        Ok(true)
    }

    /// Takes the entries of the last generation that stand before `until`: the source does not have them.
    fn drain(&mut self, until: Option<&TreePath>, hear: &mut Hear<'_>) -> Result<bool> {
        while let Some(next) = self.old.next_if(|next| match (next, until) {
            (Ok(entry), Some(until)) => entry.path < *until,
            _ => true,
        }) {
            if !self.gone(next?, hear)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn gone(&mut self, old: Entry, hear: &mut Hear<'_>) -> Result<bool> {
        self.before += u64::from(!old.path.is_root());
        let shielded = self.shield.as_ref().is_some_and(|shield| old.path.starts_with(shield));
        let options = self.shared.options;
        let has_place = self.solid.as_ref().is_none_or(|solid| !old.path.starts_with(solid));
        let goes = options.delete_excluded && options.filter.reaches(&old.path, EntryKind::of(&old.node));
        let left_out = !goes && !options.filter.includes_entry(&old) && has_place;
        let gone = object_key(&old);
        if left_out {
            self.needed.extend(std::iter::successors(old.path.parent(), TreePath::parent));
        }
        if shielded || left_out || old.path.is_root() || self.needed.contains(&old.path) {
            return self.stays(old, gone.as_deref(), hear);
        }
        match &old.node {
            Node::Directory => self.tally.deleted_dirs += 1,
            Node::File(file) => {
                self.tally.deleted_files += 1;
                self.tally.deleted_bytes += file.size;
            }
            _ => self.tally.deleted_files += 1,
        }
        let there = There::AsNamed;
        hear(Difference { what: What::Remove, old: Some(Box::new(old)), gone, there, displaced: false })
    }

    /// An entry that the source does not speak of any more, but that is not removed either; unless a push that was cut off has replaced what it
    /// names: nobody could ever read it.
    fn stays(&mut self, old: Entry, key: Option<&str>, hear: &mut Hear<'_>) -> Result<bool> {
        let (there, displaced) = self.meet(key, Some(&old));
        if !displaced {
            self.packs.stays(&old);
            return Ok(true);
        }
        let text = "the mirror has lost what it had of it, and the source cannot be asked";
        self.shared.problem("push", &old.path.display(), &Error::new(ErrorKind::Changed, text));
        hear(Difference { what: What::Remove, old: Some(Box::new(old)), gone: None, there, displaced })
    }

    fn found(&mut self, found: Found, hear: &mut Hear<'_>) -> Result<bool> {
        let old = self.take_old(&found.path)?;
        self.tally.listed += 1;
        if self.leaves_out(&found) {
            return match old {
                Some(old) => self.gone(old, hear),
                None => Ok(true),
            };
        }
        if found.stat.kind != EntryKind::Directory {
            self.solid = Some(found.path.clone());
        }
        let root = found.path.is_root();
        self.before += u64::from(!root && old.is_some());
        self.present += u64::from(!root);
        self.tally.checks += u64::from(old.is_some());
        let link = self.link_of(&found);
        let key = key_for(&found.path, found.stat.kind);
        let (there, displaced) = self.meet(key.as_deref(), old.as_ref());
        let side = Side { stat: &found.stat, link, displaced, racy_from: self.racy_from };
        let Some(old) = old else {
            let what = Self::new_entry(found, link);
            return hear(Difference { what, old: None, gone: None, there, displaced });
        };
        let verdict = judge(&old, &side, self.shared.options);
        let gone = object_key(&old).filter(|old| key.as_ref() != Some(old));
        let what = match verdict {
            Verdict::Keep => {
                self.packs.stays(&old);
                return Ok(true);
            }
            Verdict::New => Self::new_entry(found, link),
            // Most of these turn out to be the same.
            Verdict::Read => {
                self.packs.stays(&old);
                What::Read { kept: kept(&old), found, link }
            }
            Verdict::Content if self.packing.wants(&old.node, link) => What::Read { kept: kept(&old), found, link },
            Verdict::Content => {
                self.packs.stays(&old);
                let has_same = || {
                    if found.bare {
                        old.meta.xattrs.is_empty()
                    } else {
                        found.xattrs().0.as_ref() == old.meta.xattrs.as_ref()
                    }
                };
                let same = same_description(&old, &side, self.shared.options) && has_same();
                if same {
                    return Ok(true);
                }
                What::Describe { kept: kept(&old), found, link }
            }
        };
        hear(Difference { what, old: Some(Box::new(old)), gone, there, displaced })
    }

    fn new_entry(found: Found, link: Option<Link>) -> What {
        match found.stat.kind {
            EntryKind::File | EntryKind::Symlink => What::Read { found, link, kept: None },
            EntryKind::Directory
            | EntryKind::Fifo
            | EntryKind::CharDevice
            | EntryKind::BlockDevice
            | EntryKind::Socket => What::Describe { found, link, kept: None },
        }
    }

    fn take_old(&mut self, path: &TreePath) -> Result<Option<Entry>> {
        self.old.next_if(|next| next.as_ref().map_or(true, |entry| entry.path == *path)).transpose()
    }

    fn leaves_out(&mut self, found: &Found) -> bool {
        let path = &found.path;
        if self.hidden.as_ref().is_some_and(|hidden| path.starts_with(hidden)) {
            return true;
        }
        if path.is_root() {
            return false;
        }
        let is_dir = found.stat.kind == EntryKind::Directory;
        let reserved = self.is_in_control_area(path) || self.is_left_out(path);
        let filter = &self.shared.options.filter;
        if reserved || (is_dir && !filter.may_descend(path)) {
            self.hidden = Some(path.clone());
            return true;
        }
        let stat = &found.stat;
        !path.is_root() && !filter.includes(path, stat.kind, stat.size, stat.mtime)
    }

    fn is_in_control_area(&self, path: &TreePath) -> bool {
        let is_reserved = self.shared.is_reserved(path);
        if is_reserved {
            let text = format!("{path} is not pushed: its place in the bucket is that of the mirror's control area");
            self.shared.once(&text, || self.shared.watch.observer.on(&Event::Note { text: &text }));
        }
        is_reserved
    }

    fn is_left_out(&self, path: &TreePath) -> bool {
        if self.shared.options.facl && path.as_bytes() == FACL.as_bytes() {
            let text = format!("{path} is not pushed: its place in the mirror is that of the permissions");
            self.shared.once(&text, || self.shared.watch.observer.on(&Event::Note { text: &text }));
            return true;
        }
        LEFT_OUT.contains(&path.as_bytes())
    }

    fn link_of(&mut self, found: &Found) -> Option<Link> {
        let stat = &found.stat;
        if stat.nlink < 2 || stat.kind == EntryKind::Directory {
            return None;
        }
        let mut first = false;
        let group = *self.groups.entry((stat.device, stat.inode)).or_insert_with(|| {
            first = true;
            group_of(&found.path)
        });
        Some(Link { group, first })
    }

    /// What the store has at the key of an entry, and whether that is not what the last generation says.
    fn meet(&mut self, key: Option<&str>, old: Option<&Entry>) -> (There, bool) {
        match (&mut self.standing, key) {
            (Some(standing), Some(key)) => standing.meet(key, old),
            _ => (There::AsNamed, false),
        }
    }
}

/// What a file keeps when its content turns out to be that of the last generation.
fn kept(old: &Entry) -> Option<FileNode> {
    match &old.node {
        Node::File(file) => Some(file.clone()),
        _ => None,
    }
}
