use dynamo_tokens::{PositionalLineageHash, TokenBlock, TokenBlockSequence};

use super::{DYN_HASH_BYTES, from_bytes, pair, sequence_blocks, to_bytes};

fn sequence() -> TokenBlockSequence {
    TokenBlockSequence::from_slice(&(0..10).collect::<Vec<u32>>(), 4, Some(1337))
}

fn hashes() -> Vec<PositionalLineageHash> {
    sequence().blocks().iter().map(TokenBlock::positional_lineage_hash).collect()
}

#[test]
fn reads_the_hashes_that_it_writes() {
    let bytes = to_bytes(hashes().iter());
    assert_eq!(bytes.len(), 2 * DYN_HASH_BYTES);
    assert!(from_bytes(&bytes).unwrap() == hashes());
}

#[test]
fn rejects_bytes_that_are_no_whole_hashes() {
    assert_eq!(from_bytes(&[0; 17]).err().unwrap().message, "hashes: expected 16 bytes each, got 17 bytes");
}

#[test]
fn rejects_bytes_that_are_no_hash_with_their_index() {
    let mut bytes = to_bytes(hashes().iter());
    bytes[DYN_HASH_BYTES] = 0xff;
    assert!(from_bytes(&bytes).err().unwrap().message.starts_with("hashes[1]: expected a lineage hash"));
}

#[test]
fn splits_a_pair() {
    assert_eq!(pair(5 | 7 << 24), (5, 7));
    assert_eq!(pair(0), (0, 0));
}

#[test]
fn returns_a_range_of_the_full_blocks() {
    let sequence = sequence();
    assert_eq!(sequence_blocks(&sequence, 2 << 24, 4).unwrap().len(), 2);
    assert_eq!(sequence_blocks(&sequence, 1 | 1 << 24, 4).unwrap().len(), 1);
}

#[test]
fn rejects_a_range_outside_of_the_full_blocks() {
    let message = sequence_blocks(&sequence(), 1 | 2 << 24, 4).err().unwrap().message;
    assert_eq!(message, "sequence: expected blocks 1 to 3 of 2 full ones");
}

#[test]
fn rejects_a_sequence_with_another_block_size() {
    let message = sequence_blocks(&sequence(), 0, 8).err().unwrap().message;
    assert_eq!(message, "sequence: expected blocks of 8 tokens, got 4");
}
