use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use dynamo_tokens::PositionalLineageHash;
use futures::StreamExt;
use kvbm_logical::BlockRegistry;
use kvbm_logical::events::{EventsManager, KvCacheEvent};
use kvbm_logical::manager::FrequencyTrackingCapacity;
use serde::Deserialize;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::journal::check_event_memory;
use super::storage::check_memory;
use super::{Device, Disk, Host, TierName, hashes, sequence};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, reply};
use crate::stream::{Item, PullStream};

/// The hashes of all registered blocks. Managers of several tiers may share one registry.
pub struct Registry {
    pub blocks: BlockRegistry,
    events: Option<Arc<EventsManager>>,
    /// Whether blocks keep their `Identity`. The first manager that publishes events sets it.
    pub identities: AtomicBool,
    /// The tiers that have a manager, as bits.
    tiers: AtomicU8,
}

/// The memory of the crate's counts for the largest number of names.
const LARGE_TRACKER_BYTES: usize = 192 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    frequency: Option<String>,
    /// How many events a subscriber may fall behind.
    event_capacity: Option<usize>,
}

impl Registry {
    fn new(args: Args) -> Result<Self, Failure> {
        let mut builder = BlockRegistry::builder();
        if let Some(size) = args.frequency {
            let capacity = match size.as_str() {
                "small" => FrequencyTrackingCapacity::Small,
                "medium" => FrequencyTrackingCapacity::Medium,
                "large" => {
                    check_memory(LARGE_TRACKER_BYTES, "counts of uses")?;
                    FrequencyTrackingCapacity::Large
                }
                other => {
                    return Err(Failure::invalid(format!("frequency: expected small, medium or large, got {other}")));
                }
            };
            builder = builder.frequency_tracker(capacity.create_tracker());
        }
        let mut events = None;
        if let Some(capacity) = args.event_capacity {
            check_event_memory(capacity)?;
            let manager = Arc::new(EventsManager::builder().channel_capacity(capacity.max(1)).build());
            events = Some(manager.clone());
            builder = builder.event_manager(manager);
        }
        Ok(Self { blocks: builder.build(), events, identities: AtomicBool::new(false), tiers: AtomicU8::new(0) })
    }

    /// A tier has one manager. The crates count the blocks of a hash by tier, so they could not distinguish two
    /// managers.
    pub fn claim(&self, tier: TierName) -> Result<(), Failure> {
        if self.tiers.fetch_or(tier.bit(), Ordering::AcqRel) & tier.bit() != 0 {
            return Err(Failure::conflict(format!("the registry already has a manager of the tier {tier:?}")));
        }
        Ok(())
    }

    pub fn disclaim(&self, tier: TierName) {
        self.tiers.fetch_and(!tier.bit(), Ordering::AcqRel);
    }

    pub fn keeps_identities(&self) -> bool {
        self.identities.load(Ordering::Relaxed)
    }
}

/// `args`: `{frequency, eventCapacity}`. Returns a `Registry`.
/// Takes: args bytes?. Returns: handle registry.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_registry_create(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let args = if call.has_args() { call.args()? } else { Args { frequency: None, event_capacity: None } };
        Ok(Reply::handle(Handle::new(Arc::new(Registry::new(args)?))))
    })
}

/// Returns one byte for each hash. Its bits are the tiers that have the block: 1 device, 2 host, 4 disk. The hashes are
/// those of the blocks `a` (first, count) of the sequence `other` with the block size `b`, or the lineage hashes in
/// `args`.
/// Takes: handle registry, other sequence?, args bytes?, a blockRange?, b blockSize?. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_registry_presence(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let registry = call.handle::<Registry>()?;
        let tiers = [TypeId::of::<Device>(), TypeId::of::<Host>(), TypeId::of::<Disk>()];
        let names = sequence::named(call, call.a(), call.b() as usize)?;
        let bits = names.iter().map(|&hash| {
            let Some(handle) = registry.blocks.match_sequence_hash(hash, false) else { return 0 };
            (0..tiers.len()).filter(|&tier| handle.has_any_block(&tiers[tier..=tier])).map(|tier| 1 << tier).sum()
        });
        Ok(Reply::bytes(bits.collect()))
    })
}

/// Returns one byte for each lineage hash in `args`: how often it was used recently, 0 to 15. If `b` is not 0, this
/// counts as a use first.
/// Takes: handle registry, args bytes, b isUse. Returns: bytes or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_registry_frequency(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let registry = call.handle::<Registry>()?;
        let names: Vec<PositionalLineageHash> = hashes::from_bytes(call.raw_args())?;
        if call.b() != 0 {
            names.iter().for_each(|&hash| registry.blocks.touch(hash));
        }
        Ok(Reply::bytes(names.iter().map(|&hash| registry.blocks.count(hash).min(255) as u8).collect()))
    })
}

/// Takes: handle registry. Returns: number.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_registry_count(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| Ok(Reply::number(call.handle::<Registry>()?.blocks.registered_count() as u64)))
}

const CREATED: u8 = 0;
const REMOVED: u8 = 1;
const LOST: u8 = 2;

/// Returns a `PullStream` of the crate's own events. An event is a byte (0 created, 1 removed) and the lineage hash, or
/// 2 and the number of lost events (8 bytes, little-endian).
/// Takes: handle registry. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_registry_events(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let registry = call.handle::<Registry>()?;
        let Some(events) = &registry.events else {
            return Err(Failure::invalid("registry: expected one with the option events, got one without"));
        };
        let items = events.subscribe_loss_aware().map(|event| {
            let mut out = Vec::with_capacity(1 + hashes::DYN_HASH_BYTES);
            match event {
                Ok(KvCacheEvent::Create(hash)) => {
                    out.push(CREATED);
                    out.extend_from_slice(&hash.as_u128().to_be_bytes());
                }
                Ok(KvCacheEvent::Remove(hash)) => {
                    out.push(REMOVED);
                    out.extend_from_slice(&hash.as_u128().to_be_bytes());
                }
                Err(BroadcastStreamRecvError::Lagged(count)) => {
                    out.push(LOST);
                    out.extend_from_slice(&count.to_le_bytes());
                }
            }
            Ok(Item::Data(out.into()))
        });
        Ok(Reply::handle(Handle::new(PullStream::new(Box::pin(items)))))
    })
}
