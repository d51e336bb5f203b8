//! Pushes to mirrors in memory and on S3: what stands there afterwards, and how many requests it took.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::Runtime;
use volvault::ErrorKind;
use volvault::catalog::{Content, Entry, Node};
use volvault::clock::SystemClock;
use volvault::events::{Progress, Stop, Watch};
use volvault::rclone_sync::claim::Pace;
use volvault::rclone_sync::key::key_of;
use volvault::rclone_sync::layout::{LINK_END, ROOT};
use volvault::rclone_sync::manifest;
use volvault::rclone_sync::push::{DestinationReport, PushOptions, PushReport, Pushed, push};
use volvault::rclone_sync::root::{ROOT_MAX, Root};
use volvault::rclone_sync::{Destination, Means, Places};
use volvault::storage::{Location, Pin, Store, StoreOptions};

use crate::support::faults::{FaultPlan, FaultStore, When};
use crate::support::hasty;
use crate::support::memory_s3::Habits;
use crate::support::s3::{S3Server, S3ServerThread};
use crate::support::vault::{Ear, Seen, assert_same, noise, on_disk};

/// A source, and mirrors of it.
pub(crate) struct Field {
    pub(crate) runtime: Runtime,
    pub(crate) dir: tempfile::TempDir,
}

/// The objects of one mirror.
#[derive(Clone)]
pub(crate) struct Two {
    pub(crate) data: Arc<dyn ObjectStore>,
    pub(crate) control: Arc<dyn ObjectStore>,
}

impl Two {
    pub(crate) fn new() -> Self {
        Self { data: Arc::new(InMemory::new()), control: Arc::new(InMemory::new()) }
    }
}

