//! One suite of promises of pinned reads and conditional writes, kept by every kind of store.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use object_store::memory::InMemory;
use volvault::ErrorKind;
use volvault::clock::SystemClock;
use volvault::storage::{
    Abilities, Attributes, Condition, CopyAbilities, Location, ObjectInfo, Pin, Store, StoreOptions,
};

use crate::support::faults::{At, Fault, FaultPlan, FaultStore, Op, Trouble, When};
use crate::support::hasty;
use crate::support::memory_s3::Habits;
use crate::support::s3::{Conditions, S3Server};

async fn connect(location: &Location, options: &StoreOptions) -> Store {
    Store::connect(location, options, SystemClock::new()).await.unwrap()
}

fn none() -> Attributes {
    Attributes::default()
}

async fn listed(store: &Store, prefix: &str) -> Vec<ObjectInfo> {
    let (mut pages, mut all) = (store.list_objects(prefix).unwrap(), Vec::new());
    while let Some(page) = pages.next().await.unwrap() {
        assert!((1..=1000).contains(&page.len()));
        all.extend(page);
    }
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all
}

/// What differs between stores that keep all promises otherwise.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own")]
struct Particulars {
    /// Whether a write can be made to replace one object only.
    conditional: bool,
    /// Whether attributes beside the time are kept.
    attributes: bool,
    /// Whether keys may have control characters, and end in `#1`.
    any_key: bool,
    /// Whether parts can be copied.
    copies_parts: bool,
}

const MEMORY: Particulars = Particulars { conditional: true, attributes: true, any_key: false, copies_parts: false };
const DIRECTORY: Particulars = Particulars { conditional: true, attributes: false, any_key: true, copies_parts: true };
const S3: Particulars = Particulars { conditional: true, attributes: true, any_key: true, copies_parts: true };

async fn keeps_its_promises(store: &Store, particulars: Particulars) {
    a_pinned_read_has_exactly_the_bytes_of_exactly_that_object(store).await;
    what_did_not_change_is_not_sent_again(store).await;
    if particulars.conditional {
        writes_demand_what_they_replace(store).await;
        of_many_that_replace_one_object_one_succeeds(store).await;
    }
    attributes_are_kept(store, particulars).await;
    keys_are_kept_as_they_are(store, particulars).await;
    copies_are_of_the_pinned_object(store).await;
    objects_are_put_together_of_parts(store, particulars).await;
    an_upload_that_is_given_up_leaves_nothing(store).await;
    assert_eq!(listed(store, "").await, []);
}

async fn a_pinned_read_has_exactly_the_bytes_of_exactly_that_object(store: &Store) {
    let first = store.put_with("dir/a", "0123456789".into(), &none(), Condition::Any).await.unwrap();
    assert!(first.etag.as_deref().is_some_and(|etag| etag.ends_with('"')), "{first:?}");
    assert_eq!(store.get_with_pin("dir/a", 10).await.unwrap(), ("0123456789".into(), first.clone()));
    assert_eq!(store.get_with_pin("dir/a", 9).await.unwrap_err().kind(), ErrorKind::Corrupt);
    for (start, end) in [(0, 10), (0, 1), (3, 7), (9, 10)] {
        let bytes = store.get_pinned("dir/a", start..end, 10, &first).await.unwrap();
        assert_eq!(bytes, "0123456789"[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]);
    }
    let changed = |read: volvault::Result<Bytes>| assert_eq!(read.unwrap_err().kind(), ErrorKind::Changed);
    changed(store.get_pinned("dir/a", 0..9, 9, &first).await);
    changed(store.get_pinned("dir/a", 0..11, 11, &first).await);
    changed(store.get_pinned("dir/a", 5..12, 12, &first).await);
    changed(store.get_pinned("dir/a", 10..12, 12, &first).await);
    changed(store.get_pinned("dir/none", 0..1, 1, &first).await);
    let second = store.put_with("dir/a", "9876543210".into(), &none(), Condition::Any).await.unwrap();
    assert_ne!(first, second);
    match &first.version {
        None => changed(store.get_pinned("dir/a", 0..10, 10, &first).await),
        Some(_) => assert_eq!(store.get_pinned("dir/a", 0..10, 10, &first).await.unwrap(), "0123456789"),
    }
    assert_eq!(store.get_pinned("dir/a", 2..4, 10, &second).await.unwrap(), "76");
    store.delete("dir/a").await.unwrap();
    if second.version.is_none() {
        changed(store.get_pinned("dir/a", 2..4, 10, &second).await);
    }
    assert_eq!(store.get_with_pin("dir/a", 10).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.info("dir/a").await.unwrap(), None);
    let empty = store.put_with("dir/empty", Bytes::new(), &none(), Condition::Any).await.unwrap();
    assert_eq!(store.get_with_pin("dir/empty", 0).await.unwrap(), (Bytes::new(), empty.clone()));
    assert_eq!(store.get_pinned("dir/empty", 0..0, 0, &empty).await.unwrap(), Bytes::new());
    store.delete("dir/empty").await.unwrap();
}

