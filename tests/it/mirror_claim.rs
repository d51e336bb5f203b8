//! The claim of a push: one holder at a time, none that has to be removed by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::Runtime;
use volvault::ErrorKind;
use volvault::clock::SystemClock;
use volvault::events::Stop;
use volvault::rclone_sync::claim::{Claim, Claimant, Pace, look};
use volvault::rclone_sync::{Places, Pusher};
use volvault::storage::{Attributes, Condition, Location, Store};

use crate::support::faults::{Fault, FaultPlan, FaultStore, Op, Trouble, When};
use crate::support::memory_s3::Habits;
use crate::support::s3::{Conditions, S3Server};

/// A hundredth of what it is elsewhere, but for what a busy machine needs.
const PACE: Pace = Pace {
    beat: Duration::from_millis(150),
    dead: Duration::from_millis(900),
    look: Duration::from_millis(100),
    doubt: Duration::from_millis(400),
    settle: Duration::from_millis(50),
};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn places(runtime: &Runtime, control: Arc<dyn ObjectStore>) -> Places {
    let store = |objects| Store::from_object_store(objects, Location::Memory);
    Places::new(store(Arc::new(InMemory::new())), store(control), runtime.handle().clone())
}

fn claimant(id: &str) -> Claimant {
    let pusher = Pusher { id: id.to_owned(), host: format!("host-{id}"), program: "test".to_owned() };
    Claimant { pusher, clock: SystemClock::new(), pace: PACE, conditional: true }
}

#[test]
fn a_claim_costs_two_requests_and_keeps_others_out() {
    let runtime = runtime();
    let places = places(&runtime, Arc::new(InMemory::new()));
    assert_eq!(look(&places).unwrap(), None);
    let before = places.control.requests().total();
    let claim = Claim::take(&places, &claimant("a")).unwrap();
    assert!(!claim.found_unfinished());
    claim.guard().unwrap();
    claim.release().unwrap();
    assert_eq!(places.control.requests().total() - before, 2);
    let claim = Claim::take(&places, &claimant("a")).unwrap();
    let error = Claim::take(&places, &claimant("b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.chain().contains("host-a"), "{error:?}");
    assert!(error.hint().unwrap().contains("ends by itself"));
    let seen = look(&places).unwrap().unwrap();
    assert_eq!((seen.pusher.host.as_str(), seen.is_unfinished), ("host-a", false));
    claim.check().unwrap();
    claim.release().unwrap();
    let next = Claim::take(&places, &claimant("b")).unwrap();
    assert!(!next.found_unfinished());
    next.release().unwrap();
    assert_eq!(look(&places).unwrap(), None);
}

#[test]
fn a_push_that_was_given_up_is_taken_over_at_once_and_a_dead_one_after_a_while() {
    let runtime = runtime();
    let places = places(&runtime, Arc::new(InMemory::new()));
    Claim::take(&places, &claimant("a")).unwrap().abandon().unwrap();
    assert!(look(&places).unwrap().unwrap().is_unfinished);
    let before = places.control.requests().total();
    let claim = Claim::take(&places, &claimant("b")).unwrap();
    assert!(claim.found_unfinished());
    // Create, look what is there, replace.
    assert!((4..=5).contains(&(places.control.requests().total() - before)));
    // Dies.
    drop(claim);
    let started = SystemClock::new().elapsed();
    let claim = Claim::take(&places, &claimant("c")).unwrap();
    let waited = SystemClock::new().elapsed().checked_sub(started).unwrap();
    assert!(claim.found_unfinished());
    assert!(waited >= PACE.dead, "{waited:?}");
    claim.release().unwrap();
    // What nobody can read is somebody's, too.
    let rubbish = Bytes::from_static(b"not json");
    let none = Attributes::default();
    places.block(places.control.put_with("push", rubbish, &none, Condition::Any)).unwrap();
    let claim = Claim::take(&places, &claimant("d")).unwrap();
    assert!(claim.found_unfinished());
    claim.release().unwrap();
}

#[test]
fn who_lost_the_claim_is_told_before_he_writes_and_leaves_the_new_one_alone() {
    let runtime = runtime();
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for (conditional, ending) in [true, false].into_iter().flat_map(|conditional| [(conditional, 0), (conditional, 1)])
    {
        let places_of_a = places(&runtime, Arc::clone(&memory));
        // The machine of `a` sleeps: no beats.
        let pace = Pace { beat: Duration::from_hours(1), ..PACE };
        let sleeping = Claim::take(&places_of_a, &Claimant { pace, conditional, ..claimant("a") }).unwrap();
        let places_of_b = places(&runtime, Arc::clone(&memory));
        let taken = Claim::take(&places_of_b, &Claimant { conditional, ..claimant("b") }).unwrap();
        assert!(taken.found_unfinished());
        assert_eq!(sleeping.guard().unwrap_err().kind(), ErrorKind::Changed);
        assert_eq!(sleeping.check().unwrap_err().kind(), ErrorKind::Changed);
        if ending == 0 {
            sleeping.release().unwrap();
        } else {
            sleeping.abandon().unwrap();
        }
        assert_eq!(look(&places_of_b).unwrap().unwrap().pusher.id, "b");
        taken.check().unwrap();
        taken.release().unwrap();
    }
    // It wakes up only to end.
    for ending in [0, 1] {
        let places = places(&runtime, Arc::clone(&memory));
        let pace = Pace { beat: Duration::from_hours(1), ..PACE };
        let sleeping = Claim::take(&places, &Claimant { pace, ..claimant("a") }).unwrap();
        let taken = Claim::take(&places, &claimant("b")).unwrap();
        if ending == 0 {
            sleeping.release().unwrap();
        } else {
            sleeping.abandon().unwrap();
        }
        assert_eq!(look(&places).unwrap().unwrap().pusher.id, "b");
        taken.release().unwrap();
    }
}

#[test]
fn who_waits_for_a_dead_push_can_be_stopped() {
    let runtime = runtime();
    let places = places(&runtime, Arc::new(InMemory::new()));
    drop(Claim::take(&places, &claimant("a")).unwrap());
    let stop = Stop::new();
    stop.request();
    let error = Claim::take_unless(&places, &claimant("b"), &stop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(look(&places).unwrap().unwrap().pusher.id, "a");
}

#[test]
fn of_many_that_take_it_at_once_one_gets_it() {
    let runtime = runtime();
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for conditional in [true, false] {
        let outcomes = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..6)
                .map(|n| {
                    let places = places(&runtime, Arc::clone(&memory));
                    let claimant = Claimant { conditional, ..claimant(&n.to_string()) };
                    scope.spawn(move || Claim::take(&places, &claimant))
                })
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).collect::<Vec<_>>()
        });
        let (claims, errors): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert!(errors.into_iter().all(|error| error.unwrap_err().kind() == ErrorKind::Unavailable));
        assert_eq!(claims.len(), 1, "conditional: {conditional}");
        for claim in claims {
            let claim = claim.unwrap();
            claim.check().unwrap();
            claim.release().unwrap();
        }
    }
}

