// Memory that is registered with an agent, and the objects that must not outlive it.
#pragma once

#include <memory>
#include <vector>

#include "call.h"
#include "storage.h"

namespace dynamo::nixl {

class Agent;

// An object of the library that points into a registration or a connection: a request, a prepared list. It is released
// before either of them, because the library would follow the pointer.
class Dependent : public Object {
 public:
  // The library must be locked, and the object must not be in flight.
  virtual void invalidate(const Failure& why) = 0;
};

// The common part of a region and a peer: transfers in flight use them, and their end waits for those transfers.
class UseCounted {
 public:
  // The library must be locked for every member.
  void depend(const std::shared_ptr<Dependent>& dependent);
  void invalidate_dependents(const Failure& why);

  size_t use_count = 0;

 private:
  std::vector<std::weak_ptr<Dependent>> dependents_;
};

class Region final : public Object, public UseCounted {
 public:
  static constexpr const char* KIND = "MemoryRegion";

  Region(std::weak_ptr<Agent> agent, uint64_t id, std::shared_ptr<Storage> storage)
      : agent(std::move(agent)), id(id), memory(storage), storage(std::move(storage)) {}
  const char* kind() const override { return KIND; }

  const std::weak_ptr<Agent> agent;
  // Unique in the process.
  const uint64_t id;
  // For views. Any thread may request one.
  const std::weak_ptr<Storage> memory;
  // The library must be locked. Null after the release. Other threads use `released` and `memory`.
  std::shared_ptr<Storage> storage;
  // The operations that wait for the release. The release has begun if there is one.
  std::vector<TaskRef> releasing;
  std::atomic<bool> released{false};
};

using RegionRef = std::shared_ptr<Region>;

}  // namespace dynamo::nixl
