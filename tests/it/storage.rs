//! One suite of promises that every kind of store keeps, and what is particular to some.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use volvault::ErrorKind;
use volvault::clock::SystemClock;
use volvault::storage::{Location, Store, StoreOptions};

use crate::support::s3::{Conditions, GOOGLE_TOKEN, S3Server, S3ServerThread};

/// What a store is known not to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    pub(crate) create_only: bool,
}

async fn connect(location: &Location, options: &StoreOptions) -> Store {
    Store::connect(location, options, SystemClock::new()).await.unwrap()
}

fn bytes(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
}

/// Every promise of `Store`. The location must be empty.
pub(crate) async fn keeps_its_promises(store: &Store, abilities: Abilities) {
    assert_eq!(store.list("").await.unwrap(), [], "the suite begins with nothing");
    missing_objects_are_told_from_other_failures(store).await;
    what_was_put_is_read_in_whole_and_in_part(store).await;
    empty_and_big_objects_are_kept(store).await;
    keys_are_kept_as_they_are(store).await;
    creators_of_one_key_race(store, abilities).await;
    listings_are_whole_sorted_and_below_a_folder(store).await;
    for listed in store.list("").await.unwrap() {
        store.delete(&listed.key).await.unwrap();
    }
    assert_eq!(store.list("").await.unwrap(), []);
}

async fn missing_objects_are_told_from_other_failures(store: &Store) {
    for error in [
        store.get("none", 9).await.map(drop),
        store.get_range("none", 0..1).await.map(drop),
        store.get_suffix("none", 4).await.map(drop),
        store.head("none").await.map(drop),
        store.get("no/such/folder", 9).await.map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(error.to_string().contains("no"), "the object is named: {error}");
    }
    store.delete("none").await.unwrap();
    assert_eq!(store.list("no/such/folder").await.unwrap(), []);
    for key in ["a//b", "../b", "a/./b", "a\nb"] {
        assert_eq!(store.put(key, Bytes::new()).await.unwrap_err().kind(), ErrorKind::Invalid, "{key:?}");
    }
}

