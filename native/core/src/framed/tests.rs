use serde_json::{Value, json};

use super::Framed;

fn decoded(framed: &Framed) -> Value {
    rmp_serde::from_slice(&framed.frame()).unwrap()
}

#[test]
fn frames_a_value_as_the_data_of_an_annotated_item() {
    let item = rmp_serde::to_vec_named(&json!({ "a": 1 })).unwrap();
    assert_eq!(decoded(&Framed::value(&item)), json!({ "data": { "data": { "a": 1 } }, "complete_final": false }));
}

#[test]
fn frames_an_annotated_item_as_it_is() {
    let item = json!({ "data": 1, "event": "token" });
    let framed = Framed::annotated(&rmp_serde::to_vec_named(&item).unwrap());
    assert_eq!(decoded(&framed), json!({ "data": item, "complete_final": false }));
}

#[test]
fn returns_the_item_that_it_frames() {
    for item in [&b""[..], b"\xc0", b"\xa4data"] {
        assert_eq!(Framed::value(item).item(), item);
        assert_eq!(Framed::annotated(item).item(), item);
    }
}

#[test]
fn reports_the_length_of_the_whole_frame() {
    let framed = Framed::value(b"\xc0");
    assert_eq!(framed.len(), framed.frame().len());
}
