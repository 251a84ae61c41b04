// A mock agent's way to one node, or to files: transfers under way and the thread that carries them out.
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
  Block remote;  // of files: the offset, and the descriptor as its device
};

// One post of a transfer. What the link's thread changes is guarded by the link.
struct Job {
  Operation operation = Operation::write;
  Memory remote_memory = Memory::dram;
  std::vector<Step> steps;
  uint64_t bytes = 0;

  bool at_once = false;
  bool never = false;
  uint32_t polls = 0;
  std::chrono::steady_clock::time_point due;

  Detail state = Detail::in_progress;
  bool abandoned = false;

  // Only of whoever carries it out.
  bool begun = false;
  size_t step = 0;
  uint64_t offset = 0;
};

// What is at the other end. Calls may wait; interrupt() makes them fail.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual Detail write(Memory memory, const Block& to, const void* from) = 0;
  virtual Detail read(Memory memory, const Block& from, void* to) = 0;
  virtual Detail notify(const std::string& from, const std::string& message) = 0;
  virtual bool alive() = 0;
  virtual void interrupt() {}
  // Never waits for another process: may be used on the caller's thread.
  virtual bool direct() const = 0;
};

std::unique_ptr<Channel> channel_to(const Address& address);
std::unique_ptr<Channel> channel_to_files();

class Link {
 public:
  Link(std::string peer, std::unique_ptr<Channel> channel);
  ~Link();

  // Begins the job, and waits for one that is to complete at once: a moment only when another process is involved.
  void post(const std::shared_ptr<Job>& job);
  Detail state(const Job& job);
  // The same, counted as one of the polls that the job waits for.
  Detail poll(Job& job);
  // Nobody will ask for the job again, but its bytes go on moving for a while, as the library's do.
  void abandon(Job& job, std::chrono::microseconds late);
  // In order. A failure that shows only later is not reported.
  Detail notify(const std::string& from, const std::string& message);

  // Ends what is under way, with this; nothing of the caller's memory is touched after it.
  void stop(Detail end = Detail::canceled);

 private:
  struct Note {
    std::string from;
    std::string message;
    Detail state = Detail::in_progress;
  };

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
