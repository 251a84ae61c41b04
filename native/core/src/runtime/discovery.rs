use std::sync::Arc;

use dynamo_runtime::component::{Instance, TransportType};
use dynamo_runtime::discovery::{DiscoveryEvent, DiscoveryInstance, DiscoveryInstanceId, DiscoveryQuery};
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{EndpointRef, Runtime};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::stream::{Item, PullStream};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceInfo {
    namespace: String,
    component: String,
    endpoint: String,
    instance_id: u64,
    transport: &'static str,
    address: String,
    device_type: Option<String>,
    codec: &'static str,
}

impl From<&Instance> for InstanceInfo {
    fn from(instance: &Instance) -> Self {
        Self {
            namespace: instance.namespace.clone(),
            component: instance.component.clone(),
            endpoint: instance.endpoint.clone(),
            instance_id: instance.instance_id,
            transport: match instance.transport {
                TransportType::Nats(_) => "nats",
                TransportType::Tcp(_) => "tcp",
            },
            address: instance.transport.address().to_string(),
            device_type: instance.device_type.as_ref().map(|device| format!("{device:?}").to_lowercase()),
            // An instance without a codec is an old one, which uses JSON.
            codec: instance.request_plane_codec.unwrap_or_default().name(),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Change {
    Added {
        instance: InstanceInfo,
    },
    #[serde(rename_all = "camelCase")]
    Removed {
        instance_id: u64,
    },
    Resync {
        instances: Vec<InstanceInfo>,
    },
}

fn endpoint_instance(instance: &DiscoveryInstance) -> Option<InstanceInfo> {
    match instance {
        DiscoveryInstance::Endpoint(instance) => Some(instance.into()),
        _ => None,
    }
}

fn change(event: DiscoveryEvent) -> Option<Change> {
    match event {
        DiscoveryEvent::Added(instance) => endpoint_instance(&instance).map(|instance| Change::Added { instance }),
        DiscoveryEvent::Removed(id @ DiscoveryInstanceId::Endpoint(_)) => {
            Some(Change::Removed { instance_id: id.instance_id() })
        }
        DiscoveryEvent::Resync(instances) => {
            Some(Change::Resync { instances: instances.iter().filter_map(endpoint_instance).collect() })
        }
        _ => None,
    }
}

/// The changes to what discovery lists for a query, each as `change` describes it. It begins with what is present.
pub fn watch<T: Serialize + Send + 'static>(
    this: Arc<EndpointRef>,
    query: DiscoveryQuery,
    change: fn(DiscoveryEvent) -> Option<T>,
) -> Handle {
    let token = CancellationToken::new();
    let opening = async move {
        let guard = token.clone().drop_guard();
        let events = this.runtime.drt.discovery().list_and_watch(query, Some(token)).await?;
        // Only some backends end their watches with the runtime.
        let ended = this.runtime.drt.primary_token();
        let events = events.take_until(async move { ended.cancelled().await });
        Ok(events.filter_map(move |event| {
            let _until_dropped = &guard;
            std::future::ready(match event {
                Ok(event) => change(event).map(|change| {
                    rmp_serde::to_vec_named(&change).map(|bytes| Item::Data(bytes.into())).map_err(Failure::internal)
                }),
                Err(error) => Some(Err(Failure::from(error))),
            })
        }))
    };
    let items = opening.into_stream().map(|opened| match opened {
        Ok(items) => items.left_stream(),
        Err(failure) => futures::stream::once(std::future::ready(Err::<Item, Failure>(failure))).right_stream(),
    });
    Handle::new(PullStream::new(Box::pin(items.flatten())))
}

/// Returns a `PullStream` of the changes to the instances of an endpoint. It begins with the present instances.
/// Takes: handle endpoint. Returns: handle stream.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_endpoint_watch(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let id = this.endpoint.id();
        let query = DiscoveryQuery::Endpoint { namespace: id.namespace, component: id.component, endpoint: id.name };
        Ok(Reply::handle(watch(this, query, change)))
    })
}

/// Completes with every endpoint instance that discovery lists.
/// Takes: handle runtime. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_instances(call: &dyn_call) {
    op(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        Ok(async move {
            let listed = runtime.drt.discovery().list(DiscoveryQuery::AllEndpoints).await?;
            Reply::value(&listed.iter().filter_map(endpoint_instance).collect::<Vec<_>>())
        })
    })
}