impl Field {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("source")).unwrap();
        Self { runtime, dir }
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.source().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), bytes).unwrap();
    }

    /// `count` files of a few bytes in directories of a hundred.
    pub(crate) fn fill(&self, count: u64) {
        for file in 0..count {
            self.write(&format!("{:03}/{file:06}", file / 100), &noise(100, file));
        }
    }

    pub(crate) fn places(&self, two: &Two) -> Places {
        let store = |objects: &Arc<dyn ObjectStore>| {
            Store::from_object_store_with(Arc::clone(objects), Location::Memory, hasty())
        };
        Places::new(store(&two.data), store(&two.control), self.runtime.handle().clone())
    }

    pub(crate) fn destination(&self, two: &Two) -> Destination {
        self.at(self.places(two), "mirror")
    }

    pub(crate) fn at(&self, places: Places, name: &str) -> Destination {
        Destination { name: name.to_owned(), places, state: Some(self.dir.path().join("state").join(name)) }
    }

    pub(crate) fn options(&self) -> PushOptions {
        let means = Means {
            clock: SystemClock::new(),
            host: "test".to_owned(),
            program: "volvault test".to_owned(),
            id: "pusher-1".to_owned(),
            scratch: self.dir.path().to_owned(),
        };
        // Nobody waits long for the dead here.
        let ms = Duration::from_millis;
        PushOptions { pace: Pace { dead: ms(60), look: ms(10), ..Pace::default() }, ..PushOptions::new(means) }
    }

    pub(crate) fn push_all(&self, destinations: &[Destination], options: &PushOptions) -> (PushReport, Vec<String>) {
        let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
        let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
        let report = push(&self.source(), destinations, options, &watch).unwrap();
        let problems = ear.problems.lock().unwrap().clone();
        (report, problems)
    }

    pub(crate) fn push_with(&self, destination: &Destination, options: &PushOptions) -> DestinationReport {
        let (mut report, problems) = self.push_all(std::slice::from_ref(destination), options);
        assert_eq!(problems, Vec::<String>::new());
        report.destinations.remove(0)
    }

    pub(crate) fn push(&self, destination: &Destination) -> DestinationReport {
        self.push_with(destination, &self.options())
    }

    /// Everything that the mirror's generation says, with the bytes that its pins lead to; panics where they do not.
    fn seen(places: &Places) -> BTreeMap<Vec<u8>, Seen> {
        let (root, _) = root_of(places).expect("a root");
        let (mut seen, mut groups) = (BTreeMap::new(), HashMap::new());
        for entry in manifest::entries(places, &root) {
            let entry = entry.unwrap();
            let (kind, bytes) = Self::body(places, &entry, &mut groups);
            let mtime = (entry.meta.mtime.seconds, entry.meta.mtime.nanos);
            let one = Seen { kind, mode: entry.meta.mode, mtime, bytes };
            seen.insert(entry.path.as_bytes().to_vec(), one);
        }
        assert_eq!(root.totals.entries, seen.len() as u64);
        let files = seen.values().filter(|one| one.kind == "file").count();
        assert_eq!(root.totals.files, files as u64);
        seen
    }

    fn body(
        places: &Places,
        entry: &Entry,
        groups: &mut HashMap<volvault::catalog::LinkGroup, Vec<u8>>,
    ) -> (&'static str, Vec<u8>) {
        let Node::File(file) = &entry.node else {
            return match &entry.node {
                Node::Symlink { target } => {
                    let body = plain(places, &(key_of(&entry.path) + LINK_END));
                    assert_eq!(&body, target, "{}", entry.path);
                    ("link", body)
                }
                Node::Fifo => ("fifo", Vec::new()),
                _ => ("dir", Vec::new()),
            };
        };
        let key = key_of(&entry.path);
        let bytes = if let Content::Object(object) = &file.content {
            let pin =
                Pin { etag: Some(object.etag.to_string()), version: object.version.as_deref().map(str::to_owned) };
            let got = places.block(places.data.get_pinned(&key, 0..file.size, file.size, &pin)).unwrap().to_vec();
            let hash = *blake3::hash(&got).as_bytes();
            assert!(object.hash.is_none_or(|wanted| *wanted.as_bytes() == hash), "{}", entry.path);
            entry.link.map(|group| groups.insert(group, got.clone()));
            got
        } else {
            let plain = plain(places, &key);
            let first = entry.link.and_then(|group| groups.get(&group)).cloned().unwrap_or_default();
            assert_eq!(first, plain, "{}", entry.path);
            plain
        };
        assert_eq!(bytes.len() as u64, file.size, "{}", entry.path);
        ("file", bytes)
    }

    /// The generation is what the source is, and the prefix holds what the generation names and nothing else.
    pub(crate) fn assert_like_source(&self, places: &Places) {
        let (mirror, source) = (Self::seen(places), on_disk(&self.source()));
        assert_same(&mirror, &source);
        let mut wanted: Vec<String> = Vec::new();
        for (path, one) in &source {
            let key = key_of(&volvault::path::TreePath::parse(path.clone()).unwrap());
            match one.kind {
                "file" => wanted.push(key),
                "link" => wanted.push(key + LINK_END),
                _ => {}
            }
        }
        wanted.sort();
        let there: Vec<String> =
            places.block(places.data.list("")).unwrap().into_iter().map(|object| object.key).collect();
        assert_eq!(there, wanted);
    }
}

fn plain(places: &Places, key: &str) -> Vec<u8> {
    places.block(places.data.get(key, 1 << 30)).unwrap_or_else(|error| panic!("{key}: {error:?}")).to_vec()
}

