//! What the governor makes of failures: which requests it repeats, how often, and what is left for the caller.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, PutMode, PutPayload};
use volvault::ErrorKind;
use volvault::clock::SystemClock;
use volvault::storage::{Location, Patience, Store};

use crate::support::faults::{At, Fault, FaultPlan, FaultStore, Op, Trouble, When};
use crate::support::hasty;
use crate::support::s3::S3Server;
use crate::support::scripted::{Reply, ScriptedServer};

/// A store over memory that fails as planned, and a store over the same memory that does not.
fn failing(plan: FaultPlan) -> (Store, Arc<FaultStore>, Store) {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::clone(&memory), plan);
    let store = Store::from_object_store_with(Arc::<FaultStore>::clone(&faults), Location::Memory, hasty());
    (store, faults, Store::from_object_store(memory, Location::Memory))
}

fn content() -> Bytes {
    Bytes::from_static(b"the bytes of an object")
}

async fn scripted(script: Vec<Reply>) -> (Store, ScriptedServer) {
    let server = ScriptedServer::start(script).await;
    let store = Store::connect(&server.location(), &ScriptedServer::options(), SystemClock::new()).await.unwrap();
    (store, server)
}

#[tokio::test]
async fn requests_that_fail_a_few_times_succeed_and_every_attempt_is_counted() {
    for trouble in [Trouble::Unreachable, Trouble::Reset, Trouble::Timeout] {
        for when in [When::Before, When::After] {
            let (store, _, _) = failing(FaultPlan::some(Op::Put, "a", 3, Fault::Fail(when, trouble)));
            store.put("a", content()).await.unwrap();
            let counts = store.requests();
            assert_eq!((counts.put, counts.retries, counts.bytes_up), (4, 3, 4 * 22), "{trouble:?} {when:?}");
        }
    }
    for (op, prefix) in [(Op::Get, "a"), (Op::GetRange, "a"), (Op::Head, "a"), (Op::Delete, "a"), (Op::List, "")] {
        let (store, _, clean) = failing(FaultPlan::some(op, prefix, 2, Fault::Fail(When::Before, Trouble::Reset)));
        clean.put("a", content()).await.unwrap();
        match op {
            Op::Get => assert_eq!(store.get("a", 99).await.unwrap(), content()),
            Op::GetRange => assert_eq!(store.get_range("a", 4..9).await.unwrap(), content().slice(4..9)),
            Op::Head => assert_eq!(store.head("a").await.unwrap(), 22),
            Op::List => assert_eq!(store.list("").await.unwrap().len(), 1),
            _ => store.delete("a").await.unwrap(),
        }
        assert_eq!((store.requests().total(), store.requests().retries), (3, 2), "{op:?}");
    }
}

#[tokio::test]
async fn a_store_that_always_fails_is_given_up_in_bounded_time_and_with_bounded_requests() {
    let (store, _, _) = failing(FaultPlan::random(1, 1.0));
    let start = tokio::time::Instant::now();
    let puts = join_all((0..200).map(|i| {
        let store = &store;
        async move { store.put(&format!("{i}"), content()).await }
    }))
    .await;
    assert!(puts.iter().all(|put| put.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable)));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(store.requests().total() <= 200 + 100, "the retry budget ends: {}", store.requests());
}

