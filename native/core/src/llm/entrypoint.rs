//! The crates' entrypoint: an input (HTTP, KServe gRPC, interactive text, or a Dynamo endpoint) joined to an engine (the
//! workers found by discovery, `echo`, or `mocker`).

use std::net::{TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dynamo_kv_router::RoutingPartitionRef;
use dynamo_llm::engines::make_echo_engine;
use dynamo_llm::entrypoint::EngineConfig;
use dynamo_llm::entrypoint::HttpFrontend;
use dynamo_llm::entrypoint::input::{Input, run_input_with_frontend_route_extensions};
use dynamo_llm::frontend_config::FrontendApiConfig;
use dynamo_llm::local_model::runtime_config::ModelRuntimeConfig;
use dynamo_llm::local_model::{LocalModel, LocalModelBuilder};
use dynamo_llm::mocker::make_mocker_engine;
use dynamo_llm::reasoning_field::ReasoningField;
use dynamo_mocker::config::MockerConfig;
use dynamo_runtime::DistributedRuntime;
use dynamo_runtime::protocols::EndpointId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::config::{RouterArgs, local_path, parse, read_over_defaults};
use super::processor::Processors;
use super::routes::Routes;
use super::task::{Task, listed};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, op};
use crate::inbox::Inbox;
use crate::router::policy::{HostPolicy, PolicyArgs};
use crate::runtime::Runtime;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntrypointArgs {
    /// `http`, `grpc`, `text`, `stdin`, or `dyn://namespace.component.endpoint`.
    input: String,
    #[serde(default)]
    engine: EngineKind,
    /// `MockerConfig`'s own shape.
    mocker: Option<Value>,
    /// `prefill` or `decode`, for a mocker on an endpoint.
    worker_type: Option<String>,
    model: Option<String>,
    model_name: Option<String>,
    #[serde(default)]
    model_aliases: Vec<String>,
    host: Option<String>,
    port: Option<u16>,
    metrics_port: Option<u16>,
    metrics_prefix: Option<String>,
    tls_cert_path: Option<PathBuf>,
    tls_key_path: Option<PathBuf>,
    tls_client_ca_cert_path: Option<PathBuf>,
    router: Option<RouterArgs>,
    migration_limit: Option<u32>,
    migration_max_seq_len: Option<u32>,
    namespace: Option<String>,
    namespace_prefix: Option<String>,
    request_template: Option<PathBuf>,
    chat_template: Option<PathBuf>,
    kv_cache_block_size: Option<u32>,
    tokenizer: Option<String>,
    tokenizer_fallback: Option<bool>,
    anthropic_api: Option<bool>,
    strip_anthropic_preamble: Option<bool>,
    streaming_tool_dispatch: Option<bool>,
    streaming_reasoning_dispatch: Option<bool>,
    reasoning_field: Option<String>,
    /// `ModelRuntimeConfig`'s own field names.
    runtime_config: Option<Value>,
    /// Paths that the host answers `GET` on; for `http`.
    #[serde(default)]
    routes: Vec<String>,
    /// Chat requests are processed by the host; for `http` before the workers.
    #[serde(default)]
    processor: bool,
    /// The host scores the workers of each request; for `http`.
    policy: Option<PolicyArgs>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum EngineKind {
    #[default]
    Dynamic,
    Echo,
    Mocker,
}

/// An input that runs. It owns its runtime: the crates shut that down when the input ends.
struct Entrypoint {
    drt: DistributedRuntime,
    task: Task,
    probe: Probe,
    /// What an HTTP or gRPC input listens on; else 0.
    port: u16,
    /// Set by `close`: an endpoint's input ends with an error in any case.
    closing: Arc<AtomicBool>,
    routes: Arc<Inbox>,
    processors: Arc<Inbox>,
    _runtime: Arc<Runtime>,
}

impl Drop for Entrypoint {
    fn drop(&mut self) {
        self.drt.shutdown();
        self.routes.close();
        self.processors.close();
    }
}

/// How to see that the input answers.
enum Probe {
    Http(String),
    Connect(String),
    Listed(EndpointId),
    None,
}

#[derive(Serialize)]
struct Started {
    host: String,
    port: u16,
}

const DEFAULT_HTTP_PORT: u16 = 8000;
const DEFAULT_GRPC_PORT: u16 = 8787;

/// The port, or a free one for 0. The crates bind for themselves and report a taken port only once everything behind the
/// server has started, and the runtime is then already shut down: hence this look before.
fn free_port(what: &str, host: &str, port: u16) -> Result<u16, Failure> {
    let unusable = |error: std::io::Error| {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => "the port is already in use".to_string(),
            _ => error.to_string(),
        };
        let mut failure =
            Failure::new("Unavailable", "frontend.bind", format!("cannot listen on {host}:{port} ({what}): {reason}"));
        failure.details = Some(serde_json::json!({ "host": host, "port": port }));
        failure
    };
    let address = (host.trim_matches(['[', ']']), port).to_socket_addrs().map_err(unusable)?.next();
    let address = address.ok_or_else(|| Failure::invalid(format!("host: {host} has no address")))?;
    let listener = TcpListener::bind(address).map_err(unusable)?;
    Ok(listener.local_addr().map_err(unusable)?.port())
}

