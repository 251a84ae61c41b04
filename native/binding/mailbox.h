// The way of completions from any thread to the JavaScript thread of one environment: many posts, one drain a loop turn.
//
// Completions may arrive after the environment is gone, so the mailbox outlives it: each running operation holds it, and
// `close` makes every later post free what it brings.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "setup.h"

namespace dynamo {

class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  Mailbox(napi_env env, napi_value deliver);
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox();

  // What an operation carries to its completion. `held` operations keep the event loop alive.
  void* begin(uint64_t op, bool held);

  // The `done` of every dyn_call.
  static void done(void* user, dyn_reply reply);

  // On the JavaScript thread, at the environment's end; never from a destructor, which runs too late for a
  // threadsafe function to be released.
  void close();

  uint64_t scope() const { return scope_; }

 private:
  struct Pending {
    std::shared_ptr<Mailbox> mailbox;
    uint64_t op;
    bool held;
  };
  struct Completion {
    uint64_t op;
    bool held;
    dyn_reply reply;
  };

  static void drain(napi_env env, napi_value deliver, void* context, void*);
  void post(Completion completion);
  void hold(napi_env env, int change);

  const uint64_t scope_;
  napi_env env_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<Completion> posted_;
  napi_threadsafe_function wake_ = nullptr;
  bool scheduled_ = false;
  // Only touched on the JavaScript thread.
  int held_ = 0;
};

}  // namespace dynamo
