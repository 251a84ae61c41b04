// What the binding calls. Each takes a `Call`: `handle` is the object that the name begins with, unless it says
// otherwise.
//
// Lists travel as arrays of 64-bit floats: numbers below 2^53 are exact, and so are the addresses of a process.
#pragma once

#include "call.h"

namespace dynamo::nixl {

// `args`: `LoadOptions`. Gives a report and, where it was loaded, the library.
Reply library_load(const Call& call);
// `args`: `MockKnobs`.
Reply library_mock(const Call& call);

// `a`: a process; `b`: an address of its. Gives why it cannot be read, or an empty text.
Reply process_read(const Call& call);
// Gives how many bytes have come through the TCP sockets that this process has open.
Reply process_received(const Call& call);

// handle: the library. `args`: `{name, progressDelayUs, listenPort?, telemetry}`. Gives the agent.
void agent_create(const Call& call, TaskRef operation);
void agent_close(const Call& call, TaskRef operation);
void agent_plugins(const Call& call, TaskRef operation);
// `args`: `{name, params}`.
void agent_backend(const Call& call, TaskRef operation);
void agent_metadata(const Call& call, TaskRef operation);
// `a`: the memory; `payload`: ids of regions.
void agent_partial_metadata(const Call& call, TaskRef operation);
// `payload`: the metadata. Gives the peer and its name and generation.
void agent_connect(const Call& call, TaskRef operation);
// `args`: `{name, host?, port?, accept}`. Gives what `agent_connect` gives.
void agent_fetch(const Call& call, TaskRef operation);
// `args`: `{host?, port?, partial}`; `a` and `payload` as for `agent_partial_metadata`.
void agent_send_metadata(const Call& call, TaskRef operation);
// `args`: `{host?, port?}`.
void agent_withdraw_metadata(const Call& call, TaskRef operation);
void agent_self(const Call& call, TaskRef operation);
// `payload`: the message; `other`: the peer.
void agent_notify(const Call& call, TaskRef operation);
// `a`: the most at once. Gives an array of sender, message, sender, ...
void agent_notifications(const Call& call, TaskRef operation);
// `args`: `{backend, memory, metas}`. Gives an array of maps, or nil where there is nothing.
void agent_query(const Call& call, TaskRef operation);
void peer_disconnect(const Call& call, TaskRef operation);

// handle: the agent. Each gives handles and, for each region, its id, address, bytes and device.
// `a`: bytes; `b`: device; `args`: `{device, hugePages, backend?}`.
void region_allocate(const Call& call, TaskRef operation);
// `a`: bytes; `args`: `{path, write, create, backend?}`.
void region_file(const Call& call, TaskRef operation);
// `a`: the memory; `payload`: address, bytes, device of each; `args`: `{metas?, backend?}`.
void region_register(const Call& call, TaskRef operation);
void region_release(const Call& call, TaskRef operation);
// `a`: offset; `payload`: what is copied into the region.
void region_write(const Call& call, TaskRef operation);
// `a`: offset; `b`: bytes.
void region_read(const Call& call, TaskRef operation);
// `other`: another region of the agent's and device's; `a`: bytes. A plain copy by the driver, to compare with; gives
// nanoseconds.
void region_copy(const Call& call, TaskRef operation);
// `a`: an id. The region of that id, from any thread.
Reply region_find(const Call& call);

// handle: the agent; `other`: the peer; `a`: operation, local memory << 8, remote memory << 16; `args`: `{backend?,
// custom?, notification?}`; `payload`: id of the local region, offset, bytes, remote address, remote device of each
// run.
//
// Gives nanoseconds where it was done on this thread, the transfer where it goes on, and nothing where it must be
// started.
Reply transfer_run(const Call& call);
// Gives nanoseconds.
void transfer_start(const Call& call, TaskRef operation);
// Gives the transfer.
void transfer_prepare(const Call& call, TaskRef operation);
// On this thread. Gives nanoseconds, nothing where it goes on, and no bytes where it must be posted with
// `transfer_post`.
Reply transfer_post_inline(const Call& call);
// `args`: `{notification?}`. Gives nanoseconds.
void transfer_post(const Call& call, TaskRef operation);
// For one that goes on. Gives nanoseconds.
void transfer_wait(const Call& call, TaskRef operation);
void transfer_release(const Call& call, TaskRef operation);
void transfer_telemetry(const Call& call, TaskRef operation);
void transfer_estimate(const Call& call, TaskRef operation);

// handle: the agent; `other`: the peer or none; `a`: the memory; `args`: `{backend?}`; `payload`: id of the region (0
// for a peer's), offset or address, bytes, device of each block.
void blocks_prepare(const Call& call, TaskRef operation);
void blocks_release(const Call& call, TaskRef operation);
// handle: the local list; `other`: the remote one; `a`: the operation; `args` as for `transfer_start`; `payload`:
// 32-bit indices, all local ones and then all remote ones. `blocks_start` gives nanoseconds, `blocks_transfer` the
// transfer.
void blocks_start(const Call& call, TaskRef operation);
void blocks_transfer(const Call& call, TaskRef operation);

}  // namespace dynamo::nixl
