//! The crates' entrypoint. It connects an input (HTTP, KServe gRPC, interactive text, or a Dynamo endpoint) with an
//! engine (the workers that discovery finds, `echo`, or `mocker`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dynamo_kv_router::RoutingPartitionRef;
use dynamo_llm::engines::make_echo_engine;
use dynamo_llm::entrypoint::EngineConfig;
use dynamo_llm::entrypoint::HttpFrontend;
use dynamo_llm::entrypoint::input::{Input, run_input_with_frontend_route_extensions};
use dynamo_llm::mocker::make_mocker_engine;
use dynamo_mocker::config::MockerConfig;
use dynamo_runtime::DistributedRuntime;
use serde::Serialize;

use super::copies::{SOON, share_path};
use super::entrypoint_args::{EngineKind, EntrypointArgs};
use super::probe::{Probe, free_port};
use super::processor::Processors;
use super::routes::Routes;
use super::task::{Task, listed};
use crate::abi::{Call, Failure, Handle, Reply, dyn_call, op};
use crate::inbox::Inbox;
use crate::listen;
use crate::process::fix_late_setting;
use crate::router::policy::HostPolicy;
use crate::runtime::Runtime;

/// A running input. It owns its runtime, which the crates shut down when the input ends.
struct Entrypoint {
    drt: DistributedRuntime,
    task: Task,
    probe: Probe,
    /// The port of an HTTP or gRPC input, else 0.
    port: u16,
    /// Set by `close`. An endpoint's input always ends with an error, which `close` expects.
    closing: Arc<AtomicBool>,
    routes: Arc<Inbox>,
    processors: Arc<Inbox>,
    runtime: Arc<Runtime>,
}

impl Drop for Entrypoint {
    fn drop(&mut self) {
        self.runtime.shutdown();
        self.routes.close();
        self.processors.close();
    }
}

#[derive(Serialize)]
struct Started {
    host: String,
    port: u16,
}

const DEFAULT_HTTP_PORT: u16 = 8000;
const DEFAULT_GRPC_PORT: u16 = 8787;
/// Source: dynamo-llm `grpc/service/kserve.rs`.
const DEFAULT_GRPC_METRICS_PORT: u16 = 8788;

