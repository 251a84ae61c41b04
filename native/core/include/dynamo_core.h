#pragma once

// Generated from native/core/src by `npm run header`. Do not edit.

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// `number` of a reply that carries none.
#define DYN_NO_NUMBER UINT64_MAX

// An object of this library. Opaque to C; freed once with `dyn_handle_free`. Freeing drops one reference: what still
// runs keeps the object alive, and closing is a call of its own.
typedef struct dyn_handle dyn_handle;

// Bytes owned by the receiver, who gives them back with `dyn_bytes_free`.
typedef struct {
  uint8_t *data;
  size_t len;
} dyn_bytes;

// Bytes borrowed for the length of a call.
typedef struct {
  const uint8_t *data;
  size_t len;
} dyn_slice;

// `failed` is 0 with a result in `bytes` and `handles`, or 1 with a MessagePack error map in `bytes`.
typedef struct {
  int32_t failed;
  // A small result that is no object: a state, a count.
  uint64_t number;
  dyn_bytes bytes;
  // `handle_count` owned handles, in an array given back with `dyn_reply_free`.
  dyn_handle **handles;
  size_t handle_count;
} dyn_reply;

// Runs exactly once for an asynchronous call, on any thread; owns the reply. It must not block.
typedef void (*dyn_done)(void *user, dyn_reply reply);

// The arguments of every entry. Those that an entry does not name are ignored.
typedef struct {
  // The object called, or null. Borrowed.
  const dyn_handle *handle;
  // A second object, or null. Borrowed.
  const dyn_handle *other;
  // MessagePack: a map of options. Borrowed.
  dyn_slice args;
  // MessagePack: the user's own value, passed through unread. Borrowed.
  dyn_slice payload;
  uint64_t a;
  uint64_t b;
  // Asynchronous entries only: the caller's id, unique in the process, for `dyn_op_cancel`.
  uint64_t op;
  // Asynchronous entries only: groups ops for `dyn_scope_close`.
  uint64_t scope;
  dyn_done done;
  void *user;
} dyn_call;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

void dyn_bytes_free(dyn_bytes bytes);

// Gives back the array of handles, not the handles themselves: their new owner frees each with `dyn_handle_free`.
void dyn_handles_free(dyn_handle **handles,
                      size_t count);

void dyn_handle_free(dyn_handle *handle);

// Aborts an op: it completes as cancelled, unless it completes first. Idempotent; an unknown op is no error.
void dyn_op_cancel(uint64_t op);

// Aborts every op of a scope; each still completes once.
void dyn_scope_close(uint64_t scope);

// Completes with the next events: requests up to the room granted, and every caller lost. `a`: more room. Fails as closed
// when the inbox is.
void dyn_inbox_accept(const dyn_call *call);

// Makes room for `a` more requests while an accept is waiting.
dyn_reply dyn_inbox_grant(const dyn_call *call);

dyn_reply dyn_inbox_close(const dyn_call *call);

// An inbox that no worker owns.
dyn_reply dyn_conformance_inbox(const dyn_call *call);

// Runs a kit on an inbox. `args`: `{kit: token | encode | raw, engine}`. Fails with the check that the engine failed.
// The kit asks for more than one engine; each request's metadata has the number of its engine.
void dyn_conformance_run(const dyn_call *call);

// Starts an input on a runtime that from then on belongs to it. `args`: `EntrypointArgs`. Gives an `Entrypoint` and
// `{host, port}`, the port resolved where 0 was asked for (0 for an input without one).
void dyn_entrypoint_start(const dyn_call *call);

// Completes once the input answers; fails with what ended it if it ends before. `a`: the limit in milliseconds.
void dyn_entrypoint_ready(const dyn_call *call);

// Completes when the input has ended, with what it failed with, if it did.
void dyn_entrypoint_wait(const dyn_call *call);

// Shuts the input's runtime down and completes when the input has ended. `a`: milliseconds after which requests in flight
// are given up (0: never). Idempotent.
void dyn_entrypoint_close(const dyn_call *call);

// Publishes a model card for an endpoint. `args`: `ModelArgs`.
void dyn_model_register(const dyn_call *call);

// Takes an endpoint's model card back. `args`: `{loraName}`.
void dyn_model_unregister(const dyn_call *call);

// Replaces the taints of an endpoint's model card. `args`: an array of strings.
void dyn_model_taints(const dyn_call *call);

// Fetches a model from the model hub into its cache. `args`: `{name, ignoreWeights}`. Gives the directory, a string.
void dyn_model_fetch(const dyn_call *call);

// Publishes KV cache events of one rank, in order. `payload`: a MessagePack array of `KvCacheEvent`s in the crates' own
// field names. Number 0, or 1 where the rank has no publisher (yet): KV routing is off, or the worker has not started.
dyn_reply dyn_worker_publish_kv(const dyn_call *call);

// Publishes one rank's load. `args`: `{dpRank, kvUsedBlocks, kvTotalBlocks, gpuCacheUsage, kvCacheHitRate}`. Number as
// for `dyn_worker_publish_kv`.
dyn_reply dyn_worker_publish_load(const dyn_call *call);

// Starts a worker for an endpoint. `args`: `WorkerArgs`. Gives a `HostWorker` and the `Inbox` on which its engine is
// called; the engine is started through it, so the inbox must be accepted from before the worker can become ready.
void dyn_worker_start(const dyn_call *call);

