use kvbm_logical::{BlockManager, BlockRegistry};

use super::Table;
use crate::kvbm::Host;
use crate::kvbm::batch::Batch;

fn manager() -> BlockManager<Host> {
    BlockManager::<Host>::builder()
        .block_count(8)
        .block_size(4)
        .registry(BlockRegistry::new())
        .with_lineage_backend()
        .build()
        .unwrap()
}

fn mutable(manager: &BlockManager<Host>, count: usize) -> Batch<Host> {
    Batch::Mutable(manager.allocate_blocks(count).unwrap())
}

#[test]
fn finds_a_batch_by_its_id_until_it_is_removed() {
    let (manager, mut table) = (manager(), Table::default());
    let id = table.insert(mutable(&manager, 2)).unwrap();
    assert!(id > 0 && id < 1 << 53);
    assert_eq!(table.mutable(id).unwrap().len(), 2);
    assert!(table.remove(id).is_some());
    assert!(table.remove(id).is_none());
    assert_eq!(table.get(id).err().unwrap().class, "Closed");
}

#[test]
fn does_not_find_a_later_batch_by_the_id_of_an_earlier_one() {
    let (manager, mut table) = (manager(), Table::default());
    let earlier = table.insert(mutable(&manager, 1)).unwrap();
    table.remove(earlier);
    let later = table.insert(mutable(&manager, 1)).unwrap();
    assert_ne!(earlier, later);
    assert!(table.get(earlier).is_err() && table.get(later).is_ok());
    assert_eq!(table.len(), 1);
}

#[test]
fn finds_nothing_by_an_id_that_it_never_gave() {
    let mut table = Table::<Host>::default();
    assert!(table.find_batch(0).is_none());
    assert!(table.find_batch(u64::MAX).is_none());
}

#[test]
fn names_the_state_that_is_expected() {
    let (manager, mut table) = (manager(), Table::default());
    let id = table.insert(mutable(&manager, 1)).unwrap();
    let failure = table.registered(id).err().unwrap();
    assert_eq!(failure.reason, "kvbm.block_state");
    assert_eq!(failure.message, "blocks: expected registered ones, got mutable ones");
}

#[test]
fn splits_a_batch_and_joins_it_again() {
    let (manager, mut table) = (manager(), Table::default());
    let id = table.insert(mutable(&manager, 3)).unwrap();
    let rest = table.split(id, 1).unwrap();
    assert_eq!((table.mutable(id).unwrap().len(), table.mutable(rest).unwrap().len()), (1, 2));
    table.join(id, rest).unwrap();
    assert_eq!(table.mutable(id).unwrap().len(), 3);
    assert!(table.get(rest).is_err());
}

#[test]
fn rejects_a_split_after_the_last_block_and_a_join_with_itself() {
    let (manager, mut table) = (manager(), Table::default());
    let id = table.insert(mutable(&manager, 3)).unwrap();
    assert_eq!(table.split(id, 4).err().unwrap().message, "at: expected 0 to 3, got 4");
    assert!(table.join(id, id).is_err());
}

#[test]
fn holds_no_batch_for_no_blocks() {
    let mut table = Table::<Host>::default();
    assert_eq!(table.hold(Vec::new()).unwrap(), 0);
    assert_eq!(table.len(), 0);
}
