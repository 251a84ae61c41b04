// The seam: NIXL's C API as a table of functions, filled from the real library (real.cc) or by the mock (mock/).
//
// The code above this file does not know which one it calls. No exception crosses the seam: failures are values.
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

// The functions, in order. A function is null only if its feature is missing. Those of `core` are never null.
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
  std::vector<std::string> missing;  // the names of the missing symbols
};

struct Backend {
  enum class Kind { real, mock };

  Functions call;
  Kind kind = Kind::real;
  std::string path;      // of the loaded library; empty for the mock
  size_t functions = 0;  // how many functions of the table are not null
  std::vector<Feature> features;
  const Cuda* cuda = nullptr;  // never null

  // The detailed status of a posted request. Null if this library does not have it.
  Detail (*transfer_detail)(AgentRef agent, RequestRef request) = nullptr;

  // Inspects a metadata blob before load_remote_md. The format depends on the backend. Never null.
  MetadataView (*inspect_metadata)(std::string_view blob) = nullptr;

  // Joins a blob with the connection and a blob with regions of the same agent. Empty if it cannot. Never null.
  std::string (*join_metadata)(std::string_view connection, std::string_view regions) = nullptr;

  bool supports(std::string_view feature) const;
};

// A place that was searched, and why the library was not loaded from there.
struct Tried {
  std::string path;
  std::string reason;
};

struct LoadOptions {
  std::string path = {};                        // if set, only this file is tried
  std::string home = {};                        // NIXL_HOME: the folder of an installation, or of the library
  std::vector<std::string> site_packages = {};  // Python's folders, searched for the wheels nixl-cu12 and nixl-cu13
  bool system = true;                           // the linker's folders, /opt/nvidia and the system's folders
  bool deep_bind = false;                       // RTLD_DEEPBIND; breaks a preloaded malloc and sanitizers
  bool safe_environment = true;                 // see safe_environment()
  std::string log_level = {};                   // NIXL_LOG_LEVEL; the library reads it once, when it is loaded
};

struct LoadResult {
  const Backend* backend = nullptr;  // lives as long as the process; if null, see `tried`
  std::vector<Tried> tried;          // in order, without the place that worked
};

// Loads the real library, once per process. It stays mapped: its threads and UCX's handlers outlive every agent. A
// second call returns the same backend. A second call with another path is refused, because two copies of UCX in one
// process corrupt each other. A file that others could have written is refused (trust.h). Blocks for up to 0.3 s. Any
// thread.
LoadResult load(const LoadOptions& options);

// Sets these variables unless they are set:
// - UCX_DEBUG_SIGNO=0: else UCX handles SIGHUP, which then no longer ends the process.
// - UCX_HANDLE_ERRORS=none: else a UCX that was built with handlers may handle SIGSEGV, which WebAssembly traps need.
// - UCX_MEM_MMAP_HOOK_MODE=none: else UCX tests its hooks with sbrk, which races with every malloc.
// Also sets NIXL_LOG_LEVEL if a level is given. This changes the environment of the process: call it before the first
// load, when no other thread reads the environment. load() calls it if `safe_environment` is set. Later calls do
// nothing.
void safe_environment(const std::string& log_level);

struct MockKnobs {
  enum class Completion { random, immediate, delayed };

  Completion completion = Completion::random;  // when a post completes: `random` chooses for each post
  uint64_t seed = 1;                           // of the random choices
  uint32_t polls = 0;                          // the least number of polls before a delayed transfer completes
  uint64_t latency_us = 0;                     // the least time between its post and its completion
  uint64_t bytes_per_second = 0;               // adds to the latency; 0: no limit
  uint64_t late_copy_us = 20'000;              // how long a transfer released while active still copies
  uint64_t fail_at = 0;                        // the number of the post that fails, from 1; 0: none
  bool never_complete = false;                 // posted transfers stay active
  std::string drop_peer = {};                  // the name of a peer that appears dead
  unsigned fake_gpus = 0;                      // simulated GPUs, whose memory is host memory
};

// The mock. It has the same contract as UCX on host memory and POSIX files, also between processes of one machine and
// user. The knobs apply to the whole process and to transfers that are posted later. Each call replaces them. There is
// one backend object for each number of simulated GPUs. It lives as long as the process.
const Backend* mock(const MockKnobs& knobs);

}  // namespace dynamo::nixl
