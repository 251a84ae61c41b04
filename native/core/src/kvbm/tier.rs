use kvbm_logical::blocks::BlockMetadata;
use serde::{Deserialize, Serialize};

/// The crates distinguish tiers by type.
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
