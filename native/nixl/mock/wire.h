// How mock agents of different processes reach each other: one unix socket a process, requests and their answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "metadata.h"
#include "node.h"

namespace dynamo::nixl::mocked {

// Where this process listens; the first call starts the thread that does, which stays.
const Address& own_process();

// The other end of a connection to one node. Its calls wait for the answer; interrupt() may come from any thread and
// makes the one that waits, and all later ones, fail.
class Connection {
 public:
  explicit Connection(Address address);
  ~Connection();
  Connection(const Connection&) = delete;

  Detail write(Memory memory, const Block& to, const void* from);
  Detail read(Memory memory, const Block& from, void* to);
  Detail notify(const std::string& from, const std::string& message);

  // Whether the process at the other end is still there, as far as can be told without asking it.
  bool alive();
  void interrupt();

 private:
  bool connect();

  const Address address_;
  std::mutex lock_;  // guards fd_ against interrupt()
  int fd_ = -1;
  bool interrupted_ = false;
  bool lost_ = false;
};

bool send_all(int fd, const void* data, size_t length);
bool receive_all(int fd, void* data, size_t length);

}  // namespace dynamo::nixl::mocked
