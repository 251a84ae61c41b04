#pragma once

#include "backend.h"
#include "call.h"

namespace dynamo::nixl {

// The object behind a JavaScript handle of the library or the mock.
class Library final : public Object {
 public:
  static constexpr const char* KIND = "NixlLibrary";

  explicit Library(const Backend& backend) : backend(backend) {}
  const char* kind() const override { return KIND; }

  const Backend& backend;
};

}  // namespace dynamo::nixl
