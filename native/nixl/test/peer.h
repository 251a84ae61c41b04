// An agent in a process of its own, for tests between processes.
#pragma once

#include <csignal>
#include <cstdio>
#include <string>

#include "harness.h"

namespace dynamo::nixl::test {

// `mock`, `mock:delayed`, `mock:at-once`, or the path of the library; peers are told too.
bool open_backend(const std::string& which);

// The peer's life: prints its metadata and its page's address, then each notification with its sender, until its input
// ends.
int serve_as_peer(const std::string& name);

class Peer {
 public:
  explicit Peer(const std::string& name);
  ~Peer();
  Peer(const Peer&) = delete;

  // Waits for a line of the peer's.
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