pub(crate) fn root_of(places: &Places) -> Option<(Root, Pin)> {
    match places.block(places.control.get_with_pin(ROOT, ROOT_MAX)) {
        Ok((text, pin)) => Some((Root::decode(&text).unwrap(), pin)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{error:?}"),
    }
}

pub(crate) fn published(report: &DestinationReport) -> u64 {
    match &report.result {
        Ok(Pushed::Published { generation }) => *generation,
        other => panic!("{other:?}"),
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_unchanged_push_costs_one_request_and_a_changed_one_little_more_than_its_files() {
    let field = Field::new();
    field.fill(5000);
    let two = Two::new();
    let mirror = field.destination(&two);
    let first = field.push(&mirror);
    assert_eq!((published(&first), first.before, first.tally.transfers), (1, None, 5000));
    field.assert_like_source(&mirror.places);
    assert!(first.requests.total() <= 5020, "{}", first.requests);

    let again = field.push(&mirror);
    assert_eq!(again.result.as_ref().unwrap(), &Pushed::Unchanged { generation: 1 });
    assert_eq!(again.requests.total(), 1, "{}", again.requests);

    for file in 0..100 {
        field.write(&format!("{:03}/{:06}", file / 2, file * 50), &noise(120, 90_000 + file));
    }
    let changed = field.push(&mirror);
    assert_eq!((published(&changed), changed.before, changed.tally.transfers), (2, Some(1), 100));
    assert!(changed.requests.total() <= 110, "{}", changed.requests);
    field.assert_like_source(&mirror.places);
}

#[test]
fn a_chmod_of_everything_touches_no_object_of_the_prefix() {
    let field = Field::new();
    field.fill(1000);
    let two = Two::new();
    let mirror = field.destination(&two);
    field.push(&mirror);
    let before = mirror.places.data.requests();
    for file in 0..1000 {
        set_mode(&field.source().join(format!("{:03}/{file:06}", file / 100)), 0o640);
    }
    let changed = field.push(&mirror);
    assert_eq!((published(&changed), changed.tally.metadata_updates), (2, 1000));
    assert_eq!(mirror.places.data.requests(), before);
    assert!(changed.requests.total() <= 10, "{}", changed.requests);
    field.assert_like_source(&mirror.places);
}

#[test]
fn every_kind_of_thing_and_every_kind_of_change_arrives() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    let source = field.source();
    field.write("a/file", b"one");
    field.write("a/empty", b"");
    field.write("b/of two names", &noise(40_000, 1));
    field.write("c/goes", b"x");
    field.write("was a file", b"y");
    std::fs::hard_link(source.join("b/of two names"), source.join("z other name")).unwrap();
    std::os::unix::fs::symlink("a/file", source.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, source.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(published(&field.push(&mirror)), 1);
    field.assert_like_source(&mirror.places);

    field.write("a/file", b"two");
    field.write("a/new", b"new");
    std::fs::remove_dir_all(source.join("c")).unwrap();
    std::fs::remove_file(source.join("was a file")).unwrap();
    field.write("was a file/is a directory", b"y");
    std::fs::remove_file(source.join("link")).unwrap();
    std::os::unix::fs::symlink("a/new", source.join("link")).unwrap();
    std::fs::remove_file(source.join("pipe")).unwrap();
    field.write("pipe", b"a file now");
    set_mode(&source.join("a"), 0o700);
    let report = field.push(&mirror);
    assert_eq!((published(&report), report.tally.deleted_files, report.tally.deleted_dirs), (2, 1, 1));
    field.assert_like_source(&mirror.places);
    assert_eq!(field.push(&mirror).requests.total(), 1);

    // One of the two names goes, and then the link is a file of its own.
    std::fs::remove_file(source.join("b/of two names")).unwrap();
    std::fs::remove_file(source.join("link")).unwrap();
    field.write("link", b"a file of the same name");
    assert_eq!(published(&field.push(&mirror)), 3);
    field.assert_like_source(&mirror.places);
    assert_eq!(field.push(&mirror).requests.total(), 1);
}

#[test]
fn many_generations_are_one_tree_whatever_is_remembered() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    field.fill(120);
    for round in 0..40u64 {
        field.write(&format!("round {}", round % 7), &noise(50, round));
        field.write(&format!("000/{round:06}"), &noise(60, 1000 + round));
        if round % 3 == 0 {
            let _ = std::fs::remove_file(field.source().join(format!("001/{:06}", 100 + round / 3)));
        }
        if round % 5 == 0 {
            std::fs::remove_dir_all(field.dir.path().join("state")).unwrap_or_default();
        }
        assert_eq!(published(&field.push(&mirror)), round + 1);
        field.assert_like_source(&mirror.places);
    }
    let nothing_kept = Destination { state: None, ..mirror };
    let report = field.push(&nothing_kept);
    assert_eq!(report.result.unwrap(), Pushed::Unchanged { generation: 40 });
}

#[test]
fn guards_refuse_what_looks_like_an_accident_before_anything_is_written() {
    let field = Field::new();
    field.fill(30);
    let two = Two::new();
    let mirror = field.destination(&two);
    field.push(&mirror);
    let refused = |options: &PushOptions| {
        let before = mirror.places.data.requests();
        let error = field.push_with(&mirror, options).result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        assert!(error.hint().is_some());
        assert_eq!(mirror.places.data.requests(), before);
        assert_eq!(root_of(&mirror.places).unwrap().0.generation, 1);
    };
    for file in 0..10 {
        std::fs::remove_file(field.source().join(format!("000/{file:06}"))).unwrap();
    }
    refused(&PushOptions { max_delete: Some(9), ..field.options() });
    std::fs::remove_dir_all(field.source().join("000")).unwrap();
    refused(&field.options());
    // A directory that is left out is none.
    field.write("lost+found/x", b"of the file system");
    refused(&field.options());
    let report = field.push_with(&mirror, &PushOptions { allow_empty: true, ..field.options() });
    assert_eq!((published(&report), report.tally.deleted_files), (2, 30));
    assert!(mirror.places.block(mirror.places.data.list("")).unwrap().is_empty());
}

#[test]
fn nothing_at_all_can_be_pushed() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    assert_eq!(published(&field.push(&mirror)), 1);
    field.assert_like_source(&mirror.places);
    assert_eq!(field.push(&mirror).requests.total(), 1);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let field = Field::new();
    field.fill(20);
    let two = Two::new();
    let mirror = field.destination(&two);
    let dry = PushOptions { dry_run: true, ..field.options() };
    let plan = field.push_with(&mirror, &dry);
    let Ok(Pushed::Planned { generation: 1, requests, bytes: 2000 }) = plan.result else { panic!("{plan:?}") };
    assert!(root_of(&mirror.places).is_none() && plan.requests.put == 0);
    let real = field.push(&mirror).requests.total();
    assert!(real.abs_diff(requests) < 12, "{requests} were announced and {real} sent");
}

/// Of a big file that may have changed a dry run says that it is the same, or that it would be sent: at most all of it.
#[test]
fn a_dry_run_reads_big_files_that_may_have_changed() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    let mut bytes = noise(40 << 20, 5);
    let path = field.source().join("big");
    field.write("big", &bytes);
    field.write("other", &noise(9 << 20, 6));
    assert_eq!(published(&field.push(&mirror)), 1);
    let (packs, plain) = (Some(1000), None);
    let dry = |pack_small| {
        let report = field.push_with(&mirror, &PushOptions { dry_run: true, pack_small, ..field.options() });
        let Ok(Pushed::Planned { requests, bytes, .. }) = report.result else { panic!("{report:?}") };
        (requests, bytes)
    };
    let touch = |second: u64| {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
        std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
    };
    touch(1);
    let (fixed, none) = dry(plain);
    assert!(none == 0 && dry(packs) == (fixed, 0));
    bytes[20 << 20] ^= 1;
    field.write("big", &bytes);
    touch(2);
    assert_eq!((dry(plain), dry(packs)), ((fixed + 5 + 3, 40 << 20), (fixed + 5 + 3, 40 << 20)));
    field.write("third", &noise(9 << 20, 7));
    assert_eq!(dry(plain), (fixed + 8 + 2 + 3, 49 << 20));
}