/// Starts an input on a runtime, which then belongs to the input. `args`: `EntrypointArgs`. Returns `{host, port}` and
/// handles. The port is the actual port if 0 was requested, and 0 for an input without a port. The handles are an
/// `Entrypoint`, the `Inbox` of its routes, its `Processors` and their `Inbox`, and with a policy the policy's `Inbox`
/// and the `HostPolicy`.
/// Takes: handle runtime, args bytes. Returns: bytes, handle entrypoint, handle inbox, handle processors, handle inbox,
/// handle inbox?, handle policy?.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_entrypoint_start(call: &dyn_call) {
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
            // A mocker starts after discovery lists an endpoint of its component. No other input serves one.
            return Err(Failure::invalid("engine: expected a mocker on an endpoint"));
        }
        args.host = args.host.or_else(|| runtime.host.map(|host| host.to_string()));
        let host = args.host.clone().unwrap_or_else(|| "0.0.0.0".into());
        let port = match input {
            Input::Http => free_port("http", &host, args.port.unwrap_or(DEFAULT_HTTP_PORT))?,
            Input::Grpc => free_port("grpc", &host, args.port.unwrap_or(DEFAULT_GRPC_PORT))?,
            _ => 0,
        };
        if let (Input::Grpc, Some(wanted)) = (&input, args.metrics_port) {
            args.metrics_port = Some(free_port("grpc metrics", &host, wanted)?);
        }
        // The crate has no option for the address of its gRPC servers.
        if let (Input::Grpc, Ok(host)) = (&input, host.parse()) {
            let metrics_port = args.metrics_port.unwrap_or(DEFAULT_GRPC_METRICS_PORT);
            for port in [port, metrics_port] {
                listen::set_host_of_port(port, host);
            }
        }
        if matches!(input, Input::Text | Input::Stdin) {
            // The crates shut the runtime down at the end of what the user types.
            runtime.may_end.store(true, Ordering::Release);
        }
        let tls = args.tls_cert_path.is_some();
        let routes = Routes::new(std::mem::take(&mut args.routes))?;
        let processors = Processors::new();
        let (processed, routed) = (args.processor, !routes.is_empty());
        let policy = args.policy.map(|args| HostPolicy::new(args, Some(&runtime.drt))).transpose()?;
        if policy.is_some() && (!matches!(input, Input::Http) || args.engine != EngineKind::Dynamic) {
            return Err(Failure::new("NotImplemented", "", "policy: only an HTTP frontend with workers supports one"));
        }
        if let Some(limit) = args.pre_commit_error_peek_ms {
            fix_late_setting(limit)?;
        }
        Ok(async move {
            let drt = runtime.drt.clone();
            if matches!(input, Input::Endpoint(_)) {
                crate::sockets::start_request_plane(&drt).await?;
            }
            let (kind, mocker, role) = (args.engine, args.mocker.take(), args.worker_type.clone());
            let model = Box::new(args.local_model(port).await?);
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
            let local = if host == "0.0.0.0" || host == "::" { "127.0.0.1" } else { &host };
            let probe = match &input {
                Input::Http if !tls => Probe::Http(format!("{local}:{port}")),
                Input::Http | Input::Grpc => Probe::Connect(format!("{local}:{port}")),
                Input::Endpoint(_) => Probe::Listed(model_endpoint),
                _ => Probe::None,
            };
            let running = drt.clone();
            let closing = Arc::new(AtomicBool::new(false));
            let (is_closing, leased) = (closing.clone(), runtime.clone());
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
                if is_closing.load(Ordering::Acquire) {
                    return Ok(());
                }
                ended?;
                leased.check_lease()
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
                runtime,
            });
            let mut handles =
                vec![Handle::new(entrypoint), Handle::new(routes), Handle::new(processors), Handle::new(inbox)];
            handles.extend(policy.into_iter().flat_map(|policy| [Handle::new(policy.inbox()), Handle::new(policy)]));
            Ok(Reply::with_handles(bytes, handles))
        })
    })
}

/// Completes when the input answers. Fails if the input ends before. `a`: the time limit in milliseconds.
/// Takes: handle entrypoint, a timeoutMs. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_entrypoint_ready(call: &dyn_call) {
    op(call, |call: &Call| {
        let entrypoint = call.handle::<Entrypoint>()?;
        let limit = Duration::from_millis(call.a().max(1));
        Ok(async move {
            let answering = async {
                if let Probe::Listed(id) = &entrypoint.probe {
                    listed(&entrypoint.drt, id.clone()).await?.await;
                    let component = entrypoint.drt.namespace(&id.namespace)?.component(&id.component)?;
                    share_path(&component.endpoint(&id.name), SOON).await?;
                }
                while !entrypoint.probe.answers().await {
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

/// Completes when the input has ended. Fails if the input failed.
/// Takes: handle entrypoint. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_entrypoint_wait(call: &dyn_call) {
    op(call, |call: &Call| {
        let entrypoint = call.handle::<Entrypoint>()?;
        Ok(async move { entrypoint.task.ended().await.map(|()| Reply::unit()) })
    })
}

/// Shuts the runtime of the input down and completes when the input has ended. `a`: milliseconds after which requests
/// in flight are abandoned (0: never). Idempotent.
/// Takes: handle entrypoint, a timeoutMs. Returns: nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dyn_entrypoint_close(call: &dyn_call) {
    op(call, |call: &Call| {
        let entrypoint = call.handle::<Entrypoint>()?;
        let limit = (call.a() > 0).then(|| Duration::from_millis(call.a()));
        Ok(async move {
            entrypoint.closing.store(true, Ordering::Release);
            if !entrypoint.task.is_over() {
                entrypoint.runtime.shutdown();
            }
            // `dyn_entrypoint_wait` reports an earlier failure.
            let _ = entrypoint.task.end_within(limit).await;
            entrypoint.drt.primary_token().cancel();
            Ok(Reply::unit())
        })
    })
}
