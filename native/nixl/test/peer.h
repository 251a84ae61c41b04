// An agent in a separate process, for tests between processes.
#pragma once

#include <csignal>
#include <cstdio>
#include <string>

#include "harness.h"

namespace dynamo::nixl::test {

// `mock`, `mock:delayed`, `mock:immediate`, or the path of the library. Also passed to peers.
bool open_backend(const std::string& which);

// The main function of a peer. Prints its metadata and the address of its page, then each notification with its sender,
// until its input ends.
int serve_as_peer(const std::string& name);

class Peer {
 public:
  explicit Peer(const std::string& name);
  ~Peer();
  Peer(const Peer&) = delete;

  // Waits for a line of the peer's output.
  bool expect(const std::string& line);
  void kill(int signal = SIGKILL);

  std::string blob;
  uint64_t address = 0;

 private:
  std::string line();

  int pid_ = -1;
  int input_ = -1;
  FILE* output_ = nullptr;
};

}  // namespace dynamo::nixl::test
