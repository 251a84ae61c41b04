#pragma once

// Generated from native/core/src by `npm run header`. Do not edit.

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// `number` of a reply without a number.
#define DYN_NO_NUMBER UINT64_MAX

#define DYN_HASH_BYTES 16

// The id in place of a block that does not exist.
#define DYN_NO_BLOCK UINT32_MAX

// An object of this library, opaque to C. `dyn_handle_free` frees it once. Freeing drops one reference. Operations
// that still run keep the object alive. Closing an object is a separate call.
typedef struct dyn_handle dyn_handle;

// Bytes that the receiver owns and frees with `dyn_bytes_free`.
typedef struct {
  uint8_t *data;
  size_t len;
} dyn_bytes;

// Bytes that are borrowed for the duration of a call.
typedef struct {
  const uint8_t *data;
  size_t len;
} dyn_slice;

// The result of an entry. If `failed` is 0, it is in `number`, `bytes` and `handles`. If `failed` is 1, `bytes` is an
// error map in MessagePack.
typedef struct {
  int32_t failed;
  // A small result, for example a state or a count, or `DYN_NO_NUMBER`.
  uint64_t number;
  dyn_bytes bytes;
  // An array of `handle_count` handles. The receiver owns both: `dyn_handles_free` frees the array,
  // `dyn_handle_free` a handle.
  dyn_handle **handles;
  size_t handle_count;
} dyn_reply;

// Runs exactly once for each asynchronous call, on any thread. It owns the reply. It must not block.
typedef void (*dyn_done)(void *user, dyn_reply reply);

// The arguments of every entry. An entry ignores the arguments that its comment does not name.
//
// The caller promises that the pointers are null or valid until the entry returns, that no other code writes to what
// they point to in the meantime, and that `done` may run on any thread. Only C is a caller: the fields are private to
// `abi`. So the entries are safe functions of Rust.
typedef struct {
  // The object that is called, or null. Borrowed.
  const dyn_handle *handle;
  // A second object, or null. Borrowed.
  const dyn_handle *other;
  // Options in MessagePack, or bytes in the layout that the entry describes. Borrowed.
  dyn_slice args;
  // The user's own value in MessagePack, or bytes in the layout that the entry describes. Borrowed.
  dyn_slice payload;
  uint64_t a;
  uint64_t b;
  // Asynchronous entries only: the caller's id of the operation for `dyn_op_cancel`. It is unique in the process.
  uint64_t op;
  // Asynchronous entries only: the group of operations that `dyn_scope_close` cancels.
  uint64_t scope;
  dyn_done done;
  void *user;
} dyn_call;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

void dyn_bytes_free(dyn_bytes bytes);

// Frees the array of handles, not the handles. Their owner frees each of them with `dyn_handle_free`.
void dyn_handles_free(dyn_handle **handles,
                      size_t count);

void dyn_handle_free(dyn_handle *handle);

// Returns one more handle of the same object. It is freed like any other.
dyn_handle *dyn_handle_share(const dyn_handle *handle);

// Aborts an operation. It completes as cancelled, unless it completes first. Idempotent. An unknown id is not an
// error.
void dyn_op_cancel(uint64_t op);

// Aborts every operation of a scope. Each of them still completes once.
void dyn_scope_close(uint64_t scope);

// Completes with the next events: requests, at most as many as there are credits, and all cancellations. `a`:
// additional credits. Fails with class `Closed` when the inbox is closed.
// Takes: handle inbox, a requestCount. Returns: bytes or bytes, handle sink|stream....
void dyn_inbox_accept(const dyn_call *call);

// Adds `a` credits while an accept is pending.
// Takes: handle inbox, a requestCount. Returns: nothing.
dyn_reply dyn_inbox_grant(const dyn_call *call);

// Takes: handle inbox. Returns: nothing.
dyn_reply dyn_inbox_close(const dyn_call *call);

#if defined(DYNAMO_TESTING)
// `args`: `{what, count, calls, blockSize, blockCount}`. `what` is `allocate`, `register`, `match`, `matchInactive` or
// `hash`. Returns the nanoseconds of all calls together.
// Takes: args bytes. Returns: number.
dyn_reply dyn_kvbm_bench(const dyn_call *call);
#endif

// Copies the registered blocks of batch `a` to the mutable blocks of batch `b` of `other`. `args` selects layers (8
// bytes, little-endian: first, count). Without `args` all layers are copied.
// Takes: handle blocks, other blocks, args bytes?, a registeredBatch, b mutableBatch. Returns: nothing.
void dyn_blocks_copy(const dyn_call *call);

// Completes with the bytes of block `b` of the registered batch `a`.
// Takes: handle blocks, a registeredBatch, b blockIndex. Returns: bytes.
void dyn_blocks_read(const dyn_call *call);

// Writes the payload to block `b` of the mutable batch `a`.
// Takes: handle blocks, payload bytes, a mutableBatch, b blockIndex. Returns: nothing.
void dyn_blocks_write(const dyn_call *call);

// Returns the memory of block `b` of batch `a`, or of all blocks if `a` is 0. The number is the address, the bytes are
// the length (8 bytes, little-endian), and the handle keeps the memory mapped. The binding makes a view of it.
// Takes: handle blocks, a batch?, b blockIndex?. Returns: number, bytes, handle storage.
dyn_reply dyn_blocks_memory(const dyn_call *call);

