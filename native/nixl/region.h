// Memory that is registered with an agent, and what may not outlive it.
#pragma once

#include <memory>
#include <vector>

#include "call.h"
#include "storage.h"

namespace dynamo::nixl {

class Agent;

// An object of the library's that points into a registration or a connection: a request, a prepared list. It is
// released before either goes, because the library would follow the pointer.
class Dependent : public Object {
 public:
  // With the library taken, and nothing of it under way.
  virtual void invalidate(const Failure& why) = 0;
};

// What a region and a peer have in common: transfers under way hold them, and their end waits for those.
class Held {
 public:
  // Each with the library taken.
  void depend(const std::shared_ptr<Dependent>& dependent);
  void invalidate_dependents(const Failure& why);

  size_t uses = 0;

 private:
  std::vector<std::weak_ptr<Dependent>> dependents_;
};

class Region final : public Object, public Held {
 public:
  static constexpr const char* KIND = "MemoryRegion";

  Region(std::weak_ptr<Agent> agent, uint64_t id, std::shared_ptr<Storage> storage)
      : agent(std::move(agent)), id(id), memory(storage), storage(std::move(storage)) {}
  const char* kind() const override { return KIND; }

  const std::weak_ptr<Agent> agent;
  // Unique in the process.
  const uint64_t id;
  // For views, which any thread may ask for.
  const std::weak_ptr<Storage> memory;
  // With the library taken; null once it is released. Other threads ask `released` and `memory`.
  std::shared_ptr<Storage> storage;
  // Those that wait for the release; it is on its way once there is one.
  std::vector<TaskRef> releasing;
  std::atomic<bool> released{false};
};

using RegionRef = std::shared_ptr<Region>;

}  // namespace dynamo::nixl
