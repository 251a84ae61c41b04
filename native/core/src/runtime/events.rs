use std::sync::Arc;

use dynamo_runtime::transports::event_plane::{EventPublisher, EventSubscriber};
use futures::StreamExt;
use parking_lot::Mutex;
use rmp::encode as mp;
use serde::Deserialize;

use super::Runtime;
use super::endpoint::{Path, Place};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::stream::{Item, PullStream};

#[derive(Deserialize)]
struct Topic {
    #[serde(flatten)]
    path: Path,
    topic: String,
}

fn no_scope() -> Failure {
    Failure::invalid("events: expected a namespace, a component or an endpoint as scope, got none")
}

/// An event publisher. It leaves discovery when it is dropped.
pub struct Publisher(Mutex<Option<Arc<EventPublisher>>>);

/// `args`: a scope and a topic. The handle is a runtime. Returns a `Publisher`.
/// Takes: handle runtime, args bytes. Returns: handle publisher.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_publisher(call: &dyn_call) {
    op(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        let Topic { path, topic } = call.args()?;
        Ok(async move {
            let publisher = match path.place(&runtime)? {
                Place::Runtime(_) => return Err(no_scope()),
                Place::Namespace(namespace) => EventPublisher::for_namespace(&namespace, topic).await?,
                Place::Component(component) => EventPublisher::for_component(&component, topic).await?,
                Place::Endpoint(endpoint) => EventPublisher::for_endpoint(&endpoint, topic).await?,
            };
            Ok(Reply::handle(Handle::new(Arc::new(Publisher(Mutex::new(Some(Arc::new(publisher))))))))
        })
    })
}

/// The failure of an event that NATS refused. Its client reports the sizes only in the message.
fn unpublished(error: anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    let sizes = text.split_once("Payload size limit of ").and_then(|(_, rest)| {
        let (limit, rest) = rest.split_once(" exceeded by message size of ")?;
        let actual = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        Some((limit.parse::<u64>().ok()?, actual.parse::<u64>().ok()?))
    });
    let Some((limit, actual)) = sizes else { return Failure::from(error) };
    let message =
        format!("the event has {actual} bytes with its envelope, but the NATS server accepts {limit} (max_payload)");
    let details =
        Some(serde_json::json!({"type": "size_limit", "limit": limit, "actual": actual, "variable": "max_payload"}));
    Failure { details, ..Failure::new("PayloadTooLarge", "request.payload_too_large", message) }
}

/// Publishes the payload, which is MessagePack in the crates' encoding.
/// Takes: handle publisher, payload bytes. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_publisher_publish(call: &dyn_call) {
    op(call, |call: &Call| {
        let publisher = call.handle::<Publisher>()?.0.lock().clone().ok_or_else(|| Failure::closed("the publisher"))?;
        let payload = call.payload().to_vec();
        Ok(async move {
            publisher.publish_bytes(payload).await.map_err(unpublished)?;
            Ok(Reply::unit())
        })
    })
}

/// Takes: handle publisher. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_publisher_close(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let publisher = call.handle::<Publisher>()?.0.lock().take();
        let _enter = crate::process::enter();
        drop(publisher);
        Ok(Reply::unit())
    })
}

/// `args`: a scope and a topic. The handle is a runtime. Completes after the subscription, with a `PullStream` of maps
/// `{publisherId, sequence, publishedAt, topic, payload}`. The payload is bytes.
/// Takes: handle runtime, args bytes. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_subscribe(call: &dyn_call) {
    op(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        let Topic { path, topic } = call.args()?;
        Ok(async move {
            let subscriber = match path.place(&runtime)? {
                Place::Runtime(_) => return Err(no_scope()),
                Place::Namespace(namespace) => EventSubscriber::for_namespace(&namespace, topic).await?,
                Place::Component(component) => EventSubscriber::for_component(&component, topic).await?,
                Place::Endpoint(endpoint) => EventSubscriber::for_endpoint(&endpoint, topic).await?,
            };
            let events = futures::stream::unfold(subscriber, |mut subscriber| async move {
                subscriber.next().await.map(|event| (event, subscriber))
            });
            let items = events.map(|event| {
                let event = event?;
                let mut out = Vec::with_capacity(event.payload.len() + 96);
                let written = (|| -> Result<(), mp::ValueWriteError> {
                    mp::write_map_len(&mut out, 5)?;
                    for (name, value) in [
                        ("publisherId", event.publisher_id),
                        ("sequence", event.sequence),
                        ("publishedAt", event.published_at),
                    ] {
                        mp::write_str(&mut out, name)?;
                        mp::write_uint(&mut out, value)?;
                    }
                    mp::write_str(&mut out, "topic")?;
                    mp::write_str(&mut out, &event.topic)?;
                    mp::write_str(&mut out, "payload")?;
                    mp::write_bin(&mut out, &event.payload)
                })();
                written.map_err(Failure::internal)?;
                Ok(Item::Data(out.into()))
            });
            Ok(Reply::handle(Handle::new(PullStream::new(Box::pin(items)))))
        })
    })
}

#[cfg(test)]
mod tests;
