#include "wire.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

namespace dynamo::nixl::mocked {
namespace {

enum class Kind : uint32_t { write = 1, read = 2, notify = 3 };

struct Head {
  Kind kind;
  Memory memory;
  uint64_t node;
  Block block;           // for `notify` its length is that of the message
  uint64_t name_length;  // the sender's, for `notify`
};

constexpr uint64_t MAX_REQUEST_BYTES = 1 << 20;  // so that a node is not locked for long
constexpr uint64_t MOST_NAME = 1 << 16;
constexpr uint64_t MOST_MESSAGE = 1 << 30;

bool address_of(const std::string& name, sockaddr_un& address, socklen_t& length) {
  if (name.empty() || name.size() + 1 > sizeof address.sun_path) return false;
  std::memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());  // abstract: it ends with the process
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return true;
}

bool same_user(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid();
}

bool answer(int fd, Detail detail) { return send_all(fd, &detail, sizeof detail); }

bool serve_one(int fd, const Head& head, std::vector<char>& buffer) {
  const auto node = find_node(head.node);
  if (head.kind == Kind::notify) {
    if (head.name_length > MOST_NAME || head.block.length > MOST_MESSAGE) return false;
    std::string from(head.name_length, '\0');
    std::string message(head.block.length, '\0');
    if (!receive_all(fd, from.data(), from.size()) || !receive_all(fd, message.data(), message.size())) return false;
    return answer(fd, node == nullptr ? Detail::remote_disconnect : node->notify(from, message));
  }
  if (head.block.length > MAX_REQUEST_BYTES) return false;
  buffer.resize(head.block.length);
  if (head.kind == Kind::write) {
    if (!receive_all(fd, buffer.data(), buffer.size())) return false;
    return answer(fd,
                  node == nullptr ? Detail::remote_disconnect : node->write(head.memory, head.block, buffer.data()));
  }
  if (head.kind != Kind::read) return false;
  const Detail detail =
      node == nullptr ? Detail::remote_disconnect : node->read(head.memory, head.block, buffer.data());
  if (!answer(fd, detail)) return false;
  return detail != Detail::ok || send_all(fd, buffer.data(), buffer.size());
}

void serve(int fd) {
  try {
    std::vector<char> buffer;
    Head head;
    while (receive_all(fd, &head, sizeof head) && serve_one(fd, head, buffer)) {
    }
  } catch (...) {
    // A request that is too large for the memory of this process ends its connection.
  }
  ::close(fd);
}

void accept_peers(int listener) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EBADF || errno == EINVAL) return;
      if (errno == EMFILE || errno == ENFILE) std::this_thread::yield();
      continue;
    }
    try {
      if (same_user(fd)) {
        std::thread(serve, fd).detach();
        continue;
      }
    } catch (...) {
      // The process has too many threads.
    }
    ::close(fd);
  }
}

}  // namespace

bool send_all(int fd, const void* data, size_t length) {
  const char* next = static_cast<const char*>(data);
  while (length > 0) {
    const ssize_t sent = send(fd, next, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    next += sent;
    length -= static_cast<size_t>(sent);
  }
  return true;
}

bool receive_all(int fd, void* data, size_t length) {
  char* next = static_cast<char*>(data);
  while (length > 0) {
    const ssize_t received = recv(fd, next, length, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    next += received;
    length -= static_cast<size_t>(received);
  }
  return true;
}

const Address& own_process() {
  static const Address* own = [] {
    auto* address = new Address;
    address->process = random_id();
    address->socket = "dynamo-nixl-mock-1-" + std::to_string(getpid()) + "-" + std::to_string(address->process);
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un name;
    socklen_t length = 0;
    if (listener >= 0 && address_of(address->socket, name, length) &&
        bind(listener, reinterpret_cast<sockaddr*>(&name), length) == 0 && listen(listener, 128) == 0) {
      std::thread(accept_peers, listener).detach();
    }
    return address;
  }();
  return *own;
}

Connection::Connection(Address address) : address_(std::move(address)) {}

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
}

bool Connection::connect() {
  std::lock_guard guard(lock_);
  if (interrupted_ || lost_) return false;
  if (fd_ >= 0) return true;
  sockaddr_un name;
  socklen_t length = 0;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  if (!address_of(address_.socket, name, length) || ::connect(fd, reinterpret_cast<sockaddr*>(&name), length) != 0) {
    ::close(fd);
    lost_ = true;
    return false;
  }
  fd_ = fd;
  return true;
}

Detail Connection::write(Memory memory, const Block& to, const void* from) {
  if (!connect()) return Detail::remote_disconnect;
  const char* next = static_cast<const char*>(from);
  Block rest = to;
  std::vector<char> copy;
  do {
    const uint64_t length = std::min(rest.length, MAX_REQUEST_BYTES);
    copy.resize(length);
    copy_bytes(copy.data(), next, length);
    const Head head{Kind::write, memory, address_.node, {rest.address, length, rest.device}, 0};
    Detail detail = Detail::remote_disconnect;
    if (!send_all(fd_, &head, sizeof head) || !send_all(fd_, copy.data(), length) ||
        !receive_all(fd_, &detail, sizeof detail)) {
      return Detail::remote_disconnect;
    }
    if (detail != Detail::ok) return detail;
    next += length;
    rest.address += length;
    rest.length -= length;
  } while (rest.length > 0);
  return Detail::ok;
}

Detail Connection::read(Memory memory, const Block& from, void* to) {
  if (!connect()) return Detail::remote_disconnect;
  char* next = static_cast<char*>(to);
  Block rest = from;
  std::vector<char> copy;
  do {
    const uint64_t length = std::min(rest.length, MAX_REQUEST_BYTES);
    copy.resize(length);
    const Head head{Kind::read, memory, address_.node, {rest.address, length, rest.device}, 0};
    Detail detail = Detail::remote_disconnect;
    if (!send_all(fd_, &head, sizeof head) || !receive_all(fd_, &detail, sizeof detail)) {
      return Detail::remote_disconnect;
    }
    if (detail != Detail::ok) return detail;
    if (!receive_all(fd_, copy.data(), length)) return Detail::remote_disconnect;
    copy_bytes(next, copy.data(), length);
    next += length;
    rest.address += length;
    rest.length -= length;
  } while (rest.length > 0);
  return Detail::ok;
}

Detail Connection::notify(const std::string& from, const std::string& message) {
  if (!connect()) return Detail::remote_disconnect;
  const Head head{Kind::notify, Memory::dram, address_.node, {0, message.size(), 0}, from.size()};
  Detail detail = Detail::remote_disconnect;
  if (!send_all(fd_, &head, sizeof head) || !send_all(fd_, from.data(), from.size()) ||
      !send_all(fd_, message.data(), message.size()) || !receive_all(fd_, &detail, sizeof detail)) {
    return Detail::remote_disconnect;
  }
  return detail;
}

bool Connection::alive() {
  if (!connect()) return false;
  pollfd waiting{fd_, POLLIN, 0};
  // No request is in flight, so readable data means the end of the connection.
  return poll(&waiting, 1, 0) == 0;
}

void Connection::interrupt() {
  std::lock_guard guard(lock_);
  interrupted_ = true;
  if (fd_ >= 0) shutdown(fd_, SHUT_RDWR);
}

}  // namespace dynamo::nixl::mocked
