//! Small files in packs: few requests for a first pull, bounded waste, and nothing lost when a pack is.

use std::collections::HashSet;

use volvault::catalog::{Content, Node, ObjectAt};
use volvault::events::{Progress, Stop, Watch};
use volvault::id::ObjectHash;
use volvault::rclone_sync::layout::pack_key;
use volvault::rclone_sync::pull::{PullOptions, PullReport, pull};
use volvault::rclone_sync::push::{PushOptions, Pushed};
use volvault::rclone_sync::{Destination, Places, manifest};

use crate::mirror_push::{Field, Two, published, root_of};
use crate::support::vault::{Ear, assert_same, noise, on_disk};

fn packing(field: &Field) -> PushOptions {
    PushOptions { pack_small: Some(64 << 10), ..field.options() }
}

/// A pull into a directory that is made for it, by a machine that knows nothing; the result is compared with the source.
fn cold_pull(field: &Field, two: &Two, name: &str) -> (PullReport, Places) {
    let from = Destination { name: "mirror".to_owned(), places: field.places(two), state: None };
    let target = field.dir.path().join(name);
    let (progress, stop, ear) = (Progress::default(), Stop::new(), Ear::default());
    let watch = Watch { observer: &ear, progress: &progress, stop: &stop };
    let report = pull(&from, &target, &PullOptions::new(field.options().means), &watch).unwrap();
    assert_same(&on_disk(&target), &on_disk(&field.source()));
    (report, from.places)
}

/// The packs that the generation names, and how many of its files are in none.
fn packs(places: &Places) -> (HashSet<ObjectHash>, usize) {
    let (root, _) = root_of(places).expect("a root");
    let (mut packs, mut plain) = (HashSet::new(), 0);
    for entry in manifest::entries(places, &root) {
        let Node::File(file) = entry.unwrap().node else { continue };
        match &file.content {
            Content::Object(object) => match object.at {
                ObjectAt::Packed { pack, .. } => {
                    packs.insert(pack);
                }
                _ => plain += 1,
            },
            _ => plain += 1,
        }
    }
    (packs, plain)
}

#[test]
fn ten_thousand_small_files_come_in_a_few_requests() {
    let field = Field::new();
    field.fill(10_000);
    field.write("large", &noise(100_000, 1));
    let two = Two::new();
    let mirror = field.destination(&two);
    let options = packing(&field);
    let first = field.push_with(&mirror, &options);
    assert_eq!((published(&first), first.tally.transfers), (1, 10_001));
    assert!(first.requests.total() <= 10_025, "{}", first.requests);
    field.assert_like_source(&mirror.places);
    assert_eq!(field.push_with(&mirror, &options).requests.total(), 1);
    let (report, places) = cold_pull(&field, &two, "first");
    assert_eq!(report.tally.transfers, 10_001);
    assert_eq!(places.data.requests().total(), 1, "the file that is not small");
    assert!(report.requests.total() <= 20, "{}", report.requests);

    for file in 0..100 {
        field.write(&format!("{:03}/{:06}", file, file * 100), &noise(120, 90_000 + file));
    }
    let changed = field.push_with(&mirror, &options);
    assert_eq!((published(&changed), changed.tally.transfers), (2, 100));
    assert!(changed.requests.total() <= 110, "{}", changed.requests);
    let (report, _) = cold_pull(&field, &two, "second");
    assert!(report.requests.total() <= 25, "one pack more: {}", report.requests);
}

#[test]
fn files_of_a_mirror_are_packed_later_without_a_touch_of_their_objects() {
    let field = Field::new();
    field.fill(500);
    let two = Two::new();
    let mirror = field.destination(&two);
    assert_eq!(published(&field.push(&mirror)), 1);
    assert_eq!(packs(&mirror.places), (HashSet::new(), 500));
    let before = mirror.places.data.requests();
    let packed = field.push_with(&mirror, &packing(&field));
    assert_eq!((published(&packed), packed.tally.metadata_updates), (2, 500));
    assert_eq!(mirror.places.data.requests(), before);
    let (named, plain) = packs(&mirror.places);
    assert_eq!((named.len(), plain), (1, 0));
    // Without the option what is packed stays so, and what changes is not.
    field.write("000/000007", b"changed");
    assert_eq!(published(&field.push(&mirror)), 3);
    assert_eq!(packs(&mirror.places), (named, 1));
    cold_pull(&field, &two, "target");
}

#[test]
fn many_pushes_leave_few_packs() {
    let field = Field::new();
    field.fill(300);
    let two = Two::new();
    let mirror = field.destination(&two);
    let options = packing(&field);
    field.push_with(&mirror, &options);
    let mut most = 0;
    for round in 0..80_u64 {
        for file in 0..3 {
            field.write(&format!("{:03}/{:06}", file, file * 100 + round % 100), &noise(130, 1000 * file + round));
        }
        published(&field.push_with(&mirror, &options));
        most = most.max(packs(&mirror.places).0.len());
    }
    assert!((20..=36).contains(&most), "{most} packs at most");
    assert_eq!(packs(&mirror.places).1, 0);
    cold_pull(&field, &two, "target");
}

#[test]
fn a_pack_that_is_gone_or_damaged_is_made_up_for_by_the_plain_objects() {
    let field = Field::new();
    field.fill(50);
    let two = Two::new();
    let mirror = field.destination(&two);
    let options = packing(&field);
    field.push_with(&mirror, &options);
    let (named, _) = packs(&mirror.places);
    let key = pack_key(named.iter().next().expect("a pack"));
    let control = &mirror.places.control;
    let mut bytes = mirror.places.block(control.get(&key, 1 << 20)).unwrap().to_vec();
    bytes[1234] ^= 1;
    mirror.places.block(control.put(&key, bytes.into())).unwrap();
    cold_pull(&field, &two, "damaged");
    mirror.places.block(control.delete(&key)).unwrap();
    let (report, places) = cold_pull(&field, &two, "gone");
    assert_eq!((report.tally.transfers, places.data.requests().total()), (50, 50));
}

#[test]
fn a_dry_run_counts_packs() {
    let field = Field::new();
    field.fill(100);
    let planned = field.push_with(&field.destination(&Two::new()), &PushOptions { dry_run: true, ..packing(&field) });
    let Ok(Pushed::Planned { requests, bytes, .. }) = planned.result else { panic!("{planned:?}") };
    assert_eq!(bytes, 2 * 10_000);
    assert!((101..=110).contains(&requests), "{requests}");
}