// Returns the stored checksums of the blocks of the batch `a`: for each block 8 bytes a layer, little-endian. 0 means
// that there is none.
// Takes: handle blocks, a batch. Returns: bytes or nothing.
dyn_reply dyn_blocks_checksums(const dyn_call *call);

// Computes checksums in the layout of `dyn_blocks_checksums`, from the memory of the blocks of the batch `a`. If `a`
// is 0, from the payload.
// Takes: handle blocks, payload bytes?, a batch?. Returns: bytes.
dyn_reply dyn_blocks_digest(const dyn_call *call);

// Stores checksums of the mutable blocks of the batch `a`, for the layers `b` (first, count). The payload has the
// layout of `dyn_blocks_checksums`. It is for blocks whose bytes were written outside of this library.
// Takes: handle blocks, payload bytes, a mutableBatch, b layerRange. Returns: nothing.
dyn_reply dyn_blocks_note(const dyn_call *call);

// `args`: the options of the manager, `Options`. `other`: its `Registry`. Returns a `Blocks`.
// Takes: other registry, args bytes. Returns: handle blocks.
dyn_reply dyn_blocks_create(const dyn_call *call);

// `a`: the id of a manager. Returns its options, and a `Blocks` and a `Registry` for the calling environment.
// Takes: a manager. Returns: bytes, handle blocks, handle registry.
dyn_reply dyn_blocks_attach(const dyn_call *call);

// Returns the id of the manager, which is unique in the process.
// Takes: handle blocks. Returns: number.
dyn_reply dyn_blocks_id(const dyn_call *call);

// Returns how many blocks an allocation could get.
// Takes: handle blocks. Returns: number.
dyn_reply dyn_blocks_available(const dyn_call *call);

// Returns words of 8 bytes in the order of `Pool::statistics`.
// Takes: handle blocks. Returns: bytes.
dyn_reply dyn_blocks_statistics(const dyn_call *call);

// Resets every inactive block. Returns two words of 8 bytes: how many were inactive, and how many blocks are in use.
// Takes: handle blocks. Returns: bytes.
dyn_reply dyn_blocks_drain(const dyn_call *call);

// Returns a `PullStream` of events, see `journal`. If `a` is not 0, it begins with a snapshot.
// Takes: handle blocks, a hasSnapshot. Returns: handle stream.
dyn_reply dyn_blocks_events(const dyn_call *call);

// Allocates `a` blocks. Writes their ids to the payload, from its word `b` on. Returns the id of the batch, or 0 if
// there are not enough blocks. Releases the batches in `args` first, see `dyn_blocks_release`.
// Takes: handle blocks, args bytes?, payload u32s, a blockCount, b offset. Returns: number.
dyn_reply dyn_blocks_allocate(const dyn_call *call);

// Sets the hashes of the blocks of the mutable batch `a`. They are those of the blocks `b` (first, count) of the
// sequence `other`, or the lineage hashes in `args`. With `args` the payload may have identities of 16 bytes each,
// little-endian: the hash of the tokens and the sequence hash of the parent.
// Takes: handle blocks, other sequence?, args bytes?, payload bytes?, a mutableBatch, b blockRange?. Returns: nothing.
dyn_reply dyn_blocks_stage(const dyn_call *call);

// Sets the hashes of the blocks of the mutable batch `a` to those of the registered batch `b` of `other`.
// Takes: handle blocks, other blocks, a mutableBatch, b registeredBatch. Returns: nothing.
dyn_reply dyn_blocks_stage_as(const dyn_call *call);

// Registers the staged batch `a`. Returns how many blocks were replaced by blocks that existed before. If there were
// any, writes the ids of all blocks to the payload, from its word `b` on.
// Takes: handle blocks, payload u32s, a stagedBatch, b offset. Returns: number.
dyn_reply dyn_blocks_register(const dyn_call *call);

// Stages and registers the first blocks of the mutable batch `a`. `args` selects their blocks of the sequence `other`
// (8 bytes, little-endian: first, count). Writes the ids to the payload, from its word `b` on. Returns the id of the
// new batch. `a` keeps the other blocks.
// Takes: handle blocks, other sequence, args bytes, payload u32s, a mutableBatch, b offset. Returns: number.
dyn_reply dyn_blocks_commit(const dyn_call *call);

// Makes the staged batch `a` mutable again.
// Takes: handle blocks, a stagedBatch. Returns: nothing.
dyn_reply dyn_blocks_unstage(const dyn_call *call);

// Matches the longest prefix of the blocks `a` (first, count) of the sequence `other`, and releases the batches in
// `args` first, see `dyn_blocks_release`. Without `other` it matches the lineage hashes in `args`. Writes the number
// of matches and then their ids to the payload, from its word `b` on. Returns the id of the batch, or 0.
// Takes: handle blocks, other sequence?, args bytes?, payload u32s, a blockRange?, b offset. Returns: number.
dyn_reply dyn_blocks_match(const dyn_call *call);

// Like `dyn_blocks_match`, but continues after a missing block. Writes one word for each hash: the id of the block, or
// `DYN_NO_BLOCK`.
// Takes: handle blocks, other sequence?, args bytes?, payload u32s, a blockRange?, b offset. Returns: number.
dyn_reply dyn_blocks_match_each(const dyn_call *call);

