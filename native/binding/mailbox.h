// Carries completions from any thread to the JavaScript thread of one environment: many posts, one drain in each turn
// of the event loop.
//
// Completions may arrive after the environment is gone. So each running operation keeps the mailbox alive, and after
// `close` every post is freed.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "setup.h"

namespace dynamo {

class Mailbox;

// An operation in flight, and then its result. It is freed without delivery if the environment is gone.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual bool failed() const = 0;
  // Converts the result. Called on the JavaScript thread, at most once.
  virtual napi_value to_js(napi_env env) = 0;

  uint64_t op() const { return op_; }

 private:
  friend class Mailbox;
  std::shared_ptr<Mailbox> mailbox_;
  uint64_t op_ = 0;
  bool keeps_alive_ = false;
};

class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  Mailbox(napi_env env, napi_value deliver);
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox();

  // Sets and returns the id of the operation, which is unique in the process. An operation with `keeps_alive` keeps the
  // event loop alive.
  uint64_t begin(Pending& pending, bool keeps_alive);

  // Called from any thread, once for each operation that began.
  static void deliver(std::unique_ptr<Pending> pending);

  // Called on the JavaScript thread at the end of the environment. A destructor would run too late to release a
  // threadsafe function.
  void close();

  uint64_t scope() const { return scope_; }

 private:
  static void drain(napi_env env, napi_value deliver, void* context, void*);
  void post(std::unique_ptr<Pending> pending);
  void adjust_keep_alive(napi_env env, int change);

  const uint64_t scope_;
  napi_env env_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::unique_ptr<Pending>> posted_;
  napi_threadsafe_function wake_ = nullptr;
  bool scheduled_ = false;
  // Only used on the JavaScript thread.
  int keep_alive_count_ = 0;
};

// The mailbox of an environment. Throws before `open`.
Mailbox& mailbox_of(Napi::Env env);

// The id of an operation. Throws a TypeError for anything but a number from 0 to 2^53.
uint64_t op_from_js(napi_env env, napi_value value);

}  // namespace dynamo
