//! The messages of the protocol, in the fields and in the order in which the crates write them. Most of the crates' own
//! types are private. Source: dynamo-runtime `pipeline/network.rs`, `pipeline/network/tcp.rs`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Error;
use bytes::Bytes;
use dynamo_runtime::pipeline::PipelineError;
use dynamo_runtime::pipeline::network::RequestPlanePayloadCodec;
use serde::{Deserialize, Serialize};

use super::frames::{frame_of, framed};

pub const TCP_TRANSPORT: &str = "tcp_server";
const SINGLE_IN: &str = "single_in";
const MANY_OUT: &str = "many_out";
const RESPONSE: &str = "response";

/// The first message of a response, if the handler has begun.
pub const ACCEPTED: &[u8] = b"{\"error\":null}";
pub const STOP: &[u8] = b"\"stop\"";
pub const KILL: &[u8] = b"\"kill\"";
/// The last message of a whole response.
pub const SENTINEL: &[u8] = b"\"sentinel\"";

/// The crates refuse a larger control message. Source: dynamo-runtime `egress/addressed_router.rs`.
const MAX_CONTROL_BYTES: usize = 128 << 10;

#[derive(Serialize, Deserialize)]
struct Control<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    request_type: Cow<'a, str>,
    response_type: Cow<'a, str>,
    #[serde(default)]
    payload_codec: RequestPlanePayloadCodec,
    connection_info: Connection<'a>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frontend_send_ts_ns: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Connection<'a> {
    #[serde(borrow)]
    transport: Cow<'a, str>,
    /// A `CallHome` in JSON.
    info: Cow<'a, str>,
}

/// Where the caller waits for the response.
#[derive(Serialize, Deserialize)]
struct CallHome<'a> {
    #[serde(borrow)]
    address: Cow<'a, str>,
    subject: Cow<'a, str>,
    context: Cow<'a, str>,
    stream_type: Cow<'a, str>,
}

/// The first message of a connection to a caller.
#[derive(Serialize, Deserialize)]
struct Handshake<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    stream_type: Cow<'a, str>,
}

pub fn handshake(subject: &str) -> Vec<u8> {
    let message = Handshake { subject: subject.into(), stream_type: RESPONSE.into() };
    serde_json::to_vec(&message).expect("a map of texts is JSON")
}

/// The subject of a response connection. `None` if the message is no handshake of one.
pub fn subject_of(handshake: &[u8]) -> Option<String> {
    let Handshake { subject, stream_type } = serde_json::from_slice(handshake).ok()?;
    (stream_type == RESPONSE).then(|| subject.into_owned())
}

/// A request with one payload, whose response goes over TCP.
#[derive(Debug, PartialEq)]
pub struct Envelope {
    pub id: String,
    pub metadata: BTreeMap<String, String>,
    pub codec: RequestPlanePayloadCodec,
    pub address: String,
    pub subject: String,
    pub sent_ns: Option<u64>,
    pub payload: Bytes,
}

/// Why an envelope is left to the crates. They refuse it, or serve what this plane does not.
#[derive(Debug, PartialEq, Eq)]
pub enum Foreign {
    NoFrame,
    /// Header or payload is missing.
    InvalidMessage,
    /// The header cannot be read.
    Deserialization,
    /// The response cannot go where it should.
    ResponseStream,
    /// Another kind of request or of response.
    OtherKind,
}

impl Envelope {
    pub fn parse(bytes: &Bytes) -> Result<Self, Foreign> {
        let frame = frame_of(bytes).ok_or(Foreign::NoFrame)?;
        if frame.header.is_empty() {
            return Err(Foreign::InvalidMessage);
        }
        let control: Control<'_> = serde_json::from_slice(&frame.header).map_err(|_| Foreign::Deserialization)?;
        if frame.data.is_empty() {
            return Err(Foreign::InvalidMessage);
        }
        if control.request_type != SINGLE_IN || control.connection_info.transport != TCP_TRANSPORT {
            return Err(Foreign::OtherKind);
        }
        let home: CallHome<'_> =
            serde_json::from_str(&control.connection_info.info).map_err(|_| Foreign::ResponseStream)?;
        if home.stream_type != RESPONSE || home.context != control.id {
            return Err(Foreign::ResponseStream);
        }
        Ok(Self {
            address: home.address.into_owned(),
            subject: home.subject.into_owned(),
            id: control.id.into_owned(),
            metadata: control.metadata.into_owned(),
            codec: control.payload_codec,
            sent_ns: control.frontend_send_ts_ns,
            payload: frame.data,
        })
    }
}

/// The bytes of a request. `address` and `subject`: where its response is awaited.
pub fn request(
    id: &str,
    metadata: &BTreeMap<String, String>,
    codec: RequestPlanePayloadCodec,
    address: &str,
    subject: &str,
    payload: &[u8],
) -> Result<Bytes, Error> {
    let home =
        CallHome { address: address.into(), subject: subject.into(), context: id.into(), stream_type: RESPONSE.into() };
    let control = serde_json::to_vec(&Control {
        id: id.into(),
        request_type: SINGLE_IN.into(),
        response_type: MANY_OUT.into(),
        payload_codec: codec,
        connection_info: Connection { transport: TCP_TRANSPORT.into(), info: serde_json::to_string(&home)?.into() },
        metadata: Cow::Borrowed(metadata),
        frontend_send_ts_ns: None,
    })?;
    if control.len() > MAX_CONTROL_BYTES {
        let length = control.len();
        let message = format!("request control message too large: {length} bytes exceeds limit {MAX_CONTROL_BYTES}");
        return Err(PipelineError::Generic(message).into());
    }
    Ok(framed(&control, payload))
}

#[cfg(test)]
mod tests;
