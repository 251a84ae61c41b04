//! The echo of the benches on Dynamo's crates alone, without JavaScript. The addon is compared with it.
//!
//! echo_peer serve NAMESPACE | echo_peer call NAMESPACE
//!
//! Commands and answers are lines of JSON, like those of the peers in bench/peers.

use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, ensure};
use dynamo_runtime::engine::{AsyncEngine, AsyncEngineContextProvider, ResponseStream, async_trait};
use dynamo_runtime::pipeline::network::Ingress;
use dynamo_runtime::pipeline::{ManyOut, PushRouter, RouterMode, SingleIn};
use dynamo_runtime::protocols::annotated::Annotated;
use dynamo_runtime::worker::Worker;
use dynamo_runtime::{DistributedRuntime, component::Endpoint};
use futures::StreamExt;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Text {
    text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Items {
    bytes: usize,
    count: usize,
}

fn text_of(bytes: usize) -> String {
    "dynamo ".chars().cycle().take(bytes).collect()
}

struct Echo;

#[async_trait]
impl AsyncEngine<SingleIn<Text>, ManyOut<Annotated<Text>>, Error> for Echo {
    async fn generate(&self, request: SingleIn<Text>) -> Result<ManyOut<Annotated<Text>>> {
        let (text, context) = request.transfer(());
        let items = futures::stream::iter([Annotated::from_data(text)]);
        Ok(ResponseStream::new(Box::pin(items), context.context()))
    }
}

#[async_trait]
impl AsyncEngine<SingleIn<Items>, ManyOut<Annotated<Text>>, Error> for Echo {
    async fn generate(&self, request: SingleIn<Items>) -> Result<ManyOut<Annotated<Text>>> {
        let (Items { bytes, count }, context) = request.transfer(());
        let text = text_of(bytes);
        let items = futures::stream::iter(0..count).map(move |_| Annotated::from_data(Text { text: text.clone() }));
        Ok(ResponseStream::new(Box::pin(items), context.context()))
    }
}

fn reply(answer: Value) {
    println!("{}", json!({ "bench": answer }));
}

#[derive(Clone, Deserialize)]
struct Command {
    kind: String,
    concurrency: usize,
    bytes: usize,
    count: usize,
    ms: u64,
}

/// The commands. Their own thread reads them, so that waiting for a command blocks nothing else.
fn commands() -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Caller {
    echoes: PushRouter<Text, Annotated<Text>>,
    streams: PushRouter<Items, Annotated<Text>>,
}

impl Caller {
    /// Makes one call. Returns the number of items.
    async fn call(&self, command: &Command, text: &str) -> Result<usize> {
        let (mut stream, expected) = match command.kind.as_str() {
            "unary" => (self.echoes.round_robin(Text { text: text.to_string() }.into()).await?, 1),
            _ => (
                self.streams.round_robin(Items { bytes: command.bytes, count: command.count }.into()).await?,
                command.count,
            ),
        };
        let mut got = 0;
        while let Some(item) = stream.next().await {
            let length = item.into_result()?.map_or(0, |item| item.text.len());
            ensure!(length == command.bytes, "length: expected {}, got {length}", command.bytes);
            got += 1;
        }
        ensure!(got == expected, "items: expected {expected}, got {got}");
        Ok(got)
    }

    /// A closed loop: `concurrency` calls at a time until the time is over. The calls that are then in flight are
    /// awaited and counted.
    async fn measure(self: &Arc<Self>, command: Command) -> Result<Value> {
        let text: Arc<str> = text_of(command.bytes).into();
        let begin = Instant::now();
        let end = begin + Duration::from_millis(command.ms);
        let lanes = (0..command.concurrency).map(|_| {
            let (caller, command, text) = (self.clone(), command.clone(), text.clone());
            tokio::spawn(async move {
                let (mut latencies, mut items, mut now) = (Vec::new(), 0, Instant::now());
                loop {
                    items += caller.call(&command, &text).await?;
                    let after = Instant::now();
                    latencies.push((after - now).as_secs_f64() * 1000.0);
                    now = after;
                    if now >= end {
                        return Ok::<_, Error>((latencies, items));
                    }
                }
            })
        });
        let (mut latencies, mut items) = (Vec::new(), 0);
        for lane in try_join_all(lanes).await? {
            let (each, count) = lane?;
            latencies.extend(each);
            items += count;
        }
        let seconds = begin.elapsed().as_secs_f64();
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| latencies[((latencies.len() as f64 * share) as usize).min(latencies.len() - 1)];
        Ok(json!({ "calls": latencies.len(), "items": items, "seconds": seconds, "p50Ms": at(0.5), "p99Ms": at(0.99) }))
    }
}

async fn serve(echo: Endpoint, items: Endpoint) -> Result<()> {
    let echoes = Ingress::<SingleIn<Text>, ManyOut<Annotated<Text>>>::for_engine(Arc::new(Echo))?;
    let streams = Ingress::<SingleIn<Items>, ManyOut<Annotated<Text>>>::for_engine(Arc::new(Echo))?;
    let _served = (
        echo.endpoint_builder().handler(echoes).start_with_registration().await?,
        items.endpoint_builder().handler(streams).start_with_registration().await?,
    );
    let mut lines = commands();
    reply(json!({ "ready": true }));
    while lines.recv().await.is_some() {
        reply(json!({}));
    }
    Ok(())
}

async fn call(echo: Endpoint, items: Endpoint) -> Result<()> {
    let (echo, items) = (echo.client().await?, items.client().await?);
    echo.wait_for_instances().await?;
    items.wait_for_instances().await?;
    let caller = Arc::new(Caller {
        echoes: PushRouter::from_client(echo, RouterMode::RoundRobin).await?,
        streams: PushRouter::from_client(items, RouterMode::RoundRobin).await?,
    });
    let mut lines = commands();
    reply(json!({ "ready": true }));
    while let Some(line) = lines.recv().await {
        reply(match caller.measure(serde_json::from_str(&line)?).await {
            Ok(figures) => figures,
            Err(error) => json!({ "error": error.to_string() }),
        });
    }
    Ok(())
}

async fn run(role: String, namespace: String) -> Result<()> {
    let runtime = DistributedRuntime::from_settings(Worker::runtime_from_existing()?).await?;
    let component = runtime.namespace(&namespace)?.component("bench")?;
    let (echo, items) = (component.endpoint("echo"), component.endpoint("items"));
    match role.as_str() {
        "serve" => serve(echo, items).await,
        _ => call(echo, items).await,
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(role), Some(namespace)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: echo_peer serve|call NAMESPACE");
    };
    Worker::ensure_process_runtime()?.handle().clone().block_on(run(role, namespace))?;
    std::process::exit(0)
}