// Like `dyn_blocks_match_each`, for the lineage hashes in `args`. A match only counts as a use if `a` is not 0. A
// repeated hash is found once.
// Takes: handle blocks, args bytes, payload u32s, a isUse, b offset. Returns: number.
dyn_reply dyn_blocks_scan(const dyn_call *call);

// Releases the batches whose ids are in `args`, as doubles. An unknown id is not an error. Blocks that a copy uses are
// returned after the copy.
// Takes: handle blocks, args bytes. Returns: nothing.
dyn_reply dyn_blocks_release(const dyn_call *call);

// Makes a batch of the blocks `b` (first, count) of the registered batch `a`, which keeps them too. Returns the id of
// the new batch.
// Takes: handle blocks, a registeredBatch, b blockRange. Returns: number.
dyn_reply dyn_blocks_clone(const dyn_call *call);

// Moves the blocks of the batch `a` from index `b` on to a new batch. Returns its id.
// Takes: handle blocks, a batch, b blockIndex. Returns: number.
dyn_reply dyn_blocks_split(const dyn_call *call);

// Appends the blocks of the batch `b` to those of `a`. The id `b` is no longer valid.
// Takes: handle blocks, a batch, b appendedBatch. Returns: nothing.
dyn_reply dyn_blocks_join(const dyn_call *call);

// Returns the id of a new batch with weak references to the blocks of the registered batch `a`.
// Takes: handle blocks, a registeredBatch. Returns: number.
dyn_reply dyn_blocks_weak(const dyn_call *call);

// Finds the blocks of the weak batch `a` that still exist. Writes and returns the same as `dyn_blocks_match_each`.
// Takes: handle blocks, payload u32s, a weakBatch, b offset. Returns: number.
dyn_reply dyn_blocks_upgrade(const dyn_call *call);

// Returns the lineage hashes of the batch `a`.
// Takes: handle blocks, a batch. Returns: bytes or nothing.
dyn_reply dyn_blocks_hashes(const dyn_call *call);

// Sets what the last release of the blocks of the registered batch `a` does. If `b` is 0, they stay cached, else they
// are reset.
// Takes: handle blocks, a registeredBatch, b isResetOnRelease. Returns: nothing.
dyn_reply dyn_blocks_reset_on_release(const dyn_call *call);

// Releases everything that the environment has of the manager. The last environment ends the manager. Idempotent.
// Takes: handle blocks. Returns: nothing.
dyn_reply dyn_blocks_close(const dyn_call *call);

// Returns the identities of the registered batch `a`, 16 bytes a block, as for `dyn_blocks_stage`. Returns no bytes if
// one of them is not known.
// Takes: handle blocks, a registeredBatch. Returns: bytes or nothing.
dyn_reply dyn_blocks_identities(const dyn_call *call);

// `args`: `{frequency, eventCapacity}`. Returns a `Registry`.
// Takes: args bytes?. Returns: handle registry.
dyn_reply dyn_registry_create(const dyn_call *call);

// Returns one byte for each hash. Its bits are the tiers that have the block: 1 device, 2 host, 4 disk. The hashes are
// those of the blocks `a` (first, count) of the sequence `other` with the block size `b`, or the lineage hashes in
// `args`.
// Takes: handle registry, other sequence?, args bytes?, a blockRange?, b blockSize?. Returns: bytes or nothing.
dyn_reply dyn_registry_presence(const dyn_call *call);

// Returns one byte for each lineage hash in `args`: how often it was used recently, 0 to 15. If `b` is not 0, this
// counts as a use first.
// Takes: handle registry, args bytes, b isUse. Returns: bytes or nothing.
dyn_reply dyn_registry_frequency(const dyn_call *call);

// Takes: handle registry. Returns: number.
dyn_reply dyn_registry_count(const dyn_call *call);

// Returns a `PullStream` of the crate's own events. An event is a byte (0 created, 1 removed) and the lineage hash, or
// 2 and the number of lost events (8 bytes, little-endian).
// Takes: handle registry. Returns: handle stream.
dyn_reply dyn_registry_events(const dyn_call *call);

// The payload is the tokens, 4 bytes each. `a`: tokens in a block. `args`: `{salt, loraName, multimodal: [{hash,
// offset, length}]}`. Returns a `Sequence`.
// Takes: args bytes?, payload u32s, a blockSize. Returns: handle sequence.
dyn_reply dyn_sequence_create(const dyn_call *call);

// Appends the tokens of the payload. `args`: `{multimodal}`, with offsets from the first new token. Returns how many
// full blocks there are.
// Takes: handle sequence, args bytes?, payload u32s. Returns: number.
dyn_reply dyn_sequence_extend(const dyn_call *call);

// Keeps the first `a` tokens.
// Takes: handle sequence, a tokenCount. Returns: nothing.
dyn_reply dyn_sequence_truncate(const dyn_call *call);

// Returns the tokens from `a` to `b`, 4 bytes each. Returns no bytes if the range is empty.
// Takes: handle sequence, a start, b end. Returns: bytes or nothing.
dyn_reply dyn_sequence_tokens(const dyn_call *call);