#[test]
fn a_prefix_that_another_tool_has_filled_is_taken_over_without_sending_it_again() {
    let server = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "bucket"));
    let field = Field::new();
    field.fill(50);
    let location = server.server.location("bucket", "mirror");
    let connect = || {
        let options = server.server.options();
        field.runtime.block_on(Places::connect(&location, &options, SystemClock::new())).unwrap()
    };
    let mirror = field.at(connect(), "s3");
    for file in 0..40 {
        let path = format!("{:03}/{file:06}", file / 100);
        let bytes = std::fs::read(field.source().join(&path)).unwrap();
        mirror.places.block(mirror.places.data.put(&path, bytes.into())).unwrap();
    }
    mirror.places.block(mirror.places.data.put("not in the source", vec![1].into())).unwrap();
    let report = field.push(&mirror);
    assert_eq!((published(&report), report.tally.transfers), (1, 10));
    field.assert_like_source(&mirror.places);
    assert_eq!(field.push(&field.at(connect(), "s3")).requests.total(), 1);
}

#[test]
fn every_name_of_a_file_can_be_read_by_itself_whatever_becomes_of_the_others() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    let source = field.source();
    field.write("a", &noise(20_000, 1));
    for name in ["b", "c", "d/e"] {
        std::fs::create_dir_all(source.join("d")).unwrap();
        std::fs::hard_link(source.join("a"), source.join(name)).unwrap();
    }
    assert_eq!(published(&field.push(&mirror)), 1);
    field.assert_like_source(&mirror.places);
    let (root, _) = root_of(&mirror.places).unwrap();
    assert_eq!((root.totals.files, root.totals.bytes), (4, 20_000));
    std::fs::remove_file(source.join("a")).unwrap();
    assert_eq!(published(&field.push(&mirror)), 2);
    field.assert_like_source(&mirror.places);
    std::fs::remove_file(source.join("b")).unwrap();
    field.write("b", b"something else");
    assert_eq!(published(&field.push(&mirror)), 3);
    field.assert_like_source(&mirror.places);
    assert_eq!(root_of(&mirror.places).unwrap().0.totals.bytes, 20_014);
}

