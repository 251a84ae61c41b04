#include "exchange.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "wire.h"

namespace dynamo::nixl::mocked {
namespace {

constexpr int TICK_MS = 20;  // how long a stop may wait
constexpr auto PATIENCE = std::chrono::seconds(5);
constexpr uint64_t MOST_BYTES = 1 << 30;

constexpr size_t HEAD_BYTES = 1 + sizeof(uint64_t);
constexpr size_t MOST_VISITORS = 64;

// A message: kind (one letter: s sends a blob, f requests one, i withdraws the sender's), length, body.
std::string message(char kind, const std::string& body) {
  const uint64_t length = body.size();
  return kind + std::string(reinterpret_cast<const char*>(&length), sizeof length) + body;
}

bool post(int fd, char kind, const std::string& body) {
  const std::string whole = message(kind, body);
  return send_all(fd, whole.data(), whole.size());
}

}  // namespace

Exchange::Exchange(Host host) : host_(std::move(host)) {}

Exchange::~Exchange() {
  stopping_ = true;
  {
    std::lock_guard guard(lock_);
    wake_.notify_all();
  }
  if (acceptor_.joinable()) acceptor_.join();
  if (worker_.joinable()) worker_.join();
  if (listener_ >= 0) ::close(listener_);
}

bool Exchange::listen(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (fd < 0) return false;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, 128) != 0) {
    ::close(fd);
    return false;
  }
  listener_ = fd;
  acceptor_ = std::thread(&Exchange::accept, this);
  return true;
}

// Waits until there is something to read. False if the agent ends or the peer takes too long.
bool Exchange::readable(int fd) {
  const auto end = std::chrono::steady_clock::now() + PATIENCE;
  while (!stopping_ && std::chrono::steady_clock::now() < end) {
    pollfd waiting{fd, POLLIN, 0};
    if (poll(&waiting, 1, TICK_MS) > 0) return true;
  }
  return false;
}

bool Exchange::receive_piece(int fd, void* data, size_t length) {
  for (char* next = static_cast<char*>(data); length > 0;) {
    if (!readable(fd)) return false;
    const ssize_t got = recv(fd, next, length, 0);
    if (got <= 0) return false;
    next += got;
    length -= static_cast<size_t>(got);
  }
  return true;
}

bool Exchange::receive(int fd, std::string& kind, std::string& body) {
  char letter = 0;
  uint64_t length = 0;
  if (!receive_piece(fd, &letter, 1) || !receive_piece(fd, &length, sizeof length)) return false;
  if (length > MOST_BYTES) return false;
  kind.assign(1, letter);
  body.clear();
  char piece[65536];
  while (body.size() < length) {
    const size_t next = std::min<uint64_t>(sizeof piece, length - body.size());
    if (!receive_piece(fd, piece, next)) return false;
    body.append(piece, next);
  }
  return true;
}

// Reads what has arrived. False if the connection must end.
bool Exchange::read(Visitor& visitor) {
  char piece[65536];
  const ssize_t got = recv(visitor.fd, piece, sizeof piece, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got <= 0) return false;
  visitor.until = std::chrono::steady_clock::now() + PATIENCE;
  visitor.received.append(piece, static_cast<size_t>(got));
  uint64_t length = 0;
  if (visitor.received.size() < HEAD_BYTES) return true;
  std::memcpy(&length, visitor.received.data() + 1, sizeof length);
  if (length > MOST_BYTES) return false;
  if (visitor.received.size() < HEAD_BYTES + length) return true;
  const char kind = visitor.received[0];
  const std::string body = visitor.received.substr(HEAD_BYTES, length);
  if (kind == 's') host_.load(body);
  if (kind == 'i') host_.unload(body);
  if (kind != 'f') return false;
  const auto blob = host_.metadata();
  if (!blob.has_value()) return false;
  visitor.answer = message('s', *blob);
  return true;
}

