#pragma once

#include "backend.h"
#include "call.h"

namespace dynamo::nixl {

// The loaded library or the mock, as JavaScript holds it.
class Library final : public Object {
 public:
  static constexpr const char* KIND = "NixlLibrary";

  explicit Library(const Backend& backend) : backend(backend) {}
  const char* kind() const override { return KIND; }

  const Backend& backend;
};

}  // namespace dynamo::nixl
