// What the test programs share: rows that print their results, and shortcuts to call the table.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "../backend.h"

namespace dynamo::nixl::test {

inline const Backend* backend = nullptr;
inline const Functions* call = nullptr;
inline int failures = 0;
inline int rows = 0;

inline void row(const std::string& name, long got, std::initializer_list<long> allowed) {
  rows += 1;
  std::string expected;
  bool ok = false;
  for (const long value : allowed) {
    ok = ok || value == got;
    expected += (expected.empty() ? "" : " or ") + std::to_string(value);
  }
  if (!ok) failures += 1;
  std::printf("%s\t%s\tgot %ld\texpected %s\n", ok ? "ok" : "FAIL", name.c_str(), got, expected.c_str());
  std::fflush(stdout);
}

inline void row(const std::string& name, Status got, std::initializer_list<long> allowed) {
  row(name, static_cast<long>(got), allowed);
}

inline void row(const std::string& name, bool held) { row(name, held ? 1L : 0L, {1}); }

// A port of 127.0.0.1 that nothing uses at the moment. 0 if there is none.
inline int free_port() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  const bool ok = bind(listener, reinterpret_cast<sockaddr*>(&address), bytes) == 0 &&
                  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &bytes) == 0;
  close(listener);
  return ok ? ntohs(address.sin_port) : 0;
}

// Waits for a state. False after the deadline.
inline bool wait_for(const std::function<bool()>& state, int seconds = 10) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!state()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

struct Piece {
  uint64_t address;
  uint64_t length;
  uint64_t device = 0;
  std::string meta = {};
};

inline uint64_t address_of(const void* memory) { return reinterpret_cast<uint64_t>(memory); }

class RegistrationList {
 public:
  RegistrationList(Memory memory, const std::vector<Piece>& pieces) {
    call->create_reg_dlist(memory, &ref);
    for (const auto& piece : pieces) {
      call->reg_dlist_add_desc(ref, piece.address, piece.length, piece.device, piece.meta.data(), piece.meta.size());
    }
  }
  ~RegistrationList() { call->destroy_reg_dlist(ref); }
  RegistrationList(const RegistrationList&) = delete;
  RegistrationListRef ref = nullptr;
};

class TransferList {
 public:
  TransferList(Memory memory, const std::vector<Piece>& pieces) {
    call->create_xfer_dlist(memory, &ref);
    for (const auto& piece : pieces) call->xfer_dlist_add_desc(ref, piece.address, piece.length, piece.device);
  }
  ~TransferList() { call->destroy_xfer_dlist(ref); }
  TransferList(const TransferList&) = delete;
  TransferListRef ref = nullptr;
};

class Options {
 public:
  Options() { call->create_opt_args(&ref); }
  ~Options() { call->destroy_opt_args(ref); }
  Options(const Options&) = delete;
  Options& notify(const std::string& message) {
    call->opt_args_set_notif_msg(ref, message.data(), message.size());
    call->opt_args_set_has_notif(ref, true);
    return *this;
  }
  OptArgsRef ref = nullptr;
};

struct AgentOptions {
  bool telemetry = false;
  int listen_port = 0;  // 0: none
  std::vector<std::string> backends = {"UCX"};
};

class Agent {
 public:
  explicit Agent(std::string agent_name, const AgentOptions& options = {}) : name(std::move(agent_name)) {
    AgentConfig config;
    config.capture_telemetry = options.telemetry;
    config.enable_listen_thread = options.listen_port != 0;
    config.listen_port = options.listen_port;
    created = call->create_configured_agent(name.c_str(), &config, &ref);
    if (created != Status::ok) return;
    for (const auto& plugin : options.backends) {
      if (add(plugin) != Status::ok) std::printf("# no backend %s for %s\n", plugin.c_str(), name.c_str());
    }
  }
  ~Agent() { destroy(); }
  Agent(const Agent&) = delete;

  void destroy() {
    if (ref != nullptr) call->destroy_agent(ref);
    for (const BackendRef made : backends) call->destroy_backend(made);
    backends.clear();
    ref = nullptr;
  }

  Status add(const std::string& plugin) {
    ParamsRef params = nullptr;
    call->create_params(&params);
    BackendRef made = nullptr;
    const Status status = call->create_backend(ref, plugin.c_str(), params, &made);
    if (status == Status::ok) backends.push_back(made);
    call->destroy_params(params);
    return status;
  }

  Status enroll(Memory memory, const std::vector<Piece>& pieces, OptArgsRef options = nullptr) {
    const RegistrationList list(memory, pieces);
    return call->register_mem(ref, list.ref, options);
  }

  Status withdraw(Memory memory, const std::vector<Piece>& pieces) {
    const RegistrationList list(memory, pieces);
    return call->deregister_mem(ref, list.ref, nullptr);
  }

