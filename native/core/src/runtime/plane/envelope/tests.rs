use std::collections::BTreeMap;

use bytes::Bytes;
use dynamo_runtime::pipeline::network::RequestPlanePayloadCodec;
use serde_json::{Value, json};

use super::super::frames::{frame_of, framed};
use super::{Envelope, Foreign, MAX_CONTROL_BYTES, handshake, request, subject_of};

const CODEC: RequestPlanePayloadCodec = RequestPlanePayloadCodec::Msgpack;

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("tenant".into(), "\"a\"".into())])
}

/// What the crates send, as recorded from them.
fn control() -> Value {
    let info = json!({
        "address": "127.0.0.1:4000",
        "subject": "3f0a1f0e-61e1-4d0e-8a2b-2f3e5d0c9b10",
        "context": "request-1",
        "stream_type": "response",
    });
    json!({
        "id": "request-1",
        "request_type": "single_in",
        "response_type": "many_out",
        "payload_codec": "msgpack",
        "connection_info": { "transport": "tcp_server", "info": info.to_string() },
        "metadata": { "tenant": "\"a\"" },
    })
}

fn parsed(control: &Value) -> Result<Envelope, Foreign> {
    Envelope::parse(&framed(control.to_string().as_bytes(), b"\xc0"))
}

/// The control message with one field changed.
fn with(path: &str, value: Value) -> Value {
    let mut changed = control();
    *changed.pointer_mut(path).unwrap() = value;
    changed
}

#[test]
fn reads_a_request_in_place() {
    let bytes = framed(control().to_string().as_bytes(), b"\x93\x01\x02\x03");
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!((envelope.id.as_str(), &envelope.metadata), ("request-1", &metadata()));
    assert_eq!(envelope.address, "127.0.0.1:4000");
    assert_eq!(envelope.subject, "3f0a1f0e-61e1-4d0e-8a2b-2f3e5d0c9b10");
    assert_eq!(envelope.payload, &b"\x93\x01\x02\x03"[..]);
    assert!(bytes.as_ptr_range().contains(&envelope.payload.as_ptr()));
}

#[test]
fn reads_what_it_writes() {
    let bytes = request("request-1", &metadata(), CODEC, "127.0.0.1:4000", "subject", b"\xc0").unwrap();
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!((envelope.id.as_str(), envelope.codec, envelope.sent_ns), ("request-1", CODEC, None));
    assert_eq!((envelope.address.as_str(), envelope.subject.as_str()), ("127.0.0.1:4000", "subject"));
    assert_eq!((envelope.metadata, envelope.payload), (metadata(), Bytes::from_static(b"\xc0")));
}

#[test]
fn writes_the_fields_in_the_order_of_the_crates() {
    let bytes = request("a", &metadata(), CODEC, "127.0.0.1:4000", "s", b"\xc0").unwrap();
    let expected = r#"{"id":"a","request_type":"single_in","response_type":"many_out","payload_codec":"msgpack","#
        .to_owned()
        + r#""connection_info":{"transport":"tcp_server","info":"{\"address\":\"127.0.0.1:4000\",\"subject\":\"s\","#
        + r#"\"context\":\"a\",\"stream_type\":\"response\"}"},"metadata":{"tenant":"\"a\""}}"#;
    assert_eq!(std::str::from_utf8(&frame_of(&bytes).unwrap().header).unwrap(), expected);
    let without = request("a", &BTreeMap::new(), CODEC, "127.0.0.1:4000", "s", b"\xc0").unwrap();
    assert!(!String::from_utf8_lossy(&without).contains("metadata"));
}

#[test]
fn takes_json_for_the_codec_of_a_request_that_names_none() {
    let mut old = control();
    old.as_object_mut().unwrap().remove("payload_codec");
    assert_eq!(parsed(&old).unwrap().codec, RequestPlanePayloadCodec::Json);
}

#[test]
fn leaves_to_the_crates_what_it_does_not_serve() {
    for (path, value) in [("/request_type", "many_in"), ("/connection_info/transport", "quic")] {
        assert_eq!(parsed(&with(path, value.into())), Err(Foreign::OtherKind));
    }
    let other = |field: &str| {
        let mut info: Value = serde_json::from_str(control()["connection_info"]["info"].as_str().unwrap()).unwrap();
        info[field] = "other".into();
        with("/connection_info/info", info.to_string().into())
    };
    for wrong in [other("context"), other("stream_type"), with("/connection_info/info", "{}".into())] {
        assert_eq!(parsed(&wrong), Err(Foreign::ResponseStream));
    }
    assert_eq!(parsed(&with("/id", 1.into())), Err(Foreign::Deserialization));
    assert_eq!(Envelope::parse(&framed(b"", b"\xc0")), Err(Foreign::InvalidMessage));
    assert_eq!(Envelope::parse(&framed(control().to_string().as_bytes(), b"")), Err(Foreign::InvalidMessage));
    assert_eq!(Envelope::parse(&Bytes::from_static(b"no frame")), Err(Foreign::NoFrame));
}

#[test]
fn refuses_a_control_message_that_the_crates_refuse() {
    let large = BTreeMap::from([("key".into(), "x".repeat(MAX_CONTROL_BYTES))]);
    let error = request("a", &large, CODEC, "127.0.0.1:4000", "s", b"\xc0").unwrap_err();
    assert!(error.to_string().contains("request control message too large"), "{error}");
}

#[test]
fn reads_its_handshake() {
    assert_eq!(handshake("s"), br#"{"subject":"s","stream_type":"response"}"#);
    assert_eq!(subject_of(&handshake("s")).as_deref(), Some("s"));
    for other in [&br#"{"subject":"s","stream_type":"request"}"#[..], b"{}", b"", b"null"] {
        assert_eq!(subject_of(other), None);
    }
}
