//! What a push makes sure of before its first write: a push that finds nothing to do never gets here.

use std::sync::Mutex;

use crate::error::{Error, ErrorKind, Result};

use super::super::destination::Destination;
use super::super::layout::ROOT;
use super::super::root::{Pusher, ROOT_MAX};
use super::last::{Last, Memory};
use super::options::PushOptions;
use super::shared::lock;

/// See the module.
pub(super) struct Hold<'a> {
    destination: &'a Destination,
    options: &'a PushOptions,
    inner: Mutex<Inner>,
}

struct Inner {
    memory: Memory,
    is_begun: bool,
    /// What the push goes by until the claim is taken.
    last: Option<Last>,
    /// Somebody published before this push began to write.
    is_outdated: bool,
}

impl<'a> Hold<'a> {
    pub(super) fn new(destination: &'a Destination, options: &'a PushOptions, memory: Memory) -> Self {
        let inner = Inner { memory, is_begun: false, last: None, is_outdated: false };
        Self { destination, options, inner: Mutex::new(inner) }
    }

    /// Does something with what is remembered.
    pub(super) fn memory<T>(&self, act: impl FnOnce(&mut Memory) -> Result<T>) -> Result<T> {
        act(&mut lock(&self.inner).memory)
    }

    /// The push goes by this generation from now on.
    pub(super) fn goes_by(&self, last: Option<&Last>) {
        let mut inner = lock(&self.inner);
        inner.last = last.cloned();
        inner.is_outdated = false;
    }

    /// Whether the push has to begin again because somebody else published.
    pub(super) fn is_outdated(&self) -> bool {
        lock(&self.inner).is_outdated
    }

    /// Before every write: what the push goes by is still true. Costs requests only the first time.
    pub(super) fn ensure(&self) -> Result<()> {
        let mut inner = lock(&self.inner);
        if inner.is_outdated {
            return Err(outdated());
        }
        if inner.is_begun {
            return Ok(());
        }
        let places = &self.destination.places;
        let is_same = match &inner.last {
            Some(last) => places.block(places.control.get_if_changed(ROOT, ROOT_MAX, &last.pin))?.is_none(),
            None => match places.block(places.control.get_with_pin(ROOT, ROOT_MAX)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    places.block(places.data.ensure_container())?;
                    true
                }
                answer => answer.map(|_| false)?,
            },
        };
        if !is_same {
            inner.is_outdated = true;
            return Err(outdated());
        }
        inner.memory.doubt()?;
        inner.is_begun = true;
        Ok(())
    }

    pub(super) fn pusher(&self) -> Pusher {
        let means = &self.options.means;
        Pusher { id: means.id.clone(), host: means.host.clone(), program: means.program.clone() }
    }
}

fn outdated() -> Error {
    Error::new(ErrorKind::Changed, "another push has published meanwhile")
}
