use serde::{Deserialize, Serialize};

use super::TierName;
use super::storage::{Layout, StorageArgs};

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    pub tier: TierName,
    pub block_count: usize,
    pub block_size: usize,
    pub eviction: String,
    /// For the eviction `multi-lru`.
    #[serde(default)]
    pub thresholds: Option<[u8; 3]>,
    pub duplicates: String,
    pub reset_on_release: bool,
    /// How many events a subscriber may fall behind. Without it there are no events.
    #[serde(default)]
    pub event_capacity: Option<usize>,
    #[serde(default)]
    pub layout: Option<Layout>,
    #[serde(default)]
    pub storage: Option<StorageArgs>,
}
