// The seam: NIXL's C API as a table of functions, filled from the real library (real.cc) or by the mock (mock/).
//
// Nothing above this file knows which one it talks to. No exception crosses it: failures are values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "blob.h"
#include "cuda.h"
#include "functions.h"
#include "types.h"

namespace dynamo::nixl {

// The functions, in order; one is null only where its feature is missing (never one of `core`).
struct Functions {
#define DYNAMO_NIXL_MEMBER(feature, name, parameters) Status(*name) parameters = nullptr;
  DYNAMO_NIXL_FUNCTIONS(DYNAMO_NIXL_MEMBER)
#undef DYNAMO_NIXL_MEMBER
};

// Feature names: core, preparedLists, partialMetadata, metadataExchange, telemetry, cost, queryMemory, customParam,
// memView, detailedStatus.
struct Feature {
  std::string name;
  bool available = false;
  std::vector<std::string> missing;  // the symbols, as the library would name them
};

struct Backend {
  enum class Kind { real, mock };

  Functions call;
  Kind kind = Kind::real;
  std::string path;      // of the library as it was loaded; empty for the mock
  size_t functions = 0;  // how many of the table are there
  std::vector<Feature> features;
  const Cuda* cuda = nullptr;  // never null

  // The finer status of a posted request, or null where this library does not give it.
  Detail (*transfer_detail)(AgentRef agent, RequestRef request) = nullptr;

  // What a metadata blob says of itself, to be asked before load_remote_md; the form is the backend's own. Never null.
  MetadataView (*inspect_metadata)(std::string_view blob) = nullptr;

  bool supports(std::string_view feature) const;
};

// One place that was looked at, and why the library was not loaded from there.
struct Tried {
  std::string path;
  std::string reason;
};

struct LoadOptions {
  std::string path = {};                        // only this file is tried when it is given
  std::string home = {};                        // NIXL_HOME: an installation's folder, or one that holds the library
  std::vector<std::string> site_packages = {};  // Python's folders, searched for the wheels nixl-cu12 and nixl-cu13
  bool system = true;                           // the bare soname, /opt/nvidia and the system's folders
  bool deep_bind = false;                       // RTLD_DEEPBIND; breaks a preloaded malloc and sanitizers
  bool safe_environment = true;                 // see safe_environment()
  std::string log_level = {};                   // NIXL_LOG_LEVEL, read by the library once, when it is loaded
};

struct LoadResult {
  const Backend* backend = nullptr;  // null: see `tried`. Lives as long as the process
  std::vector<Tried> tried;          // in order, without the one that worked
};

// Loads the real library, once a process: it stays mapped (its threads and UCX's handlers outlive any agent), a second
// call gives the same backend, and asking for another file by path after that is refused, because two copies of UCX in
// one process corrupt each other. Blocks for up to 0.3 s. Any thread.
LoadResult load(const LoadOptions& options);

// Sets, where they are unset, UCX_DEBUG_SIGNO=0 (else UCX takes SIGHUP and it no longer ends the process),
// UCX_HANDLE_ERRORS=none (else a UCX built with handlers may take SIGSEGV, which WebAssembly traps need) and
// UCX_MEM_MMAP_HOOK_MODE=none (else it tests its hooks with sbrk, which races with every malloc), and NIXL_LOG_LEVEL
// where a level is given. The environment is the process's: call it before the first load, and prefer a moment when no
// other thread reads it. load() does so unless told not to; later calls do nothing.
void safe_environment(const std::string& log_level);

struct MockKnobs {
  enum class Completion { random, at_once, delayed };

  Completion completion = Completion::random;  // what post gives: `random` draws for each post
  uint64_t seed = 1;                           // of the draws
  uint32_t polls = 0;                          // a delayed transfer is done no sooner than after this many polls
  uint64_t latency_us = 0;                     // nor than this after its post
  uint64_t bytes_per_second = 0;               // added to it; 0: none
  uint64_t late_copy_us = 20'000;              // a transfer released while active goes on copying for this long
  uint64_t fail_at = 0;                        // this post of the process (from 1) fails; 0: none
  bool never_complete = false;                 // posted transfers stay active
  std::string drop_peer = {};                  // this peer counts as dead
  unsigned fake_gpus = 0;                      // GPUs whose memory is the host's
};

// The mock, with the same contract as UCX on host memory and POSIX files, also between processes of one machine and
// user. The knobs hold for the whole process, from now on and for transfers that are posted later; each call replaces
// them. One backend object for each number of fake GPUs, which lives as long as the process.
const Backend* mock(const MockKnobs& knobs);

}  // namespace dynamo::nixl
