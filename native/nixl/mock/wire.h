// The connection between mock agents of different processes: one unix socket per process, with requests and answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "metadata.h"
#include "node.h"

namespace dynamo::nixl::mocked {

// The address on which this process listens. The first call starts the listening thread, which never ends.
const Address& own_process();

// The other end of a connection to one node. Its calls wait for the answer. Any thread may call interrupt(): the
// waiting call and all later ones then fail.
class Connection {
 public:
  explicit Connection(Address address);
  ~Connection();
  Connection(const Connection&) = delete;

  Detail write(Memory memory, const Block& to, const void* from);
  Detail read(Memory memory, const Block& from, void* to);
  Detail notify(const std::string& from, const std::string& message);

  // Whether the process at the other end still exists, as far as that is known without a request.
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
