#include "link.h"

#include <algorithm>

#include "objects.h"

namespace dynamo::nixl::mocked {
namespace {

using Clock = std::chrono::steady_clock;

// How long a call waits for another process, which may be stopped or dead.
constexpr auto PATIENCE = std::chrono::milliseconds(5);
// How often the thread checks a transfer that waits for its time or its polls, and whether its peer is alive.
constexpr auto TICK = std::chrono::milliseconds(1);
constexpr uint64_t PIECE = 1 << 20;

class NodeChannel final : public Channel {
 public:
  explicit NodeChannel(uint64_t id) : id_(id) {}

  Detail write(Memory memory, const Block& to, const void* from) override {
    const auto node = find_node(id_);
    return node == nullptr ? Detail::remote_disconnect : node->write(memory, to, from);
  }
  Detail read(Memory memory, const Block& from, void* to) override {
    const auto node = find_node(id_);
    return node == nullptr ? Detail::remote_disconnect : node->read(memory, from, to);
  }
  Detail notify(const std::string& from, const std::string& message) override {
    const auto node = find_node(id_);
    return node == nullptr ? Detail::remote_disconnect : node->notify(from, message);
  }
  bool alive() override { return find_node(id_) != nullptr; }
  bool direct() const override { return true; }

 private:
  const uint64_t id_;
};

class ProcessChannel final : public Channel {
 public:
  explicit ProcessChannel(const Address& address) : connection_(address) {}

  Detail write(Memory memory, const Block& to, const void* from) override {
    return connection_.write(memory, to, from);
  }
  Detail read(Memory memory, const Block& from, void* to) override { return connection_.read(memory, from, to); }
  Detail notify(const std::string& from, const std::string& message) override {
    return connection_.notify(from, message);
  }
  bool alive() override { return connection_.alive(); }
  void interrupt() override { connection_.interrupt(); }
  bool direct() const override { return false; }

 private:
  Connection connection_;
};

}  // namespace

std::unique_ptr<Channel> channel_to(const Address& address) {
  if (address.process == own_process().process) return std::make_unique<NodeChannel>(address.node);
  return std::make_unique<ProcessChannel>(address);
}

Link::Link(std::string peer, std::unique_ptr<Channel> channel) : peer_(std::move(peer)), channel_(std::move(channel)) {}

Link::~Link() { stop(); }

bool Link::dropped() const {
  const auto knobs = current_knobs();
  return !knobs.drop_peer.empty() && knobs.drop_peer == peer_;
}

// Moves bytes until `until` bytes of the job have moved.
Detail Link::move(Job& job, uint64_t bytes) {
  while (job.step < job.steps.size()) {
    const Step& step = job.steps[job.step];
    const uint64_t length = std::min({step.local.length - job.offset, bytes, PIECE});
    if (length > 0) {
      auto* local = reinterpret_cast<char*>(step.local.address + job.offset);
      const Block remote{step.remote.address + job.offset, length, step.remote.device};
      const Detail detail = job.operation == Operation::write ? channel_->write(job.remote_memory, remote, local)
                                                              : channel_->read(job.remote_memory, remote, local);
      if (detail != Detail::ok) return detail;
      job.offset += length;
      bytes -= length;
    }
    if (job.offset == step.local.length) {
      job.step += 1;
      job.offset = 0;
    } else if (bytes == 0) {
      return Detail::in_progress;
    }
  }
  return Detail::ok;
}

void Link::start() {
  if (thread_.joinable()) return;
  thread_ = std::thread([this] {
    while (!run_until_stop()) {
    }
  });
}

void Link::post(const std::shared_ptr<Job>& job) {
  if (dropped()) {
    job->state = Detail::remote_disconnect;
    return;
  }
  if (job->immediate && channel_->direct()) {
    job->state = move(*job, job->bytes);
    return;
  }
  std::unique_lock guard(lock_);
  if (stopping_) {
    job->state = Detail::canceled;
    return;
  }
  jobs_.push_back(job);
  start();
  wake_.notify_one();
  if (job->immediate) settled_.wait_for(guard, PATIENCE, [&] { return job->state != Detail::in_progress; });
}

Detail Link::state(const Job& job) {
  std::lock_guard guard(lock_);
  return job.state;
}

Detail Link::poll(Job& job) {
  std::lock_guard guard(lock_);
  if (job.polls > 0) job.polls -= 1;
  return job.state;
}

void Link::abandon(Job& job, std::chrono::microseconds late) {
  std::lock_guard guard(lock_);
  job.abandoned = true;
  job.due = Clock::now() + late;
  wake_.notify_one();
}

Detail Link::notify(const std::string& from, const std::string& message) {
  if (dropped()) return Detail::remote_disconnect;
  if (channel_->direct()) return channel_->notify(from, message);
  const auto note = std::make_shared<Note>(Note{from, message});
  std::unique_lock guard(lock_);
  if (stopping_) return Detail::canceled;
  notes_.push_back(note);
  start();
  wake_.notify_one();
  settled_.wait_for(guard, PATIENCE, [&] { return note->state != Detail::in_progress; });
  return note->state == Detail::in_progress ? Detail::ok : note->state;
}

bool Link::ready(const Job& job, Clock::time_point now) const {
  if (!job.begun) return true;
  return now >= job.due && (job.abandoned || (!job.never && job.polls == 0));
}

// No exception may leave the thread: without memory, the jobs fail and the link continues.
bool Link::run_until_stop() {
  try {
    run();
    return true;
  } catch (...) {
    std::lock_guard guard(lock_);
    for (const auto& job : jobs_) job->state = Detail::backend;
    for (const auto& note : notes_) note->state = Detail::backend;
    jobs_.clear();
    notes_.clear();
    settled_.notify_all();
    return stopping_;
  }
}

void Link::run() {
  std::unique_lock guard(lock_);
  while (!stopping_) {
    if (!notes_.empty()) {
      const auto note = notes_.front();
      guard.unlock();
      const Detail detail = channel_->notify(note->from, note->message);
      guard.lock();
      note->state = detail;
      notes_.pop_front();
      settled_.notify_all();
      continue;
    }
    const auto now = Clock::now();
    const auto next = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& job) { return ready(*job, now); });
    if (next != jobs_.end()) {
      const auto job = *next;
      // Half of the bytes move at once, the rest when the job is due. That detects a buffer that is freed in between.
      const bool last = job->begun || job->immediate;
      guard.unlock();
      const Detail detail = move(*job, last ? job->bytes : job->bytes / 2);
      guard.lock();
      // A job that stop() has interrupted ends with the status of stop().
      if (stopping_ && detail != Detail::ok) break;
      job->begun = true;
      if (last || detail < Detail::ok) {
        job->state = detail;
        std::erase(jobs_, job);
        settled_.notify_all();
      }
      continue;
    }
    if (jobs_.empty()) {
      wake_.wait(guard);
      continue;
    }
    wake_.wait_for(guard, TICK);
    guard.unlock();
    const bool lost = dropped() || !channel_->alive();
    guard.lock();
    if (lost && !stopping_) {
      for (const auto& job : jobs_) job->state = Detail::remote_disconnect;
      jobs_.clear();
      settled_.notify_all();
    }
  }
}

void Link::stop(Detail end) {
  {
    std::lock_guard guard(lock_);
    stopping_ = true;
    wake_.notify_one();
  }
  channel_->interrupt();
  if (thread_.joinable()) thread_.join();
  std::lock_guard guard(lock_);
  for (const auto& job : jobs_) job->state = end;
  jobs_.clear();
}

}  // namespace dynamo::nixl::mocked
