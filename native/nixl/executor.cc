#include "executor.h"

#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>
#include <thread>

namespace dynamo::nixl {
namespace {

using std::chrono::microseconds;

// How long the thread stays awake after the last event. The next post often follows a completion at once, and waking a
// thread costs more than the post itself.
constexpr auto SPIN = microseconds(60);
constexpr auto FIRST_REST = microseconds(20);

// How long the thread rests between two polls: half of the time since the last event, up to `usual`. Later a hundredth
// of that time, up to `longest`.
struct Rest {
  microseconds usual;
  microseconds longest;

  Clock::duration after(Clock::duration quiet) const {
    const auto max = std::clamp<Clock::duration>(quiet / 100, usual, longest);
    return std::clamp<Clock::duration>(quiet / 2, FIRST_REST, max);
  }
};

constexpr Rest ACTIVE{microseconds(1000), microseconds(10'000)};
constexpr Rest WAITING{microseconds(5000), microseconds(20'000)};

}  // namespace

void Executor::start(const std::string& name, std::function<Polled()> poll) {
  poll_ = std::move(poll);
  std::thread([self = shared_from_this(), name = name.substr(0, 15)] {
    pthread_setname_np(pthread_self(), name.c_str());
    // Without it the kernel's timers are 50 us late.
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    self->run();
  }).detach();
}

bool Executor::post(Job job) {
  std::lock_guard lock(mutex_);
  if (!accepting_) return false;
  jobs_.push_back(std::move(job));
  called_.store(true, std::memory_order_release);
  if (sleeping_) changed_.notify_all();
  return true;
}

void Executor::wake() {
  std::lock_guard lock(mutex_);
  called_.store(true, std::memory_order_release);
  if (sleeping_) changed_.notify_all();
}

void Executor::relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void Executor::finish() {
  std::lock_guard lock(mutex_);
  accepting_ = false;
}

bool Executor::wait_finished(Clock::duration limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] { return ended_; });
}

bool Executor::run_jobs() {
  std::vector<Job> jobs;
  {
    std::lock_guard lock(mutex_);
    jobs.swap(jobs_);
    called_.store(false, std::memory_order_release);
  }
  for (Job& job : jobs) {
    try {
      std::lock_guard lock(library_);
      job();
    } catch (...) {
      // Jobs report their failures. What is left, such as no memory for the report itself, must not end the process.
      // An operation of the job that was not settled is settled when the job is freed.
    }
    // Free the job's objects after the library is unlocked: a destructor may post another job.
    job = nullptr;
  }
  return !jobs.empty();
}

void Executor::run() {
  Clock::time_point busy = Clock::now();
  for (;;) {
    const bool ran = run_jobs();
    {
      std::lock_guard lock(mutex_);
      if (!accepting_ && jobs_.empty()) break;
    }
    Polled polled = Polled::active;
    try {
      std::lock_guard lock(library_);
      polled = poll_();
    } catch (...) {
      // Polled again after a rest.
    }
    if (ran || polled == Polled::progress) {
      busy = Clock::now();
    } else {
      rest(polled, busy);
    }
  }
  poll_ = nullptr;
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void Executor::rest(Polled polled, Clock::time_point busy) {
  const auto quiet = Clock::now() - busy;
  if (quiet < SPIN) {
    for (int i = 0; i < 20 && !called_.load(std::memory_order_acquire); i++) relax();
    return;
  }
  std::unique_lock lock(mutex_);
  if (called_.load(std::memory_order_relaxed)) return;
  sleeping_ = true;
  const auto called = [&] { return called_.load(std::memory_order_relaxed); };
  if (polled == Polled::idle) {
    changed_.wait(lock, called);
  } else {
    changed_.wait_for(lock, (polled == Polled::active ? ACTIVE : WAITING).after(quiet), called);
  }
  sleeping_ = false;
}

}  // namespace dynamo::nixl
