//! KV blocks. This is the only module that uses kvbm-logical, dynamo-tokens and dynamo-kv-hashing. Other code sees
//! handles, batch ids and bytes.
//!
//! A *batch* is a group of block guards with one id, which belongs to the `Blocks` handle that made it. In Rust the
//! type system prevents misuse of a guard. At this boundary each entry checks the state of the batch instead.

mod batch;
#[cfg(feature = "testing")]
mod bench;
mod client;
mod copy;
mod entries;
mod hashes;
mod journal;
mod manager;
mod options;
mod pool;
mod registry;
mod sequence;
mod shared;
mod storage;
mod table;
mod tier;

pub use tier::{Device, Disk, Host, Tier, TierName};