async fn what_did_not_change_is_not_sent_again(store: &Store) {
    let pin = store.put_with("root", "one".into(), &none(), Condition::Any).await.unwrap();
    let before = store.requests();
    assert_eq!(store.get_if_changed("root", 9, &pin).await.unwrap(), None);
    assert_eq!(store.requests().total() - before.total(), 1);
    assert_eq!(store.requests().bytes_down, before.bytes_down);
    store.delete("root").await.unwrap();
    what_did_not_change_is_told(store).await;
}

async fn what_did_not_change_is_told(store: &Store) {
    assert_eq!(store.get_if_changed("root", 9, &Pin::default()).await.unwrap_err().kind(), ErrorKind::NotFound);
    let first = store.put_with("root", "one".into(), &none(), Condition::Any).await.unwrap();
    assert_eq!(store.get_if_changed("root", 9, &first).await.unwrap(), None);
    let unpinned = store.get_if_changed("root", 9, &Pin::default()).await.unwrap();
    assert_eq!(unpinned, Some(("one".into(), first.clone())));
    let second = store.put_with("root", "two".into(), &none(), Condition::Any).await.unwrap();
    assert_eq!(store.get_if_changed("root", 9, &first).await.unwrap(), Some(("two".into(), second)));
    store.delete("root").await.unwrap();
}

async fn writes_demand_what_they_replace(store: &Store) {
    let refused = |put: volvault::Result<Pin>| assert_eq!(put.unwrap_err().kind(), ErrorKind::Changed);
    let put = async |text: &'static str, condition: Condition<'_>| {
        store.put_with("push", text.into(), &none(), condition).await
    };
    let elsewhere = store.put_with("elsewhere", "0".into(), &none(), Condition::New).await.unwrap();
    refused(put("0", Condition::Match(&elsewhere)).await);
    let first = put("1", Condition::New).await.unwrap();
    assert_eq!(put("1", Condition::New).await.unwrap(), first, "an answer that was lost is made good");
    refused(put("2", Condition::New).await);
    assert_eq!(store.get_with_pin("push", 1).await.unwrap(), ("1".into(), first.clone()));
    let second = put("2", Condition::Match(&first)).await.unwrap();
    refused(put("3", Condition::Match(&first)).await);
    assert_eq!(put("2", Condition::Match(&first)).await.unwrap(), second, "an answer that was lost is made good");
    assert_eq!(store.get_with_pin("push", 1).await.unwrap(), ("2".into(), second.clone()));
    store.delete("push").await.unwrap();
    refused(put("4", Condition::Match(&second)).await);
    put("5", Condition::New).await.unwrap();
    store.delete_many(vec!["push".into(), "elsewhere".into()]).await.unwrap();
}

