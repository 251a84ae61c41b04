use rmp::encode as mp;
use serde_json::{Value, json};

use super::Packed;

fn packed(value: &Value) -> Packed {
    Packed::new(rmp_serde::to_vec_named(value).unwrap())
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn sample() -> Value {
    json!({
        "text": "naïve ☃",
        "list": [1, -1, 1.5, true, null, "", []],
        "nested": { "empty": {}, "large": u64::MAX, "small": i64::MIN },
    })
}

#[test]
fn serializes_into_json_as_the_value_that_it_holds() {
    assert_eq!(serde_json::to_value(packed(&sample())).unwrap(), sample());
}

#[test]
fn deserializes_from_json_as_messagepack() {
    let packed: Packed = serde_json::from_str(&sample().to_string()).unwrap();
    assert_eq!(rmp_serde::from_slice::<Value>(&packed.0).unwrap(), sample());
}

#[test]
fn serializes_into_messagepack_byte_for_byte() {
    let packed = packed(&sample());
    assert_eq!(rmp_serde::to_vec_named(&packed).unwrap(), packed.0);
}

#[test]
fn deserializes_from_messagepack_byte_for_byte() {
    let bytes = packed(&sample()).0;
    assert_eq!(rmp_serde::from_slice::<Packed>(&bytes).unwrap().0, bytes);
}

#[test]
fn keeps_binary_data() {
    let bytes = written(|out| mp::write_bin(out, &[0, 1, 255]).unwrap());
    assert_eq!(rmp_serde::to_vec(&Packed::new(bytes.clone())).unwrap(), bytes);
    assert_eq!(rmp_serde::from_slice::<Packed>(&bytes).unwrap().0, bytes);
}

#[test]
fn keeps_the_width_of_a_float() {
    let bytes = written(|out| mp::write_f32(out, 0.1).unwrap());
    assert_eq!(rmp_serde::to_vec(&Packed::new(bytes.clone())).unwrap(), bytes);
    assert_eq!(rmp_serde::from_slice::<Packed>(&bytes).unwrap().0, bytes);
}

#[test]
fn keeps_map_keys_that_are_no_strings() {
    let bytes = written(|out| {
        mp::write_map_len(out, 1).unwrap();
        mp::write_uint(out, 7).unwrap();
        mp::write_bool(out, true).unwrap();
    });
    assert_eq!(rmp_serde::to_vec(&Packed::new(bytes.clone())).unwrap(), bytes);
}

#[test]
fn converts_null_both_ways() {
    assert_eq!(serde_json::to_value(Packed::new(vec![0xc0])).unwrap(), Value::Null);
    assert_eq!(serde_json::from_str::<Packed>("null").unwrap(), Packed::new(vec![0xc0]));
}

#[test]
fn fails_on_bytes_that_end_inside_a_value() {
    assert!(serde_json::to_value(Packed::new(vec![0x92, 1])).is_err());
    assert!(rmp_serde::from_slice::<Packed>(&[0x92, 1]).is_err());
}
