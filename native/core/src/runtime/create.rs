use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dynamo_runtime::DistributedRuntime;
use dynamo_runtime::config::environment_names::request_plane;
use dynamo_runtime::distributed::{DiscoveryBackend, DistributedConfig};
use dynamo_runtime::pipeline::network::ResponsePlaneMode;
use dynamo_runtime::storage::kv::Selector;
use dynamo_runtime::transports::etcd;
use dynamo_runtime::worker::Worker;
use parking_lot::Mutex;
use prometheus::IntCounter;
use serde::{Deserialize, Serialize};

use super::plane::DataPlane;
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, dyn_reply, op, reply};
use crate::args::parse;
use crate::lost_files::LostFiles;
use crate::{listen, logging, process};

/// A `DistributedRuntime` and the state that belongs to it.
pub struct Runtime {
    pub drt: DistributedRuntime,
    /// The names of the served endpoints. The crates use only these names as keys of their local registries.
    pub served: Mutex<HashSet<String>>,
    /// Who writes and reads responses.
    pub data_plane: DataPlane,
    /// By endpoint, see `EndpointRef::refused_requests`.
    pub refused_requests: Mutex<HashMap<String, IntCounter>>,
    /// The address on which this process listens, if one was chosen.
    pub host: Option<IpAddr>,
    /// Whether a shutdown is not the sign of a lost lease. The crates begin one if the lease in etcd is lost.
    pub may_end: Arc<AtomicBool>,
}

impl Runtime {
    /// Begins the shutdown.
    pub fn shutdown(&self) {
        if !self.drt.child_token().is_cancelled() {
            self.may_end.store(true, Release);
        }
        self.drt.shutdown();
    }

    /// Fails if the shutdown has begun because the lease in etcd was lost.
    pub fn check_lease(&self) -> Result<(), Failure> {
        if self.drt.child_token().is_cancelled() { check_lease(&self.may_end) } else { Ok(()) }
    }
}

fn check_lease(may_end: &AtomicBool) -> Result<(), Failure> {
    if may_end.load(Acquire) {
        return Ok(());
    }
    let message = "the runtime lost its lease in etcd, so no client finds its endpoints: create a new runtime";
    Err(Failure::new("Unavailable", "discovery.lease_lost", message))
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // An environment that ends without `close` must still leave discovery.
        let _enter = process::enter();
        self.shutdown();
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum Discovery {
    Mem,
    File {
        dir: Option<PathBuf>,
    },
    Etcd {
        endpoints: Option<Vec<String>>,
        #[serde(rename = "leaseTtlSeconds")]
        lease_ttl_seconds: Option<u64>,
    },
    Kubernetes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateArgs {
    discovery: Option<Discovery>,
    request_plane: Option<String>,
    response_plane: Option<String>,
    event_plane: Option<String>,
    data_plane: Option<DataPlane>,
    host: Option<String>,
    /// Environment variables that the crates read once in a process.
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    /// The instance id of the endpoints of this runtime.
    instance_id: u64,
    discovery: &'static str,
    request_plane: String,
    response_plane: &'static str,
    event_plane: String,
    data_plane: &'static str,
    /// `host:port` of the status server, if there is one.
    system_address: Option<String>,
    /// The limit of one message on TCP, which the crates read from the environment.
    max_message_bytes: u64,
}

fn config(args: &CreateArgs) -> Result<DistributedConfig, Failure> {
    let name = args.discovery.as_ref().map(|discovery| match discovery {
        Discovery::Mem => "mem",
        Discovery::File { .. } => "file",
        Discovery::Etcd { .. } => "etcd",
        Discovery::Kubernetes => "kubernetes",
    });
    let mut config = DistributedConfig::from_settings_with_overrides(
        name,
        args.request_plane.as_deref(),
        args.event_plane.as_deref(),
    )?;
    match &args.discovery {
        Some(Discovery::File { dir: Some(dir) }) => {
            config.discovery_backend = DiscoveryBackend::KvStore(Selector::File(dir.clone()));
        }
        Some(Discovery::Etcd { endpoints, lease_ttl_seconds }) => {
            let mut options = etcd::ClientOptions::default();
            if let Some(endpoints) = endpoints {
                options.etcd_url = endpoints.clone();
            }
            if let Some(seconds) = lease_ttl_seconds {
                options.lease_ttl = *seconds;
            }
            config.discovery_backend = DiscoveryBackend::KvStore(Selector::Etcd(Box::new(options)));
        }
        _ => {}
    }
    config.response_plane = match args.response_plane.as_deref() {
        None => None,
        Some("tcp") => Some(ResponsePlaneMode::Tcp),
        Some("quic") => Some(ResponsePlaneMode::Quic),
        Some(other) => return Err(Failure::invalid(format!("responsePlane: expected tcp or quic, got {other}"))),
    };
    Ok(config)
}

/// The crates read it once too, but keep their copy private.
fn max_message_bytes() -> u64 {
    static LIMIT: LazyLock<u64> = LazyLock::new(|| {
        let set = std::env::var(request_plane::DYN_TCP_MAX_MESSAGE_SIZE).ok();
        set.and_then(|text| text.parse().ok()).unwrap_or(32 * 1024 * 1024)
    });
    *LIMIT
}

fn discovery_name(backend: &DiscoveryBackend) -> &'static str {
    match backend {
        DiscoveryBackend::Kubernetes => "kubernetes",
        DiscoveryBackend::KvStore(Selector::Etcd(_)) => "etcd",
        DiscoveryBackend::KvStore(Selector::File(_)) => "file",
        DiscoveryBackend::KvStore(Selector::Memory) => "mem",
    }
}

/// The crates report an unreachable cluster as an error without a type.
fn unreachable(discovery: &str, error: anyhow::Error) -> Failure {
    match Failure::from(error) {
        failure if discovery == "kubernetes" && failure.class == "Internal" => {
            Failure::new("Unavailable", "discovery.kubernetes", format!("Kubernetes discovery: {}", failure.message))
        }
        failure => failure,
    }
}

/// Returns a `Runtime` and a map of the resolved settings.
/// Takes: args bytes. Returns: bytes, handle runtime.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_create(call: &dyn_call) {
    op(call, |call: &Call| {
        let args = call.args::<CreateArgs>()?;
        logging::install();
        process::fix_settings(args.settings.clone())?;
        let config = config(&args)?;
        let host = args.host.as_deref().map(|host| parse("host", "an IP address", host)).transpose()?;
        if let Some(host) = host {
            listen::set_event_plane_host(host);
        }
        let lost_files = match &config.discovery_backend {
            DiscoveryBackend::KvStore(Selector::File(root)) => Some(LostFiles::new(root.clone())),
            _ => None,
        };
        let data_plane = args.data_plane;
        Ok(async move {
            let discovery = discovery_name(&config.discovery_backend);
            let event_plane = format!("{:?}", config.event_transport_kind).to_lowercase();
            let runtime = Worker::runtime_from_existing()?;
            let drt = DistributedRuntime::new(runtime, config).await.map_err(|error| unreachable(discovery, error))?;
            let data_plane = DataPlane::choose(data_plane, &drt, DYNAMO_VERSION);
            let created = Created {
                instance_id: drt.connection_id(),
                discovery,
                request_plane: drt.request_plane().to_string(),
                response_plane: drt.response_plane().name(),
                event_plane,
                data_plane: data_plane.name(),
                system_address: drt.system_status_server_info().map(|info| info.address()),
                max_message_bytes: max_message_bytes(),
            };
            let bytes = rmp_serde::to_vec_named(&created).map_err(Failure::internal)?;
            if let Some(lost_files) = lost_files {
                tokio::spawn(lost_files.watch(drt.primary_token()));
            }
            let runtime = Arc::new(Runtime {
                drt,
                served: Mutex::default(),
                data_plane,
                refused_requests: Mutex::default(),
                host,
                may_end: Arc::new(AtomicBool::new(discovery != "etcd")),
            });
            Ok(Reply::with_handles(bytes, vec![Handle::new(runtime)]))
        })
    })
}