#[test]
fn a_file_keeps_the_key_that_it_shares_with_a_link() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    let source = field.source();
    std::os::unix::fs::symlink("somewhere", source.join("x")).unwrap();
    assert_eq!(published(&field.push(&mirror)), 1);
    std::fs::remove_file(source.join("x")).unwrap();
    field.write("x.rclonelink", b"a file of that name");
    assert_eq!(published(&field.push(&mirror)), 2);
    field.assert_like_source(&mirror.places);
    std::os::unix::fs::symlink("elsewhere", source.join("x")).unwrap();
    assert_eq!(published(&field.push(&mirror)), 3);
    assert_eq!(plain(&mirror.places, "x.rclonelink"), b"a file of that name");
    std::fs::remove_file(source.join("x")).unwrap();
    assert_eq!(published(&field.push(&mirror)), 4);
    field.assert_like_source(&mirror.places);
}

#[test]
fn a_renamed_file_is_copied_by_the_store() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    field.write("old name", &noise(100_000, 3));
    field.push(&mirror);
    rustix::fs::rename(field.source().join("old name"), field.source().join("new name")).unwrap();
    let report = field.push(&mirror);
    assert_eq!((published(&report), report.tally.renamed, report.tally.transfers), (2, 1, 0));
    assert!(report.requests.bytes_up < 10_000, "{}", report.requests);
    field.assert_like_source(&mirror.places);
}

#[test]
fn a_change_in_the_tick_of_the_clock_in_which_a_file_was_read_is_seen() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    field.write("file", b"first");
    let path = field.source().join("file");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    field.push(&mirror);
    field.write("file", b"later");
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(published(&field.push(&mirror)), 2);
    field.assert_like_source(&mirror.places);
}