#[test]
fn answers_that_are_lost_lose_no_claim() {
    let runtime = runtime();
    for when in [When::Before, When::After] {
        let plan = FaultPlan::some(Op::PutIf, "push", 2, Fault::Fail(when, Trouble::Timeout));
        let places = places(&runtime, FaultStore::new(Arc::new(InMemory::new()), plan));
        let claim = Claim::take(&places, &claimant("a")).unwrap();
        std::thread::scope(|scope| scope.spawn(|| claim.check().unwrap()).join().unwrap());
        claim.release().unwrap();
        assert_eq!(look(&places).unwrap(), None);
    }
}

#[test]
fn buckets_with_and_without_conditions_have_claims() {
    let runtime = runtime();
    for (writes, conditional) in
        [(Conditions::Honoured, true), (Conditions::Ignored, false), (Conditions::NotImplemented, false)]
    {
        let server = runtime.block_on(S3Server::start_in_memory(Habits { writes, ..Habits::GOOD }, "bucket"));
        let location = server.location("bucket", "mirror");
        let options = server.options();
        let places = runtime.block_on(Places::connect(&location, &options, SystemClock::new())).unwrap();
        let claim = Claim::take(&places, &Claimant { conditional, ..claimant("a") }).unwrap();
        let busy = Claim::take(&places, &Claimant { conditional, ..claimant("b") }).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Unavailable);
        claim.check().unwrap();
        claim.release().unwrap();
        assert_eq!(look(&places).unwrap(), None);
    }
}
