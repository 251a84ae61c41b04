// What goes wrong, as a value that is thrown inside this folder. A failure never crosses the seam to NIXL (backend.h).
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "types.h"

namespace dynamo::nixl {

// Caught where an entry or a job ends, and converted to a reply there.
struct Failure {
  std::string error_class;  // Dynamo's canonical class (lib/errors.ts), BadArgument or Closed
  std::string reason;
  std::string message;
  std::string hint = {};
  std::string call = {};  // the library's function, without its prefix
  Status status = Status::ok;

  static Failure bad_argument(std::string message) { return {"BadArgument", {}, std::move(message)}; }
  static Failure closed(const std::string& what) { return {"Closed", {}, what + " is closed"}; }
  // An exception that is no failure, such as no memory.
  static Failure of_exception(const std::exception& error) { return {"Internal", "nixl.exception", error.what()}; }
  // An unexpected failure of a call of the library.
  static Failure of_call(const char* call, Status status, std::string message, std::string hint = {}) {
    return {"Internal", "nixl.backend", std::move(message), std::move(hint), call, status};
  }
};

}  // namespace dynamo::nixl
