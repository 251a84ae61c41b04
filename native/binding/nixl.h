// NIXL's part of the module: the table of its entries, and what an environment has open of it.
#pragma once

#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "../nixl/agent.h"
#include "setup.h"

namespace dynamo {

// What the handles of an environment point to: asked of each handle that comes back, which is much cheaper than a type
// tag.
using NixlHandles = std::unordered_set<const void*>;

// Only touched on the JavaScript thread.
class NixlEnvironment {
 public:
  void begin(uint64_t op, nixl::TaskRef task) { running_.emplace(op, std::move(task)); }
  void end(uint64_t op) { running_.erase(op); }
  void opened(std::weak_ptr<nixl::Agent> agent);
  // Shared: a handle may be collected after the environment is gone.
  const std::shared_ptr<NixlHandles>& handles() const { return handles_; }

  // False for an operation that is not NIXL's.
  bool cancel(uint64_t op);

  // At the environment's end: closes every agent, and leaves behind what has not ended after a moment, because the
  // library may never return.
  void close();

 private:
  std::unordered_map<uint64_t, nixl::TaskRef> running_;
  std::vector<std::weak_ptr<nixl::Agent>> agents_;
  const std::shared_ptr<NixlHandles> handles_ = std::make_shared<NixlHandles>();
};

NixlEnvironment& nixl_of(Napi::Env env);

void export_nixl(Napi::Env env, Napi::Object exports);

}  // namespace dynamo
