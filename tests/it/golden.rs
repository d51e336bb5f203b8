//! Frozen files: a repository of format 1 and numbers worked from its keys. They are added to, never changed (`tests/golden/README.md`).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use volvault::repo::{BlobKind, Repository};

use crate::support::vault::{Vault, contents, noise};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn repository() -> (Vault, Repository) {
    let files = LocalFileSystem::new_with_prefix(golden("v1")).unwrap();
    let vault = Vault::over(Arc::new(files));
    let repo = vault.open().unwrap();
    (vault, repo)
}

fn compare(name: &str, now: &str) {
    let frozen = std::fs::read_to_string(golden(name)).unwrap_or_default();
    assert!(frozen == now, "{name} is not what it was; now it would be:\n{now}");
}

#[test]
fn a_repository_of_format_1_reads_as_it_did_when_it_was_written() {
    let (_vault, repo) = repository();
    let session = repo.observe().unwrap();
    let mut text = String::new();
    for name in session.snapshots() {
        let snapshot = session.load(name).unwrap();
        writeln!(
            text,
            "{} {} {:?} {}",
            snapshot.id,
            snapshot.time.to_rfc3339(),
            snapshot.status,
            snapshot.tags.join(",")
        )
        .unwrap();
        for (path, seen) in contents(&session, &snapshot).unwrap() {
            writeln!(text, "  {} {seen:?}", volvault::path::escape(&path)).unwrap();
        }
    }
    compare("v1.txt", &text);
}

#[test]
fn ids_and_cut_points_under_a_given_key_are_those_of_format_1() {
    let (_vault, repo) = repository();
    let keys = repo.keys();
    let mut text = String::new();
    for (name, bytes) in [("one byte", b"x".to_vec()), ("100,000 bytes", noise(100_000, 1))] {
        writeln!(text, "data id of {name}: {}", keys.blob_id(BlobKind::Data, &bytes)).unwrap();
        writeln!(text, "tree id of {name}: {}", keys.blob_id(BlobKind::Tree, &bytes)).unwrap();
        writeln!(text, "content hash of {name}: {}", keys.content_hash(&bytes)).unwrap();
    }
    let source = keys.source_id(b"host", &[b"/b".to_vec(), b"/a".to_vec()]);
    writeln!(text, "source id of host, /a, /b: {source}").unwrap();
    writeln!(
        text,
        "gear table: {}",
        hex::encode(blake3::hash(&keys.gear_table().map(u64::to_le_bytes).concat()).as_bytes())
    )
    .unwrap();
    for (name, bytes) in [("noise", noise(12 << 20, 2)), ("zeros", vec![0; 5 << 20])] {
        let cuts: Vec<_> = repo.chunker().chunks(&bytes).map(|chunk| chunk.len().to_string()).collect();
        writeln!(text, "chunks of {} bytes of {name}: {}", bytes.len(), cuts.join(" ")).unwrap();
    }
    compare("v1-vectors.txt", &text);
}
