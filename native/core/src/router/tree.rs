//! The radix tree of the crates, used in place: no thread, no queue.

use dynamo_kv_router::RadixTree;
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;

use super::words::{decode_events, encode_events, encode_scores, local_hashes, u64s};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};

struct Unshared(RadixTree);

// SAFETY: the tree counts its own nodes with `Rc` and hands none of them out, so they only ever move together, and the
// mutex around it lets one thread at a time touch them.
unsafe impl Send for Unshared {}

pub struct Tree(Mutex<Unshared>);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_radix_tree_create(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |_: &Call| Ok(Reply::handle(Handle::new(Arc::new(Tree(Mutex::new(Unshared(RadixTree::new()))))))))
    }
}

/// The payload is events, as words. Gives how many of them the tree refused: their parent is not known, or they make a loop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_radix_tree_apply(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let tree = call.handle::<Tree>()?;
            let events = decode_events(call.payload())?;
            let mut tree = tree.0.lock();
            let refused = events.into_iter().filter_map(|event| tree.0.apply_event(event.router_event()).err()).count();
            Ok(Reply::number(refused as u64))
        })
    }
}

/// The payload is hashes of blocks, as words; `a` = 1 stops where one worker is left. Gives scores.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_radix_tree_match(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let tree = call.handle::<Tree>()?;
            let hashes = local_hashes("hashes", call.payload())?;
            let scores = tree.0.lock().0.find_matches(hashes, call.a() == 1);
            Ok(Reply::bytes(encode_scores(&scores)))
        })
    }
}

pub fn worker_id(call: &Call) -> Result<u64, Failure> {
    match u64s("workerId", call.payload())?[..] {
        [worker] => Ok(worker),
        _ => Err(Failure::invalid("workerId: expected one word")),
    }
}

/// The payload is a worker's id, as a word; `a` is 0 for all its ranks, or its rank and 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_radix_tree_remove(call: *const dyn_call) -> dyn_reply {
    unsafe {
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
}

/// Gives events that rebuild the tree, as words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_radix_tree_dump(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let events = call.handle::<Tree>()?.0.lock().0.dump_tree_as_events();
            Ok(Reply::bytes(encode_events(&events)))
        })
    }
}

#[derive(Serialize)]
struct State {
    blocks: usize,
    workers: Vec<u64>,
}

/// Gives `{blocks, workers}`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_radix_tree_state(call: *const dyn_call) -> dyn_reply {
    unsafe {
        reply(call, |call: &Call| {
            let tree = call.handle::<Tree>()?;
            let tree = tree.0.lock();
            Reply::value(&State { blocks: tree.0.current_size(), workers: tree.0.get_workers() })
        })
    }
}
