// How the entries of this folder are called and how they answer. The binding makes JavaScript values of it; nothing
// here knows of any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "types.h"

namespace dynamo::nixl {

// What JavaScript holds a handle of. Handles are shared: what still runs keeps its objects alive.
class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  virtual const char* kind() const = 0;
  // The last handle of an environment was collected. What is open stays open: only the agent ends with its handle.
  virtual void collected() {}
};

using ObjectRef = std::shared_ptr<Object>;

// Thrown above the seam, and caught where an entry or a job ends.
struct Failure {
  std::string error_class;  // Dynamo's canonical class (lib/errors.ts), BadArgument or Closed
  std::string reason;
  std::string message;
  std::string hint = {};
  std::string call = {};  // the library's function, without its prefix
  Status status = Status::ok;

  static Failure bad_argument(std::string message) { return {"BadArgument", {}, std::move(message)}; }
  static Failure closed(const std::string& what) { return {"Closed", {}, what + " is closed"}; }
  // A call of the library that failed in a way that could not be foreseen.
  static Failure of_call(const char* call, Status status, std::string message, std::string hint = {});
};

struct Reply {
  static constexpr uint64_t NO_NUMBER = UINT64_MAX;

  bool failed = false;
  uint64_t number = NO_NUMBER;
  std::optional<std::vector<uint8_t>> bytes = {};
  std::vector<ObjectRef> objects = {};

  static Reply of_number(uint64_t number) { return {.number = number}; }
  static Reply of_bytes(std::vector<uint8_t> bytes) { return {.bytes = std::move(bytes)}; }
  static Reply of_object(ObjectRef object) { return {.objects = {std::move(object)}}; }
  static Reply of_failure(const Failure& failure);
};

// An asynchronous call that waits for its end. Settled exactly once, from any thread, by whoever comes first: the work,
// or the caller who gives up. The work looks at `settled()` and leaves off where it may.
class Task {
 public:
  explicit Task(std::function<void(Reply)> done) : done_(std::move(done)) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task();

  bool settled() const { return settled_.load(std::memory_order_acquire); }
  bool settle(Reply reply);
  bool fail(const Failure& failure) { return settle(Reply::of_failure(failure)); }
  // The caller gave up. Memory and requests stay as long as the library needs them.
  void cancel();

 private:
  std::atomic<bool> settled_{false};
  std::function<void(Reply)> done_;
};

using TaskRef = std::shared_ptr<Task>;

// The arguments of every entry; those that it does not name are ignored. Bytes are borrowed for the length of the call.
struct Call {
  ObjectRef handle;
  ObjectRef other;
  std::span<const uint8_t> args;     // MessagePack: a map of options
  std::span<const uint8_t> payload;  // the entry's own form
  uint64_t a = 0;
  uint64_t b = 0;
};

template <typename T>
std::shared_ptr<T> object_as(const ObjectRef& object) {
  auto wanted = std::dynamic_pointer_cast<T>(object);
  if (wanted == nullptr) {
    throw Failure::bad_argument(std::string("handle: expected ") + T::KIND + ", got " +
                                (object == nullptr ? "none" : object->kind()));
  }
  return wanted;
}

}  // namespace dynamo::nixl
