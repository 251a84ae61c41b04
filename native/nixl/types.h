// The types of NIXL's C API (nixl_capi_*) with the same layout and numbers, under different names.
//
// The library is never linked: a table of functions is filled at run time (backend.h). No file here defines a symbol of
// the library, because other code in the process would find it instead of the real one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dynamo::nixl {

// The result of nearly every call. Versions of the library disagree on which failure is `backend` and which is
// `not_found` or `invalid_param`. Version 1.3 returns `backend` for almost all. So detect the reason before the call,
// not by the status.
enum class Status : int {
  ok = 0,
  in_progress = 1,
  invalid_param = -1,
  backend = -2,
  invalid_state = -3,
  exception = -4,
  no_telemetry = -5,
  not_found = -6,
};

// The library's detailed status of a transfer. Only available if `Backend::transfer_detail` is not null.
enum class Detail : int {
  in_progress = 1,
  ok = 0,
  not_posted = -1,
  invalid_param = -2,
  backend = -3,
  not_found = -4,
  mismatch = -5,
  not_allowed = -6,
  repost_active = -7,
  unknown = -8,
  not_supported = -9,
  remote_disconnect = -10,
  canceled = -11,
  no_telemetry = -12,
};

enum class Memory : int { dram = 0, vram = 1, block = 2, object = 3, file = 4, unknown = 5 };

enum class Operation : int { read = 0, write = 1 };

// `read_write` allows more than one thread per agent. `none` has no locks.
enum class ThreadSync : int { none = 0, strict = 1, read_write = 2 };

enum class CostMethod : int { analytical_backend = 0 };

struct AgentConfig {
  bool enable_prog_thread = true;
  bool enable_listen_thread = false;
  int listen_port = 0;
  ThreadSync thread_sync = ThreadSync::read_write;
  unsigned num_workers = 1;         // ignored by the library
  uint64_t pthr_delay_us = 10'000;  // 0 spins one core per agent
  uint64_t lthr_delay_us = 10'000;
  bool capture_telemetry = false;
};

struct TransferTelemetry {
  uint64_t start_time_us;  // on the steady clock
  uint64_t post_duration_us;
  uint64_t xfer_duration_us;
  uint64_t total_bytes;
  uint64_t desc_count;
};

static_assert(sizeof(Status) == 4 && sizeof(Memory) == 4 && sizeof(ThreadSync) == 4);
static_assert(sizeof(AgentConfig) == 40 && offsetof(AgentConfig, listen_port) == 4 &&
              offsetof(AgentConfig, pthr_delay_us) == 16 && offsetof(AgentConfig, capture_telemetry) == 32);
static_assert(sizeof(TransferTelemetry) == 40);

// Opaque objects of the backend. An AgentRef must outlive the requests, list handles and views made with it. It is
// destroyed before its BackendRefs and OptArgsRefs, which contain raw pointers into it.
using AgentRef = struct AgentObject*;
using ParamsRef = struct ParamsObject*;
using ParamsIteratorRef = struct ParamsIteratorObject*;
using MemoryListRef = struct MemoryListObject*;
using StringListRef = struct StringListObject*;
using BackendRef = struct BackendObject*;
using OptArgsRef = struct OptArgsObject*;
using TransferListRef = struct TransferListObject*;
using RegistrationListRef = struct RegistrationListObject*;
using RemoteListRef = struct RemoteListObject*;
using PreparedListRef = struct PreparedListObject*;
using RequestRef = struct RequestObject*;
using NotificationsRef = struct NotificationsObject*;
using QueryRef = struct QueryObject*;
using MemoryViewRef = struct MemoryViewObject*;

}  // namespace dynamo::nixl
