#pragma once

// Generated from native/core/src by `npm run header`. Do not edit.

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// `number` of a reply that carries none.
#define DYN_NO_NUMBER UINT64_MAX

#define BYTES 16

// In place of a block's id where there is none.
#define NO_BLOCK UINT32_MAX

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

// One more handle of the same object, freed once as any.
dyn_handle *dyn_handle_share(const dyn_handle *handle);

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

// `args`: `{what, count, calls, blockSize, blockCount}` with what of allocate, register, match, matchInactive and hash. The
// nanoseconds that all calls took.
dyn_reply dyn_kvbm_bench(const dyn_call *call);

// Copies the registered blocks of batch `a` to the mutable ones of batch `b`, which is one of `other`'s; of each the layers
// that `args` names (8 bytes, little-endian: first, count), or all.
void dyn_blocks_copy(const dyn_call *call);

// The bytes of block `b` of the registered batch `a`.
void dyn_blocks_read(const dyn_call *call);

// Writes the payload to block `b` of the mutable batch `a`.
void dyn_blocks_write(const dyn_call *call);

// Where block `b` of batch `a` lies, or with `a` 0 all blocks: the address as the number, the length (8 bytes,
// little-endian), and a handle that keeps it there. For the binding, which makes a view of it.
dyn_reply dyn_blocks_memory(const dyn_call *call);

// The checksums that are kept of the blocks of the batch `a`: for each block 8 bytes a layer, little-endian, 0 where none is.
dyn_reply dyn_blocks_checksums(const dyn_call *call);

// As `dyn_blocks_checksums`, but of the bytes themselves: those in the memory of the blocks of the batch `a`, or with `a` 0
// those of the payload.
dyn_reply dyn_blocks_digest(const dyn_call *call);

// Keeps the checksums in the payload, as `dyn_blocks_checksums` gives them, for the layers that `b` names (first, count) of
// the mutable blocks of the batch `a`: whoever wrote their bytes elsewhere knows them.
dyn_reply dyn_blocks_note(const dyn_call *call);

// `args`: the manager's options, as `Options`. `other`: its `Registry`. Gives a `Blocks`.
dyn_reply dyn_blocks_create(const dyn_call *call);

// `a`: a manager's id. Gives its options, and a `Blocks` and a `Registry` of the calling environment.
dyn_reply dyn_blocks_attach(const dyn_call *call);

// The manager's id, unique in the process.
dyn_reply dyn_blocks_id(const dyn_call *call);

// Blocks that an allocation could get.
dyn_reply dyn_blocks_available(const dyn_call *call);

// Words of 8 bytes in the order of `Pool::statistics`.
dyn_reply dyn_blocks_statistics(const dyn_call *call);

// Resets every inactive block. Two words of 8 bytes: how many were inactive, how many blocks are held.
dyn_reply dyn_blocks_drain(const dyn_call *call);

// Gives a `PullStream` of events, see `journal`; with `a` not 0 it begins with what is there.
dyn_reply dyn_blocks_events(const dyn_call *call);

// Allocates `a` blocks. The payload is written: from its word `b` on the blocks' ids. The batch's id, or 0 where there are
// not that many. The batches that `args` names, as for `dyn_blocks_release`, go back before.
dyn_reply dyn_blocks_allocate(const dyn_call *call);

// Names the blocks of the mutable batch `a`, by those that `b` names of the sequence `other` (first, count), or by the
// lineage hashes in `args`; with the latter the payload may have their identities (16 bytes each: the hash of the tokens
// and the parent's sequence hash, little-endian).
dyn_reply dyn_blocks_stage(const dyn_call *call);

// Names the blocks of the mutable batch `a` as those of the registered batch `b`, which is one of `other`'s.
dyn_reply dyn_blocks_stage_as(const dyn_call *call);

// Registers the staged batch `a`. Number: how many blocks were replaced by one that was there; where some were, the payload
// is written from its word `b` on: the ids of all.
dyn_reply dyn_blocks_register(const dyn_call *call);

// Stages and registers as many blocks of the mutable batch `a`, its first, as `args` names of the sequence `other`
// (8 bytes, little-endian: first, count); the payload is written as for `dyn_blocks_register`. Gives the id of their
// batch; `a` keeps the others.
dyn_reply dyn_blocks_commit(const dyn_call *call);

