// The connection of a mock agent to one node, or to files: its transfers in flight, and the thread that runs them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "node.h"
#include "wire.h"

namespace dynamo::nixl::mocked {

struct Step {
  Block local;
  Block remote;  // for a file: the offset, and the descriptor as its device
};

// One post of a transfer. The link's lock guards the members that the link's thread changes.
struct Job {
  Operation operation = Operation::write;
  Memory remote_memory = Memory::dram;
  std::vector<Step> steps;
  uint64_t bytes = 0;

  bool immediate = false;
  bool never = false;
  uint32_t polls = 0;
  std::chrono::steady_clock::time_point due;

  Detail state = Detail::in_progress;
  bool abandoned = false;

  // Only used by the thread that runs the job.
  bool begun = false;
  size_t step = 0;
  uint64_t offset = 0;
};

// The other end of a link. Calls may wait. interrupt() makes them fail.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual Detail write(Memory memory, const Block& to, const void* from) = 0;
  virtual Detail read(Memory memory, const Block& from, void* to) = 0;
  virtual Detail notify(const std::string& from, const std::string& message) = 0;
  virtual bool alive() = 0;
  virtual void interrupt() {}
  // Never waits for another process, so the caller's thread may use it.
  virtual bool direct() const = 0;
};

std::unique_ptr<Channel> channel_to(const Address& address);
std::unique_ptr<Channel> channel_to_files();

class Link {
 public:
  Link(std::string peer, std::unique_ptr<Channel> channel);
  ~Link();

  // Begins the job. Waits for an immediate job, but only briefly if another process is involved.
  void post(const std::shared_ptr<Job>& job);
  Detail state(const Job& job);
  // The same. Counts as one of the polls that the job waits for.
  Detail poll(Job& job);
  // The job is no longer polled, but its bytes continue to move for a while, as in the library.
  void abandon(Job& job, std::chrono::microseconds late);
  // In order. A failure that only appears later is not reported.
  Detail notify(const std::string& from, const std::string& message);

  // Ends the jobs in flight with this status. No memory of the caller is used after it.
  void stop(Detail end = Detail::canceled);

 private:
  struct Note {
    std::string from;
    std::string message;
    Detail state = Detail::in_progress;
  };

  bool run_until_stop();
  void run();
  void start();
  bool ready(const Job& job, std::chrono::steady_clock::time_point now) const;
  Detail move(Job& job, uint64_t bytes);
  bool dropped() const;

  const std::string peer_;
  const std::unique_ptr<Channel> channel_;

  std::mutex lock_;
  std::condition_variable wake_;
  std::condition_variable settled_;
  std::vector<std::shared_ptr<Job>> jobs_;
  std::deque<std::shared_ptr<Note>> notes_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace dynamo::nixl::mocked
