use dynamo_kv_router::protocols::{
    ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheRemoveData, KvCacheStoreData,
    KvCacheStoredBlockData, LocalBlockHash, RouterEvent, StorageTier,
};

use super::{Decoded, bytes_of, decode_events, encode_events, u32s, u64s};

fn stored(parent: Option<u64>, position: Option<u32>) -> KvCacheEventData {
    let block = |index: u64| KvCacheStoredBlockData {
        block_hash: ExternalSequenceBlockHash(index),
        tokens_hash: LocalBlockHash(index * 10),
        mm_extra_info: None,
    };
    KvCacheEventData::Stored(KvCacheStoreData {
        parent_hash: parent.map(ExternalSequenceBlockHash),
        start_position: position,
        blocks: vec![block(1), block(2)],
    })
}

fn event(data: KvCacheEventData, tier: StorageTier) -> RouterEvent {
    RouterEvent::with_storage_tier(u64::MAX, KvCacheEvent { event_id: 7, data, dp_rank: 3 }, tier)
}

fn message(bytes: &[u8]) -> String {
    decode_events(bytes).err().unwrap().message
}

#[test]
fn decodes_the_events_that_it_encodes() {
    let removed = KvCacheRemoveData { block_hashes: vec![ExternalSequenceBlockHash(9)] };
    let events = [
        event(stored(None, None), StorageTier::Device),
        event(stored(Some(5), Some(u32::MAX)), StorageTier::HostPinned),
        event(KvCacheEventData::Removed(removed), StorageTier::Disk),
        event(KvCacheEventData::Cleared, StorageTier::External),
    ];
    let decoded = decode_events(&encode_events(&events)).unwrap();
    let decoded: Vec<RouterEvent> = decoded.into_iter().map(Decoded::router_event).collect();
    assert_eq!(serde_json::to_value(&decoded).unwrap(), serde_json::to_value(&events).unwrap());
}

#[test]
fn decodes_no_events_from_no_bytes() {
    assert!(decode_events(&[]).unwrap().is_empty());
}

#[test]
fn leaves_the_number_of_an_event_to_the_publisher_when_it_is_flagged() {
    let words = [1, 2 | 4 << 16, 7, 0, 0];
    assert_eq!(decode_events(&bytes_of(words.into_iter())).unwrap()[0].id, None);
}

#[test]
fn rejects_a_buffer_that_ends_inside_an_event() {
    let bytes = encode_events(&[event(stored(None, None), StorageTier::Device)]);
    for end in [8, 32, bytes.len() - 8] {
        assert_eq!(message(&bytes[..end]), "events: the buffer ends inside an event");
    }
}

#[test]
fn rejects_an_unknown_kind_and_an_unknown_tier() {
    assert_eq!(message(&bytes_of([1, 3, 0, 0, 0].into_iter())), "events: expected a kind from 0 to 2, got 3");
    let tier = [1, 2 | 4 << 8, 0, 0, 0];
    assert_eq!(message(&bytes_of(tier.into_iter())), "events: expected a tier from 0 to 3, got 4");
}

#[test]
fn rejects_bytes_that_are_no_whole_words() {
    assert_eq!(u32s("tokens", &[0; 5]).err().unwrap().message, "tokens: expected words of 4 bytes, got 5 bytes");
    assert_eq!(u64s("hashes", &[0; 9]).err().unwrap().message, "hashes: expected words of 8 bytes, got 9 bytes");
}

#[test]
fn reads_little_endian_words() {
    assert_eq!(u32s("tokens", &[1, 0, 0, 0, 0, 1, 0, 0]).unwrap(), [1, 256]);
    assert_eq!(u64s("hashes", &bytes_of([u64::MAX, 1].into_iter())).unwrap(), [u64::MAX, 1]);
}
