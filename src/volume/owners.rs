//! Names of users and groups, from `/etc/passwd` and `/etc/group` alone.
//!
//! Nothing is asked of NSS: a static binary in a container has no LDAP, and the names are a convenience beside the numbers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::stat::Stat;
use crate::catalog::{Metadata, Xattr};

/// Names of owners, and owners of names. Read once, never refreshed.
#[derive(Debug, Default)]
pub struct OwnerNames {
    users: Table,
    groups: Table,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<u32, Arc<[u8]>>,
    ids: HashMap<Arc<[u8]>, u32>,
}

impl OwnerNames {
    /// Reads this machine's names. Files that are missing have none.
    pub fn load() -> Self {
        Self::load_from(Path::new("/etc/passwd"), Path::new("/etc/group"))
    }

    fn load_from(passwd: &Path, group: &Path) -> Self {
        let read = |path| Table::parse(&std::fs::read(path).unwrap_or_default());
        Self { users: read(passwd), groups: read(group) }
    }

    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<Arc<[u8]>> {
        self.users.names.get(&uid).cloned()
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<Arc<[u8]>> {
        self.groups.names.get(&gid).cloned()
    }

    /// The user of that name.
    pub fn uid(&self, name: &[u8]) -> Option<u32> {
        self.users.ids.get(name).copied()
    }

    /// The group of that name.
    pub fn gid(&self, name: &[u8]) -> Option<u32> {
        self.groups.ids.get(name).copied()
    }

    /// What a snapshot keeps of an entry besides its content.
    pub fn metadata(&self, stat: &Stat, xattrs: Arc<[Xattr]>) -> Metadata {
        Metadata {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            user: self.user(stat.uid),
            group: self.group(stat.gid),
            mtime: stat.mtime,
            ctime: stat.ctime,
            inode: stat.inode,
            xattrs,
        }
    }
}

impl Table {
    /// Reads lines of `name:password:id:...`. The first of several lines for one id or name counts, as in libc.
    fn parse(text: &[u8]) -> Self {
        let mut table = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) else { continue };
            // `+` and `-` lines ask for NIS.
            if name.is_empty() || matches!(name.first(), Some(b'#' | b'+' | b'-')) {
                continue;
            }
            let name: Arc<[u8]> = Arc::from(name);
            table.names.entry(id).or_insert_with(|| Arc::clone(&name));
            table.ids.entry(name).or_insert(id);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_id_or_a_name_counts_and_odd_lines_are_passed_over() {
        let table =
            Table::parse(b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0\n#c:x:5:\n+::::\nbad:x:y:\nroot:x:7:\nlast:x:9");
        assert_eq!(table.names.get(&0).map(AsRef::as_ref), Some(&b"root"[..]));
        assert_eq!(table.ids.get(&b"toor"[..]), Some(&0));
        assert_eq!(table.ids.get(&b"root"[..]), Some(&0));
        assert_eq!(table.names.get(&9).map(AsRef::as_ref), Some(&b"last"[..]));
        assert!(!table.names.contains_key(&5));
    }
}
