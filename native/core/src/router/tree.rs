//! The crates' radix tree, used on the calling thread.

use dynamo_kv_router::RadixTree;
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;

use super::words::{decode_events, encode_events, encode_scores, local_hashes, u64s};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};

struct Unshared(RadixTree);

// SAFETY: the tree shares its nodes with `Rc` and exposes none of them. So all of them move together, and the mutex
// around the tree lets only one thread use them at a time.
unsafe impl Send for Unshared {}

pub struct Tree(Mutex<Unshared>);

/// Takes: nothing. Returns: handle radixTree.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_radix_tree_create(call: &dyn_call) -> dyn_reply {
    reply(call, |_: &Call| Ok(Reply::handle(Handle::new(Arc::new(Tree(Mutex::new(Unshared(RadixTree::new()))))))))
}

/// Applies the events of the payload (words). Returns how many of them the tree refused: their parent is unknown, or
/// they make a loop.
/// Takes: handle radixTree, payload bytes. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_radix_tree_apply(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let tree = call.handle::<Tree>()?;
        let events = decode_events(call.payload())?;
        let mut tree = tree.0.lock();
        let refused = events.into_iter().filter_map(|event| tree.0.apply_event(event.router_event()).err()).count();
        Ok(Reply::number(refused as u64))
    })
}

/// Matches the hashes of blocks in the payload (words). If `a` is 1, the match stops when only one worker is left.
/// Returns scores.
/// Takes: handle radixTree, payload u64s, a isEarlyExit. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_radix_tree_match(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let tree = call.handle::<Tree>()?;
        let hashes = local_hashes("hashes", call.payload())?;
        let scores = tree.0.lock().0.find_matches(hashes, call.a() == 1);
        Ok(Reply::bytes(encode_scores(&scores)))
    })
}

pub fn worker_id(call: &Call) -> Result<u64, Failure> {
    match u64s("workerId", call.payload())?[..] {
        [worker] => Ok(worker),
        _ => Err(Failure::invalid("workerId: expected one word")),
    }
}

/// Removes the blocks of a worker. The payload is its id, as a word. `a`: 0 for all its ranks, or the rank plus 1.
/// Takes: handle radixTree, payload u64s, a rankOrAll. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_radix_tree_remove(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let tree = call.handle::<Tree>()?;
        let worker = worker_id(call)?;
        let mut tree = tree.0.lock();
        match call.a() {
            0 => tree.0.remove_worker(worker),
            rank => tree.0.remove_worker_dp_rank(worker, (rank - 1) as u32),
        }
        Ok(Reply::unit())
    })
}

/// Returns events that rebuild the tree, as words.
/// Takes: handle radixTree. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_radix_tree_dump(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let events = call.handle::<Tree>()?.0.lock().0.dump_tree_as_events();
        Ok(Reply::bytes(encode_events(&events)))
    })
}

#[derive(Serialize)]
struct State {
    blocks: usize,
    workers: Vec<u64>,
}

/// Returns `{blocks, workers}`.
/// Takes: handle radixTree. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_radix_tree_state(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let tree = call.handle::<Tree>()?;
        let tree = tree.0.lock();
        Reply::value(&State { blocks: tree.0.current_size(), workers: tree.0.get_workers() })
    })
}
