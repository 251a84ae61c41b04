#include "hold.h"

#include <mutex>
#include <unordered_map>

namespace dynamo::nixl {
namespace {

struct Holds {
  std::mutex lock;
  uint64_t next = 1;
  std::unordered_map<uint64_t, std::weak_ptr<Hold>> all;
};

// Never destroyed: the threads of agents may outlive main.
Holds& holds() {
  static Holds* instance = new Holds;
  return *instance;
}

}  // namespace

std::shared_ptr<Hold> Hold::make(std::shared_ptr<void> owner) {
  std::lock_guard guard(holds().lock);
  auto hold = std::make_shared<Hold>(holds().next++, std::move(owner));
  holds().all.emplace(hold->id, hold);
  return hold;
}

std::shared_ptr<Hold> Hold::find(uint64_t id) {
  std::lock_guard guard(holds().lock);
  const auto found = holds().all.find(id);
  return found == holds().all.end() ? nullptr : found->second.lock();
}

Hold::~Hold() {
  std::lock_guard guard(holds().lock);
  holds().all.erase(id);
}

}  // namespace dynamo::nixl