async fn of_many_that_replace_one_object_one_succeeds(store: &Store) {
    let first = store.put_with("root", "first".into(), &none(), Condition::New).await.unwrap();
    for condition in [Condition::Match(&first), Condition::New] {
        if condition == Condition::New {
            store.delete("root").await.unwrap();
        }
        let racers = (0..16).map(|n| {
            let bytes = Bytes::from(format!("racer {n}"));
            async move { store.put_with("root", bytes, &none(), condition).await }
        });
        let outcomes = join_all(racers).await;
        let winners: Vec<_> = (0..16).filter(|n| outcomes[*n].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{condition:?}");
        assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|error| error.kind() == ErrorKind::Changed));
        let (bytes, pin) = store.get_with_pin("root", 99).await.unwrap();
        assert_eq!(bytes, format!("racer {}", winners[0]));
        assert_eq!(outcomes[winners[0]].as_ref().unwrap(), &pin);
    }
    store.delete("root").await.unwrap();
}

async fn attributes_are_kept(store: &Store, particulars: Particulars) {
    let attributes = Attributes {
        mtime: Some("1754300000.123456789".to_owned()),
        content_type: Some("text/plain".to_owned()),
        no_cache: true,
        more: vec![("mode".to_owned(), "100644".to_owned()), ("uid".to_owned(), "1000".to_owned())],
    };
    let pin = store.put_with("dir/a", "x".into(), &attributes, Condition::Any).await.unwrap();
    let (info, found) = store.info("dir/a").await.unwrap().unwrap();
    assert_eq!((info.key.as_str(), info.size, &info.pin), ("dir/a", 1, &pin));
    if particulars.attributes {
        assert_eq!(found, attributes);
    } else {
        assert_eq!(found.mtime, attributes.mtime);
    }
    store.put_with("dir/b", "y".into(), &none(), Condition::Any).await.unwrap();
    if particulars.attributes {
        assert_eq!(store.info("dir/b").await.unwrap().unwrap().1.mtime, None);
    }
    store.delete_many(vec!["dir/a".into(), "dir/b".into()]).await.unwrap();
}

/// Names of files that stores, or the libraries before them, like to read as something else.
const KEYS: [&str; 12] = [
    "with space ",
    "dir/plus+and&and=and,and@and:and;and$and'and(and)and!",
    "percent%2Fstays",
    "percent%zz",
    "question?query=x",
    "hash#tag",
    "back\\slash",
    "quote\"and<xml>&amp;",
    "ümläut-日本-\u{301}",
    "...",
    "~tilde^caret`{}[]|",
    "a*b",
];
const ODD_KEYS: [&str; 6] = ["a#1", "dir/b#22", "tab\there", "line\nbreak", "bell\u{7}", "del\u{7f}ete"];

async fn keys_are_kept_as_they_are(store: &Store, particulars: Particulars) {
    let odd = ODD_KEYS.iter().filter(|_| particulars.any_key);
    let mut keys: Vec<String> = KEYS.iter().chain(odd).map(|key| format!("keys/{key}")).collect();
    keys.sort();
    let mut pins = Vec::new();
    for key in &keys {
        let bytes = Bytes::from(key.clone());
        pins.push(store.put_with(key, bytes, &none(), Condition::Any).await.unwrap());
    }
    for (key, pin) in keys.iter().zip(&pins) {
        let size = key.len() as u64;
        assert_eq!(store.get_pinned(key, 0..size, size, pin).await.unwrap(), *key);
        assert_eq!(store.get_pinned(key, 1..size, size, pin).await.unwrap(), key[1..]);
        assert_eq!(store.info(key).await.unwrap().unwrap().0.size, size);
    }
    let found = listed(store, "keys/").await;
    assert_eq!(found.iter().map(|info| info.key.clone()).collect::<Vec<_>>(), keys);
    for (info, (key, pin)) in found.iter().zip(keys.iter().zip(&pins)) {
        assert_eq!((info.size, &info.pin.etag), (key.len() as u64, &pin.etag), "{key}");
    }
    assert_eq!(listed(store, "").await.len(), keys.len());
    assert_eq!(listed(store, "key").await, [], "a folder, and no beginning of a name");
    store.delete_many(keys).await.unwrap();
}