// Hashes of the blocks `a` (first, count). `b` selects them. 0: the hashes of their tokens; 1: their sequence hashes.
// Both are written to the payload, 8 bytes each. 2: returns their lineage hashes, 16 bytes each, big-endian. 3:
// returns the hash of the salt, 8 bytes.
// Takes: handle sequence, payload u64s?, a blockRange?, b hashKind. Returns: bytes or nothing.
dyn_reply dyn_sequence_hashes(const dyn_call *call);

// Returns a new `Sequence` with the same tokens, salt and multimodal runs.
// Takes: handle sequence. Returns: handle sequence.
dyn_reply dyn_sequence_clone(const dyn_call *call);

// Removes all tokens. Idempotent.
// Takes: handle sequence. Returns: nothing.
dyn_reply dyn_sequence_close(const dyn_call *call);

// Returns a `PullStream` of the changes to the model cards of an endpoint. It begins with the present cards.
// Takes: handle endpoint. Returns: handle stream.
dyn_reply dyn_endpoint_cards(const dyn_call *call);

#if defined(DYNAMO_TESTING)
// Returns an `Inbox` without a worker.
// Takes: nothing. Returns: handle inbox.
dyn_reply dyn_conformance_inbox(const dyn_call *call);
#endif

#if defined(DYNAMO_TESTING)
// Runs a kit on an inbox. `args`: `{kit: token | encode | raw, engine}`. Fails with the check that the engine failed.
// The kit uses several engines. The metadata of each request has the number of its engine.
// Takes: handle inbox, args bytes. Returns: nothing.
void dyn_conformance_run(const dyn_call *call);
#endif

// Starts an input on a runtime, which then belongs to the input. `args`: `EntrypointArgs`. Returns `{host, port}` and
// handles. The port is the actual port if 0 was requested, and 0 for an input without a port. The handles are an
// `Entrypoint`, the `Inbox` of its routes, its `Processors` and their `Inbox`, and with a policy the policy's `Inbox`
// and the `HostPolicy`.
// Takes: handle runtime, args bytes. Returns: bytes, handle entrypoint, handle inbox, handle processors, handle inbox,
// handle inbox?, handle policy?.
void dyn_entrypoint_start(const dyn_call *call);

// Completes when the input answers. Fails if the input ends before. `a`: the time limit in milliseconds.
// Takes: handle entrypoint, a timeoutMs. Returns: nothing.
void dyn_entrypoint_ready(const dyn_call *call);

// Completes when the input has ended. Fails if the input failed.
// Takes: handle entrypoint. Returns: nothing.
void dyn_entrypoint_wait(const dyn_call *call);

// Shuts the runtime of the input down and completes when the input has ended. `a`: milliseconds after which requests
// in flight are abandoned (0: never). Idempotent.
// Takes: handle entrypoint, a timeoutMs. Returns: nothing.
void dyn_entrypoint_close(const dyn_call *call);

// Returns a `FirstTokens` for an endpoint. `args`: the worker type, `aggregated` or `decode`.
// Takes: handle endpoint, args bytes. Returns: handle firstTokens.
void dyn_first_token_open(const dyn_call *call);

// Reports to routers that the prefill of a request is finished. `a`: the data-parallel rank. The payload is the id of
// the request.
// Takes: handle firstTokens, payload bytes, a dpRank. Returns: nothing.
dyn_reply dyn_first_token_notify(const dyn_call *call);

// Ends a `FirstTokens`. Idempotent.
// Takes: handle firstTokens. Returns: nothing.
dyn_reply dyn_first_token_close(const dyn_call *call);

// Returns a `ForwardPass` for an endpoint. It sends a heartbeat every second while nothing else is published. `args`:
// `{ranks, workerId}`.
// Takes: handle endpoint, args bytes. Returns: handle forwardPass.
void dyn_forward_pass_open(const dyn_call *call);

// Publishes one pass. `a`: the rank. `args`: `PassArgs`.
// Takes: handle forwardPass, args bytes, a dpRank. Returns: nothing.
dyn_reply dyn_forward_pass_publish(const dyn_call *call);

// Ends a `ForwardPass` or a relay. Idempotent.
// Takes: handle forwardPass|forwardPassRelay. Returns: nothing.
dyn_reply dyn_forward_pass_close(const dyn_call *call);

// Forwards what an engine publishes on its own ZMQ socket. The payload is the address of the socket. Returns a relay.
// Takes: handle endpoint, payload bytes. Returns: handle forwardPassRelay.
void dyn_forward_pass_relay(const dyn_call *call);

// Publishes a model card for an endpoint. `args`: `ModelArgs`.
// Takes: handle endpoint, args bytes. Returns: nothing.
void dyn_model_register(const dyn_call *call);

// Removes the model card of an endpoint. `args`: `{loraName}`.
// Takes: handle endpoint, args bytes?. Returns: nothing.
void dyn_model_unregister(const dyn_call *call);

// Replaces the taints of the model card of an endpoint. `args`: an array of strings.
// Takes: handle endpoint, args bytes. Returns: nothing.
void dyn_model_taints(const dyn_call *call);

// Returns the parsers that a card may name: `{toolCall, reasoning}`, each sorted.
// Takes: nothing. Returns: bytes.
dyn_reply dyn_model_parsers(const dyn_call *call);

