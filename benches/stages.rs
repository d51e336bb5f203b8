//! What one core does at each stage of a backup: `cargo bench`. Whole runs beside other programs are in `benches/compare/`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use volvault::catalog::{Content, Entry, FileNode, Metadata, Node, PageBuilder, Timestamp, decode_leaf};
use volvault::chunker::{Chunker, Params};
use volvault::crypto::{MasterKey, ObjectKind, ObjectWriter, Opener, Part};
use volvault::id::{BlobId, ContentHash, RepoId};
use volvault::path::TreePath;
use volvault::repo::{BlobKind, KeyRing, SystemEntropy};

const LEN: usize = 16 << 20;

fn data() -> Vec<u8> {
    let mut bytes = vec![0; LEN];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn keys() -> KeyRing {
    KeyRing::new(MasterKey::generate(&SystemEntropy).unwrap(), RepoId::new([1; 16]))
}

fn bytes_stages(c: &mut Criterion) {
    let (data, keys) = (data(), keys());
    let chunker = Chunker::new(&Params::default(), keys.gear_table()).unwrap();
    let mut group = c.benchmark_group("bytes");
    group.throughput(Throughput::Bytes(LEN as u64)).sample_size(20);
    group.bench_function("cut", |b| b.iter(|| chunker.chunks(black_box(&data)).count()));
    group.bench_function("id", |b| b.iter(|| keys.blob_id(BlobKind::Data, black_box(&data))));
    let part = Part::Blob { id: BlobId::new([2; 32]), raw_len: 1, codec: 0 };
    group.bench_function("seal", |b| {
        b.iter(|| {
            let mut writer = ObjectWriter::new(&keys, ObjectKind::DataPack, LEN + 200).unwrap();
            for piece in data.chunks(512 << 10) {
                writer.append(&part, piece).unwrap();
            }
            writer.len()
        });
    });
    let mut writer = ObjectWriter::new(&keys, ObjectKind::DataPack, LEN + 200).unwrap();
    let place = writer.append(&part, &data).unwrap();
    let sealed = writer.finish().bytes;
    let opener = Opener::from_header(&keys, ObjectKind::DataPack, &sealed).unwrap();
    group.bench_function("open", |b| {
        b.iter_batched_ref(
            || sealed[place.clone()].to_vec(),
            |bytes| opener.open_in_place(&part, place.start as u64, bytes).unwrap().len(),
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn entries(count: u64) -> Vec<Entry> {
    let meta = Metadata {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: Some(Arc::from(b"user".as_slice())),
        group: Some(Arc::from(b"group".as_slice())),
        mtime: Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 },
        ctime: Timestamp { seconds: 1_700_000_100, nanos: 1 },
        inode: 0,
        xattrs: Arc::default(),
    };
    let file = |n: u64| {
        let blob = volvault::catalog::BlobRef {
            id: BlobId::new([u8::try_from(n / 1000 % 256).unwrap(); 32]),
            raw_len: 1 << 20,
        };
        let content = Content::Bundle {
            blob,
            offset: u32::try_from(n % 1000).unwrap(),
            hash: ContentHash::new(n.to_le_bytes().repeat(2).try_into().unwrap()),
        };
        FileNode { size: 700, content, extents: None, incomplete: false }
    };
    let entry = |n| Entry {
        path: TreePath::parse(format!("data/{:04}/file-{:06}.txt", n / 100, n)).unwrap(),
        meta: Metadata { inode: n, ..meta.clone() },
        node: Node::File(file(n)),
        link: None,
    };
    (0..count).map(entry).collect()
}

fn catalogue_stages(c: &mut Criterion) {
    let entries = entries(20_000);
    let pages = |entries: &[Entry]| {
        let mut builder = PageBuilder::new([3; 32]);
        let mut pages: Vec<Vec<u8>> =
            entries.iter().filter_map(|entry| builder.push(entry).unwrap()).map(|page| page.bytes).collect();
        pages.extend(builder.finish().map(|page| page.bytes));
        pages
    };
    let encoded = pages(&entries);
    let mut group = c.benchmark_group("entries");
    group.throughput(Throughput::Elements(entries.len() as u64)).sample_size(20);
    group.bench_function("encode", |b| b.iter(|| pages(black_box(&entries)).len()));
    group.bench_function("decode", |b| {
        b.iter(|| encoded.iter().map(|page| decode_leaf(page).unwrap().len()).sum::<usize>());
    });
    group.finish();
}

criterion_group!(stages, bytes_stages, catalogue_stages);
criterion_main!(stages);
