//! Our own ends of the crates' response plane over TCP, at the two public places for one: the handler of an endpoint
//! and the dispatch of a client. The bytes are those of the crates, so that every peer of the same version understands
//! them. See docs/data-plane.md for what each plane has.

mod answer;
mod caller;
mod clock;
mod envelope;
mod frames;
mod home;
mod meter;
mod msgpack;
mod reader;
mod response;
#[cfg(test)]
mod testing;
mod worker;

use dynamo_runtime::DistributedRuntime;
use dynamo_runtime::config::environment_names::tcp_response_stream::{DYN_TCP_RESPONSE_STREAM_PORT, tls};
use dynamo_runtime::pipeline::network::ResponsePlaneMode;
use dynamo_runtime::telemetry::LifecycleTrace;
use serde::Deserialize;

pub use caller::{Dispatch, watch_instances};
pub use worker::Worker;

/// Who writes and reads the responses of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataPlane {
    Crates,
    Native,
}

/// The versions of the crates whose protocol this plane was compared with.
const KNOWN_VERSIONS: [&str; 1] = ["1.6.1"];

const TLS_VARIABLES: [&str; 7] = [
    tls::DYN_TCP_TLS_CERT_PATH,
    tls::DYN_TCP_TLS_KEY_PATH,
    tls::DYN_TCP_TLS_CA_CERT_PATH,
    tls::DYN_TCP_TLS_INSECURE,
    tls::DYN_TCP_TLS_CLIENT_CERT_PATH,
    tls::DYN_TCP_TLS_CLIENT_KEY_PATH,
    tls::DYN_TCP_TLS_CLIENT_CA_CERT_PATH,
];

impl DataPlane {
    /// The plane of a runtime that asks for none. A variable changes it for this project's tests.
    fn default_here() -> Self {
        let tested = cfg!(feature = "testing")
            && std::env::var_os("DYNAMO_TEST_DATA_PLANE").is_some_and(|name| name == "crates");
        if tested { Self::Crates } else { Self::Native }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Crates => "crates",
            Self::Native => "native",
        }
    }

    /// The plane of a runtime. It is the crates' own if the native one lacks something that is needed.
    pub fn choose(wanted: Option<Self>, drt: &DistributedRuntime, version: &str) -> Self {
        if wanted.unwrap_or_else(Self::default_here) == Self::Crates {
            return Self::Crates;
        }
        let variable = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let is_traced = LifecycleTrace::frontend_request_without_session("").is_enabled();
        let Some(reason) = lacks(drt.response_plane(), version, variable, is_traced) else {
            return Self::Native;
        };
        if wanted.is_some() {
            tracing::warn!("the native data plane is not used, and the crates' is: {reason}");
        } else {
            tracing::info!("the native data plane is not used, and the crates' is: {reason}");
        }
        Self::Crates
    }
}

/// What the native plane lacks and this runtime needs.
fn lacks(
    responses: ResponsePlaneMode,
    version: &str,
    has_variable: impl Fn(&str) -> bool,
    is_traced: bool,
) -> Option<String> {
    if !KNOWN_VERSIONS.contains(&version) {
        return Some(format!("it does not know version {version} of the crates"));
    }
    if responses != ResponsePlaneMode::Tcp {
        return Some(format!("it has no responses over {}", responses.name()));
    }
    if let Some(name) = TLS_VARIABLES.iter().find(|name| has_variable(name)) {
        return Some(format!("it has no TLS, and {name} is set"));
    }
    if has_variable(DYN_TCP_RESPONSE_STREAM_PORT) {
        return Some(format!("it has no fixed port, and {DYN_TCP_RESPONSE_STREAM_PORT} is set"));
    }
    is_traced.then(|| "it has no lifecycle spans, and they are on".to_string())
}

#[cfg(test)]
mod tests;
