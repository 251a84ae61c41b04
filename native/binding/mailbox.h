// The way of completions from any thread to the JavaScript thread of one environment: many posts, one drain a loop
// turn.
//
// Completions may arrive after the environment is gone, so the mailbox outlives it: each running operation holds it,
// and `close` makes every later post free what it brings.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "setup.h"

namespace dynamo {

class Mailbox;

// An operation on its way, and then what it brings. Freed unseen where the environment is gone.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual bool failed() const = 0;
  // On the JavaScript thread, at most once; takes what it brings.
  virtual napi_value to_js(napi_env env) = 0;

  uint64_t op() const { return op_; }

 private:
  friend class Mailbox;
  std::shared_ptr<Mailbox> mailbox_;
  uint64_t op_ = 0;
  bool held_ = false;
};

class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  Mailbox(napi_env env, napi_value deliver);
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox();

  // Gives the operation an id, unique in the process. `held` operations keep the event loop alive.
  uint64_t begin(Pending& pending, bool held);

  // From any thread, once for each operation that began.
  static void deliver(std::unique_ptr<Pending> pending);

  // On the JavaScript thread, at the environment's end; never from a destructor, which runs too late for a
  // threadsafe function to be released.
  void close();

  uint64_t scope() const { return scope_; }

 private:
  static void drain(napi_env env, napi_value deliver, void* context, void*);
  void post(std::unique_ptr<Pending> pending);
  void hold(napi_env env, int change);

  const uint64_t scope_;
  napi_env env_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::unique_ptr<Pending>> posted_;
  napi_threadsafe_function wake_ = nullptr;
  bool scheduled_ = false;
  // Only touched on the JavaScript thread.
  int held_ = 0;
};

// The mailbox of an environment; throws before `open`.
Mailbox& mailbox_of(Napi::Env env);

// An operation's id. Throws a TypeError for what is no number from 0 to 2^53.
uint64_t op_from_js(napi_env env, napi_value value);

}  // namespace dynamo