// Makes the staged batch `a` mutable again.
dyn_reply dyn_blocks_unstage(const dyn_call *call);

// Matches the longest prefix of the blocks that `a` names of the sequence `other` (first, count); then the batches that
// `args` names, as for `dyn_blocks_release`, go back before. Without `other` of the lineage hashes in `args`. The payload is
// written from its word `b` on: how many match, then their ids. The batch's id, or 0.
dyn_reply dyn_blocks_match(const dyn_call *call);

// As `dyn_blocks_match`, but goes on after one that is missing: a word a name, the block's id or 2^32 - 1.
dyn_reply dyn_blocks_match_each(const dyn_call *call);

// As `dyn_blocks_match_each` for the lineage hashes in `args`; counts as a use where `a` is not 0, and a repeated name
// counts once.
dyn_reply dyn_blocks_scan(const dyn_call *call);

// Gives back the batches whose ids are in `args`, as doubles; one that is gone is no error. Blocks lent to a copy go back
// when that is over.
dyn_reply dyn_blocks_release(const dyn_call *call);

// Holds the blocks `b` (first, count) of the registered batch `a` once more. Gives the new batch's id.
dyn_reply dyn_blocks_clone(const dyn_call *call);

// Moves the blocks of the batch `a` from `b` on to a batch of their own, whose id it gives.
dyn_reply dyn_blocks_split(const dyn_call *call);

// Moves the blocks of the batch `b` behind those of `a`; `b` is gone.
dyn_reply dyn_blocks_join(const dyn_call *call);

// Gives the id of a batch that names the registered batch `a`'s blocks without holding them.
dyn_reply dyn_blocks_weak(const dyn_call *call);

// The blocks of the weak batch `a` that are still there, as `dyn_blocks_match_each`.
dyn_reply dyn_blocks_upgrade(const dyn_call *call);

// The lineage hashes of the batch `a`.
dyn_reply dyn_blocks_hashes(const dyn_call *call);

// Whether the blocks of the registered batch `a` are reset by their last release (`b` not 0) or stay cached.
dyn_reply dyn_blocks_reset_on_release(const dyn_call *call);

// Gives back all that the environment holds of the manager, which is gone with its last environment. Idempotent.
dyn_reply dyn_blocks_close(const dyn_call *call);

// What the lineage hashes of the registered batch `a` do not tell, 16 bytes a block as `dyn_blocks_stage` takes them;
// nothing where a block's are not known.
dyn_reply dyn_blocks_identities(const dyn_call *call);

// `args`: `{frequency, eventCapacity}`. Gives a `Registry`.
dyn_reply dyn_registry_create(const dyn_call *call);

// Names are as for `dyn_blocks_match`, in `a`; `b` is the sequence's block size. Gives a byte a name, with a bit a tier:
// 1 device, 2 host, 4 disk.
dyn_reply dyn_registry_presence(const dyn_call *call);

// How often each name was used lately, a byte each: 0 to 15. With `b` not 0 they are used once more first.
dyn_reply dyn_registry_frequency(const dyn_call *call);

dyn_reply dyn_registry_count(const dyn_call *call);

// Gives a `PullStream` of the crate's own events: a byte (0 created, 1 removed) and the lineage hash, or 2 and how many
// were lost (8 bytes, little-endian).
dyn_reply dyn_registry_events(const dyn_call *call);

// The payload is the tokens, 4 bytes each. `a`: tokens in a block. `args`: `{salt, loraName, multimodal: [{hash, offset,
// length}]}`. Gives a `Sequence`.
dyn_reply dyn_sequence_create(const dyn_call *call);

// The payload is more tokens. `args`: `{multimodal}`, with offsets from the first of them. Number: full blocks now.
dyn_reply dyn_sequence_extend(const dyn_call *call);

// Keeps the first `a` tokens.
dyn_reply dyn_sequence_truncate(const dyn_call *call);

// The tokens from `a` to `b`, 4 bytes each; nothing where the range is empty.
dyn_reply dyn_sequence_tokens(const dyn_call *call);

// Of the blocks that `a` names (first, count), what `b` asks for: 0 the hashes of their tokens, 1 their sequence hashes,
// each of 8 bytes and written to the payload; 2 their lineage hashes (16 bytes, big-endian), which it gives; 3 gives the
// salt's hash.
dyn_reply dyn_sequence_hashes(const dyn_call *call);

