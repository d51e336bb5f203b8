//! The worlds that are explored: small ones in which each shortcut loses data, and ones in which the whole protocol must not.

use super::setup::{Setup, Shortcut, X, Y};
use super::state::Blobs;

/// How long exploring a world takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Size {
    /// Fewer than ten thousand states: on every `cargo test`.
    Tiny,
    /// Up to some millions: in CI.
    Small,
    /// Up to a hundred millions, some minutes each: as far as the time goes, which is to the end with `-- 3600`.
    Large,
    /// More than anybody waits for: as far as the time goes.
    Endless,
}

/// A world, and how much of it there is.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Who takes part: `2B1Q` are two backups and a prune.
    pub(crate) name: String,
    pub(crate) setup: Setup,
    pub(crate) size: Size,
}

/// A world with a part of the protocol left out, in which data is lost.
pub(crate) fn lossy() -> Vec<World> {
    use Shortcut as S;
    let one = || Setup::new(&[X], 1).with(&[X], &[]);
    let copies = || Setup::new(&[], 2).with(&[X, X], &[X]);
    let repack = || Setup::new(&[], 2).with(&[X], &[X]).but(|setup| setup.repack = true);
    let forget = || one().but(|setup| setup.forgets = 1);
    let merge = || Setup::new(&[X], 1).with(&[X, X], &[X]).but(|setup| setup.merge = true);
    let parents = || Setup::new(&[X, X], 1).with(&[X], &[]).but(|setup| (setup.late, setup.parent) = (true, true));
    let marked = || Setup::new(&[X], 2).with(&[X, Y], &[]).but(|setup| setup.repack = true);
    let tiny = [
        (S::NoSessionWait, one()),
        (S::StaleWithoutMarker, one()),
        (S::NoRecheck, one()),
        (S::NoSelfMarker, one()),
        (S::SnapshotsListedOnce, one()),
        (S::SegmentsRewritten, one()),
        (S::DroppedListedBeforeCondemned, one()),
        (S::UnknownDropFreed, one()),
        (S::CondemnedListedOnce, copies()),
        (S::DroppedListedOnce, copies()),
        (S::OldDroppedBeforeNewStored, repack()),
        (S::CopiesNotRechecked, repack()),
        (S::OrphansNotRechecked, repack()),
        (S::OrphansWithoutTombstones, repack()),
        (S::ForgetWithoutRecord, forget()),
        (S::ForgottenAsOfWait, forget()),
        (S::MergeKeepsOnePlace, merge()),
        (S::MergeKeepsOnePlaceUncondemned, merge()),
        (S::MergeStoresRestLast, merge()),
        (S::RestTakenBackFirst, merge().but(|setup| setup.lies = true)),
        (S::RestTakenBackToo, merge().but(|setup| (setup.lies, setup.late) = (true, true))),
        (S::VanishedCountedAsKnown, forget().but(|setup| setup.reading = true)),
        (S::VanishedNotNamed, forget().but(|setup| setup.reading = true)),
    ];
    let small = [(S::MarkerClearedAsOfSurvey, marked()), (S::SuspectParentTrusted, parents())];
    let world = |size| {
        move |(shortcut, setup): (Shortcut, Setup)| World {
            name: format!("{shortcut:?}"),
            setup: setup.without(shortcut),
            size,
        }
    };
    tiny.into_iter().map(world(Size::Tiny)).chain(small.into_iter().map(world(Size::Small))).collect()
}

/// Worlds with the whole protocol.
pub(crate) fn safe() -> Vec<World> {
    one_blob().into_iter().chain(two_blobs()).chain(large()).collect()
}

fn everything(setup: &mut Setup) {
    setup.forgets = 1;
    (setup.repack, setup.adopt, setup.merge) = (true, true, true);
    (setup.parent, setup.sweeping, setup.late, setup.sensible) = (true, true, true, true);
}

/// Backups, prunes, a forget, repacking, two blobs, each in a pack, and late writes.
fn forget_repack_late(writers: &[Blobs], prunes: usize, snapshots: &[Blobs]) -> Setup {
    Setup::new(writers, prunes).with(&[X, Y], snapshots).but(|setup| {
        setup.forgets = 1;
        (setup.repack, setup.late, setup.sensible) = (true, true, true);
    })
}

