use bytes::Bytes;
use dynamo_runtime::error::{DynamoError, ErrorClass, ErrorReason, ErrorType};
use dynamo_runtime::pipeline::network::RequestPlanePayloadCodec;
use serde_json::json;

use super::super::frames::Frame;
use super::{ACCEPTED, check_acknowledgement, encoded, refusal_in};
use crate::packed::Packed;

fn first(header: impl Into<Bytes>) -> Frame {
    Frame { header: header.into(), data: Bytes::new() }
}

fn refusal(error: &str, typed: Option<&DynamoError>) -> DynamoError {
    let mut prologue = json!({ "error": error });
    if let Some(typed) = typed {
        prologue["typed_error"] = serde_json::to_value(typed).unwrap();
    }
    refusal_in(&first(prologue.to_string())).unwrap().downcast().unwrap()
}

fn typed(class: ErrorClass, reason: &str) -> DynamoError {
    DynamoError::builder().class(class).reason(ErrorReason::new(reason.to_string()).unwrap()).message("typed").build()
}

#[test]
fn accepts_every_first_message_without_an_error() {
    for header in [ACCEPTED, b"{}", b"{ \"error\" : null, \"later\": 1 }"] {
        assert!(refusal_in(&first(Bytes::from_static(header))).is_none());
    }
}

#[test]
fn keeps_the_type_of_a_refusal() {
    let plain = refusal("no model", None);
    assert_eq!(plain.error_type(), ErrorType::CannotConnect);
    assert_eq!(plain.message(), "Worker generate() failed before response stream: no model");

    let invalid = refusal("wrong", Some(&typed(ErrorClass::InvalidRequest, "request.invalid")));
    assert_eq!((invalid.class(), invalid.message()), (ErrorClass::InvalidRequest, "typed"));

    let other = refusal("busy", Some(&typed(ErrorClass::Unavailable, "backend.engine_shutdown")));
    assert_eq!(other.error_type(), ErrorType::CannotConnect);
    let cause = std::error::Error::source(&other).and_then(|cause| cause.downcast_ref::<DynamoError>()).unwrap();
    assert_eq!(cause.reason().as_str(), "backend.engine_shutdown");

    // These would change whether the request is sent to another worker.
    let hidden = refusal("late", Some(&typed(ErrorClass::DeadlineExceeded, "request.deadline_exceeded")));
    assert_eq!(hidden.error_type(), ErrorType::CannotConnect);
    assert!(std::error::Error::source(&hidden).is_none());
}

#[test]
fn refuses_a_first_message_that_is_none() {
    let with_data = Frame { header: Bytes::from_static(ACCEPTED), data: Bytes::from_static(b"data") };
    let no_header = Frame { header: Bytes::new(), data: Bytes::from_static(b"data") };
    for wrong in [with_data, no_header, first(Bytes::from_static(b"[")), first(Bytes::from_static(b"\"stop\""))] {
        let error = refusal_in(&wrong).unwrap();
        assert!(error.to_string().contains("malformed prologue"), "{error}");
    }
}

#[test]
fn recognizes_the_acknowledgements_of_workers_that_refuse() {
    for (said, kind) in [
        ("Server overloaded: worker at capacity", ErrorType::WorkerOverloaded),
        ("Server unavailable: unknown endpoint", ErrorType::WorkerUnavailable),
    ] {
        let error = check_acknowledgement(said.as_bytes()).unwrap_err();
        let error = error.downcast_ref::<DynamoError>().unwrap();
        assert_eq!((error.error_type(), error.message()), (kind, said));
    }
    for good in [&b""[..], b"Server", br#"{"data":"chunk"}"#] {
        assert!(check_acknowledgement(good).is_ok());
    }
}

#[test]
fn sends_a_plain_value_as_it_is_and_leaves_others_to_the_crates() {
    let value = Packed::new(rmp_serde::to_vec_named(&json!({ "a": [1, "text"] })).unwrap());
    let bytes = encoded(RequestPlanePayloadCodec::Msgpack, &value).unwrap();
    assert_eq!(bytes.as_ptr(), value.0.as_ptr());
    assert_eq!(&*encoded(RequestPlanePayloadCodec::Json, &value).unwrap(), br#"{"a":[1,"text"]}"#);
    // An extension type, which no peer reads.
    assert!(encoded(RequestPlanePayloadCodec::Msgpack, &Packed::new(vec![0xd4, 1, 0])).is_err());
    assert!(encoded(RequestPlanePayloadCodec::Msgpack, &Packed::new(vec![0x92, 1])).is_err());
}