// Gives a `Sequence` of its own with the same tokens, salt and multimodal runs.
dyn_reply dyn_sequence_clone(const dyn_call *call);

// Forgets the tokens.
dyn_reply dyn_sequence_close(const dyn_call *call);

// An inbox that no worker owns.
dyn_reply dyn_conformance_inbox(const dyn_call *call);

// Runs a kit on an inbox. `args`: `{kit: token | encode | raw, engine}`. Fails with the check that the engine failed.
// The kit asks for more than one engine; each request's metadata has the number of its engine.
void dyn_conformance_run(const dyn_call *call);

// Starts an input on a runtime that from then on belongs to it. `args`: `EntrypointArgs`. Gives `{host, port}`, the port
// resolved where 0 was asked for (0 for an input without one), an `Entrypoint`, the `Inbox` of its routes, its `Processors`
// and the `Inbox` of these, and with a policy its `Inbox` and the `HostPolicy`.
void dyn_entrypoint_start(const dyn_call *call);

// Completes once the input answers; fails with what ended it if it ends before. `a`: the limit in milliseconds.
void dyn_entrypoint_ready(const dyn_call *call);

// Completes when the input has ended, with what it failed with, if it did.
void dyn_entrypoint_wait(const dyn_call *call);

// Shuts the input's runtime down and completes when the input has ended. `a`: milliseconds after which requests in flight
// are given up (0: never). Idempotent.
void dyn_entrypoint_close(const dyn_call *call);

// Gives a `FirstTokens` for an endpoint. `args`: the worker type, `aggregated` or `decode`.
void dyn_first_token_open(const dyn_call *call);

// Tells routers that a request's prefill is over. `a`: the data-parallel rank. The payload is the request's id.
dyn_reply dyn_first_token_notify(const dyn_call *call);

// Ends a `FirstTokens`. Idempotent.
dyn_reply dyn_first_token_close(const dyn_call *call);

// Gives a `ForwardPass` for an endpoint, which sends a sign of life a second while nothing else is published. `args`:
// `{ranks, workerId}`.
void dyn_forward_pass_open(const dyn_call *call);

// Publishes one pass. `a`: the rank. `args`: `PassArgs`.
dyn_reply dyn_forward_pass_publish(const dyn_call *call);

// Ends a `ForwardPass` or a relay. Idempotent.
dyn_reply dyn_forward_pass_close(const dyn_call *call);

// Passes on what an engine publishes on a ZMQ socket of its own. The payload is the socket's address. Gives a relay.
void dyn_forward_pass_relay(const dyn_call *call);

// Publishes a model card for an endpoint. `args`: `ModelArgs`.
void dyn_model_register(const dyn_call *call);

// Takes an endpoint's model card back. `args`: `{loraName}`.
void dyn_model_unregister(const dyn_call *call);

// Replaces the taints of an endpoint's model card. `args`: an array of strings.
void dyn_model_taints(const dyn_call *call);

// The parsers that a card may name. Gives `{toolCall, reasoning}`, each sorted.
dyn_reply dyn_model_parsers(const dyn_call *call);

// Fetches a model from the model hub into its cache. `args`: `{name, ignoreWeights}`. Gives the directory, a string.
void dyn_model_fetch(const dyn_call *call);

// Sends a processed request to a model's workers, as the child of the client's. `a`: the model, `b`: the call that it is
// asked for. `payload`: a `PreprocessedRequest` in the crates' own field names. Gives a `PullStream` of outputs.
dyn_reply dyn_processor_generate(const dyn_call *call);

// The engine's own metrics from now on: the payload is Prometheus text in UTF-8, which every scrape shows.
dyn_reply dyn_worker_metrics_text(const dyn_call *call);

// Publishes KV cache events of one rank, in order. `payload`: a MessagePack array of `KvCacheEvent`s in the crates' own
// field names. Number 0, or 1 where the rank has no publisher (yet): KV routing is off, or the worker has not started.
dyn_reply dyn_worker_publish_kv(const dyn_call *call);

// Publishes one rank's load. `args`: `{dpRank, kvUsedBlocks, kvTotalBlocks, gpuCacheUsage, kvCacheHitRate}`. Number as
// for `dyn_worker_publish_kv`.
dyn_reply dyn_worker_publish_load(const dyn_call *call);