// Fetches a model from the model hub into its cache. `args`: `{name, ignoreWeights}`. Completes with the directory, a
// string.
// Takes: args bytes. Returns: bytes.
void dyn_model_fetch(const dyn_call *call);

// Sends a processed request to the workers of a model, as a child of the client's request. `a`: the number of the
// model. `b`: the number of the chat call. The payload is a `PreprocessedRequest` in the crates' field names. Returns
// a `PullStream` of outputs.
// Takes: handle processors, payload bytes, a model, b request. Returns: handle stream.
dyn_reply dyn_processor_generate(const dyn_call *call);

// Completes when `a` instances are routable whose card has these entries in its `runtime_data`. Returns all such
// instances. `args`: a map of keys and values.
// Takes: handle client, args bytes, a instanceCount. Returns: bytes.
void dyn_client_wait_for_data(const dyn_call *call);

// Starts a worker for an endpoint. `args`: `WorkerArgs`. Returns a `HostWorker` and the `Inbox` of the calls to its
// engine. The worker becomes ready after its engine has answered `start` in that inbox.
// Takes: handle endpoint, args bytes. Returns: nothing, handle worker, handle inbox.
void dyn_worker_start(const dyn_call *call);

// Completes when discovery lists the instance of the worker. Fails if the worker ends before.
// Takes: handle worker. Returns: nothing.
void dyn_worker_ready(const dyn_call *call);

// Completes when the worker has ended. Fails if the worker failed.
// Takes: handle worker. Returns: nothing.
void dyn_worker_wait(const dyn_call *call);

// Leaves discovery, waits for the crates' grace period and for requests in flight, and cleans the engine up.
// Idempotent.
// Takes: handle worker. Returns: nothing.
void dyn_worker_close(const dyn_call *call);

// Sets the metrics of the engine. The payload is Prometheus text in UTF-8. Every scrape returns it.
// Takes: handle worker, payload bytes. Returns: nothing.
dyn_reply dyn_worker_metrics_text(const dyn_call *call);

// Publishes KV cache events of the rank `a`, in order. The payload is a MessagePack array of `KvCacheEvent` in the
// crates' field names. Returns 0, or 1 if the rank has no publisher: KV routing is off, or the worker has not started.
// Takes: handle worker, payload bytes, a dpRank. Returns: number.
dyn_reply dyn_worker_publish_kv(const dyn_call *call);

// Publishes the load of one rank. `args`: `{dpRank, kvUsedBlocks, kvTotalBlocks, gpuCacheUsage, kvCacheHitRate}`.
// Returns the same as `dyn_worker_publish_kv`.
// Takes: handle worker, args bytes. Returns: number.
dyn_reply dyn_worker_publish_load(const dyn_call *call);

// Opens the log of the process. The payload is a filter in the syntax of `DYN_LOG` (`info`, `warn,dynamo_llm=debug`),
// which also replaces the filter of the other readers. Returns a `PullStream` of lines `{level, target, message, time,
// dropped}`. Each line goes to one reader. If another library installed a log before, that log and its filter stay.
// Takes: payload bytes. Returns: handle stream.
dyn_reply dyn_log_open(const dyn_call *call);

// Returns one hash for each full block, as 64-bit words. The payload is tokens, as 32-bit words. `a`: the block size.
// `args`: `HashArgs`, or none.
// Takes: args bytes?, payload u32s, a blockSize. Returns: bytes or nothing.
dyn_reply dyn_hash_blocks(const dyn_call *call);

// Returns the rolling hash of the sequence up to each block. The payload is hashes of blocks, as 64-bit words.
// Takes: payload u64s. Returns: bytes or nothing.
dyn_reply dyn_hash_sequences(const dyn_call *call);

// `args`: `IndexArgs`. Returns an `Index`.
// Takes: args bytes. Returns: handle indexer.
dyn_reply dyn_indexer_create(const dyn_call *call);

// Applies the events of the payload (words) in order. Completes when they are applied.
// Takes: handle indexer, payload bytes. Returns: nothing.
void dyn_indexer_apply(const dyn_call *call);

// Matches the hashes of blocks in the payload (words). Completes with scores.
// Takes: handle indexer, payload u64s. Returns: bytes or nothing.
void dyn_indexer_match(const dyn_call *call);

// Like `dyn_indexer_match`, but on the calling thread. Not for the kind `radix`.
// Takes: handle indexer, payload u64s. Returns: bytes or nothing.
dyn_reply dyn_indexer_match_here(const dyn_call *call);

// Records a routed prompt, for an approximate index. The payload is the id of the worker and the hashes of the
// prompt's blocks, as words. `a`: the rank.
// Takes: handle indexer, payload u64s, a dpRank. Returns: nothing.
void dyn_indexer_routed(const dyn_call *call);

// Removes the blocks of a worker. The payload is its id, as a word. `a`: 0 for all its ranks, or the rank plus 1.
// Takes: handle indexer, payload u64s, a rankOrAll. Returns: nothing.
void dyn_indexer_remove(const dyn_call *call);

// Completes with events that rebuild the index, as words.
// Takes: handle indexer. Returns: bytes or nothing.
void dyn_indexer_dump(const dyn_call *call);

// Refuses further calls and ends the threads of the index. Completes when they have ended. Idempotent.
// Takes: handle indexer. Returns: nothing.
void dyn_indexer_close(const dyn_call *call);