#[test]
fn what_was_not_compared_by_content_keeps_its_time() {
    let field = Field::new();
    let two = Two::new();
    let mirror = field.destination(&two);
    let path = field.source().join("file");
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let at = |time| std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    field.write("file", b"first");
    at(old);
    field.push(&mirror);
    field.write("file", b"later");
    at(old + Duration::from_secs(5));
    let report = field.push_with(&mirror, &PushOptions { size_only: true, ..field.options() });
    assert_eq!(report.result.unwrap(), Pushed::Unchanged { generation: 1 });
    assert_eq!(published(&field.push(&mirror)), 2);
    field.assert_like_source(&mirror.places);
    // The same time again, so that only the content tells.
    field.write("file", b"third");
    at(old + Duration::from_secs(5));
    assert_eq!(field.push(&mirror).result.unwrap(), Pushed::Unchanged { generation: 2 });
    let sure = field.push_with(&mirror, &PushOptions { checksum: true, ..field.options() });
    assert_eq!(published(&sure), 3);
    field.assert_like_source(&mirror.places);
    let sure = field.push_with(&mirror, &PushOptions { checksum: true, ..field.options() });
    assert_eq!((sure.result.unwrap(), sure.requests.total()), (Pushed::Unchanged { generation: 3 }, 1));
}

#[test]
fn many_destinations_are_pushed_to_at_once_and_a_dead_one_stops_no_other() {
    let field = Field::new();
    field.fill(300);
    let (left, right) = (Two::new(), Two::new());
    let dead: Arc<dyn ObjectStore> = FaultStore::new(Arc::new(InMemory::new()), FaultPlan::kill(20, When::Before));
    let dead = Two { data: dead, control: Arc::new(InMemory::new()) };
    let destinations = [
        field.at(field.places(&left), "left"),
        field.at(field.places(&dead), "dead"),
        field.at(field.places(&right), "right"),
    ];
    let (report, problems) = field.push_all(&destinations, &field.options());
    assert_eq!((report.problems, problems), (0, Vec::new()));
    let names: Vec<_> = report.destinations.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["left", "dead", "right"]);
    assert!(report.destinations[1].result.is_err());
    for (number, two) in [(0, &left), (2, &right)] {
        assert_eq!(published(&report.destinations[number]), 1);
        field.assert_like_source(&field.places(two));
    }
}

#[test]
fn big_files_are_read_once_for_all_destinations() {
    let field = Field::new();
    for (name, size) in [("a", 9 << 20), ("b", 20 << 20), ("c", 33 << 20), ("small", 1000)] {
        field.write(name, &noise(size, u64::try_from(size).unwrap()));
    }
    let (left, right) = (Two::new(), Two::new());
    let destinations = || [field.at(field.places(&left), "left"), field.at(field.places(&right), "right")];
    // As patient as a test must be on a machine that is busy with others.
    let options = PushOptions { together: Duration::from_mins(5), transfers: 2, ..field.options() };
    let (report, _) = field.push_all(&destinations(), &options);
    for one in &report.destinations {
        assert_eq!(published(one), 1);
    }
    assert_eq!(report.bytes_read, (62 << 20) + 1000);
    field.assert_like_source(&field.places(&left));
    field.assert_like_source(&field.places(&right));

    // One of them has it: the other reads by itself, and nobody waits for nobody.
    field.write("b", &noise(21 << 20, 7));
    assert_eq!(published(&field.push_with(&destinations()[0], &options)), 2);
    let (report, _) = field.push_all(&destinations(), &options);
    assert_eq!((report.destinations[0].result.is_ok(), published(&report.destinations[1])), (true, 2));
    field.assert_like_source(&field.places(&right));
}