async fn copies_are_of_the_pinned_object(store: &Store) {
    let attributes = Attributes { mtime: Some("1754300000.500000000".to_owned()), ..Attributes::default() };
    let old = store.put_with("old", "content".into(), &attributes, Condition::Any).await.unwrap();
    let copy = store.copy_pinned("old", &old, "dir/new", &attributes).await.unwrap();
    assert_eq!(store.get_pinned("dir/new", 0..7, 7, &copy).await.unwrap(), "content");
    assert_eq!(store.info("dir/new").await.unwrap().unwrap().1.mtime, attributes.mtime);
    assert_eq!(store.get_pinned("old", 0..7, 7, &old).await.unwrap(), "content");
    let changed = |copy: volvault::Result<Pin>| assert_eq!(copy.unwrap_err().kind(), ErrorKind::Changed);
    if old.version.is_none() {
        store.put_with("old", "another".into(), &attributes, Condition::Any).await.unwrap();
        changed(store.copy_pinned("old", &old, "dir/newer", &attributes).await);
        assert_eq!(store.info("dir/newer").await.unwrap(), None);
    }
    changed(store.copy_pinned("none", &old, "dir/newer", &attributes).await);
    store.delete_many(vec!["old".into(), "dir/new".into()]).await.unwrap();
}

fn pattern(length: usize, seed: usize) -> Bytes {
    (0..length).map(|i| u8::try_from((i * 31 + i / 1009 + seed) % 251).unwrap()).collect()
}

async fn objects_are_put_together_of_parts(store: &Store, particulars: Particulars) {
    let attributes = Attributes { mtime: Some("1754300000.123456789".to_owned()), ..Attributes::default() };
    let (first, second, end) = (pattern(6 << 20, 1), pattern(5 << 20, 2), pattern(1000, 3));
    let size = (first.len() + second.len() + end.len()) as u64;
    let upload = store.upload("dir/big", &attributes, size).await.unwrap();
    assert_eq!(store.info("dir/big").await.unwrap(), None, "nothing is to be seen before the end");
    let parts = [(1, first.clone()), (2, second.clone()), (3, end.clone())];
    join_all(parts.map(|(number, bytes)| upload.part(number, bytes))).await.into_iter().for_each(|sent| sent.unwrap());
    let pin = upload.finish(Condition::New).await.unwrap();
    let whole = Bytes::from([first.clone(), second.clone(), end.clone()].concat());
    let read = store.get_with_pin("dir/big", size).await.unwrap();
    assert_eq!(read.1, pin);
    assert!(read.0 == whole, "other bytes");
    assert!(store.get_pinned("dir/big", 5 << 20..7 << 20, size, &pin).await.unwrap() == whole.slice(5 << 20..7 << 20));
    assert_eq!(store.info("dir/big").await.unwrap().unwrap().1.mtime, attributes.mtime);
    // The next one has the same bytes but for some, of which the other parts are copied.
    let upload = store.upload("dir/big", &attributes, size).await.unwrap();
    let changed = pattern(5 << 20, 4);
    let copied = upload.copy(1, "dir/big", 0..6 << 20, &pin).await;
    if !particulars.copies_parts {
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::Unsupported);
        upload.part(1, first.clone()).await.unwrap();
    }
    upload.part(2, changed.clone()).await.unwrap();
    if particulars.copies_parts {
        upload.copy(3, "dir/big", size - 1000..size, &pin).await.unwrap();
    } else {
        upload.part(3, end.clone()).await.unwrap();
    }
    let replaces = if particulars.conditional { Condition::Match(&pin) } else { Condition::Any };
    let next = upload.finish(replaces).await.unwrap();
    let whole = Bytes::from([first, changed, end].concat());
    assert!(store.get_with_pin("dir/big", size).await.unwrap() == (whole.clone(), next.clone()));
    for condition in [Condition::New, Condition::Match(&pin)].into_iter().filter(|_| particulars.conditional) {
        let upload = store.upload("dir/big", &attributes, 4).await.unwrap();
        upload.part(1, "last".into()).await.unwrap();
        assert_eq!(upload.finish(condition).await.unwrap_err().kind(), ErrorKind::Changed);
    }
    if particulars.copies_parts && pin.version.is_none() {
        let upload = store.upload("dir/big", &attributes, 6 << 20).await.unwrap();
        let copied = upload.copy(1, "dir/big", 0..6 << 20, &pin).await;
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::Changed);
        upload.abort().await.unwrap();
    }
    assert!(store.get_with_pin("dir/big", size).await.unwrap() == (whole, next), "nothing failed half");
    store.delete("dir/big").await.unwrap();
}

