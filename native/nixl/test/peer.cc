#include "peer.h"

#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace dynamo::nixl::test {
namespace {

constexpr size_t PAGE = 4096;
std::string opened;

std::string hex(const std::string& bytes) {
  static constexpr char DIGITS[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += DIGITS[byte >> 4];
    text += DIGITS[byte & 15];
  }
  return text;
}

std::string unhex(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

}  // namespace

bool open_backend(const std::string& which) {
  opened = which;
  if (which.starts_with("mock")) {
    MockKnobs knobs;
    if (which == "mock:delayed") knobs.completion = MockKnobs::Completion::delayed;
    if (which == "mock:immediate") knobs.completion = MockKnobs::Completion::immediate;
    if (const char* seed = std::getenv("SEED")) knobs.seed = std::strtoull(seed, nullptr, 10);
    knobs.latency_us = 200;
    knobs.bytes_per_second = 300 << 20;
    backend = mock(knobs);
  } else {
    LoadOptions options;
    options.path = which;
    options.log_level = "FATAL";
    const auto result = load(options);
    for (const auto& tried : result.tried) std::printf("# %s: %s\n", tried.path.c_str(), tried.reason.c_str());
    backend = result.backend;
  }
  if (backend != nullptr) call = &backend->call;
  return backend != nullptr;
}

int serve_as_peer(const std::string& name) {
  Agent agent(name);
  const Buffer page(PAGE, 0);
  agent.enroll(Memory::dram, {page.piece()});
  std::printf("%s\n%llu\n", hex(agent.metadata()).c_str(), static_cast<unsigned long long>(page.piece().address));
  std::fflush(stdout);
  for (;;) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 1) > 0) return 0;
    NotificationsRef map = nullptr;
    call->create_notif_map(&map);
    call->get_notifs(agent.ref, map, nullptr);
    size_t senders = 0;
    call->notif_map_size(map, &senders);
    for (size_t i = 0; i < senders; ++i) {
      const char* from = nullptr;
      size_t count = 0;
      call->notif_map_get_agent_at(map, i, &from);
      call->notif_map_get_notifs_size(map, from, &count);
      for (size_t j = 0; j < count; ++j) {
        const void* data = nullptr;
        size_t length = 0;
        call->notif_map_get_notif(map, from, j, &data, &length);
        std::printf("%.*s %s\n", static_cast<int>(length), static_cast<const char*>(data), from);
        std::fflush(stdout);
      }
    }
    call->destroy_notif_map(map);
  }
}

Peer::Peer(const std::string& name) {
  int to[2];
  int from[2];
  if (pipe(to) != 0 || pipe(from) != 0) return;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
  for (const int fd : {to[0], to[1], from[0], from[1]}) posix_spawn_file_actions_addclose(&actions, fd);
  std::string program = "/proc/self/exe";
  std::string which = opened;
  std::string own = name;
  char* arguments[] = {program.data(), which.data(), own.data(), nullptr};
  posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(to[0]);
  close(from[1]);
  input_ = to[1];
  output_ = fdopen(from[0], "r");
  blob = unhex(line());
  address = std::strtoull(line().c_str(), nullptr, 10);
}

Peer::~Peer() {
  close(input_);
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::fclose(output_);
}

std::string Peer::line() {
  std::string text;
  for (int c = std::fgetc(output_); c != EOF && c != '\n'; c = std::fgetc(output_)) text += static_cast<char>(c);
  return text;
}

bool Peer::expect(const std::string& wanted) { return line() == wanted; }

void Peer::kill(int signal) {
  ::kill(pid_, signal);
  if (signal != SIGKILL) return;
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace dynamo::nixl::test