// Completes once `a` instances can be routed to whose card has this in its `runtime_data`, with all of these. `args`: a
// map of keys and their values.
void dyn_client_wait_for_data(const dyn_call *call);

// Starts a worker for an endpoint. `args`: `WorkerArgs`. Gives a `HostWorker` and the `Inbox` on which its engine is
// called; the engine is started through it, so the inbox must be accepted from before the worker can become ready.
void dyn_worker_start(const dyn_call *call);

// Completes once discovery lists the worker's instance; fails with what ended the worker if it ends before.
void dyn_worker_ready(const dyn_call *call);

// Completes when the worker has ended, with what it failed with, if it did.
void dyn_worker_wait(const dyn_call *call);

// Leaves discovery, waits the crates' grace period, lets what runs end, cleans the engine up, and completes. Idempotent.
void dyn_worker_close(const dyn_call *call);

// Opens the log of the process; the payload is a filter in `DYN_LOG`'s syntax (`info`, `warn,dynamo_llm=debug`), from now on
// that of all who have it open. Gives a `PullStream` of lines `{level, target, message, time, dropped}`, each of which goes to
// one of them. A process that had a log already, of another library, keeps that, with its filter.
dyn_reply dyn_log_open(const dyn_call *call);

// `args`: `AttachedArgs`, of the workers' endpoint. Gives an `Attached`, and with a policy its `Inbox` and the `HostPolicy`.
void dyn_attached_create(const dyn_call *call);

// `args`: `Prompt`. Completes with the worker chosen.
void dyn_attached_select(const dyn_call *call);

// `args`: `Prompt`. Completes with the blocks that each worker has.
void dyn_attached_overlap(const dyn_call *call);

// `args`: `Prompt`. Completes with each worker's load if it got the request.
void dyn_attached_loads(const dyn_call *call);

// `args`: `Prompt`. Completes with an `Explanation` of what would be chosen now; books nothing.
void dyn_attached_explain(const dyn_call *call);

// Marks a booked request. `args`: its id. `a`: 0 its prefill is over, 1 it has ended.
void dyn_attached_mark(const dyn_call *call);

// Completes with events that rebuild the router's index, as words.
void dyn_attached_dump(const dyn_call *call);

// Ends the router's tasks, once what it was asked is answered. Idempotent.
dyn_reply dyn_attached_close(const dyn_call *call);

// The payload is tokens, as 32-bit words; `a` the block size; `args` may be `HashArgs`. Gives a hash a whole block, as words.
dyn_reply dyn_hash_blocks(const dyn_call *call);

// The payload is hashes of blocks, as words. Gives the rolling hash of the sequence up to each.
dyn_reply dyn_hash_sequences(const dyn_call *call);

// `args`: `IndexArgs`. Gives an `Index`.
dyn_reply dyn_indexer_create(const dyn_call *call);

// The payload is events, as words. Completes when they are applied, in order.
void dyn_indexer_apply(const dyn_call *call);

// The payload is hashes of blocks, as words. Completes with scores.
void dyn_indexer_match(const dyn_call *call);

// As `dyn_indexer_match`, at once on the calling thread; not for kind `radix`.
dyn_reply dyn_indexer_match_here(const dyn_call *call);

// Records what was routed, for an approximate index. The payload is a worker's id and the hashes of the prompt's blocks, as
// words; `a` its rank.
void dyn_indexer_routed(const dyn_call *call);

// The payload is a worker's id, as a word; `a` is 0 for all its ranks, or its rank and 1.
void dyn_indexer_remove(const dyn_call *call);

// Completes with events that rebuild the index, as words.
void dyn_indexer_dump(const dyn_call *call);

// Refuses what comes and ends the index's threads; completes when they have ended. Idempotent.
void dyn_indexer_close(const dyn_call *call);

// Gives `{scored, timedOut, failed}`.
dyn_reply dyn_policy_counts(const dyn_call *call);

// `args`: `PublisherArgs`, of an endpoint. Gives a `Publisher`.
void dyn_kv_publisher_create(const dyn_call *call);

// The payload is events, as words, published in order as one batch; their worker and rank are the publisher's.
dyn_reply dyn_kv_publisher_publish(const dyn_call *call);