#[tokio::test]
async fn what_the_store_refuses_is_not_repeated() {
    for (trouble, kind) in [(Trouble::Denied, ErrorKind::Denied), (Trouble::NotFound, ErrorKind::NotFound)] {
        let (store, _, _) = failing(FaultPlan::some(Op::Get, "a", 99, Fault::Fail(When::Before, trouble)));
        assert_eq!(store.get("a", 99).await.unwrap_err().kind(), kind);
        assert_eq!(store.requests().total(), 1);
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_fetched_on_and_one_that_is_too_long_is_corrupt() {
    for op in [Op::Get, Op::GetRange] {
        let (store, faults, clean) = failing(FaultPlan::some(op, "a", 1, Fault::Truncate(5)));
        clean.put("a", content()).await.unwrap();
        let read = if op == Op::Get { store.get("a", 99).await } else { store.get_range("a", 0..22).await };
        assert_eq!(read.unwrap(), content());
        assert_eq!(faults.trace().len(), 2, "the rest was fetched: {:?}", faults.trace());
    }
    let nothing = || vec![(Op::Get, Fault::Truncate(0)), (Op::GetRange, Fault::Truncate(0))];
    let script =
        nothing().into_iter().map(|(op, fault)| (At::Matching { op, prefix: "", from: 0, times: 99 }, fault)).collect();
    let (store, _, clean) = failing(FaultPlan { script, ..FaultPlan::default() });
    clean.put("a", content()).await.unwrap();
    for error in [store.get("a", 99).await.unwrap_err(), store.get_range("a", 3..9).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.to_string().contains(" a "), "the object is named: {error}");
    }
    let (store, _, clean) = failing(FaultPlan::some(Op::Get, "a", 99, Fault::Pad(3)));
    clean.put("a", content()).await.unwrap();
    assert_eq!(store.get("a", 99).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_listing_that_breaks_off_goes_on_and_is_never_a_part() {
    let (store, _, clean) = failing(FaultPlan::some(Op::List, "", 3, Fault::Fail(When::After, Trouble::Reset)));
    let final_break = FaultPlan::some(Op::List, "", 9, Fault::Fail(When::After, Trouble::Denied));
    for i in 0..50 {
        clean.put(&format!("{i:02}"), content()).await.unwrap();
    }
    let keys: Vec<String> = store.list("").await.unwrap().into_iter().map(|listed| listed.key).collect();
    assert_eq!(keys, (0..50).map(|i| format!("{i:02}")).collect::<Vec<_>>());
    assert_eq!(store.requests().retries, 3);
    let (store, _, clean) = failing(final_break);
    clean.put("a", content()).await.unwrap();
    assert!(store.list("").await.is_err());
}

#[tokio::test]
async fn an_ambiguous_create_is_settled_by_comparing_and_the_seam_leaves_it_to_the_caller() {
    for when in [When::Before, When::After] {
        let plan = || FaultPlan::some(Op::PutIf, "a", 1, Fault::Fail(when, Trouble::Timeout));
        let (store, _, clean) = failing(plan());
        store.put_new("a", content()).await.unwrap();
        assert_eq!(clean.get("a", 99).await.unwrap(), content());

        let (store, faults, _) = failing(plan());
        let create =
            store.objects().put_opts(&Path::from("a"), PutPayload::from(content()), PutMode::Create.into()).await;
        assert!(matches!(create, Err(Error::Generic { .. })), "not repeated: {create:?}");
        assert_eq!(faults.trace().len(), 1);
    }
    let (store, _, clean) = failing(FaultPlan::some(Op::PutIf, "a", 2, Fault::Fail(When::Before, Trouble::Timeout)));
    clean.put("a", Bytes::from_static(b"another's")).await.unwrap();
    assert_eq!(store.put_new("a", content()).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn with_every_tenth_request_failing_all_work_is_done() {
    for seed in 0..5 {
        let (store, _, clean) = failing(FaultPlan::random(seed, 0.1));
        for i in 0..100 {
            let key = format!("d/{i:03}");
            store.put(&key, content()).await.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            assert_eq!(store.get(&key, 99).await.unwrap(), content(), "seed {seed}");
        }
        assert_eq!(store.list("d").await.unwrap().len(), 100, "seed {seed}");
        assert!(store.requests().retries > 5, "seed {seed}: {}", store.requests());
        assert_eq!(clean.list("").await.unwrap().len(), 100);
    }
}

#[tokio::test]
async fn a_kill_ends_everything_and_shows_what_was_done_before() {
    for (when, stored) in [(When::Before, 2), (When::After, 3)] {
        let (store, faults, clean) = failing(FaultPlan::kill(2, when));
        for (i, done) in [true, true, false, false].into_iter().enumerate() {
            assert_eq!(store.put(&format!("{i}"), content()).await.is_ok(), done, "{when:?} {i}");
        }
        assert!(faults.killed() && store.get("0", 99).await.is_err());
        assert_eq!(clean.list("").await.unwrap().len(), stored, "{when:?}");
        assert_eq!((faults.numbered(), store.requests().retries), (3, 0), "a killed process tries nothing again");
    }
    let (store, faults, clean) = failing(FaultPlan::some(Op::PutIf, "z", 1, Fault::Late(50)));
    store.put_new("z", content()).await.unwrap();
    faults.land_late_puts().await;
    assert_eq!(clean.get("z", 99).await.unwrap(), content(), "a zombie of the same bytes does no harm");
    let (store, _, clean) = failing(FaultPlan::some(Op::Get, "a", 1, Fault::Flip(3)));
    clean.put("a", content()).await.unwrap();
    assert_ne!(store.get("a", 99).await.unwrap(), content(), "a turned bit is for the reader above to find");
}

#[tokio::test]
async fn a_silent_store_is_given_up_in_time() {
    let patience = Patience { answer: Duration::from_millis(30), total: Duration::from_millis(100), ..hasty() };
    let memory = Arc::new(InMemory::new());
    let faults = FaultStore::new(memory, FaultPlan::some(Op::Get, "", 99, Fault::Delay(Duration::from_mins(1))));
    let store = Store::from_object_store_with(faults, Location::Memory, patience);
    let start = tokio::time::Instant::now();
    assert_eq!(store.get("a", 9).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_s3_server_that_says_slow_down_gets_its_way() {
    let server = S3Server::start().await;
    server.make_bucket("bucket");
    let mut options = server.options();
    options.patience = Some(hasty());
    let store = Store::connect(&server.location("bucket", ""), &options, SystemClock::new()).await.unwrap();
    server.slow_down(5);
    store.put("a", content()).await.unwrap();
    assert_eq!((store.requests().put, store.requests().retries, server.requests()), (6, 5, 6));
    server.slow_down(3);
    assert_eq!(store.list("").await.unwrap().len(), 1);
    server.slow_down(u64::MAX);
    let error = store.put("a", content()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.chain().contains("503 SlowDown"), "{error:?}");
}

#[tokio::test]
async fn a_create_whose_first_attempt_was_stored_succeeds_whatever_the_answers_were() {
    let done = || Reply::answer("200 OK", &["etag: \"e1\""], b"");
    let mine = || Reply::object(b"the bytes of an object");
    for (name, script, good) in [
        (
            "412 after its own write",
            vec![Reply::HangUp, Reply::error("412 Precondition Failed", "PreconditionFailed"), mine()],
            true,
        ),
        (
            "409 after its own write",
            vec![Reply::HangUp, Reply::error("409 Conflict", "ConditionalRequestConflict"), mine()],
            true,
        ),
        (
            "409 for a race, then free",
            vec![
                Reply::error("409 Conflict", "ConditionalRequestConflict"),
                Reply::error("404 Not Found", "NoSuchKey"),
                done(),
            ],
            true,
        ),
        ("503, then done", vec![Reply::error("503 Service Unavailable", "SlowDown"), done()], true),
        (
            "half an answer, then 412",
            vec![
                Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-".to_vec()),
                Reply::error("412 Precondition Failed", "PreconditionFailed"),
                mine(),
            ],
            true,
        ),
        (
            "501, nothing there, put",
            vec![
                Reply::error("501 Not Implemented", "NotImplemented"),
                Reply::error("404 Not Found", "NoSuchKey"),
                done(),
            ],
            true,
        ),
        (
            "412 for another's",
            vec![Reply::error("412 Precondition Failed", "PreconditionFailed"), Reply::object(b"another's")],
            false,
        ),
        ("304 for another's", vec![Reply::answer("304 Not Modified", &[], b""), Reply::object(b"another's")], false),
    ] {
        let (store, server) = scripted(script.clone()).await;
        let created = store.put_new("a", content()).await;
        assert_eq!(created.is_ok(), good, "{name}: {created:?}");
        assert!(created.err().is_none_or(|error| error.kind() == ErrorKind::AlreadyExists), "{name}");
        assert_eq!(server.seen().len(), script.len(), "{name}: {:?}", server.seen());
        let first = &server.seen()[0];
        assert_eq!((first.method.as_str(), first.target.as_str()), ("PUT", "/b/a"));
        assert!(first.headers.contains(&"if-none-match: *".to_owned()));
    }
}

#[tokio::test]
async fn reads_from_a_server_that_breaks_the_protocol_are_right_or_fail() {
    let head = |length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\netag: \"e1\"\r\nlast-modified: Tue, 04 Aug 2026 10:00:00 GMT\r\n\
             connection: close\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let cut = Reply::Raw(format!("{}the bytes", head(22)).into_bytes());
    let rest = |etag: &str| {
        Reply::answer(
            "206 Partial Content",
            &[etag, "last-modified: Tue, 04 Aug 2026 10:00:00 GMT", "content-range: bytes 9-21/22"],
            b" of an object",
        )
    };
    let (store, server) = scripted(vec![cut.clone(), rest("etag: \"e1\"")]).await;
    assert_eq!(store.get("a", 99).await.unwrap(), content(), "the rest is fetched");
    assert!(server.seen()[1].headers.contains(&"range: bytes=9-21".to_owned()), "{:?}", server.seen());

    let (store, _server) = scripted(vec![cut.clone(), rest("etag: \"e2\"")]).await;
    assert_eq!(store.get("a", 99).await.unwrap_err().kind(), ErrorKind::Corrupt, "another object by then");

    let (store, _server) = scripted(vec![cut]).await;
    assert_ne!(
        store.get("a", 99).await.map_err(|error| error.kind()),
        Ok(Bytes::from_static(b"the bytes")),
        "never a part"
    );

    let (store, _server) = scripted(vec![Reply::object(b"the bytes of an object")]).await;
    assert_eq!(store.get_range("a", 4..9).await.unwrap_err().kind(), ErrorKind::Corrupt, "the range was ignored");

    let (store, _server) = scripted(vec![Reply::answer(
        "206 Partial Content",
        &["etag: \"e1\"", "last-modified: Tue, 04 Aug 2026 10:00:00 GMT", "content-range: bytes 5-9/22"],
        b"bytes",
    )])
    .await;
    assert_eq!(store.get_range("a", 4..9).await.unwrap_err().kind(), ErrorKind::Corrupt, "another range");

    let beginning = Reply::answer(
        "206 Partial Content",
        &["etag: \"e1\"", "last-modified: Tue, 04 Aug 2026 10:00:00 GMT", "content-range: bytes 0-1/22"],
        b"th",
    );
    let end = Reply::answer(
        "206 Partial Content",
        &["etag: \"e1\"", "last-modified: Tue, 04 Aug 2026 10:00:00 GMT", "content-range: bytes 20-21/22"],
        b"ct",
    );
    // Asked three times for the end, then for the size, then for the range that is the end.
    let (store, server) =
        scripted(vec![beginning.clone(), beginning.clone(), beginning, Reply::object(&[b' '; 22]), end]).await;
    assert_eq!(store.get_suffix("a", 2).await.unwrap(), (content().slice(20..), 22), "{:?}", server.seen());

    let (store, server) = scripted(vec![Reply::object(&vec![0; 5000])]).await;
    assert_eq!(store.get("a", 4999).await.unwrap_err().kind(), ErrorKind::Corrupt, "too big");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_or_silent_fails_in_bounded_time() {
    let (store, server) = scripted(vec![Reply::Silence]).await;
    drop(server);
    let start = tokio::time::Instant::now();
    assert_eq!(store.get("a", 9).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.requests().get, 10, "connections are refused ten times");
    let silent = ScriptedServer::start(vec![Reply::Silence]).await;
    let mut options = ScriptedServer::options();
    options.patience =
        Some(Patience { answer: Duration::from_millis(50), total: Duration::from_millis(200), ..hasty() });
    let store = Store::connect(&silent.location(), &options, SystemClock::new()).await.unwrap();
    assert_eq!(store.put("a", content()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_request_that_hangs_once_is_sent_again_and_a_pause_that_is_asked_for_is_kept() {
    let silent = ScriptedServer::start(vec![Reply::Silence, Reply::object(b"the bytes of an object")]).await;
    let mut options = ScriptedServer::options();
    options.patience = Some(Patience { answer: Duration::from_millis(100), ..hasty() });
    let store = Store::connect(&silent.location(), &options, SystemClock::new()).await.unwrap();
    assert_eq!(store.get("a", 99).await.unwrap(), content());
    assert_eq!((store.requests().get, store.requests().retries), (2, 1));

    let body = b"<Error><Code>SlowDown</Code></Error>";
    let wait = Reply::answer("503 Slow Down", &["content-type: application/xml", "retry-after: 1"], body);
    let (store, _server) = scripted(vec![wait, Reply::object(b"the bytes of an object")]).await;
    let start = tokio::time::Instant::now();
    assert_eq!(store.get("a", 99).await.unwrap(), content());
    assert!(start.elapsed() >= Duration::from_millis(990), "asked again after {:?}", start.elapsed());
}