async fn an_upload_that_is_given_up_leaves_nothing(store: &Store) {
    let upload = store.upload("dir/big", &none(), 8).await.unwrap();
    upload.part(1, "part".into()).await.unwrap();
    upload.abort().await.unwrap();
    let upload = store.upload("dir/big", &none(), 8).await.unwrap();
    upload.part(1, "part".into()).await.unwrap();
    assert_eq!(upload.part(1, "part".into()).await.unwrap_err().kind(), ErrorKind::Bug, "sent twice");
    assert_eq!(upload.finish(Condition::Any).await.unwrap_err().kind(), ErrorKind::Bug, "half of it");
    assert_eq!(store.info("dir/big").await.unwrap(), None);
}

#[tokio::test]
async fn memory_keeps_the_promises() {
    keeps_its_promises(&connect(&Location::Memory, &StoreOptions::default()).await, MEMORY).await;
    let wrapped = Store::from_object_store(Arc::new(InMemory::new()), Location::Memory);
    keeps_its_promises(&wrapped, MEMORY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    let store = connect(&Location::Local(folder.path().join("mirror")), &StoreOptions::default()).await;
    let missing = store.put_with("a", "x".into(), &none(), Condition::Any).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "a directory that is not there is not made by a write");
    store.ensure_container().await.unwrap();
    keeps_its_promises(&store, DIRECTORY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_keeps_the_promises_with_and_without_a_prefix_and_versions() {
    for (prefix, versions) in [("", false), ("some/prefix with space", true)] {
        let server = S3Server::start_in_memory(Habits { versions, ..Habits::GOOD }, "bucket").await;
        let store = connect(&server.location("bucket", prefix), &server.options()).await;
        keeps_its_promises(&store, S3).await;
        assert_eq!(store.requests().total(), server.requests(), "every request is counted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_overlooks_conditions_keeps_the_other_promises() {
    for how in [Conditions::Ignored, Conditions::NotImplemented] {
        // Reads are never refused for a condition.
        let habits = Habits { writes: how, reads: Conditions::Ignored, ..Habits::GOOD };
        let server = S3Server::start_in_memory(habits, "bucket").await;
        let store = connect(&server.location("bucket", "p"), &server.options()).await;
        a_pinned_read_has_exactly_the_bytes_of_exactly_that_object(&store).await;
        attributes_are_kept(&store, S3).await;
        keys_are_kept_as_they_are(&store, S3).await;
        copies_are_of_the_pinned_object(&store).await;
        let written = store.put_with("a", "x".into(), &none(), Condition::New).await;
        match how {
            Conditions::NotImplemented => assert_eq!(written.unwrap_err().kind(), ErrorKind::Unsupported),
            _ => assert_eq!(store.get_if_changed("a", 1, &written.unwrap()).await.unwrap(), None),
        }
    }
}

/// Also against a real server, as `storage::an_external_store_keeps_the_promises_if_one_is_given`. `VOLVAULT_TEST_MIRROR` says what it is known to do of
/// `conditional`, `reads` (their conditions), `attributes`, `any_key`, `copies`, `parts` (their copies) and `uploads`: the probe has to find the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the environment says whether there is a server to test against")]
async fn an_external_store_keeps_the_promises_of_pins_if_one_is_given() {
    let Ok(location) = std::env::var("VOLVAULT_TEST_LOCATION") else { return };
    let location: Location = format!("{location}/pins-{}", std::process::id()).parse().unwrap();
    let ca_files = std::env::var("VOLVAULT_TEST_CACERT").into_iter().map(Into::into).collect();
    let options = StoreOptions { variables: std::env::vars().collect(), ca_files, ..StoreOptions::default() };
    let said = std::env::var("VOLVAULT_TEST_MIRROR").unwrap_or_default();
    let store = connect(&location, &options).await;
    store.ensure_container().await.unwrap();
    keeps_what_it_is_known_for(&store, &|what| said.split(' ').any(|word| word == what)).await;
}

/// The whole suite, on a store of which `is_known` says what it does: the words of `VOLVAULT_TEST_MIRROR`.
pub(crate) async fn keeps_what_it_is_known_for(store: &Store, is_known: &dyn Fn(&str) -> bool) {
    let found = store.mirror_abilities("probe").await.unwrap();
    assert_eq!(found.conditional_create && found.conditional_replace, is_known("conditional"), "{found:?}");
    assert_eq!(found.not_modified && found.pinned_reads, is_known("reads"), "{found:?}");
    let copies = store.copy_abilities("probe").await.unwrap();
    assert_eq!((copies.whole, copies.parts), (is_known("copies"), is_known("parts")), "{copies:?}");
    let particulars = Particulars {
        conditional: is_known("conditional"),
        attributes: is_known("attributes"),
        any_key: is_known("any_key"),
        copies_parts: is_known("parts"),
    };
    a_pinned_read_has_exactly_the_bytes_of_exactly_that_object(store).await;
    what_did_not_change_is_told(store).await;
    if particulars.conditional {
        writes_demand_what_they_replace(store).await;
        of_many_that_replace_one_object_one_succeeds(store).await;
    }
    attributes_are_kept(store, particulars).await;
    keys_are_kept_as_they_are(store, particulars).await;
    if is_known("copies") {
        copies_are_of_the_pinned_object(store).await;
    }
    if is_known("uploads") {
        objects_are_put_together_of_parts(store, particulars).await;
    }
    an_upload_that_is_given_up_leaves_nothing(store).await;
    assert_eq!(listed(store, "").await, []);
}

#[tokio::test]
async fn what_a_store_can_do_is_found_out() {
    let all = Abilities {
        conditional_create: true,
        conditional_replace: true,
        not_modified: true,
        pinned_reads: true,
        versions: false,
    };
    let copies = CopyAbilities { whole: true, parts: true };
    let neither = CopyAbilities { whole: false, parts: false };
    let (ignored, refused) = (Conditions::Ignored, Conditions::NotImplemented);
    let unconditional = Abilities { conditional_create: false, conditional_replace: false, ..all };
    for (habits, abilities, copies) in [
        (Habits::GOOD, all, copies),
        (Habits { versions: true, ..Habits::GOOD }, Abilities { versions: true, ..all }, copies),
        (Habits { writes: ignored, ..Habits::GOOD }, unconditional, copies),
        (Habits { writes: refused, ..Habits::GOOD }, unconditional, copies),
        (
            Habits { reads: ignored, ..Habits::GOOD },
            Abilities { not_modified: false, pinned_reads: false, ..all },
            copies,
        ),
        (Habits { copies: ignored, ..Habits::GOOD }, all, neither),
        (Habits { copies: refused, ..Habits::GOOD }, all, neither),
    ] {
        let server = S3Server::start_in_memory(habits, "bucket").await;
        let store = connect(&server.location("bucket", "p"), &server.options()).await;
        assert_eq!(store.mirror_abilities("probe-1").await.unwrap(), abilities, "{habits:?}");
        assert!(store.requests().total() <= 8, "{}", store.requests());
        let before = store.requests().total();
        assert_eq!(store.copy_abilities("probe-2").await.unwrap(), copies, "{habits:?}");
        assert!(store.requests().total() - before <= 9, "{}", store.requests());
        assert_eq!(listed(&store, "").await, []);
        assert_eq!(abilities.missing().is_empty(), abilities == Abilities { versions: abilities.versions, ..all });
    }
    let memory = connect(&Location::Memory, &StoreOptions::default()).await;
    assert_eq!(memory.mirror_abilities("probe").await.unwrap(), all);
    let folder = tempfile::tempdir().unwrap();
    let directory = connect(&Location::Local(folder.path().to_owned()), &StoreOptions::default()).await;
    assert_eq!(directory.mirror_abilities("probe").await.unwrap(), all);
}

#[tokio::test]
async fn a_directory_keeps_files_and_leaves_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = connect(&Location::Local(folder.path().to_owned()), &StoreOptions::default()).await;
    let attributes = Attributes { mtime: Some("1754300000.123456789".to_owned()), ..Attributes::default() };
    store.put_with("dir/a#1", "x".into(), &attributes, Condition::Any).await.unwrap();
    let file = folder.path().join("dir/a#1");
    let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((since.as_secs(), since.subsec_nanos()), (1_754_300_000, 123_456_789));
    assert_eq!(std::fs::read_dir(folder.path().join("dir")).unwrap().count(), 1);
    for key in ["", "/a", "a/", "a//b", "a/../b", "./a", "a\0b", "dir/.volvault-put-0123456789abcdef"] {
        let error = store.put_with(key, "x".into(), &none(), Condition::Any).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{key:?}");
    }
    // What was a file becomes a folder; what is a folder with files in it does not become a file.
    store.put_with("dir/a#1/below/it", "y".into(), &none(), Condition::Any).await.unwrap();
    assert_eq!(std::fs::read(folder.path().join("dir/a#1/below/it")).unwrap(), b"y");
    store.put_with("dir/a#1", "z".into(), &none(), Condition::Any).await.unwrap_err();
    store.delete("dir/a#1").await.unwrap();
    store.delete("dir/a#1/below/it").await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "empty folders go");
}

#[tokio::test]
async fn a_conditional_write_whose_answer_was_lost_is_looked_for() {
    for (op, when) in [(Op::PutIf, When::After), (Op::PutIf, When::Before), (Op::Get, When::Before)] {
        let memory = Arc::new(InMemory::new());
        let plan = FaultPlan::some(op, "root", 1, Fault::Fail(when, Trouble::Timeout));
        let faulty = FaultStore::new(memory.clone(), plan);
        let store = Store::from_object_store_with(faulty.clone(), Location::Memory, hasty());
        let first = store.put_with("root", "1".into(), &none(), Condition::New).await.unwrap();
        let second = store.put_with("root", "2".into(), &none(), Condition::Match(&first)).await.unwrap();
        assert_eq!(store.get_with_pin("root", 1).await.unwrap(), ("2".into(), second));
    }
}

/// As MinIO does it: the connection ends while a condition is refused, and the answer with it.
#[tokio::test]
async fn what_a_store_can_do_is_found_out_although_an_answer_is_lost() {
    let abilities = async |plan: FaultPlan| {
        let faulty = FaultStore::new(Arc::new(InMemory::new()), plan);
        let store = Store::from_object_store_with(faulty.clone(), Location::Memory, hasty());
        (store.mirror_abilities("probe").await.unwrap(), faulty.trace().len())
    };
    let (known, requests) = abilities(FaultPlan::default()).await;
    assert!(known.conditional_create && known.conditional_replace, "{known:?}");
    // Created, replaced, and two that are refused.
    for (when, from) in [When::Before, When::After].into_iter().flat_map(|when| (0..4).map(move |from| (when, from))) {
        let at = At::Matching { op: Op::PutIf, prefix: "probe", from, times: 1 };
        let plan = FaultPlan { script: vec![(at, Fault::Fail(when, Trouble::Reset))], ..FaultPlan::default() };
        let (found, repeated) = abilities(plan).await;
        assert_eq!(found, known, "{when:?} {from}");
        assert!(repeated > requests, "{when:?} {from}: no answer was lost");
    }
}