// `args`: `KvRouterArgs`. The handle is the endpoint of the workers. Returns a `KvRouter`, and with a policy its
// `Inbox` and the `HostPolicy`.
// Takes: handle endpoint, args bytes. Returns: handle kvRouter or nothing, handle kvRouter, handle inbox, handle
// policy.
void dyn_kv_router_create(const dyn_call *call);

// `args`: `Prompt`. The payload is tokens, as 32-bit words. Completes with the chosen worker.
// Takes: handle kvRouter, args bytes, payload u32s. Returns: bytes.
void dyn_kv_router_select(const dyn_call *call);

// Makes several choices at the same time. The payload has the layout of `choices`; the arguments are `Prompt`s, and
// kinds mean nothing. Returns a `PullStream` of the answers.
// Takes: handle kvRouter, payload bytes. Returns: handle stream.
dyn_reply dyn_kv_router_select_many(const dyn_call *call);

// `args`: `Prompt`. The payload is tokens, as 32-bit words. Completes with the blocks that each worker has.
// Takes: handle kvRouter, args bytes, payload u32s. Returns: bytes.
void dyn_kv_router_overlap(const dyn_call *call);

// `args`: `Prompt`. The payload is tokens, as 32-bit words. Completes with the load that each worker would have with
// the request.
// Takes: handle kvRouter, args bytes, payload u32s. Returns: bytes.
void dyn_kv_router_loads(const dyn_call *call);

// `args`: `Prompt`. The payload is tokens, as 32-bit words. Completes with an `Explanation` of the choice. Reserves
// nothing.
// Takes: handle kvRouter, args bytes, payload u32s. Returns: bytes.
void dyn_kv_router_explain(const dyn_call *call);

// Updates a reserved request. `args`: its id. `a`: 0 its prefill is finished, 1 it has ended.
// Takes: handle kvRouter, args bytes, a isEnd. Returns: nothing.
void dyn_kv_router_mark(const dyn_call *call);

// Completes with events that rebuild the index of the router, as words.
// Takes: handle kvRouter. Returns: bytes or nothing.
void dyn_kv_router_dump(const dyn_call *call);

// Ends the tasks of the router after the calls in flight. Idempotent.
// Takes: handle kvRouter. Returns: nothing.
dyn_reply dyn_kv_router_close(const dyn_call *call);

// Returns `{scored, timedOut, failed}`.
// Takes: handle policy. Returns: bytes.
dyn_reply dyn_policy_counts(const dyn_call *call);

// `args`: `PublisherArgs`. The handle is an endpoint. Returns a `Publisher`.
// Takes: handle endpoint, args bytes. Returns: handle kvPublisher.
void dyn_kv_publisher_create(const dyn_call *call);

// Publishes the events of the payload (words) in order as one batch. Their worker and rank are those of the publisher.
// Takes: handle kvPublisher, payload bytes. Returns: nothing.
dyn_reply dyn_kv_publisher_publish(const dyn_call *call);

// Leaves discovery. Idempotent.
// Takes: handle kvPublisher. Returns: nothing.
dyn_reply dyn_kv_publisher_close(const dyn_call *call);

// The handle is an endpoint. Returns a `LoadPublisher`.
// Takes: handle endpoint. Returns: handle loadPublisher.
void dyn_load_publisher_create(const dyn_call *call);

// Publishes the load. `args`: `{dpRank, activeDecodeBlocks, kvUsedBlocks}`, with at least one of the two loads.
// Takes: handle loadPublisher, args bytes. Returns: nothing.
dyn_reply dyn_load_publisher_publish(const dyn_call *call);

// Ends the publisher. Idempotent.
// Takes: handle loadPublisher. Returns: nothing.
dyn_reply dyn_load_publisher_close(const dyn_call *call);

// The inbox of a scaling policy.
// Takes: nothing. Returns: handle inbox.
dyn_reply dyn_replay_inbox(const dyn_call *call);

// `handle`: the inbox of the scaling policy, if `args` has one. `args`: `ReplayArgs`. `a`: 1 if the simulation must
// end when the operation is cancelled. Completes with the crates' report.
// Takes: handle inbox?, args bytes, a isCancellable. Returns: bytes.
void dyn_replay_run(const dyn_call *call);

// `args`: `SelectRequest` if `a` is 0, `SelectAndReserveRequest` if `a` is 1, without tokens. The payload is the
// tokens, as 32-bit words. Completes with a `SelectResponse`. All are in the crates' field names.
// Takes: handle selection, args bytes, payload u32s?, a isReserved. Returns: bytes.
void dyn_selection_select(const dyn_call *call);

// Makes several choices at the same time. The payload has the layout of `choices`; kinds and arguments are those of
// `dyn_selection_select`. Returns a `PullStream` of the answers.
// Takes: handle selection, payload bytes. Returns: handle stream.
dyn_reply dyn_selection_select_many(const dyn_call *call);

// `args`: `OverlapScoresRequest` without tokens. The payload is the tokens, as 32-bit words. Completes with an
// `OverlapScoresResponse`.
// Takes: handle selection, args bytes, payload u32s?. Returns: bytes.
void dyn_selection_overlap(const dyn_call *call);