// Completes once discovery lists the worker's instance; fails with what ended the worker if it ends before.
void dyn_worker_ready(const dyn_call *call);

// Completes when the worker has ended, with what it failed with, if it did.
void dyn_worker_wait(const dyn_call *call);

// Leaves discovery, waits the crates' grace period, lets what runs end, cleans the engine up, and completes. Idempotent.
void dyn_worker_close(const dyn_call *call);

// Installs the log of the process, once; the payload is a filter in `DYN_LOG`'s syntax (`info`, `warn,dynamo_llm=debug`).
// Gives a `PullStream` of lines `{level, target, message, time, dropped}`. A process that had a log
// already keeps it, with its filter.
dyn_reply dyn_log_open(const dyn_call *call);

// `args`: `{mode}`, one of `RouterMode`'s names but `kv`. Gives a `Client`.
void dyn_endpoint_client(const dyn_call *call);

// Opens a request: the payload goes to one instance when the stream is first pulled. Gives a `PullStream`.
dyn_reply dyn_client_open(const dyn_call *call);

// Opens a request that is itself a stream. Gives a `PullStream` of answers and the `Sink` of the request's items.
dyn_reply dyn_client_open_bidirectional(const dyn_call *call);

// The instances known now, as an array of maps.
dyn_reply dyn_client_instances(const dyn_call *call);

// Completes once `a` instances can be routed to, with all of them.
void dyn_client_wait(const dyn_call *call);

// Ends the client's background tasks; its open streams go on. Idempotent.
dyn_reply dyn_client_close(const dyn_call *call);

// Gives a `Runtime` and a map of what was resolved.
void dyn_runtime_create(const dyn_call *call);

// Runs the three phases of shutdown and completes when the last is over. `a`: milliseconds after which the wait for
// requests in flight is given up (0: the crates' own limit).
void dyn_runtime_close(const dyn_call *call);

dyn_reply dyn_versions(const dyn_call *call);

// A stream of the changes to an endpoint's instances, from those that are there on.
dyn_reply dyn_endpoint_watch(const dyn_call *call);

// Every endpoint instance that discovery lists now.
void dyn_runtime_instances(const dyn_call *call);

// `args`: `{namespace, component, endpoint}`, of a runtime. Gives an `EndpointRef`.
dyn_reply dyn_runtime_endpoint(const dyn_call *call);

// Takes the endpoint's instance out of discovery (`a` = 0) or puts it back (`a` = 1), while it goes on serving.
void dyn_endpoint_register(const dyn_call *call);

// `args`: a scope and a topic, of a runtime. Gives a `Publisher`.
void dyn_runtime_publisher(const dyn_call *call);

// Publishes the payload, which is MessagePack as the crates would encode it.
void dyn_publisher_publish(const dyn_call *call);

dyn_reply dyn_publisher_close(const dyn_call *call);

// `args`: a scope and a topic, of a runtime. Completes once subscribed, with a `PullStream` of maps
// `{publisherId, sequence, publishedAt, topic, payload}`, the payload as bytes.
void dyn_runtime_subscribe(const dyn_call *call);

// `a` = 1: `/health` answers ready; 0: not ready.
dyn_reply dyn_runtime_set_health(const dyn_call *call);

// Registers `/engine/{route}` on the status server. Gives the `Inbox` that its requests come to; both ways JSON values.
dyn_reply dyn_runtime_engine_route(const dyn_call *call);

// Makes a metric at a place of the runtime's hierarchy. Gives a `Metric`.
dyn_reply dyn_runtime_metric(const dyn_call *call);

// `args`: `{verb, value, labels}` with the labels' values in the order of their names.
dyn_reply dyn_metric_change(const dyn_call *call);

// `args`: a place. Gives a `MetricsText`, whose last text every scrape reads: no scrape ever waits for the host.
dyn_reply dyn_runtime_metrics_text(const dyn_call *call);

// The payload is the new text, in UTF-8.
dyn_reply dyn_metrics_text_set(const dyn_call *call);

// All metrics of the runtime, as Prometheus text in UTF-8.
dyn_reply dyn_runtime_metrics(const dyn_call *call);

// Serves an `EndpointRef`; completes once its instance can be called, with a `Served` and its `Inbox`.
void dyn_endpoint_serve(const dyn_call *call);

// Leaves discovery, lets the requests in flight end, then closes the inbox. Idempotent.
void dyn_served_close(const dyn_call *call);

// `a`: 0 the payload is a value, 1 a map with annotations. Gives one byte: 0 taken, 1 full and not taken, 2 closed. `b` = 1
// ends the stream behind the item.
dyn_reply dyn_sink_write(const dyn_call *call);

// Ends the stream; `args`, if there, is the failure that ended it.
dyn_reply dyn_sink_end(const dyn_call *call);

// Completes once the queue is half empty (number 0) or its reader is gone (2).
void dyn_sink_ready(const dyn_call *call);

// `a`: the least number of items to wait for. `b`: the most to take; the low 32 bits count items, the high 32 KiB.
void dyn_stream_pull(const dyn_call *call);

// `a` = 0: stop, the producer may still finish and its end comes as usual. `a` = 1: kill, the stream ends now.
dyn_reply dyn_stream_cancel(const dyn_call *call);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