/// Completes when the shutdown of the runtime begins. Fails if that is because its lease in etcd was lost.
/// Takes: handle runtime. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_ending(call: &dyn_call) {
    op(call, |call: &Call| {
        // It must not keep the runtime.
        let runtime = call.handle::<Runtime>()?;
        let (begun, may_end) = (runtime.drt.child_token(), runtime.may_end.clone());
        Ok(async move {
            begun.cancelled().await;
            check_lease(&may_end).map(|()| Reply::unit())
        })
    })
}

/// Runs the three phases of shutdown and completes after the last. `a`: the time limit in milliseconds of the wait for
/// requests in flight (0: the crates' limit).
/// Takes: handle runtime, a timeoutMs. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_runtime_close(call: &dyn_call) {
    op(call, |call: &Call| {
        let runtime = call.handle::<Runtime>()?;
        let limit = (call.a() > 0).then(|| Duration::from_millis(call.a()));
        Ok(async move {
            let token = runtime.drt.primary_token();
            runtime.shutdown();
            match limit {
                None => token.cancelled().await,
                Some(limit) => {
                    if tokio::time::timeout(limit, token.cancelled()).await.is_err() {
                        token.cancel();
                    }
                }
            }
            Ok(Reply::unit())
        })
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    dynamo_core: &'static str,
    dynamo: &'static str,
    protocol: &'static str,
}

/// Takes: nothing. Returns: bytes.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_versions(call: &dyn_call) -> dyn_reply {
    reply(call, |_| {
        Reply::value(&Versions {
            dynamo_core: env!("CARGO_PKG_VERSION"),
            dynamo: DYNAMO_VERSION,
            protocol: DISCOVERY_VERSION,
        })
    })
}

/// The version of all Dynamo crates in Cargo.toml.
const DYNAMO_VERSION: &str = "1.6.1";
/// The prefix of the crates' keys in discovery. Processes with different prefixes do not find each other. Source:
/// dynamo-runtime `discovery/kv_store.rs`, where it is private.
const DISCOVERY_VERSION: &str = "v1";
