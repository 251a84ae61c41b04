// The functions that the binding calls. Each takes a `Call`. `handle` is the object that the name begins with, unless
// the comment names another.
//
// Lists are arrays of 64-bit floats. They are exact for numbers below 2^53, and so for every address of a process.
#pragma once

#include "call.h"

namespace dynamo::nixl {

// `args`: `LoadOptions`. Returns a report and, if it was loaded, the library.
// Takes: args bytes. Returns: bytes or bytes, handle nixlLibrary.
Reply library_load(const Call& call);
// `args`: `MockKnobs`.
// Takes: args bytes. Returns: bytes, handle nixlLibrary.
Reply library_mock(const Call& call);

// `a`: a process; `b`: an address in it. Returns why it cannot be read, or an empty text.
// Takes: a process, b address. Returns: bytes.
Reply process_read(const Call& call);
// Returns how many bytes have arrived through the open TCP sockets of this process.
// Takes: nothing. Returns: number.
Reply process_received(const Call& call);

// handle: the library. `args`: `{name, progressDelayUs, listenPort?, telemetry}`. Returns the agent.
// Takes: handle nixlLibrary, args bytes. Returns: handle nixlAgent.
void agent_create(const Call& call, TaskRef operation);
// Takes: handle nixlAgent. Returns: number.
void agent_close(const Call& call, TaskRef operation);
// Takes: handle nixlAgent. Returns: bytes.
void agent_plugins(const Call& call, TaskRef operation);
// `args`: `{name, params}`.
// Takes: handle nixlAgent, args bytes. Returns: nothing.
void agent_backend(const Call& call, TaskRef operation);
// Takes: handle nixlAgent. Returns: bytes.
void agent_metadata(const Call& call, TaskRef operation);
// `a`: the memory; `payload`: ids of regions.
// Takes: handle nixlAgent, payload bytes, a memory. Returns: bytes.
void agent_partial_metadata(const Call& call, TaskRef operation);
// `payload`: the metadata. Returns the peer with its name and generation.
// Takes: handle nixlAgent, payload bytes. Returns: bytes, handle nixlPeer.
void agent_connect(const Call& call, TaskRef operation);
// `args`: `{name, host?, port?, accept}`. Returns the same as `agent_connect`.
// Takes: handle nixlAgent, args bytes. Returns: bytes, handle nixlPeer.
void agent_fetch(const Call& call, TaskRef operation);
// `args`: `{host?, port?, partial}`; `a` and `payload` as in `agent_partial_metadata`.
// Takes: handle nixlAgent, args bytes, payload bytes?, a memory?. Returns: nothing.
void agent_send_metadata(const Call& call, TaskRef operation);
// `args`: `{host?, port?}`.
// Takes: handle nixlAgent, args bytes. Returns: nothing.
void agent_withdraw_metadata(const Call& call, TaskRef operation);
// Takes: handle nixlAgent. Returns: bytes, handle nixlPeer.
void agent_self(const Call& call, TaskRef operation);
// `payload`: the message; `other`: the peer.
// Takes: handle nixlAgent, other nixlPeer, payload bytes. Returns: nothing.
void agent_notify(const Call& call, TaskRef operation);
// `a`: the most messages to take. Returns an array of sender, message, sender, ...
// Takes: handle nixlAgent, a maxCount. Returns: bytes.
void agent_notifications(const Call& call, TaskRef operation);
// `args`: `{backend, memory, metas}`. Returns an array: a map for each key, or nil if nothing is there.
// Takes: handle nixlAgent, args bytes. Returns: bytes.
void agent_query(const Call& call, TaskRef operation);
// Takes: handle nixlPeer. Returns: nothing.
void peer_disconnect(const Call& call, TaskRef operation);

// The next three: handle: the agent. Each returns four numbers for each region: its id, address, bytes and device.
//
// `a`: bytes; `b`: device; `args`: `{device, hugePages, backend?}`.
// Takes: handle nixlAgent, args bytes, a byteLength, b device. Returns: bytes.
void region_allocate(const Call& call, TaskRef operation);
// `a`: bytes; `args`: `{path, write, create, backend?}`.
// Takes: handle nixlAgent, args bytes, a byteLength. Returns: bytes.
void region_file(const Call& call, TaskRef operation);
// `a`: the memory; `payload`: address, bytes and device of each region; `args`: `{metas?, holds?, backend?}`. `holds`
// is a list of ids: 0 for memory that its owner keeps. Takes: handle nixlAgent, args bytes, payload bytes, a memory.
// Returns: bytes.
void region_register(const Call& call, TaskRef operation);
// Takes: handle nixlRegion. Returns: nothing.
void region_release(const Call& call, TaskRef operation);
// `a`: offset; `payload`: the bytes to copy into the region.
// Takes: handle nixlRegion, payload bytes, a offset. Returns: nothing.
void region_write(const Call& call, TaskRef operation);
// `a`: offset; `b`: bytes.
// Takes: handle nixlRegion, a offset, b byteLength. Returns: bytes.
void region_read(const Call& call, TaskRef operation);
#if defined(DYNAMO_TESTING)
// `other`: another region of the same agent and device; `a`: bytes. Copies with the driver, as a baseline. Returns
// nanoseconds.
// Takes: handle nixlRegion, other nixlRegion, a byteLength. Returns: number.
void region_copy(const Call& call, TaskRef operation);
#endif
// `a`: an id. Returns the region of that id. Any thread.
// Takes: a region. Returns: handle nixlRegion.
Reply region_find(const Call& call);

// The next three: handle: the agent; `other`: the peer; `a`: operation, local memory << 8, remote memory << 16; `args`:
// `{backend?, custom?, notification?}`; `payload`: id of the local region, offset, bytes, remote address and remote
// device of each run.
//
// Posts on this thread. `b`: 1 to look for the end of the transfer for a moment, else 0. Returns nanoseconds if the
// transfer is complete, the transfer if it is in flight, and nothing if it must be started with `transfer_start`.
// Takes: handle nixlAgent, other nixlPeer, args bytes?, payload bytes, a transferKinds, b looks. Returns: number or
// handle nixlTransfer or nothing.
Reply transfer_run(const Call& call);
// Returns nanoseconds.
// Takes: handle nixlAgent, other nixlPeer, args bytes?, payload bytes, a transferKinds. Returns: number.
void transfer_start(const Call& call, TaskRef operation);
// Returns the transfer.
// Takes: handle nixlAgent, other nixlPeer, args bytes?, payload bytes, a transferKinds. Returns: bytes, handle
// nixlTransfer.
void transfer_prepare(const Call& call, TaskRef operation);
// Posts on this thread. `args`: `{notification?}`; `b` as in `transfer_run`. Returns nanoseconds if the run is
// complete, nothing if it is in flight, and empty bytes if it must be posted with `transfer_post`.
// Takes: handle nixlTransfer, args bytes?, b looks. Returns: number or bytes or nothing.
Reply transfer_post_inline(const Call& call);
// `args`: `{notification?}`. Returns nanoseconds.
// Takes: handle nixlTransfer, args bytes?. Returns: number.
void transfer_post(const Call& call, TaskRef operation);
// Waits for a transfer in flight. Returns nanoseconds.
// Takes: handle nixlTransfer. Returns: number.
void transfer_wait(const Call& call, TaskRef operation);
// Takes: handle nixlTransfer. Returns: nothing.
void transfer_release(const Call& call, TaskRef operation);
// Takes: handle nixlTransfer. Returns: bytes.
void transfer_telemetry(const Call& call, TaskRef operation);
// Takes: handle nixlTransfer. Returns: bytes.
void transfer_estimate(const Call& call, TaskRef operation);

// handle: the agent; `other`: the peer, or none for blocks of this agent; `a`: the memory; `args`: `{backend?}`;
// `payload`: runs of blocks: id of the region (0 for a peer's), offset or address of the first block, bytes of each
// block, stride, count, and device.
// Takes: handle nixlAgent, other nixlPeer?, args bytes?, payload bytes, a memory. Returns: handle nixlBlocks.
void blocks_prepare(const Call& call, TaskRef operation);
// Takes: handle nixlBlocks. Returns: nothing.
void blocks_release(const Call& call, TaskRef operation);
// The next two: handle: the local list; `other`: the remote list; `a`: the operation; `args` as in `transfer_start`;
// `payload`: 32-bit indices, first all local ones, then all remote ones. `blocks_start` returns nanoseconds,
// `blocks_transfer` the transfer.
// Takes: handle nixlBlocks, other nixlBlocks, args bytes?, payload bytes, a operation. Returns: number.
void blocks_start(const Call& call, TaskRef operation);
// Takes: handle nixlBlocks, other nixlBlocks, args bytes?, payload bytes, a operation. Returns: bytes, handle
// nixlTransfer.
void blocks_transfer(const Call& call, TaskRef operation);

}  // namespace dynamo::nixl