fn api_config(args: &EntrypointArgs) -> Result<Option<FrontendApiConfig>, Failure> {
    let reasoning = args.reasoning_field.as_deref();
    let reasoning = reasoning
        .map(|name| parse::<ReasoningField>("reasoningField", "reasoning or reasoning_content", name))
        .transpose()?;
    Ok(FrontendApiConfig::from_optional_flags(
        args.anthropic_api,
        args.strip_anthropic_preamble,
        args.streaming_tool_dispatch,
        args.streaming_reasoning_dispatch,
        reasoning,
    ))
}

async fn local_model(args: EntrypointArgs, port: u16) -> Result<LocalModel, Failure> {
    let mut builder = LocalModelBuilder::default();
    if let Some(config) = api_config(&args)? {
        builder.frontend_api_config(config);
    }
    if args.metrics_prefix.is_some() {
        builder.metrics_prefix(args.metrics_prefix);
    }
    if args.runtime_config.is_some() || args.tokenizer_fallback.is_some() {
        let mut config: ModelRuntimeConfig = match args.runtime_config {
            Some(value) => read_over_defaults("runtimeConfig", value)?,
            None => ModelRuntimeConfig::default(),
        };
        if args.tokenizer_fallback.is_some() {
            config.set_tokenizer_fallback_enabled(args.tokenizer_fallback);
        }
        builder.runtime_config(config);
    }
    if let Some(name) = &args.tokenizer {
        builder.tokenizer_backend(Some(parse("tokenizer", "default, fastokens or basetenkenizer", name)?));
    }
    if let Some(name) = &args.model {
        builder.model_path(local_path(name, args.engine != EngineKind::Dynamic).await?);
    }
    if let EngineKind::Mocker = args.engine {
        builder.is_mocker(true);
    }
    builder
        .model_name(args.model_name.or(args.model))
        .model_aliases(args.model_aliases)
        .endpoint_id(
            args.input.starts_with("dyn://").then(|| args.input.parse()).transpose().map_err(Failure::internal)?,
        )
        .http_host(args.host)
        .http_port(port)
        .http_metrics_port(args.metrics_port)
        .tls_cert_path(args.tls_cert_path)
        .tls_key_path(args.tls_key_path)
        .tls_client_ca_cert_path(args.tls_client_ca_cert_path)
        .router_config(args.router.map(RouterArgs::config).transpose()?)
        .migration_limit(args.migration_limit)
        .migration_max_seq_len(args.migration_max_seq_len)
        .namespace(args.namespace)
        .namespace_prefix(args.namespace_prefix)
        .request_template(args.request_template)
        .custom_template_path(args.chat_template)
        .kv_cache_block_size(args.kv_cache_block_size);
    Ok(builder.build().await?)
}

