// Keeps memory of another owner, such as the bytes of a JavaScript buffer, although its owner lets go of it.
#pragma once

#include "call.h"

namespace dynamo::nixl {

class Hold final : public Object {
 public:
  static constexpr const char* KIND = "MemoryHold";

  // `owner` keeps the memory. It may be released on any thread.
  static std::shared_ptr<Hold> make(std::shared_ptr<void> owner);
  // The hold of this id. Null if it was released. Any thread.
  static std::shared_ptr<Hold> find(uint64_t id);

  Hold(uint64_t id, std::shared_ptr<void> owner) : id(id), owner_(std::move(owner)) {}
  ~Hold() override;
  const char* kind() const override { return KIND; }

  // Unique in the process.
  const uint64_t id;

 private:
  const std::shared_ptr<void> owner_;
};

}  // namespace dynamo::nixl
