// One thread that makes every call of the library for one agent, because a call may block: a post copies its whole
// payload, a connection takes tens of milliseconds, a destroy may never return.
//
// The one exception is `try_inline`: a call that is known to be short may run on another thread when the library is
// free.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace dynamo::nixl {

using Clock = std::chrono::steady_clock;

class Executor : public std::enable_shared_from_this<Executor> {
 public:
  using Job = std::function<void()>;

  // What one turn of polling found; the strongest counts.
  enum class Polled {
    idle,      // nothing to poll for: sleep until a job comes
    waiting,   // something may come at any time, such as a notification
    active,    // a transfer is under way
    progress,  // something moved: poll again at once
  };

  // `poll` runs with the library taken. The thread ends after a turn in which `finished` was called; it holds the
  // executor, so that a call that never returns costs a thread and its memory, and nothing else.
  void start(const std::string& name, std::function<Polled()> poll);

  // Any thread; false when the executor has finished. Jobs run in their order, each with the library taken.
  bool post(Job job);

  // The thread's own: no job is taken any more, and the thread ends.
  void finish();

  bool wait_finished(Clock::duration limit);

  // Runs `work` on this thread if the library is free. False if not.
  template <typename Work>
  bool try_inline(Work work) {
    std::unique_lock lock(library_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    work();
    return true;
  }

  // Something to poll for began outside of a job.
  void wake();

 private:
  void run();
  bool run_jobs();
  void rest(Polled polled, Clock::time_point busy);

  std::function<Polled()> poll_;
  std::mutex library_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::vector<Job> jobs_;
  bool sleeping_ = false;
  bool accepting_ = true;
  bool ended_ = false;
  // Written under mutex_, read without it while the thread spins.
  std::atomic<bool> called_{false};
};

}  // namespace dynamo::nixl