async fn what_was_put_is_read_in_whole_and_in_part(store: &Store) {
    let content = bytes(100_000);
    store.put("dir/object", content.clone()).await.unwrap();
    assert_eq!(store.get("dir/object", 100_000).await.unwrap(), content);
    assert_eq!(store.head("dir/object").await.unwrap(), 100_000);
    assert_eq!(store.get("dir/object", 99_999).await.unwrap_err().kind(), ErrorKind::Corrupt, "more than was expected");
    for (start, end) in [(0, 1), (0, 100_000), (99_999, 100_000), (40_000, 70_000), (7, 7)] {
        let part = store.get_range("dir/object", start..end).await.unwrap();
        assert_eq!(
            part,
            content.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap()),
            "{start}..{end}"
        );
    }
    for range in [99_999..100_001, 100_000..100_001, 200_000..200_001] {
        let error = store.get_range("dir/object", range.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{range:?}: {error:?}");
        assert!(error.chain().contains("dir/object"));
    }
    assert_eq!(store.get_suffix("dir/object", 10).await.unwrap(), (content.slice(99_990..), 100_000));
    assert_eq!(
        store.get_suffix("dir/object", 1 << 40).await.unwrap(),
        (content.clone(), 100_000),
        "all of a shorter object"
    );
    store.put("dir/object", bytes(3)).await.unwrap();
    assert_eq!(store.get("dir/object", 99).await.unwrap(), bytes(3), "replaced");
    store.delete("dir/object").await.unwrap();
    assert_eq!(store.head("dir/object").await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn empty_and_big_objects_are_kept(store: &Store) {
    store.put("empty", Bytes::new()).await.unwrap();
    assert_eq!(store.get("empty", 0).await.unwrap(), Bytes::new());
    assert_eq!(store.head("empty").await.unwrap(), 0);
    assert_eq!(store.get_suffix("empty", 10).await.unwrap(), (Bytes::new(), 0));
    assert_eq!(store.get_range("empty", 0..1).await.unwrap_err().kind(), ErrorKind::Corrupt);
    // Above 64 MiB a remote store gets it in parts.
    for length in [20 << 20, (64 << 20) + 5] {
        let big = Bytes::from(vec![0x5a; length]);
        store.put("big", big.clone()).await.unwrap();
        assert_eq!(store.head("big").await.unwrap(), u64::try_from(length).unwrap());
        assert!(store.get("big", 1 << 30).await.unwrap() == big, "{length} bytes are read back");
    }
    store.delete_many(vec!["big".into(), "empty".into(), "none".into()]).await.unwrap();
}

async fn keys_are_kept_as_they_are(store: &Store) {
    let keys = [
        "config",
        "packs/ab/abcdef0123456789",
        "state/snapshots/00ff/20260804T101500Z-0011-22",
        "state/suspect/0011/self",
        "odd/with space",
        "odd/plus+and&and=and,and@and:and;and$and'and(and)and!",
        "odd/percent%2Fstays",
        "odd/hash#tag",
        "odd/ümläut-日本",
        "odd/~tilde^caret",
    ];
    for key in keys {
        store.put(key, Bytes::from(key.to_owned())).await.unwrap();
    }
    for key in keys {
        assert_eq!(store.get(key, 99).await.unwrap(), key);
    }
    let listed: BTreeSet<String> = store.list("").await.unwrap().into_iter().map(|listed| listed.key).collect();
    assert_eq!(listed, keys.iter().map(|key| (*key).to_owned()).collect());
    assert_eq!(store.list("odd/").await.unwrap().len(), 6);
    store.delete_many(keys.iter().map(|key| (*key).to_owned()).collect()).await.unwrap();
    assert_eq!(store.list("").await.unwrap(), [], "odd keys are deleted, too");
}

async fn creators_of_one_key_race(store: &Store, abilities: Abilities) {
    store.put_new("state/first", bytes(10)).await.unwrap();
    store.put_new("state/first", bytes(10)).await.expect("the same bytes are a success");
    if abilities.create_only {
        let error = store.put_new("state/first", bytes(11)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(store.get("state/first", 99).await.unwrap(), bytes(10), "the first bytes stay");
    }
    let racers = (0..32).map(|i| async move { store.put_new("state/raced", Bytes::from(format!("racer {i}"))).await });
    let outcomes = join_all(racers).await;
    let winners: Vec<usize> = (0..32).filter(|i| outcomes[*i].is_ok()).collect();
    assert!(!winners.is_empty());
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|error| error.kind() == ErrorKind::AlreadyExists));
    if abilities.create_only {
        assert_eq!(winners.len(), 1, "exactly one creator wins");
        assert_eq!(store.get("state/raced", 99).await.unwrap(), format!("racer {}", winners[0]));
    }
    store.delete_many(vec!["state/first".into(), "state/raced".into()]).await.unwrap();
}

async fn listings_are_whole_sorted_and_below_a_folder(store: &Store) {
    let keys: Vec<String> = (0..1_100).map(|i| format!("state/{}/{i:05}", i % 7)).collect();
    for chunk in keys.chunks(64) {
        join_all(chunk.iter().map(|key| store.put(key, bytes(key.len()))))
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
    }
    store.put("statement", bytes(1)).await.unwrap();
    store.put("packs/aa/one", bytes(1)).await.unwrap();
    let before = store.requests();
    let listed = store.list("state/").await.unwrap();
    // Azure's pages have 5,000 keys.
    assert!((1..=2).contains(&(store.requests().list - before.list)), "1,100 keys are two pages");
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(listed.iter().map(|l| l.key.clone()).collect::<Vec<_>>(), sorted);
    assert!(listed.iter().all(|l| l.size == l.key.len() as u64));
    assert_eq!(store.list("").await.unwrap().len(), 1_102);
    assert_eq!(store.list("state/3").await.unwrap().len(), 157);
    let before = store.requests();
    store.delete_many(keys).await.unwrap();
    let deletions = store.requests().delete - before.delete;
    assert!([2, 5, 1_100].contains(&deletions), "{deletions} requests for 1,100 deletions");
    assert_eq!(store.list("state").await.unwrap(), []);
}

#[tokio::test]
async fn a_store_in_memory_keeps_the_promises() {
    keeps_its_promises(&connect(&Location::Memory, &StoreOptions::default()).await, Abilities { create_only: true })
        .await;
}

#[tokio::test]
async fn a_wrapped_object_store_keeps_the_promises() {
    let store = Store::from_object_store(Arc::new(InMemory::new()), Location::Memory);
    keeps_its_promises(&store, Abilities { create_only: true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    let store = connect(&Location::Local(folder.path().join("repo")), &StoreOptions::default()).await;
    store.ensure_container().await.unwrap();
    keeps_its_promises(&store, Abilities { create_only: true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_keeps_the_promises_with_and_without_a_prefix() {
    let server = S3Server::start().await;
    for prefix in ["", "some/prefix"] {
        let store = connect(&server.location("bucket", prefix), &server.options()).await;
        store.ensure_container().await.unwrap();
        keeps_its_promises(&store, Abilities { create_only: true }).await;
        assert!(store.clock_skew().is_some_and(|skew| skew.num_seconds().abs() < 5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_of_googles_dialect_keeps_the_promises() {
    let server = S3Server::start_google().await;
    server.make_bucket("bucket");
    let mut options = StoreOptions::default();
    options.variables.insert("GOOGLE_BASE_URL".into(), server.endpoint.clone());
    options.variables.insert("GOOGLE_ACCESS_TOKEN".into(), GOOGLE_TOKEN.into());
    for location in ["gs:bucket:/", "gs://bucket/some/prefix"] {
        let store = connect(&location.parse().unwrap(), &options).await;
        keeps_its_promises(&store, Abilities { create_only: true }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_without_conditional_writes_keeps_the_other_promises() {
    for (conditions, create_only) in [(Conditions::Ignored, false), (Conditions::NotImplemented, false)] {
        let server = S3Server::start_with(conditions).await;
        server.make_bucket("bucket");
        let store = connect(&server.location("bucket", "p"), &server.options()).await;
        creators_of_one_key_race(&store, Abilities { create_only }).await;
    }
}

/// Also against a real server: `VOLVAULT_TEST_LOCATION=s3:http://127.0.0.1:9000/bucket` with the credentials beside it.
/// `VOLVAULT_TEST_NO_CREATE` says that it is known to overlook conditions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the environment says whether there is a server to test against")]
async fn an_external_store_keeps_the_promises_if_one_is_given() {
    let Ok(location) = std::env::var("VOLVAULT_TEST_LOCATION") else { return };
    let location: Location = format!("{location}/suite-{}", std::process::id()).parse().unwrap();
    let ca_files = std::env::var("VOLVAULT_TEST_CACERT").into_iter().map(Into::into).collect();
    let options = StoreOptions { variables: std::env::vars().collect(), ca_files, ..StoreOptions::default() };
    let store = connect(&location, &options).await;
    store.ensure_container().await.unwrap();
    keeps_its_promises(&store, Abilities { create_only: std::env::var("VOLVAULT_TEST_NO_CREATE").is_err() }).await;
}

#[tokio::test]
async fn requests_and_bytes_are_counted_exactly_and_agree_with_the_server() {
    let server = S3Server::start().await;
    server.make_bucket("bucket");
    let store = connect(&server.location("bucket", "p"), &server.options()).await;
    store.put("a", bytes(1000)).await.unwrap();
    store.put_new("b", bytes(10)).await.unwrap();
    store.get("a", 1000).await.unwrap();
    store.get_range("a", 10..30).await.unwrap();
    store.head("a").await.unwrap();
    store.list("").await.unwrap();
    store.delete_many(vec!["a".into(), "b".into()]).await.unwrap();
    let counts = store.requests();
    assert_eq!((counts.put, counts.get, counts.get_range, counts.head, counts.list, counts.delete), (2, 1, 1, 1, 1, 1));
    assert_eq!((counts.bytes_up, counts.bytes_down, counts.retries), (1010, 1020, 0));
    assert_eq!(counts.total(), server.requests());
}

#[tokio::test]
async fn a_missing_bucket_is_told_from_a_missing_object_and_can_be_made() {
    let server = S3Server::start().await;
    let store = connect(&server.location("missing", ""), &server.options()).await;
    let error = store.list("").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().is_some_and(|hint| hint.contains("bucket does not exist")), "{error:?}");
    assert!(store.ensure_container().await.unwrap(), "made");
    assert!(!store.ensure_container().await.unwrap(), "there already");
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn wrong_credentials_are_denied_at_once() {
    let server = S3Server::start().await;
    server.make_bucket("bucket");
    let mut options = server.options();
    options.variables.insert("AWS_SECRET_ACCESS_KEY".into(), "wrong".into());
    let store = connect(&server.location("bucket", ""), &options).await;
    for error in [
        store.get("a", 9).await.map(drop),
        store.list("").await.map(drop),
        store.put("a", bytes(1)).await,
        store.delete("a").await,
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(!error.chain().contains("wrong"), "no secret in {error:?}");
    }
    assert_eq!(store.requests().retries, 0);
}

#[tokio::test]
async fn a_directory_that_is_missing_is_not_made_by_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("not-mounted");
    let store = connect(&Location::Local(root.clone()), &StoreOptions::default()).await;
    for error in [store.put("a", bytes(1)).await, store.list("").await.map(drop), store.get("a", 1).await.map(drop)] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert!(!root.exists());
    assert!(store.ensure_container().await.unwrap());
    store.put("a", bytes(1)).await.unwrap();
}

#[tokio::test]
async fn leftovers_of_killed_writers_are_not_listed_and_can_be_swept() {
    let folder = tempfile::tempdir().unwrap();
    let store = connect(&Location::Local(folder.path().to_owned()), &StoreOptions::default()).await;
    store.put("packs/aa/one", bytes(5)).await.unwrap();
    std::fs::copy(folder.path().join("packs/aa/one"), folder.path().join("packs/aa/two#1")).unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1);
    assert_eq!(store.sweep_leftovers(Duration::from_hours(1)).await.unwrap(), 0, "its writer may be alive");
    assert_eq!(store.sweep_leftovers(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(store.get("packs/aa/one", 9).await.unwrap(), bytes(5));
}

#[tokio::test]
async fn the_seam_below_is_relative_to_the_location() {
    let server = S3Server::start().await;
    server.make_bucket("bucket");
    let store = connect(&server.location("bucket", "deep/er"), &server.options()).await;
    store.put("a/b", bytes(7)).await.unwrap();
    assert_eq!(store.objects().get(&Path::from("a/b")).await.unwrap().bytes().await.unwrap(), bytes(7));
    assert_eq!(std::fs::read(server.file("bucket", "deep/er/a/b")).unwrap(), bytes(7));
    assert!(!format!("{store:?}").contains("volvault-test-secret"), "debug output shows no secret");
}

#[tokio::test]
async fn bandwidth_limits_hold_on_average() {
    let (limit_upload, limit_download) = (Some("1M".parse().unwrap()), Some("2M".parse().unwrap()));
    let options = StoreOptions { limit_upload, limit_download, ..StoreOptions::default() };
    let store = connect(&Location::Memory, &options).await;
    let start = tokio::time::Instant::now();
    for i in 0..4 {
        store.put(&format!("{i}"), bytes(128 << 10)).await.unwrap();
    }
    store.put("4", bytes(1)).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(490), "512 KiB at 1 MiB/s took {:?}", start.elapsed());
    let start = tokio::time::Instant::now();
    for i in 0..4 {
        store.get(&format!("{i}"), 1 << 20).await.unwrap();
    }
    store.get("4", 1).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(240), "512 KiB at 2 MiB/s took {:?}", start.elapsed());
}

#[test]
fn a_server_with_its_own_threads_serves_other_runtimes() {
    let thread = S3ServerThread::start();
    thread.server.make_bucket("bucket");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let store = connect(&thread.server.location("bucket", ""), &thread.server.options()).await;
        store.put("a", bytes(7)).await.unwrap();
        assert_eq!(store.get("a", 7).await.unwrap(), bytes(7));
    });
}
