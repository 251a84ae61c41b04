// One thread that makes every call of the library for one agent, because a call may block: a post copies its whole
// payload, a connection takes tens of milliseconds, a destroy may never return.
//
// The only exception is `try_inline`: a call that is known to be short may run on another thread if the library is
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

  // The result of one turn of polling. The strongest one counts.
  enum class Polled {
    idle,      // nothing to poll: sleep until the next job
    waiting,   // an event may happen at any time, such as a notification
    active,    // a transfer is in flight
    progress,  // something changed: poll again at once
  };

  // `poll` runs while the library is locked. The thread ends after a turn in which `finish` was called. The thread owns
  // the executor: a call that never returns costs one thread and its memory, and nothing else.
  void start(const std::string& name, std::function<Polled()> poll);

  // Any thread. False if the executor has finished. Jobs run in order, each while the library is locked. No exception
  // of a job or of `poll` leaves the thread.
  bool post(Job job);

  // Only on the executor's thread. No job is accepted after it, and the thread ends.
  void finish();

  bool wait_finished(Clock::duration limit);

  // Runs `work` on the calling thread if the library is free. Returns false if it is not.
  template <typename Work>
  bool try_inline(Work work) {
    std::unique_lock lock(library_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    work();
    return true;
  }

  // Called after a transfer was posted outside of a job.
  void wake();

  // Between two looks for an event that is expected within microseconds.
  static void relax();

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
  // Written while mutex_ is locked, read without it while the thread spins.
  std::atomic<bool> called_{false};
};

}  // namespace dynamo::nixl
