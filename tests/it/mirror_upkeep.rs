//! What earlier generations leave in the control area goes, and what is damaged there can be made anew.

use std::time::Duration;

use volvault::ErrorKind;
use volvault::clock::SystemClock;
use volvault::events::{Progress, Stop, Watch};
use volvault::rclone_sync::layout::{ROOT, root_key, segment_key};
use volvault::rclone_sync::pull::{PullOptions, Pulled, pull};
use volvault::rclone_sync::push::{Keep, PushOptions};
use volvault::rclone_sync::root::{ROOT_MAX, Root};
use volvault::rclone_sync::{Destination, Places, manifest};

use crate::mirror_push::{Field, Two, published, root_of};
use crate::support::memory_s3::Habits;
use crate::support::s3::{S3Server, S3ServerThread};
use crate::support::vault::{Ear, assert_same, noise, on_disk};

/// Without a grace period: tests have no day.
fn keep(generations: u64, every: u64) -> Keep {
    Keep { generations, grace: Duration::ZERO, every }
}

fn control_keys(places: &Places) -> Vec<String> {
    places.block(places.control.list("")).unwrap().into_iter().map(|listed| listed.key).collect()
}

fn pull_into(field: &Field, places: &Places, name: &str, generation: Option<u64>) -> volvault::Result<Pulled> {
    let state = Some(field.dir.path().join("pulled"));
    let from = Destination { name: "mirror".to_owned(), places: places.clone(), state };
    let target = field.dir.path().join(name);
    let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
    let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
    let options = PullOptions { generation, wait: Duration::ZERO, ..PullOptions::new(field.options().means) };
    let report = pull(&from, &target, &options, &watch)?;
    assert_same(&on_disk(&target), &on_disk(&field.source()));
    Ok(report.outcome)
}

#[test]
fn what_no_kept_generation_names_goes_and_the_rest_stays() {
    let field = Field::new();
    field.fill(40);
    field.write("big", &noise(9 << 20, 1));
    let two = Two::new();
    let mirror = field.destination(&two);
    let options = PushOptions { keep: keep(3, 4), pack_small: Some(4096), ..field.options() };
    field.push_with(&mirror, &options);
    pull_into(&field, &mirror.places, "left behind", None).unwrap();
    let (mut most, mut dearest) = (0, 0);
    for generation in 2..=60_u64 {
        field.write(&format!("000/{:06}", generation % 40), &noise(110, generation));
        if generation.is_multiple_of(20) {
            field.write("big", &noise(9 << 20, generation));
        }
        let report = field.push_with(&mirror, &options);
        assert_eq!(published(&report), generation);
        // Deletions are one request for a thousand objects in a bucket, and one each in memory.
        dearest = dearest.max(report.requests.total() - report.requests.delete);
        let keys = control_keys(&mirror.places);
        most = most.max(keys.len());
        for kept in generation.saturating_sub(2).max(1)..=generation {
            let text = mirror.places.block(mirror.places.control.get(&root_key(kept), ROOT_MAX)).unwrap();
            let root = Root::decode(&text).unwrap();
            assert!(root.segments().all(|segment| keys.contains(&segment_key(&segment.hash))), "generation {kept}");
            let read: volvault::Result<Vec<_>> = manifest::entries(&mirror.places, &root).collect();
            assert_eq!(read.unwrap().len() as u64, root.totals.entries, "generation {kept}");
        }
    }
    // Segments of the newest root, twelve generations or so of roots, packs and segments that wait, and the lists of one big file or two.
    assert!(most < 130, "{most} objects");
    let roots = control_keys(&mirror.places).iter().filter(|key| key.starts_with("roots/")).count();
    assert!((3..=12).contains(&roots), "{roots} copies of roots");
    // The look around it, a file, one of two parts, a pack, the manifest with a base; and what is swept is three requests of it.
    assert!(dearest <= 18, "{dearest} requests");
    // Whoever has slept through all of it needs the base, that is all.
    pull_into(&field, &mirror.places, "left behind", None).unwrap();
    pull_into(&field, &mirror.places, "fresh", Some(60)).unwrap();
    let error = pull_into(&field, &mirror.places, "long gone", Some(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}

#[test]
fn by_default_nothing_younger_than_a_day_goes() {
    let field = Field::new();
    field.fill(5);
    let two = Two::new();
    let mirror = field.destination(&two);
    let options = PushOptions { keep: Keep { every: 2, ..Keep::default() }, ..field.options() };
    for generation in 1..=30 {
        field.write("000/000001", &noise(100, generation));
        assert_eq!(published(&field.push_with(&mirror, &options)), generation);
    }
    let roots = control_keys(&mirror.places).iter().filter(|key| key.starts_with("roots/")).count();
    assert_eq!(roots, 30);
}

/// The error of a push, and of a pull, that meets damage; then the way out.
fn check_way_out(field: &Field, places: &Places, generation: u64) {
    let mirror = field.at(places.clone(), "s3");
    let unknowing = Destination { state: None, ..mirror.clone() };
    let met = field.push_with(&unknowing, &field.options()).result.unwrap_err();
    assert!(matches!(met.kind(), ErrorKind::Corrupt | ErrorKind::NotFound), "{met:?}");
    let pulled = pull_into(field, places, &format!("damaged {generation}"), None).unwrap_err();
    for error in [pulled, met] {
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("push --relist"), "{error:?}");
    }
    let before = mirror.places.data.requests();
    let mended = field.push_with(&mirror, &PushOptions { relist: true, ..field.options() });
    assert_eq!(published(&mended), generation);
    assert_eq!(mirror.places.data.requests().since(&before).put, 0, "what is there is not sent again");
    field.assert_like_source(&mirror.places);
    assert_eq!(field.push(&mirror).requests.total(), 1);
    pull_into(field, places, &format!("mended {generation}"), None).unwrap();
}

#[test]
fn a_manifest_that_cannot_be_read_is_made_anew_from_the_source() {
    let server = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, "bucket"));
    let field = Field::new();
    field.fill(20);
    let location = server.server.location("bucket", "mirror");
    let options = server.server.options();
    let connect = || field.runtime.block_on(Places::connect(&location, &options, SystemClock::new())).unwrap();
    let mirror = field.at(connect(), "s3");
    for generation in 1..=3 {
        field.write("000/000003", &noise(90, generation));
        assert_eq!(published(&field.push(&mirror)), generation);
    }
    let damage = |key: &str| {
        let control = &mirror.places.control;
        let mut bytes = mirror.places.block(control.get(key, 1 << 20)).unwrap().to_vec();
        bytes[20] ^= 1;
        mirror.places.block(control.put(key, bytes.into())).unwrap();
    };
    damage(ROOT);
    check_way_out(&field, &connect(), 4);
    let base = segment_key(&root_of(&mirror.places).expect("a root").0.base.hash);
    damage(&base);
    check_way_out(&field, &connect(), 5);
    let base = segment_key(&root_of(&mirror.places).expect("a root").0.base.hash);
    mirror.places.block(mirror.places.control.delete(&base)).unwrap();
    check_way_out(&field, &connect(), 6);
}
