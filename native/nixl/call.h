// The calls that the entries of this folder receive, and their replies. The binding converts both from and to
// JavaScript values. No file of this folder knows JavaScript.
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

#include "failure.h"

namespace dynamo::nixl {

// An object with a handle in JavaScript. Objects are shared: an operation that still runs keeps its objects alive.
class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  virtual const char* kind() const = 0;
  // Called when the handle of an environment is garbage-collected. Only an agent ends then; other objects stay open.
  virtual void collected() {}
};

using ObjectRef = std::shared_ptr<Object>;

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

// An asynchronous call that has not been answered. It is settled exactly once, from any thread: by its work or by the
// caller's cancel, whichever is first. The work checks `settled()` and stops if it can.
class Task {
 public:
  explicit Task(std::function<void(Reply)> done) : done_(std::move(done)) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task();

  bool settled() const { return settled_.load(std::memory_order_acquire); }
  bool settle(Reply reply);
  bool fail(const Failure& failure) { return settle(Reply::of_failure(failure)); }
  // The caller has cancelled. Memory and requests stay as long as the library uses them.
  void cancel();

 private:
  std::atomic<bool> settled_{false};
  std::function<void(Reply)> done_;
};

using TaskRef = std::shared_ptr<Task>;

// Settles each, even if one of them throws.
void settle_all(const std::vector<TaskRef>& tasks, const Reply& reply);

// The arguments of every entry. An entry ignores those that it does not name. Bytes are only valid during the call.
struct Call {
  ObjectRef handle;
  ObjectRef other;
  std::span<const uint8_t> args;     // MessagePack: a map of options
  std::span<const uint8_t> payload;  // its form depends on the entry
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