/// Starts an input on a runtime that from then on belongs to it. `args`: `EntrypointArgs`. Gives `{host, port}`, the port
/// resolved where 0 was asked for (0 for an input without one), an `Entrypoint`, the `Inbox` of its routes, its `Processors`
/// and the `Inbox` of these, and with a policy its `Inbox` and the `HostPolicy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_entrypoint_start(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let runtime = call.handle::<Runtime>()?;
            let mut args = call.args::<EntrypointArgs>()?;
            let input = Input::try_from(args.input.as_str()).map_err(|_| {
                Failure::invalid(format!("input: expected http, grpc, text, stdin or dyn://…, got {}", args.input))
            })?;
            if matches!(input, Input::Endpoint(_)) && args.engine == EngineKind::Dynamic {
                return Err(Failure::invalid("engine: expected echo or mocker on an endpoint, got dynamic"));
            }
            if !matches!(input, Input::Endpoint(_)) && args.engine == EngineKind::Mocker {
                // It starts once discovery lists an endpoint of its component, which no other input serves.
                return Err(Failure::invalid("engine: expected a mocker on an endpoint"));
            }
            let host = args.host.clone().unwrap_or_else(|| "0.0.0.0".into());
            let port = match input {
                Input::Http => free_port("http", &host, args.port.unwrap_or(DEFAULT_HTTP_PORT))?,
                Input::Grpc => free_port("grpc", "0.0.0.0", args.port.unwrap_or(DEFAULT_GRPC_PORT))?,
                _ => 0,
            };
            if let (Input::Grpc, Some(wanted)) = (&input, args.metrics_port) {
                args.metrics_port = Some(free_port("grpc metrics", "0.0.0.0", wanted)?);
            }
            let tls = args.tls_cert_path.is_some();
            let routes = Routes::new(std::mem::take(&mut args.routes))?;
            let processors = Processors::new();
            let (processed, routed) = (args.processor, !routes.is_empty());
            let policy = args.policy.map(|args| HostPolicy::new(args, Some(&runtime.drt))).transpose()?;
            if policy.is_some() && (!matches!(input, Input::Http) || args.engine != EngineKind::Dynamic) {
                return Err(Failure::new(
                    "NotImplemented",
                    "",
                    "policy: only an HTTP frontend before workers takes one",
                ));
            }
            Ok(async move {
                let drt = runtime.drt.clone();
                let (kind, mocker, role) = (args.engine, args.mocker.take(), args.worker_type.clone());
                let model = Box::new(local_model(args, port).await?);
                let model_endpoint = model.endpoint_id().clone();
                let engine = match kind {
                    EngineKind::Dynamic => {
                        let chat_engine_factory = processed.then(|| processors.factory());
                        EngineConfig::Dynamic { model, chat_engine_factory, prefill_load_estimator: None }
                    }
                    EngineKind::Echo => EngineConfig::InProcessText { engine: make_echo_engine(), model },
                    EngineKind::Mocker => {
                        let config = MockerConfig::from_value(mocker.unwrap_or_else(|| serde_json::json!({})))
                            .map_err(|error| Failure::invalid(format!("mocker: {error:#}")))?;
                        EngineConfig::InProcessTokens {
                            engine: make_mocker_engine(drt.clone(), model_endpoint.clone(), config).await?,
                            model,
                            is_prefill: role.as_deref() == Some("prefill"),
                            is_decode: role.as_deref() == Some("decode"),
                        }
                    }
                };
                let local =
                    if host == "0.0.0.0" || host == "::" || matches!(input, Input::Grpc) { "127.0.0.1" } else { &host };
                let probe = match &input {
                    Input::Http if !tls => Probe::Http(format!("{local}:{port}")),
                    Input::Http | Input::Grpc => Probe::Connect(format!("{local}:{port}")),
                    Input::Endpoint(_) => Probe::Listed(model_endpoint),
                    _ => Probe::None,
                };
                let running = drt.clone();
                let closing = Arc::new(AtomicBool::new(false));
                let asked = closing.clone();
                let extensions = if routed { vec![routes.extension()] } else { Vec::new() };
                let inboxes = [routes.inbox.clone(), processors.inbox.clone()];
                let factory = policy.as_ref().map(|policy| policy.factory());
                let scoring = policy.as_ref().map(|policy| policy.inbox());
                let task = Task::spawn(async move {
                    let ended = match factory {
                        Some(factory) => {
                            let frontend = HttpFrontend::default().frontend_route_extensions(extensions);
                            let scored = move |config: &_, role, partition: RoutingPartitionRef<'_>| {
                                factory(config, role, partition)
                            };
                            frontend.worker_selection_policy_factory(scored).run(running, engine).await
                        }
                        None => run_input_with_frontend_route_extensions(running, input, engine, extensions).await,
                    };
                    inboxes.iter().chain(&scoring).for_each(|inbox| inbox.close());
                    if asked.load(Ordering::Acquire) { Ok(()) } else { Ok(ended?) }
                });
                let bytes = rmp_serde::to_vec_named(&Started { host, port }).map_err(Failure::internal)?;
                let (routes, inbox) = (routes.inbox, processors.inbox.clone());
                let entrypoint = Arc::new(Entrypoint {
                    drt,
                    task,
                    probe,
                    port,
                    closing,
                    routes: routes.clone(),
                    processors: inbox.clone(),
                    _runtime: runtime,
                });
                let mut handles =
                    vec![Handle::new(entrypoint), Handle::new(routes), Handle::new(processors), Handle::new(inbox)];
                handles
                    .extend(policy.into_iter().flat_map(|policy| [Handle::new(policy.inbox()), Handle::new(policy)]));
                Ok(Reply::with_handles(bytes, handles))
            })
        })
    }
}

