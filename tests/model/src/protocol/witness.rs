//! Shows of a state that neither its normal form nor other names make a difference: the checks say the same, and the same can happen next.
//!
//! Where that holds for every state that can be reached, exploring one of each kind explores all.

use super::setup::Setup;
use super::state::State;

impl Setup {
    /// How a state and those that are taken for the same differ in what can happen, if they do.
    pub(crate) fn difference(&self, state: &State) -> Option<State> {
        let kind = |state: &State| state.normal(self).fingerprint(self);
        let normal = state.normal(self);
        let (own, is_good, next) = (kind(state), self.is_good(state), self.next_kinds(state));
        let is_same =
            |other: &State| kind(other) == own && self.is_good(other) == is_good && self.next_kinds(other) == next;
        std::iter::once(normal).chain(state.twins(self)).find(|other| !is_same(other))
    }

    fn is_good(&self, state: &State) -> [bool; 2] {
        [self.reported_is_there(state), self.unmarked_is_whole(state)]
    }

    /// Which kinds of states come next, after any steps that lead to the same kind: those are behind the normal form already.
    fn next_kinds(&self, state: &State) -> Vec<u64> {
        let kind = |state: &State| state.normal(self).fingerprint(self);
        let own = kind(state);
        let mut alike = vec![*state];
        let mut kinds = Vec::new();
        while let Some(state) = alike.pop() {
            for step in self.moves(&state) {
                let next = kind(&step.next);
                if next != own {
                    kinds.push(next);
                } else if step.next != state {
                    alike.push(step.next);
                }
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}