  Status metadata(std::string& blob) {
    void* data = nullptr;
    size_t length = 0;
    const Status status = call->get_local_md(ref, &data, &length);
    if (status == Status::ok) blob.assign(static_cast<char*>(data), length);
    std::free(data);
    return status;
  }

  std::string metadata() {
    std::string blob;
    metadata(blob);
    return blob;
  }

  Status partial(Memory memory, const std::vector<Piece>& pieces, std::string& blob) {
    const RegistrationList list(memory, pieces);
    void* data = nullptr;
    size_t length = 0;
    const Status status = call->get_local_partial_md(ref, list.ref, &data, &length, nullptr);
    if (status == Status::ok) blob.assign(static_cast<char*>(data), length);
    std::free(data);
    return status;
  }

  Status load(const std::string& blob) {
    char* loaded = nullptr;
    const Status status = call->load_remote_md(ref, blob.data(), blob.size(), &loaded);
    std::free(loaded);
    return status;
  }

  Status check(const std::string& peer) { return call->check_remote_md(ref, peer.c_str(), nullptr); }

  Status check(const std::string& peer, const std::vector<Piece>& pieces) {
    const TransferList list(Memory::dram, pieces);
    return call->check_remote_md(ref, peer.c_str(), list.ref);
  }

  Status forget(const std::string& peer) { return call->invalidate_remote_md(ref, peer.c_str()); }

  Status notify(const std::string& peer, const std::string& message) {
    return call->gen_notif(ref, peer.c_str(), message.data(), message.size(), nullptr);
  }

  // The messages of one sender since the last call.
  std::vector<std::string> inbox(const std::string& from) {
    NotificationsRef map = nullptr;
    call->create_notif_map(&map);
    std::vector<std::string> messages;
    if (call->get_notifs(ref, map, nullptr) == Status::ok) {
      size_t count = 0;
      if (call->notif_map_get_notifs_size(map, from.c_str(), &count) != Status::ok) count = 0;
      for (size_t i = 0; i < count; ++i) {
        const void* data = nullptr;
        size_t length = 0;
        call->notif_map_get_notif(map, from.c_str(), i, &data, &length);
        messages.emplace_back(static_cast<const char*>(data), length);
      }
    }
    call->destroy_notif_map(map);
    return messages;
  }

  const std::string name;
  AgentRef ref = nullptr;
  Status created = Status::ok;
  std::vector<BackendRef> backends;
};

class Request {
 public:
  Request(Agent& by, Operation operation, const TransferList& local, const TransferList& remote,
          const std::string& peer, OptArgsRef options = nullptr)
      : agent(by) {
    created = call->create_xfer_req(agent.ref, operation, local.ref, remote.ref, peer.c_str(), &ref, options);
  }
  Request(Agent& by, RequestRef made) : agent(by), ref(made) {}
  ~Request() {
    if (ref == nullptr) return;
    call->release_xfer_req(agent.ref, ref);
    call->destroy_xfer_req(ref);
  }
  Request(const Request&) = delete;

  Status post(OptArgsRef options = nullptr) { return call->post_xfer_req(agent.ref, ref, options); }
  Status status() { return call->get_xfer_status(agent.ref, ref); }

  // Posts and polls to the end. Calls the target's turn in between.
  Status run(const std::function<void()>& turn = {}, OptArgsRef options = nullptr) {
    Status last = post(options);
    wait_for([&] {
      if (last != Status::in_progress) return true;
      if (turn) turn();
      last = status();
      return last != Status::in_progress;
    });
    return last;
  }

  Agent& agent;
  RequestRef ref = nullptr;
  Status created = Status::ok;
};

// A buffer of pages with a pattern that depends on the seed.
class Buffer {
 public:
  Buffer(size_t bytes, unsigned seed)
      : length(bytes), data(static_cast<unsigned char*>(std::aligned_alloc(4096, bytes))) {
    fill(seed);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  void fill(unsigned seed) {
    for (size_t i = 0; i < length; ++i) data[i] = static_cast<unsigned char>(i * 7 + (i >> 8) + seed * 31);
  }
  bool is(unsigned seed, size_t from = 0, size_t to = 0) const {
    for (size_t i = from; i < (to == 0 ? length : to); ++i) {
      if (data[i] != static_cast<unsigned char>(i * 7 + (i >> 8) + seed * 31)) return false;
    }
    return true;
  }
  Piece piece(uint64_t offset = 0, uint64_t bytes = 0) const {
    return {address_of(data) + offset, bytes == 0 ? length - offset : bytes};
  }
  const size_t length;
  unsigned char* const data;
};

}  // namespace dynamo::nixl::test