async fn answers(probe: &Probe) -> bool {
    let (address, http) = match probe {
        Probe::Listed(_) | Probe::None => return true,
        Probe::Http(address) => (address, true),
        Probe::Connect(address) => (address, false),
    };
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return false };
    if !http {
        return true;
    }
    let request = format!("GET /live HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.is_ok() && &status[9..12] == b"200"
}

/// Completes once the input answers; fails with what ended it if it ends before. `a`: the limit in milliseconds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_entrypoint_ready(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let entrypoint = call.handle::<Entrypoint>()?;
            let limit = Duration::from_millis(call.a().max(1));
            Ok(async move {
                let answering = async {
                    if let Probe::Listed(id) = &entrypoint.probe {
                        listed(&entrypoint.drt, id.clone()).await?.await;
                    }
                    while !answers(&entrypoint.probe).await {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    if entrypoint.port != 0 {
                        crate::sockets::set_nodelay_on_listeners(entrypoint.port);
                    }
                    Ok::<_, Failure>(Reply::unit())
                };
                tokio::select! {
                    biased;
                    ended = entrypoint.task.ended() => {
                        ended?;
                        Err(Failure::closed("the frontend"))
                    }
                    answering = answering => answering,
                    () = tokio::time::sleep(limit) => Err(Failure::new(
                        "DeadlineExceeded",
                        "",
                        format!("the frontend did not answer within {} ms", limit.as_millis()),
                    )),
                }
            })
        })
    }
}

/// Completes when the input has ended, with what it failed with, if it did.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_entrypoint_wait(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let entrypoint = call.handle::<Entrypoint>()?;
            Ok(async move { entrypoint.task.ended().await.map(|()| Reply::unit()) })
        })
    }
}

/// Shuts the input's runtime down and completes when the input has ended. `a`: milliseconds after which requests in flight
/// are given up (0: never). Idempotent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dyn_entrypoint_close(call: *const dyn_call) {
    unsafe {
        op(call, |call: &Call| {
            let entrypoint = call.handle::<Entrypoint>()?;
            let limit = (call.a() > 0).then(|| Duration::from_millis(call.a()));
            Ok(async move {
                entrypoint.closing.store(true, Ordering::Release);
                if !entrypoint.task.is_over() {
                    entrypoint.drt.shutdown();
                }
                // What ended it before is told by `dyn_entrypoint_wait`.
                let _ = entrypoint.task.end_within(limit).await;
                entrypoint.drt.primary_token().cancel();
                Ok(Reply::unit())
            })
        })
    }
}
