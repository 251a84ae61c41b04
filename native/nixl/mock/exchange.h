// Metadata between mock agents over TCP: a listener, and a thread that sends and fetches, so that callers do not wait.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace dynamo::nixl::mocked {

class Exchange {
 public:
  struct Host {
    std::string name;
    std::function<std::optional<std::string>()> metadata;
    std::function<void(const std::string& blob)> load;
    std::function<void(const std::string& name)> unload;
  };

  explicit Exchange(Host host);
  ~Exchange();

  // False if the port is taken.
  bool listen(uint16_t port);

  // All return at once. Failures are not reported, as in the library.
  void send(const std::string& address, uint16_t port, std::string blob);
  void fetch(const std::string& address, uint16_t port);
  void invalidate(const std::string& address, uint16_t port);

 private:
  // A connection to the listener.
  struct Visitor {
    int fd;
    std::chrono::steady_clock::time_point until;  // when it ends if it makes no progress
    std::string received;
    std::string answer;
  };

  void accept();
  bool read(Visitor& visitor);
  bool write(Visitor& visitor);
  void work();
  void enqueue(std::function<void()> task);
  int connect(const std::string& address, uint16_t port);
  bool readable(int fd);
  bool receive_piece(int fd, void* data, size_t length);
  bool receive(int fd, std::string& kind, std::string& body);

  const Host host_;
  std::atomic<bool> stopping_{false};
  int listener_ = -1;
  std::thread acceptor_;

  std::mutex lock_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::thread worker_;
};

}  // namespace dynamo::nixl::mocked
