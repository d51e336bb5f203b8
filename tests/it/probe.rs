//! `repo probe`: what stores of different manners are found to do, and that nothing of it stays.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use volvault::clock::SystemClock;
use volvault::storage::{Ability, Location, ProbeReport, Store, StoreOptions, Verdict};

use crate::command::{Home, write};
use crate::support::faults::{At, Fault, FaultPlan, FaultStore, Op};
use crate::support::hasty;
use crate::support::s3::{Conditions, S3Server};

/// `s3s-fs` does not list uploads, so whether one is left cannot be told.
const UPLOADS_UNLISTED: (Ability, Verdict) = (Ability::Abort, Verdict::Unknown);

async fn probed(store: &Store) -> ProbeReport {
    let report = store.probe(SystemClock::new().now(), 7).await.unwrap();
    assert_eq!(store.list("probe").await.unwrap(), [], "nothing is left");
    report
}

fn verdict(report: &ProbeReport, ability: Ability) -> (Verdict, &str) {
    let finding = report.findings.iter().find(|finding| finding.ability == ability).unwrap();
    (finding.found, &finding.detail)
}

fn assert_found(report: &ProbeReport, without: &[(Ability, Verdict)]) {
    for finding in &report.findings {
        let expected =
            without.iter().find(|(ability, _)| *ability == finding.ability).map_or(Verdict::Yes, |(_, v)| *v);
        assert_eq!(finding.found, expected, "{}: {}", finding.ability, finding.detail);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_honours_conditions_is_found_to() {
    let server = S3Server::start().await;
    server.make_bucket("bucket");
    let store = Store::connect(&server.location("bucket", "p"), &server.options(), SystemClock::new()).await.unwrap();
    let report = probed(&store).await;
    assert_found(&report, &[UPLOADS_UNLISTED]);
    assert_eq!(verdict(&report, Ability::CreateOnly).1, "1 of 32 won, and its bytes are there");
    assert!(report.clock_skew.is_some_and(|skew| skew.num_seconds().abs() < 5));
    assert!(store.requests().total() < 400, "{}", store.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_overlook_or_refuse_conditions_are_found_out() {
    for (conditions, said) in [(Conditions::Ignored, "overlooked"), (Conditions::NotImplemented, "refuses")] {
        let server = S3Server::start_with(conditions).await;
        server.make_bucket("bucket");
        let store =
            Store::connect(&server.location("bucket", "p"), &server.options(), SystemClock::new()).await.unwrap();
        let report = probed(&store).await;
        let without = [(Ability::CreateOnly, Verdict::No), (Ability::ReplaceIfSame, Verdict::No), UPLOADS_UNLISTED];
        assert_found(&report, &without);
        assert!(verdict(&report, Ability::CreateOnly).1.contains(said), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_creates_once_and_has_no_versions_to_replace() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::Local(folder.path().to_owned());
    let store = Store::connect(&location, &StoreOptions::default(), SystemClock::new()).await.unwrap();
    assert_found(&probed(&store).await, &[(Ability::ReplaceIfSame, Verdict::No)]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no empty folder either");
}

#[tokio::test]
async fn a_store_whose_reads_are_cut_is_not_called_good() {
    let cut = (At::Matching { op: Op::GetRange, prefix: "", from: 0, times: 999 }, Fault::Truncate(0));
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::clone(&memory), FaultPlan { script: vec![cut], ..FaultPlan::default() });
    let store = Store::from_object_store_with(faults, Location::Memory, hasty());
    assert_eq!(verdict(&probed(&store).await, Ability::Ranges).0, Verdict::No);
}

#[tokio::test]
async fn what_a_killed_probe_left_is_swept_by_one_that_comes_an_hour_later() {
    let store = Store::from_object_store(Arc::new(InMemory::new()), Location::Memory);
    let now = SystemClock::new().now();
    let (old, new) = (now.timestamp() - 3700, now.timestamp() - 3500);
    for key in [format!("probe/{old}-1/read-0"), format!("probe/{new}-2/read-0"), "probe/mine".to_owned()] {
        store.put(&key, "x".into()).await.unwrap();
    }
    store.probe(now, 7).await.unwrap();
    let left: Vec<String> = store.list("").await.unwrap().into_iter().map(|one| one.key).collect();
    assert_eq!(left, [format!("probe/{new}-2/read-0"), "probe/mine".to_owned()]);
}

#[test]
fn the_command_needs_no_password_prints_a_table_or_json_and_remembers() {
    let mut home = Home::new();
    std::fs::create_dir(home.at("place")).unwrap();
    home.set("VOLVAULT_REPOSITORY", "place".to_owned());
    assert_eq!(home.code(&["repo", "probe", "--last"]), 1, "nothing is remembered yet");
    let table = home.text(&["repo", "probe"]);
    assert!(table.contains("let one of many create an object    yes    no      1 of 32 won"), "{table}");
    let (printed, last) = (home.text(&["repo", "probe", "--json"]), home.text(&["repo", "probe", "--last", "--json"]));
    assert_eq!(printed, last);
    let first = r#""findings":[{"ability":"read_after_write","needed":true,"found":"yes","detail":"20 of 20 times"}"#;
    assert!(
        printed.starts_with(r#"{"message_type":"probe","location":"place","time":""#) && printed.contains(first),
        "{printed}"
    );
    assert_eq!(std::fs::read_dir(home.at("place")).unwrap().count(), 0);
    home.set_key();
    home.text(&["init"]);
    home.text(&["repo", "probe"]);
    home.text(&["check"]);
    write(&home.at("file"), b"x");
    home.set("VOLVAULT_REPOSITORY", "file".to_owned());
    assert_eq!(home.code(&["repo", "probe"]), 1);
}