// `args`: `PotentialLoadsRequest` without tokens. The payload is the tokens, as 32-bit words. Completes with the load
// that each worker would have with the request.
// Takes: handle selection, args bytes, payload u32s?. Returns: bytes.
void dyn_selection_potential_loads(const dyn_call *call);

// `args`: `SelectRequest` without tokens. The payload is the tokens, as 32-bit words. Completes with an `Explanation`
// of the choice. Reserves nothing.
// Takes: handle selection, args bytes, payload u32s?. Returns: bytes.
void dyn_selection_explain(const dyn_call *call);

// `args`: `SelectionArgs`. Returns a `Selection`, and with a policy its `Inbox` and the `HostPolicy`.
// Takes: args bytes. Returns: handle selection or nothing, handle selection, handle inbox, handle policy.
void dyn_selection_create(const dyn_call *call);

// `args`: `WorkerRequest` in the crates' field names. Completes with the record of the worker.
// Takes: handle selection, args bytes. Returns: bytes.
void dyn_selection_put_worker(const dyn_call *call);

// Removes a worker and its blocks. The payload is the id of the worker, as a word.
// Takes: handle selection, payload u64s. Returns: bytes.
void dyn_selection_remove_worker(const dyn_call *call);

// Applies the events of the payload (words). `args`: `{model_name, routing_group}`. Completes when they are applied.
// Takes: handle selection, args bytes, payload bytes. Returns: nothing.
void dyn_selection_apply(const dyn_call *call);

// `args`: `Query`. Completes with the crates' answer, if there is one.
// Takes: handle selection, args bytes. Returns: bytes or nothing.
void dyn_selection_query(const dyn_call *call);

// Ends the tasks of the service. Idempotent.
// Takes: handle selection. Returns: nothing.
void dyn_selection_close(const dyn_call *call);

// Returns the defaults of `KvRouterConfig`, in the crates' field names.
// Takes: nothing. Returns: bytes.
dyn_reply dyn_router_defaults(const dyn_call *call);

// Takes: nothing. Returns: handle radixTree.
dyn_reply dyn_radix_tree_create(const dyn_call *call);

// Applies the events of the payload (words). Returns how many of them the tree refused: their parent is unknown, or
// they make a loop.
// Takes: handle radixTree, payload bytes. Returns: number.
dyn_reply dyn_radix_tree_apply(const dyn_call *call);

// Matches the hashes of blocks in the payload (words). If `a` is 1, the match stops when only one worker is left.
// Returns scores.
// Takes: handle radixTree, payload u64s, a isEarlyExit. Returns: bytes or nothing.
dyn_reply dyn_radix_tree_match(const dyn_call *call);

// Removes the blocks of a worker. The payload is its id, as a word. `a`: 0 for all its ranks, or the rank plus 1.
// Takes: handle radixTree, payload u64s, a rankOrAll. Returns: nothing.
dyn_reply dyn_radix_tree_remove(const dyn_call *call);

// Returns events that rebuild the tree, as words.
// Takes: handle radixTree. Returns: bytes or nothing.
dyn_reply dyn_radix_tree_dump(const dyn_call *call);

// Returns `{blocks, workers}`.
// Takes: handle radixTree. Returns: bytes.
dyn_reply dyn_radix_tree_state(const dyn_call *call);

// `args`: `{mode}`, a name of `RouterMode` except `kv`. Returns a `Client`.
// Takes: handle endpoint, args bytes. Returns: handle client.
void dyn_endpoint_client(const dyn_call *call);

// Opens a request. The first pull of the stream sends the payload to one instance. Returns a `PullStream`.
// Takes: handle client, args bytes?, payload bytes. Returns: handle stream.
dyn_reply dyn_client_open(const dyn_call *call);

// Sends a request and completes with its whole answer as one batch. A second item with data ends the request.
// Cancelling the operation ends the request too.
// Takes: handle client, args bytes?, payload bytes. Returns: bytes.
void dyn_client_unary(const dyn_call *call);

// Opens a request that is itself a stream. Returns a `PullStream` of answers and the `Sink` of the request's items.
// Takes: handle client, args bytes?. Returns: nothing, handle stream, handle sink.
dyn_reply dyn_client_open_bidirectional(const dyn_call *call);

// Returns the known instances, as an array of maps.
// Takes: handle client. Returns: bytes.
dyn_reply dyn_client_instances(const dyn_call *call);

// Completes when `a` instances are routable, with all of them.
// Takes: handle client, a instanceCount. Returns: bytes.
void dyn_client_wait(const dyn_call *call);

// Ends the background tasks of the client. Its open streams continue. Idempotent.
// Takes: handle client. Returns: nothing.
dyn_reply dyn_client_close(const dyn_call *call);

// Returns a `Runtime` and a map of the resolved settings.
// Takes: args bytes. Returns: bytes, handle runtime.
void dyn_runtime_create(const dyn_call *call);

// Completes when the shutdown of the runtime begins. Fails if that is because its lease in etcd was lost.
// Takes: handle runtime. Returns: nothing.
void dyn_runtime_ending(const dyn_call *call);

// Runs the three phases of shutdown and completes after the last. `a`: the time limit in milliseconds of the wait for
// requests in flight (0: the crates' limit).
// Takes: handle runtime, a timeoutMs. Returns: nothing.
void dyn_runtime_close(const dyn_call *call);

