//! Key slots as a store presents them.

use std::sync::Arc;

use object_store::memory::InMemory;
use volvault::ErrorKind;
use volvault::secret::{Credential, Key32};

use crate::support::faults::{Fault, FaultPlan, FaultStore, Op, Trouble, When};
use crate::support::vault::Vault;

/// Slots of other people's keys: as many as a store likes to plant.
fn crowded(slots: u8) -> (Vault, Arc<FaultStore>) {
    let base = Arc::new(InMemory::new());
    let repo = Vault::over(base.clone()).init().unwrap();
    for n in 0..slots {
        repo.add_slot(&Credential::Key(Key32::new([100 + n; 32])), None, "").unwrap();
    }
    let faulty = FaultStore::new(base, FaultPlan::default());
    (Vault::over(faulty.clone()), faulty)
}

fn slots_read(store: &FaultStore) -> usize {
    store.trace().iter().filter(|(op, key)| *op == Op::Get && key.starts_with("state/keys/")).count()
}

#[test]
fn no_more_than_twenty_slots_are_tried_and_this_is_said() {
    let (vault, store) = crowded(30);
    let error = vault.open_with(&Credential::Key(Key32::new([99; 32]))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    assert!(error.chain().contains("only the first 20 of 31 key slots were tried"), "{}", error.chain());
    assert_eq!(slots_read(&store), 20);
}

#[test]
fn the_twentieth_slot_opens() {
    let (vault, store) = crowded(19);
    vault.open().unwrap();
    assert!(slots_read(&store) <= 20);
    assert_eq!(vault.open().unwrap().slots().unwrap().len(), 20);
}

#[test]
fn a_slot_that_is_removed_while_it_is_looked_for_is_no_damage() {
    let base = Arc::new(InMemory::new());
    Vault::over(base.clone()).init().unwrap();
    let gone = Fault::Fail(When::Before, Trouble::NotFound);
    let vault = Vault::over(FaultStore::new(base, FaultPlan::some(Op::Get, "state/keys/", 1, gone)));
    assert_eq!(vault.open().unwrap_err().kind(), ErrorKind::WrongKey);
}