// Leaves discovery. Idempotent.
dyn_reply dyn_kv_publisher_close(const dyn_call *call);

// Of an endpoint. Gives a `LoadPublisher`.
void dyn_load_publisher_create(const dyn_call *call);

// `args`: `{dpRank, activeDecodeBlocks, kvUsedBlocks}`, of which one load at least.
dyn_reply dyn_load_publisher_publish(const dyn_call *call);

// Idempotent.
dyn_reply dyn_load_publisher_close(const dyn_call *call);

// `args`: `ReplayArgs`. Completes with the crates' own report.
void dyn_replay_run(const dyn_call *call);

// `args`: `SelectRequest` (`a` = 0), or `SelectAndReserveRequest` (`a` = 1), without tokens. Completes with a
// `SelectResponse`; all in the crates' own field names.
void dyn_selection_select(const dyn_call *call);

// `args`: `OverlapScoresRequest` without tokens. Completes with an `OverlapScoresResponse`.
void dyn_selection_overlap(const dyn_call *call);

// `args`: `PotentialLoadsRequest` without tokens. Completes with each worker's load if it got the request.
void dyn_selection_potential_loads(const dyn_call *call);

// `args`: `SelectRequest` without tokens. Completes with an `Explanation` of what would be chosen now; books nothing.
void dyn_selection_explain(const dyn_call *call);

// `args`: `SelectionArgs`. Gives a `Selection`, and with a policy its `Inbox` and the `HostPolicy`.
void dyn_selection_create(const dyn_call *call);

// `args`: `WorkerRequest` in the crates' own field names. Completes with the worker's record.
void dyn_selection_put_worker(const dyn_call *call);

// The payload is a worker's id, as a word. Its blocks leave the index.
void dyn_selection_remove_worker(const dyn_call *call);

// `args`: `{model_name, routing_group}`; the payload is events, as words. Completes when they are applied.
void dyn_selection_apply(const dyn_call *call);

// `args`: `Query`. Completes with the crates' own answer, where there is one.
void dyn_selection_query(const dyn_call *call);

// Ends the service's tasks. Idempotent.
void dyn_selection_close(const dyn_call *call);

// Gives `KvRouterConfig`'s defaults, in the crates' own field names.
dyn_reply dyn_router_defaults(const dyn_call *call);

dyn_reply dyn_radix_tree_create(const dyn_call *call);

// The payload is events, as words. Gives how many of them the tree refused: their parent is not known, or they make a loop.
dyn_reply dyn_radix_tree_apply(const dyn_call *call);

// The payload is hashes of blocks, as words; `a` = 1 stops where one worker is left. Gives scores.
dyn_reply dyn_radix_tree_match(const dyn_call *call);

// The payload is a worker's id, as a word; `a` is 0 for all its ranks, or its rank and 1.
dyn_reply dyn_radix_tree_remove(const dyn_call *call);

// Gives events that rebuild the tree, as words.
dyn_reply dyn_radix_tree_dump(const dyn_call *call);

// Gives `{blocks, workers}`.
dyn_reply dyn_radix_tree_state(const dyn_call *call);

// `args`: `{mode}`, one of `RouterMode`'s names but `kv`. Gives a `Client`.
void dyn_endpoint_client(const dyn_call *call);

// Opens a request: the payload goes to one instance when the stream is first pulled. Gives a `PullStream`.
dyn_reply dyn_client_open(const dyn_call *call);

// Sends a request and completes with its whole answer as one batch, in which a second item with data is the last: the
// request ends there. Cancelled, it ends the request too.
void dyn_client_unary(const dyn_call *call);

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

// Gives a `MetricsText` whose text every scrape shows; behind it the `Inbox` through which the host is asked to set it.
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

// Gives the reader the notice that it waits for, if it waits for one.
dyn_reply dyn_sink_notify(const dyn_call *call);

// Completes once the queue is half empty (number 0) or its reader is gone (2).
void dyn_sink_ready(const dyn_call *call);

// `a`: the least number of items to wait for. `b`: the most to take; the low 32 bits count items, the high 32 KiB.
void dyn_stream_pull(const dyn_call *call);

// `a` = 0: stop, the producer may still finish and its end comes as usual. `a` = 1: kill, the stream ends now.
dyn_reply dyn_stream_cancel(const dyn_call *call);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
