use dynamo_runtime::pipeline::network::{IngressRequestDecoder, RequestPlanePayloadCodec};
use futures::FutureExt;

use super::{Incoming, RawPayload};

fn decoded(codec: RequestPlanePayloadCodec, bytes: impl Into<bytes::Bytes>) -> Incoming {
    RawPayload.decode_request(codec, bytes.into()).now_or_never().unwrap().unwrap()
}

#[test]
fn transcodes_a_request_in_json() {
    let Incoming(packed) = decoded(RequestPlanePayloadCodec::Json, "[1,null]");
    assert_eq!(packed.unwrap().0[..], [0x92, 1, 0xc0]);
}

#[test]
fn passes_a_request_in_messagepack_on_as_it_is() {
    let Incoming(packed) = decoded(RequestPlanePayloadCodec::Msgpack, vec![0xc1]);
    assert_eq!(packed.unwrap().0[..], [0xc1]);
}

/// A decoder that fails would leave the caller without an answer.
#[test]
fn keeps_the_failure_of_a_request_that_cannot_be_read() {
    let deep = ["[".repeat(200), "]".repeat(200)].concat();
    for json in [deep, "{".into(), String::new(), "[1] 2".into()] {
        let Incoming(refused) = decoded(RequestPlanePayloadCodec::Json, json);
        assert_eq!(refused.unwrap_err().class, "InvalidRequest");
    }
}
