// Tests the mailbox without Node.js, under sanitizers: completions arrive from many threads while the JavaScript thread
// drains, begins and closes. The functions of Node-API below have the rules that the mailbox relies on.
//   mailbox_test THREADS OPERATIONS LIVES
#include "../mailbox.h"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <thread>

namespace {

// Values only live within a drain, as they do in a scope of handles.
struct Value {
  double number = 0;
  std::vector<Value*> items;
};
std::deque<Value> values;

napi_value make(double number) {
  values.push_back({number, {}});
  return reinterpret_cast<napi_value>(&values.back());
}
Value& value_of(napi_value value) { return *reinterpret_cast<Value*>(value); }

// One wake-up for each call, until it is released. Then each one that is left has no environment.
struct Wake {
  napi_threadsafe_function_call_js drain = nullptr;
  void* context = nullptr;
  std::mutex mutex;
  std::condition_variable called;
  int calls = 0;
  bool released = false;
  // Only used on the JavaScript thread.
  int references = 1;
};
Wake& wake_of(napi_threadsafe_function function) { return *reinterpret_cast<Wake*>(function); }

// That of the last mailbox.
Wake* last_wake = nullptr;

napi_env environment() {
  static int one = 0;
  return reinterpret_cast<napi_env>(&one);
}

std::atomic<int> alive{0};
std::vector<double> delivered;
int failed_ones = 0;
int calls_after_release = 0;
int rows = 0;
int failures = 0;

void row(const std::string& name, bool held) {
  rows += 1;
  if (!held) failures += 1;
  std::printf("%s\t%s\n", held ? "ok" : "FAIL", name.c_str());
}

class Result final : public dynamo::Pending {
 public:
  explicit Result(bool failed) : failed_(failed) { ++alive; }
  ~Result() override { --alive; }
  bool failed() const override { return failed_; }
  napi_value to_js(napi_env) override { return make(static_cast<double>(op())); }

 private:
  const bool failed_;
};

}  // namespace

extern "C" {

napi_status napi_create_string_utf8(napi_env, const char*, size_t, napi_value* result) {
  *result = make(0);
  return napi_ok;
}

napi_status napi_create_threadsafe_function(napi_env, napi_value, napi_value, napi_value, size_t, size_t, void*,
                                            napi_finalize, void* context, napi_threadsafe_function_call_js drain,
                                            napi_threadsafe_function* result) {
  auto* wake = new Wake;
  wake->drain = drain;
  wake->context = context;
  last_wake = wake;
  *result = reinterpret_cast<napi_threadsafe_function>(wake);
  return napi_ok;
}

napi_status napi_ref_threadsafe_function(napi_env, napi_threadsafe_function function) {
  wake_of(function).references += 1;
  return napi_ok;
}

napi_status napi_unref_threadsafe_function(napi_env, napi_threadsafe_function function) {
  wake_of(function).references -= 1;
  return napi_ok;
}

napi_status napi_call_threadsafe_function(napi_threadsafe_function function, void*,
                                          napi_threadsafe_function_call_mode) {
  Wake& wake = wake_of(function);
  const std::lock_guard lock(wake.mutex);
  if (wake.released) calls_after_release += 1;
  wake.calls += 1;
  wake.called.notify_one();
  return napi_ok;
}

napi_status napi_release_threadsafe_function(napi_threadsafe_function function, napi_threadsafe_function_release_mode) {
  Wake& wake = wake_of(function);
  const std::lock_guard lock(wake.mutex);
  wake.released = true;
  return napi_ok;
}

napi_status napi_create_array_with_length(napi_env, size_t length, napi_value* result) {
  *result = make(0);
  value_of(*result).items.resize(length);
  return napi_ok;
}

napi_status napi_create_double(napi_env, double number, napi_value* result) {
  *result = make(number);
  return napi_ok;
}

napi_status napi_get_boolean(napi_env, bool value, napi_value* result) {
  *result = make(value ? 1 : 0);
  return napi_ok;
}

napi_status napi_set_element(napi_env, napi_value array, uint32_t index, napi_value value) {
  value_of(array).items.at(index) = &value_of(value);
  return napi_ok;
}

napi_status napi_get_undefined(napi_env, napi_value* result) {
  *result = make(0);
  return napi_ok;
}

napi_status napi_call_function(napi_env, napi_value, napi_value, size_t, const napi_value* arguments, napi_value*) {
  const auto& batch = value_of(arguments[0]).items;
  for (size_t at = 0; at + 2 < batch.size(); at += 3) {
    if (batch[at]->number != batch[at + 2]->number) std::abort();
    failed_ones += static_cast<int>(batch[at + 1]->number);
    delivered.push_back(batch[at]->number);
  }
  return napi_ok;
}

}  // extern "C"