#[test]
fn a_push_holds_no_more_bytes_than_its_budget_says() {
    let field = Field::new();
    // All of them together are more than may be in memory, and so are the small ones and the big ones each.
    for file in 0..14 {
        field.write(&format!("small/{file:02}"), &noise(5 << 20, file));
    }
    for file in 0..7 {
        field.write(&format!("big/{file}"), &noise(10 << 20, 100 + file));
    }
    for (count, share) in [(1, 64), (3, 22), (5, 16)] {
        let all: Vec<_> = (0..count).map(|_| Two::new()).collect();
        let places = all.iter().enumerate();
        let destinations: Vec<_> =
            places.map(|(n, two)| field.at(field.places(two), &format!("{count}-{n}"))).collect();
        let (report, _) = field.push_all(&destinations, &field.options());
        for one in &report.destinations {
            assert_eq!(published(one), 1);
            assert!((10 << 20..=share << 20).contains(&one.held), "{count}: {}", one.held);
        }
    }
}

#[test]
fn a_destination_that_is_slower_or_dead_holds_nobody_up_for_long() {
    let field = Field::new();
    for name in ["a", "b"] {
        field.write(name, &noise(40 << 20, 3));
    }
    let (left, right) = (Two::new(), Two::new());
    let dead: Arc<dyn ObjectStore> = FaultStore::new(Arc::new(InMemory::new()), FaultPlan::kill(0, When::Before));
    let dead = Two { data: dead, control: Arc::new(InMemory::new()) };
    let all = [
        field.at(field.places(&left), "left"),
        field.at(field.places(&dead), "dead"),
        field.at(field.places(&right), "right"),
    ];
    // Nobody waits at all: each reads what it finds, and the rest by itself.
    let options = PushOptions { together: Duration::ZERO, ..field.options() };
    let (report, _) = field.push_all(&all, &options);
    assert!(report.destinations[1].result.is_err());
    for (number, two) in [(0, &left), (2, &right)] {
        assert_eq!(published(&report.destinations[number]), 1);
        field.assert_like_source(&field.places(two));
    }
    assert!((80 << 20..=240 << 20).contains(&report.bytes_read), "{}", report.bytes_read);
}

#[test]
fn further_names_of_a_file_are_copied_by_the_store() {
    let server = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "bucket"));
    let field = Field::new();
    field.write("a", &noise(100_000, 1));
    field.write("b", &noise(9 << 20, 2));
    for (first, further) in [("a", "c/1"), ("a", "c/2"), ("b", "c/3")] {
        std::fs::create_dir_all(field.source().join("c")).unwrap();
        std::fs::hard_link(field.source().join(first), field.source().join(further)).unwrap();
    }
    let (location, options) = (server.server.location("bucket", "mirror"), server.server.options());
    let places = field.runtime.block_on(Places::connect(&location, &options, SystemClock::new())).unwrap();
    let mirror = field.at(places, "s3");
    // One after the other, so that the first name is there before the others are looked at.
    let first = field.push_with(&mirror, &PushOptions { transfers: 1, ..field.options() });
    assert_eq!((published(&first), first.tally.transfers, first.tally.server_side_copies), (1, 2, 3));
    assert!(first.requests.bytes_up < 10 << 20, "{}", first.requests);
    field.assert_like_source(&mirror.places);
    assert_eq!(field.push(&mirror).requests.total(), 1);
}

#[test]
fn what_a_killed_push_left_in_a_directory_is_removed_by_the_one_that_mends() {
    let field = Field::new();
    field.fill(10);
    let location = Location::Local(field.dir.path().join("mirror"));
    let places =
        field.runtime.block_on(Places::connect(&location, &StoreOptions::default(), SystemClock::new())).unwrap();
    let mirror = field.at(places, "directory");
    assert_eq!(published(&field.push(&mirror)), 1);
    let left = [".volvault-put-0123456789abcdef", "mirror/000/.volvault-put-00000000000000ff"].map(|name| {
        field.dir.path().join(name.replacen(".volvault", "mirror/.volvault", usize::from(!name.contains('/'))))
    });
    for path in &left {
        std::fs::File::create(path).unwrap();
    }
    field.push_with(&mirror, &PushOptions { relist: true, ..field.options() });
    assert!(left.iter().all(|path| !path.exists()));
    field.assert_like_source(&mirror.places);
}
