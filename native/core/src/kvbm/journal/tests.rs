use dynamo_tokens::{PositionalLineageHash, TokenBlockSequence};
use futures::StreamExt;

use super::{CLEARED, Journal, LOST, REMOVED, STORED};
use crate::kvbm::hashes::Identity;
use crate::stream::Item;

fn blocks(count: u32) -> Vec<(PositionalLineageHash, Identity)> {
    let sequence = TokenBlockSequence::from_slice(&(0..4 * count).collect::<Vec<u32>>(), 4, Some(1337));
    sequence.blocks().iter().map(|block| (block.positional_lineage_hash(), Identity::from(block))).collect()
}

/// The kind, the count of blocks, the id and the position of each event that a subscriber has waiting.
fn events(journal: &Journal, snapshot: bool, change: impl FnOnce(&Journal)) -> Vec<(u32, u32, u64, u64)> {
    let mut stream = Box::pin(journal.subscribe(snapshot));
    change(journal);
    let mut events = Vec::new();
    while let Some(Some(event)) = futures::FutureExt::now_or_never(stream.next()) {
        let Ok(Item::Data(bytes)) = event else { panic!("not an event") };
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        events.push((word(0), word(4), long(8), long(16)));
    }
    events
}

#[test]
fn reports_a_run_of_blocks_as_one_event() {
    let all = blocks(3);
    let stored = events(&Journal::new(8), false, |journal| journal.lock().stored(all.into_iter()));
    assert_eq!(stored, [(STORED, 3, 1, 0)]);
}

#[test]
fn reports_blocks_that_do_not_follow_each_other_apart() {
    let mut all = blocks(3);
    all.remove(1);
    let stored = events(&Journal::new(8), false, |journal| journal.lock().stored(all.into_iter()));
    assert_eq!(stored, [(STORED, 1, 1, 0), (STORED, 1, 2, 2)]);
}

#[test]
fn reports_a_block_once_and_its_removal_once() {
    let all = blocks(1);
    let seen = events(&Journal::new(8), false, |journal| {
        let mut state = journal.lock();
        state.stored(all.clone().into_iter());
        state.stored(all.clone().into_iter());
        state.removed(all.iter().map(|(hash, _)| *hash));
        state.removed(all.iter().map(|(hash, _)| *hash));
    });
    assert_eq!(seen, [(STORED, 1, 1, 0), (REMOVED, 1, 2, 0)]);
}

#[test]
fn begins_a_snapshot_with_a_clear_and_parents_before_their_children() {
    let journal = Journal::new(8);
    journal.lock().stored(blocks(2).into_iter());
    let seen = events(&journal, true, |_| {});
    assert_eq!(seen, [(CLEARED, 0, 1, 0), (STORED, 1, 1, 0), (STORED, 1, 1, 1)]);
}

#[test]
fn reports_how_many_events_a_slow_subscriber_missed() {
    let all = blocks(4);
    let seen = events(&Journal::new(2), false, |journal| {
        for block in all {
            journal.lock().stored([block].into_iter());
        }
    });
    assert_eq!(seen, [(LOST, 0, 2, 0), (STORED, 1, 3, 2), (STORED, 1, 4, 3)]);
}

#[test]
fn removes_what_a_sweep_does_not_find() {
    let (journal, all) = (Journal::new(8), blocks(2));
    journal.lock().stored(all.clone().into_iter());
    let seen = events(&journal, false, |journal| journal.lock().sweep(|hash| hash == all[0].0));
    assert_eq!(seen, [(REMOVED, 1, 2, 0)]);
}
