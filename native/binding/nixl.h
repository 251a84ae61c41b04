// NIXL's part of the module: the table of its entries, and the open objects of an environment.
#pragma once

#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "../nixl/agent.h"
#include "setup.h"

namespace dynamo {

// The boxes of all handles of an environment. Every handle from JavaScript is looked up here, which is much cheaper
// than a type tag.
using NixlHandles = std::unordered_set<const void*>;

// Buffers of an environment may only be freed on other threads while the environment exists.
struct BufferGate {
  const std::thread::id thread = std::this_thread::get_id();
  std::mutex lock;
  bool ended = false;
};

// Only used on the JavaScript thread.
class NixlEnvironment {
 public:
  // Keeps the memory of an ArrayBuffer until the last owner releases it, on any thread. Null if this runtime cannot.
  std::shared_ptr<void> hold(napi_env env, napi_value buffer);

  void begin(uint64_t op, nixl::TaskRef task) { running_.emplace(op, std::move(task)); }
  void end(uint64_t op) { running_.erase(op); }
  void opened(std::weak_ptr<nixl::Agent> agent);
  // Shared: a handle may be garbage-collected after the environment has ended.
  const std::shared_ptr<NixlHandles>& handles() const { return handles_; }

  // False if the operation does not belong to NIXL.
  bool cancel(uint64_t op);

  // Called at the end of the environment. Closes every agent, and waits for a limited time, because the library may
  // never return.
  void close();

 private:
  std::unordered_map<uint64_t, nixl::TaskRef> running_;
  std::vector<std::weak_ptr<nixl::Agent>> agents_;
  const std::shared_ptr<NixlHandles> handles_ = std::make_shared<NixlHandles>();
  const std::shared_ptr<BufferGate> gate_ = std::make_shared<BufferGate>();
};

NixlEnvironment& nixl_of(Napi::Env env);

void export_nixl(Napi::Env env, Napi::Object exports);

}  // namespace dynamo