// Takes: nothing. Returns: bytes.
dyn_reply dyn_versions(const dyn_call *call);

// Returns a `PullStream` of the changes to the instances of an endpoint. It begins with the present instances.
// Takes: handle endpoint. Returns: handle stream.
dyn_reply dyn_endpoint_watch(const dyn_call *call);

// Completes with every endpoint instance that discovery lists.
// Takes: handle runtime. Returns: bytes.
void dyn_runtime_instances(const dyn_call *call);

// `args`: `{namespace, component, endpoint}`. The handle is a runtime. Returns an `EndpointRef`.
// Takes: handle runtime, args bytes. Returns: handle endpoint.
dyn_reply dyn_runtime_endpoint(const dyn_call *call);

// Removes the instance of the endpoint from discovery (`a` = 0) or adds it again (`a` = 1). The endpoint continues to
// serve.
// Takes: handle endpoint, a isRegistered. Returns: nothing.
void dyn_endpoint_register(const dyn_call *call);

// `args`: a scope and a topic. The handle is a runtime. Returns a `Publisher`.
// Takes: handle runtime, args bytes. Returns: handle publisher.
void dyn_runtime_publisher(const dyn_call *call);

// Publishes the payload, which is MessagePack in the crates' encoding.
// Takes: handle publisher, payload bytes. Returns: nothing.
void dyn_publisher_publish(const dyn_call *call);

// Takes: handle publisher. Returns: nothing.
dyn_reply dyn_publisher_close(const dyn_call *call);

// `args`: a scope and a topic. The handle is a runtime. Completes after the subscription, with a `PullStream` of maps
// `{publisherId, sequence, publishedAt, topic, payload}`. The payload is bytes.
// Takes: handle runtime, args bytes. Returns: handle stream.
void dyn_runtime_subscribe(const dyn_call *call);

// Sets what `/health` reports. `a`: 1 ready, 0 not ready.
// Takes: handle runtime, a isReady. Returns: nothing.
dyn_reply dyn_runtime_set_health(const dyn_call *call);

// Registers `/engine/{route}` on the status server. Returns the `Inbox` of its requests. Requests and answers are JSON
// values.
// Takes: handle runtime, args bytes. Returns: handle inbox.
dyn_reply dyn_runtime_engine_route(const dyn_call *call);

// Makes a metric at a place of the hierarchy of the runtime. Returns a `Metric`.
// Takes: handle runtime, args bytes. Returns: handle metric.
dyn_reply dyn_runtime_metric(const dyn_call *call);

// Changes a metric. `args`: `{verb, value, labels}`. `labels` has the values in the order of the label names.
// Takes: handle metric, args bytes. Returns: nothing.
dyn_reply dyn_metric_change(const dyn_call *call);

// Returns a `MetricsText`, whose text every scrape includes. With `timeLimitMs` it also returns the `Inbox` of the
// `render` calls.
// Takes: handle runtime, args bytes. Returns: handle metricsText or nothing, handle metricsText, handle inbox.
dyn_reply dyn_runtime_metrics_text(const dyn_call *call);

// Sets the text. The payload is UTF-8.
// Takes: handle metricsText, payload bytes. Returns: nothing.
dyn_reply dyn_metrics_text_set(const dyn_call *call);

// Returns all metrics of the runtime, as Prometheus text in UTF-8.
// Takes: handle runtime. Returns: bytes or nothing.
dyn_reply dyn_runtime_metrics(const dyn_call *call);

// Serves an `EndpointRef`. Completes when its instance can be called, with a `Served` and its `Inbox`.
// Takes: handle endpoint, args bytes. Returns: bytes, handle served, handle inbox.
void dyn_endpoint_serve(const dyn_call *call);

// Leaves discovery, waits for the requests in flight, then closes the inbox. Idempotent.
// Takes: handle served. Returns: nothing.
void dyn_served_close(const dyn_call *call);

// Writes the payload as one item. `a`: 0 a value, 1 a map with annotations. If `b` is 1, the stream ends after the
// item. Returns 0 if the item was taken, 1 if the queue is full and the item was not taken, 2 if the sink is closed.
// Takes: handle sink, payload bytes, a isAnnotated, b isLast. Returns: number.
dyn_reply dyn_sink_write(const dyn_call *call);

// Ends the stream. `args`, if set, is the failure that ended it.
// Takes: handle sink, args bytes?. Returns: nothing.
dyn_reply dyn_sink_end(const dyn_call *call);

// Notifies the reader, if it wants a notification.
// Takes: handle sink. Returns: nothing.
dyn_reply dyn_sink_notify(const dyn_call *call);

// Completes with 0 when the queue is half empty, or with 2 when the sink is closed.
// Takes: handle sink. Returns: number.
void dyn_sink_ready(const dyn_call *call);

// Completes with a batch of items. `a`: the minimum of items to wait for. `b`: the maximum to take: the low 32 bits
// are items, the high 32 bits are KiB.
// Takes: handle stream, a minItems, b limits. Returns: bytes.
void dyn_stream_pull(const dyn_call *call);

// Cancels a stream. `a` = 0 stops it: the producer may still finish, and its end arrives as usual. `a` = 1 kills it:
// the stream ends now.
// Takes: handle stream, a isKill. Returns: nothing.
dyn_reply dyn_stream_cancel(const dyn_call *call);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
