//! KV blocks. This is the only module that knows kvbm-logical, dynamo-tokens and dynamo-kv-hashing: all else sees handles,
//! batch ids and bytes.
//!
//! A *batch* is many block guards under one id of the `Blocks` handle that made it. The crates' moves make misuse of a
//! guard impossible; a batch's id carries that over the boundary, since each entry checks the state that it finds.

mod batch;
mod bench;
mod client;
mod copy;
mod entries;
mod hashes;
mod journal;
mod manager;
mod pool;
mod registry;
mod sequence;
mod storage;

use kvbm_logical::blocks::BlockMetadata;
use serde::{Deserialize, Serialize};

/// The crates tell tiers apart by a type each.
pub trait Tier: BlockMetadata {
    const NAME: TierName;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TierName {
    Device,
    Host,
    Disk,
}

impl TierName {
    pub fn bit(self) -> u8 {
        1 << self as u8
    }
}

#[derive(Clone)]
pub struct Device;

#[derive(Clone)]
pub struct Host;

#[derive(Clone)]
pub struct Disk;

impl Tier for Device {
    const NAME: TierName = TierName::Device;
}

impl Tier for Host {
    const NAME: TierName = TierName::Host;
}

impl Tier for Disk {
    const NAME: TierName = TierName::Disk;
}
