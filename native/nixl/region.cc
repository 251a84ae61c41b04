#include "region.h"

#include <algorithm>

namespace dynamo::nixl {

void UseCounted::depend(const std::shared_ptr<Dependent>& dependent) {
  if (dependents_.size() == dependents_.capacity()) {
    std::erase_if(dependents_, [](const auto& weak) { return weak.expired(); });
  }
  dependents_.push_back(dependent);
}

void UseCounted::invalidate_dependents(const Failure& why) {
  for (const auto& weak : std::exchange(dependents_, {})) {
    if (const auto dependent = weak.lock()) dependent->invalidate(why);
  }
}

}  // namespace dynamo::nixl
