use rmp::encode as mp;
use serde_json::json;

use super::{MAX_DEPTH, is_plain};

fn packed(value: &serde_json::Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

fn nested(levels: u32) -> Vec<u8> {
    [vec![0x91; levels as usize], vec![0xc0]].concat()
}

#[test]
fn accepts_every_kind_of_value() {
    let long = "x".repeat(70_000);
    let values = json!([
        null, true, false, 0, 127, 128, 65_536, u64::MAX, -1, -32, -33, i64::MIN, 1.5, "", "short", long, [], {},
        vec![1; 20], vec![1; 70_000], { "a": { "b": [1, 2, { "c": null }] } },
        (0..20).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>(),
        (0..70_000).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>(),
    ]);
    assert!(is_plain(&packed(&values)));
    for value in values.as_array().unwrap() {
        assert!(is_plain(&packed(value)), "{value:.80}");
    }
}

#[test]
fn accepts_bytes_and_narrow_floats() {
    for length in [0, 1, 300, 70_000] {
        let mut bytes = Vec::new();
        mp::write_bin(&mut bytes, &vec![0xc1; length]).unwrap();
        assert!(is_plain(&bytes));
    }
    let mut float = Vec::new();
    mp::write_f32(&mut float, 0.5).unwrap();
    assert!(is_plain(&float));
}

#[test]
fn refuses_less_and_more_than_one_value() {
    let whole = packed(&json!({ "a": [1, "text", 1.5, u64::MAX, { "b": null }] }));
    for length in 0..whole.len() {
        assert!(!is_plain(&whole[..length]), "{length} bytes");
    }
    assert!(!is_plain(&[whole, vec![0xc0]].concat()));
}

#[test]
fn refuses_lengths_beyond_the_end() {
    for bytes in [&[0xdb, 0xff, 0xff, 0xff, 0xff][..], &[0xc6, 0xff, 0xff, 0xff, 0xff], &[0xdd, 0xff, 0xff, 0xff, 0xff]]
    {
        assert!(!is_plain(bytes));
    }
}

#[test]
fn refuses_what_a_peer_may_not_read() {
    assert!(!is_plain(&[0xc1]));
    for extension in [&[0xd4, 1, 0][..], &[0xc7, 1, 1, 0], &[0xd6, 0xff, 0, 0, 0, 0]] {
        assert!(!is_plain(extension));
    }
    assert!(is_plain(&nested(MAX_DEPTH)));
    assert!(!is_plain(&nested(MAX_DEPTH + 1)));
    assert!(!is_plain(&nested(1_000_000)));
}
