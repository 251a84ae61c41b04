// Metadata between mock agents over TCP: a listener, and a thread that sends and fetches, so that callers do not wait.
#pragma once

#include <atomic>
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
  void accept();
  void answer(int fd);
  void work();
  void enqueue(std::function<void()> task);
  int connect(const std::string& address, uint16_t port);
  bool readable(int fd);
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
