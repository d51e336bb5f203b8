//! What a prune chooses: first the plan, then, after the second look, what of it is carried out.

use super::prune::Step;
use super::setup::{Setup, Shortcut};
use super::state::{
    Blobs, PACKS, Packs, Places, Prune, SNAPSHOTS, State, WRITERS, bit, bits, blobs, in_packs, of_blobs, packs_of,
};

/// What is needed by these snapshots.
fn needed(setup: &Setup, snapshots: u8) -> Blobs {
    bits(snapshots).fold(0, |needed, number| needed | setup.needs(number))
}

/// Plans that a prune may make of what it has read. Copies and what is relied on follow from the victims.
pub(super) fn plans(setup: &Setup, state: &State, prune: &Prune) -> Vec<Prune> {
    // What another prune that is at work condemned is not touched. What was taken over must go.
    let (unreliable, forced) = if prune.adopted { (0, prune.others) } else { (prune.others, 0) };
    let named = packs_of(prune.index);
    let forced = forced & (named | prune.listed);
    let packs = (named | prune.listed) & !unreliable;
    let used = needed(setup, prune.before);
    let is_marked = |number: &usize| *number < WRITERS && state.suspect[*number] != 0;
    let sound = bits(prune.before).filter(|number| !is_marked(number)).fold(0, |set, number| set | bit(number));
    if needed(setup, sound) & !blobs(prune.index) != 0 {
        // Something is lost already, so that this prune refuses.
        return Vec::new();
    }
    let whole =
        bits(prune.before).filter(|number| is_marked(number) && setup.needs(*number) & !blobs(prune.index) == 0);
    let whole = whole.fold(0, |set, number| set | bit(number));
    let mut plans = Vec::new();
    for victims in victims(setup, prune, packs & !forced, used) {
        let victims = victims | forced;
        let outside = prune.index & !in_packs(victims | unreliable);
        let inside = used & blobs(prune.index & in_packs(victims));
        let copies = inside & !blobs(outside);
        let readable = blobs(prune.index & in_packs(victims & state.packs));
        if victims == 0 || copies & !readable != 0 || copies != 0 && !setup.repack {
            continue;
        }
        let late_copies = setup.takes(Shortcut::OldDroppedBeforeNewStored);
        let step = if copies == 0 || late_copies { Step::Condemn } else { Step::StorePacks };
        for relied in relied(inside & !copies, outside) {
            // What is not looked at again is not kept, or states would differ by it.
            plans.push(Prune { step, victims, relied, copies, whole, listed: 0, others: 0, ..*prune });
        }
    }
    plans
}

/// For each of these blobs, a place outside that it may be relied on for: any one.
fn relied(needless: Blobs, outside: Places) -> Vec<[Packs; 2]> {
    let mut choices = vec![[0; 2]];
    for blob in bits(needless) {
        let packs = packs_of(outside & of_blobs(bit(blob)));
        let with = |choice: [Packs; 2], pack| {
            let mut choice = choice;
            choice[blob] = bit(pack);
            choice
        };
        choices = choices.into_iter().flat_map(|choice| bits(packs).map(move |pack| with(choice, pack))).collect();
    }
    choices
}

/// Sets of packs that a prune may choose to remove or rewrite.
fn victims(setup: &Setup, prune: &Prune, packs: Packs, used: Blobs) -> Vec<Packs> {
    if !setup.sensible {
        return (0..1 << PACKS).filter(|set| set & !packs == 0).collect();
    }
    // All that nobody needs, with or without the packs that no index names (they may be too young), and at most one that is in use.
    let in_use = packs & packs_of(prune.index & of_blobs(used));
    let orphans = packs & !packs_of(prune.index);
    let mut sets: Vec<Packs> = Vec::new();
    for base in [packs & !in_use, packs & !in_use & !orphans] {
        for one in std::iter::once(0).chain(bits(in_use).map(bit)) {
            if !sets.contains(&(base | one)) {
                sets.push(base | one);
            }
        }
    }
    sets
}

/// What a prune sees when it looks a second time.
pub(super) struct Look {
    pub(super) others: Packs,
    pub(super) gone: Packs,
    pub(super) index: Places,
}

/// What must stay because of what others did since the plan was made, new snapshots apart.
pub(super) fn decision(setup: &Setup, state: &State, prune: &Prune, look: &Look, number: usize) -> Prune {
    let unreliable = look.others | look.gone;
    let mut spared = 0;
    for blob in 0..2 {
        if prune.relied[blob] & unreliable != 0 {
            spared |= packs_of(prune.index & of_blobs(bit(blob)));
        }
    }
    if prune.copies != 0
        && unreliable & bit(Setup::copies_pack(number)) != 0
        && !setup.takes(Shortcut::CopiesNotRechecked)
    {
        spared |= packs_of(prune.index & of_blobs(prune.copies));
    }
    if !setup.takes(Shortcut::OrphansNotRechecked) {
        spared |= packs_of(look.index) & !packs_of(prune.index);
    }
    // A marker goes only if nobody else is about, and what was whole still is.
    let still = |snapshot: &usize| {
        setup.takes(Shortcut::MarkerClearedAsOfSurvey) || is_whole(setup, state, *snapshot, prune, look)
    };
    let whole =
        if look.others == 0 { bits(prune.whole).filter(still).fold(0, |set, snapshot| set | bit(snapshot)) } else { 0 };
    Prune {
        doomed: prune.victims & !spared,
        index: prune.index | look.index,
        relied: [0; 2],
        others: 0,
        listed: 0,
        whole,
        ..*prune
    }
}

fn is_whole(setup: &Setup, _: &State, snapshot: usize, prune: &Prune, look: &Look) -> bool {
    let kept = look.index & !in_packs(prune.victims);
    setup.needs(snapshot) & !blobs(kept) == 0
}

/// What goes when these snapshots have come since: nothing that holds a blob which was of no use before. None if a blob is nowhere at all.
pub(super) fn spared_for_new(setup: &Setup, state: &State, prune: &Prune, new: u8) -> Option<Packs> {
    let fresh = needed(setup, new) & !needed(setup, prune.before);
    let sound =
        (0..SNAPSHOTS).filter(|number| new & bit(*number) != 0 && (*number >= WRITERS || state.suspect[*number] == 0));
    let sound = sound.fold(0, |set, number| set | bit(number));
    if needed(setup, sound) & !blobs(prune.index) != 0 {
        return None;
    }
    Some(prune.doomed & !packs_of(prune.index & of_blobs(fresh)))
}