fn one_blob() -> Vec<World> {
    let mut worlds = Vec::new();
    let mut add = |name: &str, size, setup| worlds.push(World { name: name.to_owned(), setup, size });
    add("1B1Q", Size::Tiny, Setup::new(&[X], 1).with(&[X], &[]));
    add(
        "1B1Q, forget, reading",
        Size::Tiny,
        Setup::new(&[X], 1).with(&[X], &[]).but(|setup| (setup.forgets, setup.reading) = (1, true)),
    );
    add(
        "2Q, two copies, a live snapshot",
        Size::Tiny,
        Setup::new(&[], 2).with(&[X, X], &[X]).but(|setup| setup.repack = true),
    );
    let one_of = |setup: Setup, feature: &str| {
        setup.but(|setup| {
            setup.repack = true;
            match feature {
                "late writes" => setup.late = true,
                "forget" => setup.forgets = 1,
                "sweeping" => setup.sweeping = true,
                "parents" => setup.parent = true,
                "taking over" => setup.adopt = true,
                "again" => setup.again = true,
                "lies" => (setup.merge, setup.lies, setup.late) = (true, true, true),
                _ => setup.merge = true,
            }
        })
    };
    for feature in ["late writes", "forget", "sweeping", "parents", "taking over", "merges", "again"] {
        add(&format!("2B1Q, repack, {feature}"), Size::Small, one_of(Setup::new(&[X, X], 1).with(&[X], &[X]), feature));
        add(&format!("1B2Q, repack, {feature}"), Size::Small, one_of(Setup::new(&[X], 2).with(&[X], &[X]), feature));
    }
    add(
        "1B2Q, repack, taking over, late writes",
        Size::Small,
        one_of(Setup::new(&[X], 2).with(&[X], &[X]), "taking over").but(|setup| setup.late = true),
    );
    add("1B1Q, repack, merges taken back", Size::Small, one_of(Setup::new(&[X], 1).with(&[X, X], &[X]), "lies"));
    add(
        "1B1Q, forget, reading takes time",
        Size::Small,
        Setup::new(&[X], 1)
            .with(&[X], &[X])
            .but(|setup| (setup.forgets, setup.repack, setup.reading) = (1, true, true)),
    );
    add(
        "1B2Q, repack, two copies, a live snapshot",
        Size::Small,
        Setup::new(&[X], 2).with(&[X, X], &[X]).but(|setup| setup.repack = true),
    );
    worlds
}

fn two_blobs() -> Vec<World> {
    let mut worlds = Vec::new();
    let mut add = |name: &str, setup| worlds.push(World { name: name.to_owned(), setup, size: Size::Small });
    add("1B1Q, two blobs, everything", Setup::new(&[X | Y], 1).with(&[X, X | Y], &[Y]).but(everything));
    add("2B1Q, two blobs, forget, late writes", forget_repack_late(&[X, X | Y], 1, &[X]));
    add("2B1Q, two blobs that are alike, forget, late writes", forget_repack_late(&[X | Y, X | Y], 1, &[X | Y]));
    add(
        "1B2Q, two blobs, repack, sweeping, taking over",
        Setup::new(&[X | Y], 2).with(&[X, Y], &[]).but(|setup| {
            (setup.repack, setup.adopt, setup.sweeping, setup.sensible) = (true, true, true, true);
        }),
    );
    worlds
}

fn large() -> Vec<World> {
    let mut worlds = Vec::new();
    let mut add = |name: &str, size, setup| worlds.push(World { name: name.to_owned(), setup, size });
    let x = || Setup::new(&[X, X], 2).with(&[X], &[X]).but(|setup| (setup.repack, setup.sensible) = (true, true));
    add("2B2Q, one blob, repack", Size::Large, x());
    add("2B2Q, one blob, repack, late writes", Size::Large, x().but(|setup| setup.late = true));
    add("2B2Q, one blob, repack, forget", Size::Large, x().but(|setup| setup.forgets = 1));
    add(
        "1B2Q, two blobs, everything but merges",
        Size::Large,
        Setup::new(&[X | Y], 2).with(&[X, Y], &[X]).but(everything).but(|setup| setup.merge = false),
    );
    // All at once; and that anybody may stop at any step needs no saying.
    for (what, writers, snapshots) in [
        ("no snapshot yet", [X | Y, X | Y], [].as_slice()),
        ("a snapshot of x and y", [X | Y, X | Y], &[X | Y]),
        ("a snapshot of x", [X | Y, X | Y], &[X]),
        ("a backup of x", [X | Y, X], &[X]),
    ] {
        let name = format!("2B2Q, two blobs, forget, repack, late writes; {what}");
        add(&name, Size::Large, forget_repack_late(&writers, 2, snapshots));
    }
    add(
        "2B1Q, two blobs, everything",
        Size::Endless,
        Setup::new(&[X | Y, X | Y], 1).with(&[X, Y], &[X]).but(everything),
    );
    add("2B2Q, two blobs, everything", Size::Endless, Setup::new(&[X | Y, X], 2).with(&[X, Y], &[X]).but(everything));
    worlds
}
