//! Catalogue pages written byte by byte, as no writer would.

use volvault::catalog::{ChildRef, InnerPage};
use volvault::repo::BlobWriter;
use volvault::restore::RestoreOptions;

use super::{Expect, verdict};
use crate::restore::fixture::{Arena, Fixture, store_page, tree_path};

/// An entry as bytes of a page: path, kind, mode, nanoseconds, fields.
struct Record<'a> {
    path: &'a [u8],
    kind: u8,
    mode: u64,
    nanos: u64,
    fields: Vec<u8>,
}

const PLAIN: Record<'_> = Record { path: b"", kind: 1, mode: 0o644, nanos: 0, fields: Vec::new() };

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
}

/// A leaf page by the letter of docs/format.md section 9, whatever it says.
fn leaf(records: &[Record<'_>]) -> Vec<u8> {
    let mut page = vec![1, 0, 0, 0];
    varint(&mut page, records.len() as u64);
    for record in records {
        let mut bytes = vec![0];
        varint(&mut bytes, record.path.len() as u64);
        bytes.extend_from_slice(record.path);
        bytes.push(record.kind);
        varint(&mut bytes, record.mode);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0]);
        varint(&mut bytes, record.nanos);
        bytes.extend_from_slice(&[0, 0, 1, 0]);
        bytes.extend_from_slice(&record.fields);
        varint(&mut page, bytes.len() as u64);
        page.extend_from_slice(&bytes);
    }
    page
}

#[test]
fn pages_that_no_writer_makes_are_refused_before_anything_is_written_from_them() {
    let named = |path: &'static [u8]| Record { path, ..PLAIN };
    let with = |fields: &[u8]| Record { path: b"b", fields: fields.to_vec(), ..PLAIN };
    let link =
        || Record { path: b"b", kind: 2, mode: 0o777, fields: [&[5, 14][..], b"../victim/file"].concat(), ..PLAIN };
    let long = [b'x'; 256];
    let cases: Vec<(&str, Vec<Record<'_>>)> = vec![
        ("parent", vec![named(b"..")]),
        ("parent in the middle", vec![named(b"b/../../victim/file")]),
        ("parent at the end", vec![named(b"b/..")]),
        ("absolute", vec![named(b"/etc/passwd")]),
        ("itself", vec![named(b".")]),
        ("itself in the middle", vec![named(b"b/./c")]),
        ("empty component", vec![named(b"b//c")]),
        ("slash at the end", vec![named(b"b/")]),
        ("NUL", vec![named(b"b\0c")]),
        ("long name", vec![Record { path: &long, ..PLAIN }]),
        ("root again", vec![named(b"")]),
        ("the same name twice", vec![named(b"b"), named(b"b")]),
        ("file and link of one name", vec![named(b"b"), link()]),
        ("link and file of one name", vec![link(), named(b"b")]),
        ("out of order", vec![named(b"c"), named(b"b")]),
        ("child before its directory", vec![named(b"b/c"), Record { kind: 0, ..named(b"b") }]),
        ("unknown kind", vec![Record { kind: 9, ..named(b"b") }]),
        ("mode of 16 bits", vec![Record { mode: 0o104_755, ..named(b"b") }]),
        ("a billion nanoseconds", vec![Record { nanos: 1_000_000_000, ..named(b"b") }]),
        ("link to nothing at all", vec![Record { fields: vec![5, 0], ..link() }]),
        ("link target with NUL", vec![Record { fields: vec![5, 2, b'a', 0], ..link() }]),
        ("link without target", vec![Record { fields: Vec::new(), ..link() }]),
        ("size without content", vec![with(&[1, 1, 9])]),
        ("content without size", vec![with(&[3, 1, 0])]),
        ("blob that the page does not name", vec![with(&[1, 1, 9, 3, 1, 0])]),
        ("fields out of order", vec![with(&[9, 1, 1, 1, 1, 0])]),
        ("field longer than the record", vec![with(&[1, 200])]),
        ("extents beyond the end", vec![with(&[1, 1, 9, 8, 2, 0, 10])]),
        ("an extent of nothing", vec![with(&[1, 1, 9, 8, 2, 0, 0])]),
        ("chunk lists too deep", vec![with(&[1, 1, 9, 4, 2, 99, 0])]),
        ("directory with names", vec![Record { kind: 0, fields: vec![6, 2, 1, 1], ..named(b"b") }]),
        ("device without number", vec![Record { kind: 4, ..named(b"b") }]),
    ];
    assert!(cases.len() >= 30);
    for (name, records) in cases {
        let (fixture, arena) = (Fixture::new(), Arena::new());
        let session = fixture.repo.write_session().unwrap();
        let writer = BlobWriter::new(&session, false);
        let first = || Record { path: b"a", ..PLAIN };
        let all: Vec<_> = std::iter::once(first()).chain(records).collect();
        let page = store_page(&writer, &leaf(&all)).unwrap();
        writer.finish().unwrap();
        let child = ChildRef {
            id: page.id,
            raw_len: page.raw_len,
            entries: all.len() as u64,
            first: tree_path("a"),
            hint: None,
        };
        let snapshot = fixture.publish(&session, InnerPage { level: 1, children: vec![child] });
        let before = arena.outside();
        let outcome = fixture.restore(&snapshot, &RestoreOptions { delete: true, ..arena.options() });
        assert_eq!(verdict(&outcome), Expect::Refused, "{name}: {:?}", outcome.problems);
        assert_eq!(arena.outside(), before, "{name}");
        assert_eq!(arena.inside().len(), 1, "{name}: something was written");
    }
}

#[test]
fn a_page_of_the_same_encoder_without_a_lie_is_read() {
    let fields = [&[5, 14][..], b"../victim/file"].concat();
    let link = Record { path: b"b", kind: 2, mode: 0o777, fields, ..PLAIN };
    let (fixture, arena) = (Fixture::new(), Arena::new());
    let session = fixture.repo.write_session().unwrap();
    let writer = BlobWriter::new(&session, false);
    let page = store_page(&writer, &leaf(&[Record { path: b"a", ..PLAIN }, link])).unwrap();
    writer.finish().unwrap();
    let child = ChildRef { id: page.id, raw_len: page.raw_len, entries: 2, first: tree_path("a"), hint: None };
    let snapshot = fixture.publish(&session, InnerPage { level: 1, children: vec![child] });
    fixture.restore(&snapshot, &arena.options()).clean();
    assert_eq!(arena.inside().len(), 3);
}
