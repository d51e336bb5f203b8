use super::*;
use crate::catalog::{LinkGroup, Timestamp};
use proptest::prelude::*;

const TEXT: &str = r"# file: data
# owner: root
# group: 1000
# flags: -s-
user::rwx
group::r-x
other::---
default:user::rwx
default:user:1001:r-x
default:group::r-x
default:mask::rwx
default:other::---

# file: data/dir\040one/f\134x
# owner: 1000
# group: staff
user::rw-
user:1001:rwx   #effective:r--
group::r--
mask::r--
other::---

# file: data/z
# owner: 7
# group: 8
# flags: s-t
user::rwx
group::---
other::--x
";

fn records(text: &str) -> Result<Vec<Record>> {
    Records::new(text.as_bytes()).collect()
}

fn entry(path: &str, node: Node) -> Entry {
    let meta = Metadata {
        mode: 0o644,
        uid: 5,
        gid: 6,
        user: None,
        group: None,
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
        inode: 0,
        xattrs: vec![Xattr { name: b"user.x".to_vec(), value: b"y".to_vec() }].into(),
    };
    Entry { path: TreePath::parse(path).unwrap(), meta, node, link: None::<LinkGroup> }
}

#[test]
fn getfacls_text_is_read() {
    let read = records(TEXT).unwrap();
    let [top, file, last] = read.as_slice() else { panic!("{read:?}") };
    assert!(top.path.is_root() && top.mode == 0o2750);
    assert_eq!((&top.owner, &top.group), (&Principal::Name(b"root".to_vec()), &Principal::Id(1000)));
    assert_eq!((top.default.entries().len(), top.access.is_extended()), (5, false));
    assert_eq!(file.path, TreePath::parse("dir one/f\\x").unwrap());
    assert_eq!((file.mode, file.access.get(Tag::User(1001))), (0o640, Some(7)));
    assert_eq!(file.group, Principal::Name(b"staff".to_vec()));
    assert_eq!((last.path.as_bytes(), last.mode), (&b"z"[..], 0o5701));
}

#[test]
fn tops_of_every_form_are_taken_off() {
    let record = |path: &str| format!("# file: {path}\n# owner: 1\n# group: 1\nuser::rwx\ngroup::---\nother::---\n\n");
    for (top, below) in [("data", "data/a/b"), (".", "./a/b"), ("mnt/data/", "mnt/data/a/b"), ("", "a/b")] {
        let read = records(&(record(top) + &record(below))).unwrap();
        assert_eq!(read[1].path, TreePath::parse("a/b").unwrap(), "{top:?}");
    }
    for outside in ["other/x", "database", "data/../x", "data//x"] {
        assert!(records(&(record("data") + &record(outside))).is_err(), "{outside}");
    }
}

#[test]
fn what_is_no_record_is_refused_with_its_line() {
    for text in [
        "# file: a\n# owner: 1\n# group: 1\nuser::rwx\n",
        "# file: a\nuser::rwx\ngroup::rwx\nother::rwx\n",
        "# file: a\n# file: b\n",
        "# file: a\nuser::rwz\n",
        "# file: a\nuser:name:rwx\n",
        "# file: a\nuser\n",
        "# file: a\nuser::rwx\nuser::rwx\n",
        "# file: a\nfoo::rwx\n",
    ] {
        assert!(records(text).unwrap_err().chain().contains("line"), "{text:?}");
    }
    assert!(records("\n\n").unwrap().is_empty());
}

#[test]
fn a_record_gives_metadata_its_owner_mode_and_acls_and_leaves_the_rest() {
    let read = records(TEXT).unwrap();
    let mut changed = entry("x", Node::Directory);
    read[0].apply(&mut changed.meta);
    assert_eq!((changed.meta.uid, changed.meta.gid, changed.meta.mode), (0, 1000, 0o2750));
    let names: Vec<&[u8]> = changed.meta.xattrs.iter().map(|attr| attr.name.as_slice()).collect();
    assert_eq!(names, [DEFAULT, b"user.x"]);
    read[1].apply(&mut changed.meta);
    assert_eq!((changed.meta.uid, changed.meta.gid, changed.meta.group.as_deref()), (1000, 1000, Some(&b"staff"[..])));
    let names: Vec<&[u8]> = changed.meta.xattrs.iter().map(|attr| attr.name.as_slice()).collect();
    assert_eq!(names, [ACCESS, b"user.x"], "the default is gone");
}

#[test]
fn entries_are_written_as_getfacl_writes_them() {
    let mut out = Vec::new();
    for record in records(TEXT).unwrap() {
        record.write("data", &mut out).unwrap();
    }
    let written = String::from_utf8(out).unwrap();
    assert_eq!(written, TEXT.replace("   #effective:r--", "") + "\n");
    assert_eq!(Record::of(&entry("l", Node::Symlink { target: b"x".to_vec() })).unwrap(), None);
    let plain = Record::of(&entry("d", Node::Directory)).unwrap().unwrap();
    assert_eq!((plain.mode, plain.access.mode()), (0o644, Some(0o644)));
}

proptest! {
    #[test]
    fn records_come_back_from_their_text(
        name in prop::collection::vec(any::<u8>().prop_filter("a name", |b| !matches!(b, 0 | b'/')), 1..12),
        mode in 0..0o10000_u16,
        users in prop::collection::btree_map(any::<u32>(), 0..8_u16, 0..4),
        mask in 0..8_u16,
    ) {
        let mut made = entry("x", Node::Fifo);
        prop_assume!(!matches!(name.as_slice(), b"." | b".."));
        made.path = TreePath::parse(name).unwrap();
        made.meta.mode = mode;
        let mut acl = Acl::of_mode(mode);
        for (id, bits) in &users {
            acl.insert(Tag::User(*id), *bits).unwrap();
        }
        made.meta.xattrs = Vec::new().into();
        if acl.is_extended() {
            acl.insert(Tag::Mask, mask).unwrap();
            made.meta.mode = acl.mode().unwrap() | mode & 0o7000;
            made.meta.xattrs = vec![Xattr { name: ACCESS.to_vec(), value: acl.encode() }].into();
        }
        let record = Record::of(&made).unwrap().unwrap();
        let mut text = b"# file: t\n# owner: 1\n# group: 1\nuser::rwx\ngroup::---\nother::---\n\n".to_vec();
        record.write("t", &mut text).unwrap();
        let read: Vec<Record> = Records::new(text.as_slice()).collect::<Result<_>>().unwrap();
        prop_assert_eq!(&read[1], &record);
        let mut applied = made.meta.clone();
        read[1].apply(&mut applied);
        prop_assert_eq!(applied, made.meta);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        Records::new(bytes.as_slice()).for_each(drop);
        drop(Acl::decode(&bytes));
    }
}