namespace {

// Operations that threads complete.
class Threads {
 public:
  explicit Threads(int count) {
    for (int index = 0; index < count; ++index) threads_.emplace_back([this] { run(); });
  }
  ~Threads() { join(); }
  Threads(const Threads&) = delete;

  void give(std::unique_ptr<dynamo::Pending> pending) {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(pending));
    changed_.notify_one();
  }

  // Returns when all operations have completed.
  void join() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void run() {
    while (true) {
      std::unique_ptr<dynamo::Pending> pending;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ended_ || !work_.empty(); });
        if (work_.empty()) return;
        pending = std::move(work_.front());
        work_.pop_front();
      }
      dynamo::Mailbox::deliver(std::move(pending));
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<dynamo::Pending>> work_;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

// One turn of the event loop, which waits for a wake-up.
void turn(Wake& wake, napi_env env) {
  {
    std::unique_lock lock(wake.mutex);
    wake.called.wait(lock, [&] { return wake.calls > 0; });
    wake.calls -= 1;
  }
  wake.drain(env, nullptr, wake.context, nullptr);
  values.clear();
}

// The life of an environment. It ends after `until` of the operations were delivered.
void live(int threads, int operations, int until) {
  delivered.clear();
  failed_ones = calls_after_release = 0;
  std::vector<double> begun;
  int expected_failures = 0;
  std::weak_ptr<dynamo::Mailbox> observed;
  Wake* wake = nullptr;
  {
    Threads workers(threads);
    auto mailbox = std::make_shared<dynamo::Mailbox>(environment(), nullptr);
    wake = last_wake;
    observed = mailbox;
    auto begin = [&](int count) {
      for (int index = 0; index < count; ++index) {
        const bool failed = begun.size() % 3 == 0;
        expected_failures += failed ? 1 : 0;
        auto pending = std::make_unique<Result>(failed);
        begun.push_back(static_cast<double>(mailbox->begin(*pending, begun.size() % 2 == 0)));
        workers.give(std::move(pending));
      }
    };
    begin(operations / 2);
    bool rest = true;
    while (static_cast<int>(delivered.size()) < until) {
      turn(*wake, environment());
      if (rest) begin(operations - operations / 2);
      rest = false;
    }
    if (until == operations) {
      if (wake->references != 0) row("an idle mailbox keeps no event loop alive", false);
      if (failed_ones != expected_failures) row("failures are those of the operations", false);
    }
    mailbox->close();
    mailbox->close();
    mailbox.reset();
    workers.join();
  }
  while (wake->calls > 0) turn(*wake, nullptr);
  std::sort(delivered.begin(), delivered.end());
  const bool once = std::adjacent_find(delivered.begin(), delivered.end()) == delivered.end();
  const bool known = std::includes(begun.begin(), begun.end(), delivered.begin(), delivered.end());
  if (!once || !known) row("each completion is delivered once", false);
  if (until == operations && delivered != begun) row("all completions are delivered", false);
  if (alive != 0) row("all operations are freed", false);
  if (!observed.expired()) row("the mailbox is freed", false);
  if (calls_after_release != 0) row("a released function is not called", false);
  delete wake;
}

}  // namespace

int main(int count, char** arguments) {
  const auto argument = [&](int at) { return count > at ? std::atoi(arguments[at]) : 1; };
  const int threads = argument(1), operations = argument(2), lives = argument(3);
  live(threads, operations, operations);
  row("delivers the completions of all threads once, and is freed", failures == 0);
  for (int life = 0; life < lives; ++life) live(threads, operations / 50, life % (operations / 50));
  row("closes while completions arrive, and frees what was not delivered", failures == 0);
  std::printf("%d rows, %d failed\n", rows, failures);
  return failures == 0 ? 0 : 1;
}
