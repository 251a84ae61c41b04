//! The blocks that a manager stores and removes, as events for a router. The crates' own events lack tiers and tokens,
//! and they are late if there is a weak reference to a block. The calls that store and evict write this journal under
//! its lock, so that the events of a block are in order.
//!
//! An event is little-endian: kind u32 (0 stored, 1 removed, 2 cleared, 3 lost), count u32, event id u64, start
//! position u64, parent u64, 1 if there is a parent u64. Then follow `count` sequence hashes, and for kind 0 `count`
//! hashes of tokens. With kind 3 the event id is the number of lost events.

use std::collections::HashMap;

use bytes::Bytes;
use dynamo_tokens::PositionalLineageHash;
use futures::{Stream, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::hashes::Identity;
use super::storage::check_memory;
use crate::abi::Failure;
use crate::stream::Item;

const STORED: u32 = 0;
const REMOVED: u32 = 1;
const CLEARED: u32 = 2;
const LOST: u32 = 3;

pub struct Journal {
    state: Mutex<State>,
}

pub struct State {
    reported: HashMap<PositionalLineageHash, Identity>,
    next_id: u64,
    sender: broadcast::Sender<Bytes>,
}

fn encode(kind: u32, id: u64, position: u64, parent: Option<u64>, hashes: &[u64], tokens: &[u64]) -> Bytes {
    let mut out = Vec::with_capacity(40 + 8 * (hashes.len() + tokens.len()));
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(hashes.len() as u32).to_le_bytes());
    for word in [id, position, parent.unwrap_or(0), u64::from(parent.is_some())] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for hash in hashes.iter().chain(tokens) {
        out.extend_from_slice(&hash.to_le_bytes());
    }
    out.into()
}

/// The memory of an event's place in a broadcast channel, whose capacity is rounded up to a power of 2.
const EVENT_BYTES: usize = 64;

/// Fails if the process cannot have a broadcast channel of this capacity.
pub fn check_event_memory(capacity: usize) -> Result<(), Failure> {
    let places = capacity.checked_next_power_of_two().unwrap_or(usize::MAX);
    check_memory(places.saturating_mul(EVENT_BYTES), "events")
}

impl Journal {
    pub fn new(capacity: usize) -> Self {
        let state = State { reported: HashMap::new(), next_id: 0, sender: broadcast::channel(capacity.max(1)).0 };
        Self { state: Mutex::new(state) }
    }

    /// Held across the change, so that the events of two threads are in the order of their changes.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The events from now on. With `snapshot` they begin with a cleared event and with stored events for all present
    /// blocks.
    pub fn subscribe(&self, snapshot: bool) -> impl Stream<Item = Result<Item, Failure>> + Send + 'static + use<> {
        let state = self.state.lock();
        let before = if snapshot { state.snapshot() } else { Vec::new() };
        let after = BroadcastStream::new(state.sender.subscribe()).map(|event| match event {
            Ok(event) => event,
            Err(BroadcastStreamRecvError::Lagged(count)) => encode(LOST, count, 0, None, &[], &[]),
        });
        futures::stream::iter(before).chain(after).map(|event| Ok(Item::Data(event)))
    }
}

impl State {
    fn send(&mut self, event: impl FnOnce(u64) -> Bytes) {
        self.next_id += 1;
        // Without a subscriber the event is not built.
        if self.sender.receiver_count() > 0 {
            let _ = self.sender.send(event(self.next_id));
        }
    }

    /// Sends events for the new blocks: one for each run of blocks that follow one another.
    pub fn stored(&mut self, blocks: impl Iterator<Item = (PositionalLineageHash, Identity)>) {
        let mut run: Vec<(PositionalLineageHash, Identity)> = Vec::new();
        for (hash, identity) in blocks {
            if self.reported.insert(hash, identity).is_some() {
                continue;
            }
            let follows = run.last().is_some_and(|(last, _)| {
                hash.position() == last.position() + 1 && identity.parent == Some(last.current_sequence_hash())
            });
            if !follows {
                self.send_run(&run);
                run.clear();
            }
            run.push((hash, identity));
        }
        self.send_run(&run);
    }

    fn send_run(&mut self, run: &[(PositionalLineageHash, Identity)]) {
        if let Some(&(first, Identity { parent, .. })) = run.first() {
            self.send(|id| stored_event(id, first.position(), parent, run));
        }
    }

    pub fn removed(&mut self, hashes: impl Iterator<Item = PositionalLineageHash>) {
        let gone: Vec<u64> = hashes
            .filter(|hash| self.reported.remove(hash).is_some())
            .map(|hash| hash.current_sequence_hash())
            .collect();
        if !gone.is_empty() {
            self.send(|id| encode(REMOVED, id, 0, None, &gone, &[]));
        }
    }

    /// Sends a removed event for all stored blocks that are no longer there according to `is_there`.
    pub fn sweep(&mut self, is_there: impl Fn(PositionalLineageHash) -> bool) {
        let gone: Vec<_> = self.reported.keys().copied().filter(|&hash| !is_there(hash)).collect();
        self.removed(gone.into_iter());
    }

    fn snapshot(&self) -> Vec<Bytes> {
        let mut all: Vec<_> = self.reported.iter().map(|(hash, identity)| (*hash, *identity)).collect();
        // Parents before their children.
        all.sort_unstable_by_key(|(hash, _)| hash.position());
        let cleared = encode(CLEARED, self.next_id, 0, None, &[], &[]);
        let stored =
            all.iter().map(|one| stored_event(self.next_id, one.0.position(), one.1.parent, std::slice::from_ref(one)));
        std::iter::once(cleared).chain(stored).collect()
    }
}

fn stored_event(id: u64, position: u64, parent: Option<u64>, run: &[(PositionalLineageHash, Identity)]) -> Bytes {
    let hashes: Vec<u64> = run.iter().map(|(hash, _)| hash.current_sequence_hash()).collect();
    let tokens: Vec<u64> = run.iter().map(|(_, identity)| identity.tokens_hash).collect();
    encode(STORED, id, position, parent, &hashes, &tokens)
}

#[cfg(test)]
mod tests;
