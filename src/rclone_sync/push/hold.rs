//! The claim of a push, taken before its first write: a push that finds nothing to do never takes one.
//!
//! Nothing rests on the claim alone where the store has conditions: the root is swapped only if it is the one that was seen. The claim keeps two
//! pushers from overwriting each other's files; one that has slept through its own is told before it replaces or deletes anything more, and comes
//! back as a mender of what it may have done meanwhile.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::events::Stop;
use crate::storage::{Abilities, CopyAbilities, Location};

use super::super::claim::{Claim, Claimant};
use super::super::destination::Destination;
use super::super::layout::ROOT;
use super::super::root::{Pusher, ROOT_MAX};
use super::last::{Base, Memory};
use super::options::PushOptions;
use super::shared::lock;

/// Why a push has to look at its destination anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anew {
    /// Somebody published before the claim was taken.
    Root,
    /// Somebody's push did not come to its end, or ours was taken over: what is stored may not be what the last generation says.
    Mend,
}

/// What a store was seen to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Known {
    store: Abilities,
    copies: Option<CopyAbilities>,
}

/// See the module.
pub(super) struct Hold<'a> {
    destination: &'a Destination,
    options: &'a PushOptions,
    stop: &'a Stop,
    inner: Mutex<Inner>,
}

struct Inner {
    memory: Memory,
    claim: Option<Claim>,
    known: Option<Known>,
    /// What the push goes by.
    base: Base,
    /// The root was still that one when the claim was ours.
    is_checked: bool,
    /// Something was written.
    has_begun: bool,
    anew: Option<Anew>,
    /// Why the claim cannot be had: whoever else of this push asks need not wait for the same answer.
    refused: Option<Error>,
}

impl<'a> Hold<'a> {
    pub(super) fn new(destination: &'a Destination, options: &'a PushOptions, memory: Memory, stop: &'a Stop) -> Self {
        let inner = Inner {
            memory,
            claim: None,
            known: None,
            base: Base::Nothing,
            is_checked: false,
            has_begun: false,
            anew: None,
            refused: None,
        };
        Self { destination, options, stop, inner: Mutex::new(inner) }
    }

    /// Does something with what is remembered.
    pub(super) fn memory<T>(&self, act: impl FnOnce(&mut Memory) -> Result<T>) -> Result<T> {
        act(&mut lock(&self.inner).memory)
    }

    /// The push goes by what was found there from now on.
    pub(super) fn goes_by(&self, base: &Base) {
        let mut inner = lock(&self.inner);
        (inner.base, inner.is_checked, inner.anew) = (base.clone(), false, None);
    }

    /// Why the push has to begin again, if it has.
    pub(super) fn anew(&self) -> Option<Anew> {
        lock(&self.inner).anew
    }

    /// Whether this run has written anything that was not published.
    pub(super) fn has_begun(&self) -> bool {
        lock(&self.inner).has_begun
    }

    /// Before every write: the claim is ours, and what the push goes by was still true when it was taken. Costs requests only the first time.
    pub(super) fn ensure(&self) -> Result<Abilities> {
        let mut inner = lock(&self.inner);
        if let Some(anew) = inner.anew {
            return Err(again(anew));
        }
        if let Some(refused) = &inner.refused {
            return Err(refused.repeat());
        }
        if let Some(claim) = &inner.claim {
            let answer = claim.guard();
            Self::lost_if_changed(&mut inner, answer)?;
        } else if self.claim(&mut inner)? {
            inner.anew = Some(Anew::Mend);
            return Err(again(Anew::Mend));
        }
        if !inner.is_checked {
            self.check_root(&mut inner)?;
            inner.memory.doubt()?;
            (inner.is_checked, inner.has_begun) = (true, true);
        }
        Ok(self.known(&mut inner)?.store)
    }

    /// Takes the claim, whatever there is to be mended: for a push that mends.
    pub(super) fn seize(&self) -> Result<()> {
        let mut inner = lock(&self.inner);
        if inner.claim.is_none() {
            self.claim(&mut inner)?;
        }
        Ok(())
    }

    /// Asks the store in any case: before an object is replaced that is not the expected one, and before the swap of the root where the store
    /// has no condition for it.
    pub(super) fn check(&self) -> Result<()> {
        let mut inner = lock(&self.inner);
        let Some(claim) = &inner.claim else { return Err(Error::bug("a claim that was not taken")) };
        let answer = claim.check();
        Self::lost_if_changed(&mut inner, answer)
    }

    fn lost_if_changed(inner: &mut Inner, answer: Result<()>) -> Result<()> {
        match answer {
            Err(error) if error.kind() == ErrorKind::Changed => {
                inner.claim = None;
                inner.anew = Some(Anew::Mend);
                Err(again(Anew::Mend).with_source(error))
            }
            answer => answer,
        }
    }

    /// Whether the store copies objects as parts of others; found out when it first matters.
    pub(super) fn copies(&self) -> Result<CopyAbilities> {
        let mut inner = lock(&self.inner);
        let known = self.known(&mut inner)?;
        if let Some(copies) = known.copies {
            return Ok(copies);
        }
        let places = &self.destination.places;
        let copies = places.block(places.control.copy_abilities(&self.probe()))?;
        Self::remember(&mut inner, Known { copies: Some(copies), ..known })?;
        Ok(copies)
    }

