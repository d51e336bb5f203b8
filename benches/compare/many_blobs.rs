//! Makes the index of a repository name millions of blobs that are not there, to measure what a backup into a large repository takes:
//! `cargo bench --bench many_blobs -- REPOSITORY KEY-FILE BLOBS`. `large.sh` beside it does the measuring. The packs are there, too, for a prune
//! looks at their lengths: files that are one hole. REPOSITORY is a directory, and good for nothing else.
#![expect(clippy::unwrap_used, reason = "a tool for measuring fails by panicking")]

use std::path::Path;

use volvault::catalog::Codec;
use volvault::clock::SystemClock;
use volvault::id::{BlobId, ObjectHash, PackRef};
use volvault::limits::Limits;
use volvault::repo::{
    BlobKind, Compression, IndexWriter, OpenOptions, PackEntry, PackInfo, Repository, SystemEntropy, pack_key,
};
use volvault::secret::{Credential, Key32};
use volvault::storage::{Location, Store, StoreOptions};

/// As in a repository of compressible files: packs of 16 MiB hold some 100 blobs.
const BLOBS_PER_PACK: u32 = 100;
const STORED_LEN: u32 = 160 << 10;

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [directory, key, blobs] = arguments.as_slice() else { panic!("many_blobs REPOSITORY KEY-FILE BLOBS") };
    let blobs: u64 = blobs.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = OpenOptions {
        limits: Limits::default(),
        compression: Compression::Auto,
        extra_verify: true,
        clock: SystemClock::new(),
        entropy: SystemEntropy::new(),
        runtime: runtime.handle().clone(),
        host: "bench".to_owned(),
        user: "bench".to_owned(),
    };
    let location: Location = directory.parse().unwrap();
    let store = runtime.block_on(Store::connect(&location, &StoreOptions::default(), SystemClock::new())).unwrap();
    let key = Key32::parse(&std::fs::read(Path::new(key)).unwrap()).unwrap();
    let repo = Repository::open(store, &Credential::Key(key), options).unwrap();
    let mut writer = IndexWriter::new(&repo);
    let mut noise = blake3::Hasher::new().update(b"many blobs").finalize_xof();
    let mut random = || {
        let mut bytes = [0; 32];
        noise.fill(&mut bytes);
        bytes
    };
    for _ in 0..blobs.div_ceil(u64::from(BLOBS_PER_PACK)) {
        let pack = PackRef { name: ObjectHash::new(random()), epoch: 0, salt: random() };
        let entry = |n: u32| PackEntry {
            id: BlobId::new(random()),
            offset: 80 + n * STORED_LEN,
            stored_len: STORED_LEN,
            raw_len: 512 << 10,
            codec: Codec::Zstd,
        };
        let entries: Vec<PackEntry> = (0..BLOBS_PER_PACK).map(entry).collect();
        let info = PackInfo { pack, kind: BlobKind::Data, size: 16 << 20, blobs: BLOBS_PER_PACK };
        let file = Path::new(directory).join(pack_key(&pack.name));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::File::create_new(file).unwrap().set_len(info.size).unwrap();
        writer.add(info, entries).unwrap();
    }
    writer.finish().unwrap();
}
