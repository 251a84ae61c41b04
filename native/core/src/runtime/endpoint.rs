use std::sync::Arc;

use dynamo_runtime::component::{Component, Endpoint, Namespace};
use dynamo_runtime::metrics::MetricsHierarchy;
use prometheus::IntCounter;
use serde::Deserialize;

use super::Runtime;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};

/// An endpoint, and the runtime that it keeps alive.
pub struct EndpointRef {
    pub endpoint: Endpoint,
    pub runtime: Arc<Runtime>,
}

impl EndpointRef {
    /// The counter of the requests that were refused because too many waited. An endpoint has one, also if it is served
    /// again.
    pub fn refused_requests(&self) -> Result<IntCounter, Failure> {
        let mut counters = self.runtime.refused_requests.lock();
        let id = self.endpoint.id().to_string();
        if let Some(counter) = counters.get(&id) {
            return Ok(counter.clone());
        }
        let help = "Requests that were refused because too many were waiting for the handler";
        let counter = self.endpoint.metrics().create_intcounter("queue_rejected_total", help, &[])?;
        counters.insert(id, counter.clone());
        Ok(counter)
    }
}

/// A place in the hierarchy. The names that are set make it the runtime, a namespace, a component or an endpoint.
#[derive(Deserialize)]
pub struct Path {
    pub namespace: Option<String>,
    pub component: Option<String>,
    pub endpoint: Option<String>,
}

pub enum Place {
    Runtime(Arc<Runtime>),
    Namespace(Namespace),
    Component(Component),
    Endpoint(Endpoint),
}

impl Path {
    pub fn place(&self, runtime: &Arc<Runtime>) -> Result<Place, Failure> {
        let Some(namespace) = &self.namespace else { return Ok(Place::Runtime(runtime.clone())) };
        let namespace = runtime.drt.namespace(namespace)?;
        let Some(component) = &self.component else { return Ok(Place::Namespace(namespace)) };
        let component = namespace.component(component)?;
        let Some(endpoint) = &self.endpoint else { return Ok(Place::Component(component)) };
        Ok(Place::Endpoint(component.endpoint(endpoint)))
    }
}

/// `args`: `{namespace, component, endpoint}`. The handle is a runtime. Returns an `EndpointRef`.
/// Takes: handle runtime, args bytes. Returns: handle endpoint.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_endpoint(call: &dyn_call) -> dyn_reply {
    reply(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        match call.args::<Path>()?.place(&runtime)? {
            Place::Endpoint(endpoint) => Ok(Reply::handle(Handle::new(Arc::new(EndpointRef { endpoint, runtime })))),
            _ => Err(Failure::invalid("endpoint: expected namespace, component and endpoint")),
        }
    })
}

/// Removes the instance of the endpoint from discovery (`a` = 0) or adds it again (`a` = 1). The endpoint continues to
/// serve.
/// Takes: handle endpoint, a isRegistered. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_endpoint_register(call: &dyn_call) {
    op(call, |call: &Call| {
        let this = call.handle::<EndpointRef>()?;
        let register = call.a() == 1;
        Ok(async move {
            match register {
                true => this.endpoint.register_endpoint_instance().await?,
                false => this.endpoint.unregister_endpoint_instance().await?,
            }
            Ok(Reply::unit())
        })
    })
}