    /// Whether somebody's push did not come to its end.
    fn claim(&self, inner: &mut Inner) -> Result<bool> {
        let was_known = inner.known.is_some() || inner.memory.abilities().is_some();
        let known = self.known(inner)?;
        if was_known {
            self.ensure_containers(&inner.base)?;
        }
        let claimant = Claimant {
            pusher: self.pusher(),
            clock: self.options.means.clock.clone(),
            pace: self.options.pace,
            conditional: known.store.conditional_create && known.store.conditional_replace,
        };
        let claim = Claim::take_unless(&self.destination.places, &claimant, self.stop)
            .inspect_err(|error| inner.refused = Some(error.repeat()))?;
        let is_unfinished = claim.found_unfinished();
        inner.claim = Some(claim);
        Ok(is_unfinished)
    }

    /// The root is still the one that the push goes by. Another pusher's is put once more in our name, so that its owner looks twice before it
    /// says that nothing has changed: from now on its mirror may be half replaced.
    fn check_root(&self, inner: &mut Inner) -> Result<()> {
        let places = &self.destination.places;
        let is_same = match inner.base.pin() {
            Some(pin) => places.block(places.control.get_if_changed(ROOT, ROOT_MAX, pin))?.is_none(),
            None => match places.block(places.control.get_with_pin(ROOT, ROOT_MAX)) {
                Err(error) if error.kind() == ErrorKind::NotFound => true,
                answer => answer.map(|_| false)?,
            },
        };
        let is_ours = inner.base.last().is_none_or(|last| last.root.pusher.id == self.options.means.id);
        if is_same && !is_ours {
            self.put_root_again(inner)?;
        }
        if is_same && is_ours {
            return Ok(());
        }
        inner.anew = Some(Anew::Root);
        Err(again(Anew::Root))
    }

    fn put_root_again(&self, inner: &mut Inner) -> Result<()> {
        use super::publish::root_attributes;
        use crate::storage::Condition;
        let store = self.known(inner)?.store;
        let Some(last) = inner.base.last() else { return Ok(()) };
        let mut root = last.root.clone();
        root.pusher = self.pusher();
        let (places, condition) = (&self.destination.places, store.allow(Condition::Match(&last.pin)));
        let (bytes, attributes) = (root.encode()?.into(), root_attributes());
        match places.block(places.control.put_with(ROOT, bytes, &attributes, condition)) {
            // It is looked at anew in any case.
            Err(error) if error.kind() != ErrorKind::Changed => Err(error),
            _ => Ok(()),
        }
    }

    /// What was there when the store was looked at first may have been removed since. The directory of a mirror that was there just now is not made again
    /// without `--relist`: it may have lain on a disk that is not mounted any more.
    fn ensure_containers(&self, base: &Base) -> Result<()> {
        let places = &self.destination.places;
        let is_local = matches!(places.data.location(), Location::Local(_));
        if is_local && self.options.relist || matches!(base, Base::Nothing) {
            places.block(places.data.ensure_container())?;
            places.block(places.control.ensure_container())?;
        }
        Ok(())
    }

    fn known(&self, inner: &mut Inner) -> Result<Known> {
        if let Some(known) = inner.known {
            return Ok(known);
        }
        let remembered = inner.memory.abilities().cloned().and_then(|value| serde_json::from_value(value).ok());
        if let Some(known) = remembered {
            inner.known = Some(known);
            return Ok(known);
        }
        let places = &self.destination.places;
        self.ensure_containers(&Base::Nothing)?;
        let store = places.block(places.control.mirror_abilities(&self.probe()))?;
        let known = Known { store, copies: None };
        Self::remember(inner, known)?;
        Ok(known)
    }

    fn remember(inner: &mut Inner, known: Known) -> Result<()> {
        inner.known = Some(known);
        let value = serde_json::to_value(known);
        inner.memory.set_abilities(value.map_err(|cause| Error::bug("write down abilities").with_source(cause))?)
    }

    /// Key of the object by which the store is tried: two pushers must not be in each other's way.
    fn probe(&self) -> String {
        let means = &self.options.means;
        let name = format!("{}{}{:?}", means.id, means.host, means.clock.now());
        format!("probe-{}", blake3::hash(name.as_bytes()).to_hex().get(..16).unwrap_or_default())
    }

    pub(super) fn pusher(&self) -> Pusher {
        let means = &self.options.means;
        Pusher { id: means.id.clone(), host: means.host.clone(), program: means.program.clone() }
    }

    /// Gives the claim back, if there is one. A push that did not come to its end says so in it.
    pub(super) fn end(&self, is_complete: bool) {
        let Some(claim) = lock(&self.inner).claim.take() else { return };
        // Best effort: a claim that stays is found dead by the next push.
        let _ = if is_complete { claim.release() } else { claim.abandon() };
    }
}

fn again(anew: Anew) -> Error {
    let text = match anew {
        Anew::Root => "another push has published meanwhile",
        Anew::Mend => "a push did not come to its end, or was taken over by another one",
    };
    Error::new(ErrorKind::Changed, text)
}
