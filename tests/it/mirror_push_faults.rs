//! Pushes that are cut off at every operation on the store: whoever pulls sees one generation or none at all, and the next push completes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use volvault::ErrorKind;
use volvault::catalog::{Content, Node};
use volvault::clock::SystemClock;
use volvault::rclone_sync::claim::{Claim, Claimant, Pace};
use volvault::rclone_sync::key::key_of;
use volvault::rclone_sync::manifest;
use volvault::rclone_sync::push::{Keep, PushOptions, Pushed};
use volvault::rclone_sync::{Places, Pusher};
use volvault::storage::Pin;

use crate::mirror_push::{Field, Two, published, root_of};
use crate::support::faults::{Counting, FaultPlan, FaultStore, When};
use crate::support::memory_s3::Habits;
use crate::support::s3::{S3Server, S3ServerThread};
use crate::support::vault::noise;

/// Both halves of a mirror in one store, so that their operations are counted together.
fn two(objects: Arc<dyn ObjectStore>) -> Two {
    let data = Arc::new(PrefixStore::new(Arc::clone(&objects), "data"));
    Two { data, control: Arc::new(PrefixStore::new(objects, "control")) }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// With all times.
fn save(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn first_state(field: &Field) {
    for file in 0..12 {
        field.write(&format!("dir/{file}"), &noise(3000, file));
    }
    field.write("moves", &noise(30_000, 50));
    field.write("goes/away", b"x");
    field.write("empty", b"");
}

fn second_state(field: &Field) {
    for file in 0..4 {
        field.write(&format!("dir/{file}"), &noise(3100, 100 + file));
    }
    field.write("new", &noise(2000, 77));
    let source = field.source();
    rustix::fs::rename(source.join("moves"), source.join("moved")).unwrap();
    std::fs::remove_dir_all(source.join("goes")).unwrap();
}

/// Whatever can be read of the published generation is of that generation; how many of its files cannot be read.
fn torn(places: &Places) -> (u64, usize) {
    let (root, _) = root_of(places).expect("there was a generation before");
    let mut torn = 0;
    for entry in manifest::entries(places, &root) {
        let entry = entry.unwrap();
        let Node::File(file) = &entry.node else { continue };
        let Content::Object(object) = &file.content else { continue };
        let pin = Pin { etag: Some(object.etag.to_string()), version: None };
        match places.block(places.data.get_pinned(&key_of(&entry.path), 0..file.size, file.size, &pin)) {
            Ok(bytes) => {
                let hash = object.hash.expect("pushed files are hashed");
                assert_eq!(blake3::hash(&bytes).as_bytes(), hash.as_bytes(), "{}", entry.path);
            }
            Err(error) if error.kind() == ErrorKind::Changed => torn += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    (root.generation, torn)
}

#[test]
fn a_push_killed_at_any_operation_leaves_one_generation_and_the_next_one_completes() {
    let field = Field::new();
    first_state(&field);
    let base = Arc::new(InMemory::new());
    published(&field.push(&field.destination(&two(base.clone()))));
    let state = field.dir.path().join("state");
    let kept = field.dir.path().join("kept");
    copy_dir(&state, &kept);
    second_state(&field);
    // One transfer at a time, so that the operations come in one order.
    let keep = Keep { generations: 1, grace: Duration::ZERO, every: 1 };
    let options = PushOptions { transfers: 1, pack_small: Some(64 << 10), keep, ..field.options() };
    let run = |plan: FaultPlan, keeps: bool| {
        let _ = std::fs::remove_dir_all(&state);
        copy_dir(&kept, &state);
        let inner = Arc::new(base.fork());
        let faulty = FaultStore::new(inner.clone(), plan);
        let mut mirror = field.destination(&two(faulty.clone()));
        if !keeps {
            mirror.state = None;
        }
        let report = field.push_with(&mirror, &options);
        (inner, faulty, report)
    };
    let (_, counted, report) = run(FaultPlan { counting: Counting::All, ..FaultPlan::default() }, false);
    assert_eq!(published(&report), 2);
    let operations = counted.numbered();
    assert!(operations > 20, "{operations} operations");
    for (number, when) in (0..operations).flat_map(|n| [(n, When::Before), (n, When::After)]) {
        let keeps = number % 3 != 0;
        let (inner, faulty, report) = run(FaultPlan::kill_any(number, when), keeps);
        let what = format!("operation {number}, {when:?}: {:?}", faulty.trace().last());
        if !faulty.killed() {
            // With what is remembered fewer requests are sent.
            assert_eq!(published(&report), 2, "{what}");
            continue;
        }
        let mut survivor = field.destination(&two(inner));
        if !keeps {
            survivor.state = None;
        }
        let (generation, torn) = torn(&survivor.places);
        assert!(
            generation == 1 || torn == 0,
            "{what}: generation {generation} is published and {torn} files are not there"
        );
        if report.result.is_ok() {
            assert_eq!(generation, 2, "{what}");
        }
        let next = field.push_with(&survivor, &options);
        let reached = match next.result {
            Ok(Pushed::Published { generation } | Pushed::Unchanged { generation }) => generation,
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!(reached, 2, "{what}");
        field.assert_like_source(&survivor.places);
        if keeps {
            assert_eq!(field.push(&survivor).requests.total(), 1, "{what}");
        }
    }
}

#[test]
fn what_a_killed_push_replaced_comes_back_when_the_source_goes_back() {
    let field = Field::new();
    first_state(&field);
    let base = Arc::new(InMemory::new());
    published(&field.push(&field.destination(&two(base.clone()))));
    let first = field.dir.path().join("first");
    save(&field.source(), &first);
    let state = field.dir.path().join("state");
    let kept = field.dir.path().join("kept");
    copy_dir(&state, &kept);
    second_state(&field);
    let second = field.dir.path().join("second");
    save(&field.source(), &second);
    let bring = |tree: &Path| {
        let _ = std::fs::remove_dir_all(field.source());
        save(tree, &field.source());
    };
    for number in 0..14 {
        let _ = std::fs::remove_dir_all(&state);
        copy_dir(&kept, &state);
        bring(&second);
        let inner = Arc::new(base.fork());
        let faulty = FaultStore::new(inner.clone(), FaultPlan::kill(number, When::After));
        let killed = field.push_with(&field.destination(&two(faulty)), &field.options());
        bring(&first);
        let survivor = field.destination(&two(inner));
        let next = field.push(&survivor);
        assert!(next.result.is_ok(), "{number}: {:?} after {:?}", next.result, killed.result);
        field.assert_like_source(&survivor.places);
        assert_eq!(torn(&survivor.places).1, 0, "{number}");
    }
}

/// The part of a file of 24 MiB in which it differs from an earlier state.
fn image(seed: u64, at: usize) -> Vec<u8> {
    let mut bytes = noise(24 << 20, 4);
    bytes[at..at + 4096].copy_from_slice(&noise(4096, seed));
    bytes
}

#[test]
fn a_big_file_is_sent_in_parts_and_later_only_what_changed_of_it() {
    let server = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "bucket"));
    let field = Field::new();
    field.write("image", &image(1, 5 << 20));
    field.write("small", b"beside it");
    let location = server.server.location("bucket", "mirror");
    let options = server.server.options();
    let places = field.runtime.block_on(Places::connect(&location, &options, SystemClock::new())).unwrap();
    let mirror = field.at(places, "s3");
    let first = field.push(&mirror);
    assert_eq!((published(&first), first.tally.transfers, first.tally.bytes), (1, 2, (24 << 20) + 9));
    field.assert_like_source(&mirror.places);
    assert_eq!(field.push(&mirror).requests.total(), 1);

    field.write("image", &image(2, 15 << 20));
    let second = field.push(&mirror);
    assert_eq!(published(&second), 2);
    assert!(second.requests.bytes_up < 12 << 20, "{}", second.requests);
    assert!(second.requests.total() < 60, "{}", second.requests);
    field.assert_like_source(&mirror.places);

    // Bytes are put in at the front, and the file gets another name and another time: what is there is found all the same.
    let mut longer = b"in front of everything".to_vec();
    longer.extend_from_slice(&image(2, 15 << 20));
    field.write("image", &longer);
    let third = field.push(&mirror);
    assert_eq!(published(&third), 3);
    assert!(third.requests.bytes_up < 12 << 20, "{}", third.requests);
    field.assert_like_source(&mirror.places);
    rustix::fs::rename(field.source().join("image"), field.source().join("renamed")).unwrap();
    let fourth = field.push(&mirror);
    assert_eq!((published(&fourth), fourth.tally.renamed), (4, 1));
    assert!(fourth.requests.bytes_up < 100_000, "{}", fourth.requests);
    field.assert_like_source(&mirror.places);
}

/// A copy is as lost there as what is sent: nobody could ever read what the generation names.
#[test]
fn a_copy_that_the_store_keeps_under_another_name_is_told_and_left_out() {
    let habits = Habits { renames: true, ..Habits::GOOD };
    let server = S3ServerThread::serving(S3Server::start_in_memory(habits, "bucket"));
    let field = Field::new();
    field.write("old", &noise(100_000, 3));
    let (location, options) = (server.server.location("bucket", "mirror"), server.server.options());
    let places = field.runtime.block_on(Places::connect(&location, &options, SystemClock::new())).unwrap();
    let mirror = field.at(places, "s3");
    assert_eq!(published(&field.push(&mirror)), 1);
    rustix::fs::rename(field.source().join("old"), field.source().join("line\nend")).unwrap();
    field.write("pair/a", &noise(100_000, 4));
    std::fs::hard_link(field.source().join("pair/a"), field.source().join("pair/b\tb")).unwrap();
    let (report, problems) =
        field.push_all(std::slice::from_ref(&mirror), &PushOptions { transfers: 1, ..field.options() });
    assert_eq!(published(&report.destinations[0]), 2);
    assert_eq!(problems.iter().filter(|text| text.contains("under another name")).count(), 2, "{problems:?}");
    assert_eq!((problems.len(), report.destinations[0].tally.renamed), (2, 0));
    let (root, _) = root_of(&mirror.places).unwrap();
    let names =
        volvault::rclone_sync::manifest::entries(&mirror.places, &root).map(|entry| entry.unwrap().path.display());
    assert_eq!(names.collect::<Vec<_>>(), ["/", "/pair", "/pair/a"]);
}

#[test]
fn a_push_beside_another_one_is_told_who_is_at_work() {
    let field = Field::new();
    first_state(&field);
    // Each of them asks whether it may be written.
    field.fill(100);
    let base: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mirror = field.destination(&two(Arc::clone(&base)));
    let other = Pusher { id: "somebody else".to_owned(), host: "far away".to_owned(), program: "test".to_owned() };
    let claimant = Claimant { pusher: other, clock: SystemClock::new(), pace: fast(), conditional: true };
    let claim = Claim::take(&mirror.places, &claimant).unwrap();
    let options = PushOptions { pace: fast(), ..field.options() };
    let told = field.push_with(&mirror, &options).result.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Unavailable);
    assert!(told.to_string().contains("far away"), "{told}");
    let looks = field.push_with(&mirror, &options).requests.total();
    assert!(looks < 40, "one of them waits for the others' answer: {looks} requests");
    assert!(root_of(&mirror.places).is_none());
    // The other one dies: this one takes over, and mends.
    drop(claim);
    assert_eq!(published(&field.push_with(&mirror, &options)), 1);
    field.assert_like_source(&mirror.places);
}

/// Claims that live for a moment.
fn fast() -> Pace {
    let ms = Duration::from_millis;
    Pace { beat: ms(40), dead: ms(400), look: ms(50), doubt: ms(200), settle: ms(20) }
}