// Sends what the peer accepts. False if the connection must end.
bool Exchange::write(Visitor& visitor) {
  const ssize_t sent = ::send(visitor.fd, visitor.answer.data(), visitor.answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (sent <= 0) return false;
  visitor.until = std::chrono::steady_clock::now() + PATIENCE;
  visitor.answer.erase(0, static_cast<size_t>(sent));
  return !visitor.answer.empty();
}

// Serves all connections at once: one that says nothing must not delay the others.
void Exchange::accept() {
  std::deque<Visitor> visitors;
  while (!stopping_) {
    std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
    for (const Visitor& visitor : visitors)
      waiting.push_back({visitor.fd, static_cast<short>(visitor.answer.empty() ? POLLIN : POLLOUT), 0});
    poll(waiting.data(), waiting.size(), TICK_MS);
    const auto now = std::chrono::steady_clock::now();
    for (size_t i = 0; i < visitors.size(); ++i) {
      Visitor& visitor = visitors[i];
      bool stays = now < visitor.until;
      try {
        if (waiting[i + 1].revents != 0) stays = visitor.answer.empty() ? read(visitor) : write(visitor);
      } catch (...) {
        stays = false;  // too large for the memory of this process
      }
      if (stays) continue;
      ::close(visitor.fd);
      visitor.fd = -1;
    }
    std::erase_if(visitors, [](const Visitor& visitor) { return visitor.fd < 0; });
    if (waiting[0].revents == 0) continue;
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    if (visitors.size() == MOST_VISITORS) {
      ::close(visitors.front().fd);
      visitors.pop_front();
    }
    visitors.push_back({fd, now + PATIENCE, {}, {}});
  }
  for (const Visitor& visitor : visitors) ::close(visitor.fd);
}

int Exchange::connect(const std::string& address, uint16_t port) {
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(port);
  if (inet_pton(AF_INET, address.c_str(), &target.sin_addr) != 1) return -1;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const auto end = std::chrono::steady_clock::now() + PATIENCE;
  int error = ::connect(fd, reinterpret_cast<sockaddr*>(&target), sizeof target) == 0 ? 0 : errno;
  while (error == EINPROGRESS && !stopping_ && std::chrono::steady_clock::now() < end) {
    pollfd waiting{fd, POLLOUT, 0};
    if (poll(&waiting, 1, TICK_MS) <= 0) continue;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  }
  if (error != 0) {
    ::close(fd);
    return -1;
  }
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

void Exchange::enqueue(std::function<void()> task) {
  std::lock_guard guard(lock_);
  tasks_.push_back(std::move(task));
  if (!worker_.joinable()) worker_ = std::thread(&Exchange::work, this);
  wake_.notify_all();
}

void Exchange::work() {
  std::unique_lock guard(lock_);
  while (!stopping_) {
    if (tasks_.empty()) {
      wake_.wait(guard);
      continue;
    }
    const auto task = std::move(tasks_.front());
    tasks_.pop_front();
    guard.unlock();
    try {
      task();
    } catch (...) {
      // As in the library, failures are not reported.
    }
    guard.lock();
  }
}

void Exchange::send(const std::string& address, uint16_t port, std::string blob) {
  enqueue([this, address, port, blob = std::move(blob)] {
    const int fd = connect(address, port);
    if (fd < 0) return;
    post(fd, 's', blob);
    ::close(fd);
  });
}

void Exchange::fetch(const std::string& address, uint16_t port) {
  enqueue([this, address, port] {
    const int fd = connect(address, port);
    if (fd < 0) return;
    std::string kind;
    std::string body;
    if (post(fd, 'f', {}) && receive(fd, kind, body) && kind == "s") host_.load(body);
    ::close(fd);
  });
}

void Exchange::invalidate(const std::string& address, uint16_t port) {
  enqueue([this, address, port] {
    const int fd = connect(address, port);
    if (fd < 0) return;
    post(fd, 'i', host_.name);
    ::close(fd);
  });
}

}  // namespace dynamo::nixl::mocked
