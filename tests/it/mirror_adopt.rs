//! A prefix that another tool has filled becomes a mirror without a byte of it being read: pulls verify the MD5 that the `ETag` is, and hashes come
//! when somebody reads.

use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use bytes::Bytes;
use volvault::ErrorKind;
use volvault::catalog::{Content, Node};
use volvault::clock::SystemClock;
use volvault::events::{Progress, Silent, Stop, Watch};
use volvault::rclone_sync::adopt::{AdoptOptions, AdoptReport, adopt};
use volvault::rclone_sync::pull::{PullOptions, pull};
use volvault::rclone_sync::push::{PushOptions, Pushed};
use volvault::rclone_sync::verify::{VerifyOptions, verify};
use volvault::rclone_sync::{Destination, Places, manifest};
use volvault::storage::{Attributes, Condition};

use crate::mirror_push::{Field, published, root_of};
use crate::support::memory_s3::Habits;
use crate::support::s3::{S3Server, S3ServerThread};
use crate::support::vault::{assert_same, noise, on_disk};

struct Prefix {
    field: Field,
    mirror: Destination,
    _server: S3ServerThread,
}

/// Files, some of them big, in the source and, as rclone would have put them, in the prefix.
fn prefix() -> Prefix {
    let server = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "bucket"));
    let field = Field::new();
    field.fill(30);
    field.write("big", &noise(9 << 20, 5));
    // Long enough ago that nobody has to look twice.
    for path in on_disk(&field.source()).into_keys() {
        let path = field.source().join(std::ffi::OsStr::from_bytes(&path));
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    let (location, options) = (server.server.location("bucket", "mirror"), server.server.options());
    let places = field.runtime.block_on(Places::connect(&location, &options, SystemClock::new())).unwrap();
    for (path, seen) in on_disk(&field.source()) {
        if seen.kind == "file" {
            let mtime = Some(format!("{}.{:09}", seen.mtime.0, seen.mtime.1));
            let attributes = Attributes { mtime, ..Attributes::default() };
            let key = String::from_utf8(path).unwrap();
            places.block(places.data.put_with(&key, Bytes::from(seen.bytes), &attributes, Condition::Any)).unwrap();
        }
    }
    Prefix { mirror: field.at(places, "s3"), field, _server: server }
}

impl Prefix {
    fn adopt(&self, read: bool) -> AdoptReport {
        let (progress, stop) = (Progress::default(), Stop::new());
        let own = std::fs::metadata(self.field.source()).unwrap();
        let owner = (std::os::unix::fs::MetadataExt::uid(&own), std::os::unix::fs::MetadataExt::gid(&own));
        let options = AdoptOptions { read, owner, ..AdoptOptions::new(self.field.options().means) };
        adopt(&self.mirror, &options, &Watch { observer: &Silent, progress: &progress, stop: &stop }).unwrap()
    }

    fn pull(&self, name: &str) -> volvault::Result<()> {
        let (progress, stop) = (Progress::default(), Stop::new());
        let watch = Watch { observer: &Silent, progress: &progress, stop: &stop };
        let from = Destination { state: None, ..self.mirror.clone() };
        let options = PullOptions { wait: Duration::ZERO, ..PullOptions::new(self.field.options().means) };
        pull(&from, &self.field.dir.path().join(name), &options, &watch).map(drop)
    }

    /// Files whose hash is not known.
    fn unhashed(&self) -> usize {
        let (root, _) = root_of(&self.mirror.places).expect("a root");
        let is_unhashed = |node: &Node| match node {
            Node::File(file) => matches!(&file.content, Content::Object(object) if object.hash.is_none()),
            _ => false,
        };
        manifest::entries(&self.mirror.places, &root).filter(|entry| is_unhashed(&entry.as_ref().unwrap().node)).count()
    }
}

#[test]
fn what_is_adopted_by_its_listing_is_pulled_verified_and_pushed_to() {
    let prefix = prefix();
    let before = prefix.mirror.places.data.requests();
    assert_eq!(prefix.adopt(false).files, 31);
    let took = prefix.mirror.places.data.requests().since(&before);
    assert!(took.bytes_down <= 100, "a sample at most: {took}");
    assert_eq!(prefix.unhashed(), 31);
    prefix.pull("target").unwrap();
    let contents = |name: &str| on_disk(&prefix.field.dir.path().join(name));
    let mut pulled = contents("target");
    for (path, one) in contents("source") {
        assert_eq!(pulled.remove(&path).map(|pulled| pulled.bytes), Some(one.bytes));
    }

    let (progress, stop) = (Progress::default(), Stop::new());
    let watch = Watch { observer: &Silent, progress: &progress, stop: &stop };
    let report = verify(&prefix.mirror.places, VerifyOptions { read: true, at_once: 4 }, &watch).unwrap();
    assert_eq!((report.unhashed, report.damaged, report.is_whole()), (31, 0, true));

    // The same files by size and time: nothing is sent. One that is read is known by its hash from then on, and is not sent either.
    let (field, mirror) = (&prefix.field, &prefix.mirror);
    let before = mirror.places.data.requests();
    let first = field.push(mirror);
    assert!(matches!(first.result, Ok(Pushed::Published { .. } | Pushed::Unchanged { .. })), "{first:?}");
    assert_eq!((mirror.places.data.requests().since(&before).put, first.tally.transfers), (0, 0));
    let compared = field.push_with(mirror, &PushOptions { checksum: true, ..field.options() });
    assert_eq!((compared.tally.transfers, mirror.places.data.requests().since(&before).put), (0, 0), "{compared:?}");
    published(&compared);
    assert_eq!(prefix.unhashed(), 0);
    field.assert_like_source(&mirror.places);
    prefix.pull("again").unwrap();
    assert_same(&contents("again"), &contents("source"));
}

#[test]
fn an_adopted_object_that_is_not_what_its_tag_says_is_not_pulled() {
    let prefix = prefix();
    prefix.adopt(true);
    assert_eq!(prefix.unhashed(), 0, "--read knows them all");
    prefix.pull("target").unwrap();
    let places = &prefix.mirror.places;
    places.block(places.data.put("000/000001", Bytes::from_static(b"something else of another tool"))).unwrap();
    let error = prefix.pull("other").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Changed), "{error:?}");
}
