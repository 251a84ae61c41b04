// Tests the agent on the mock through the entries that the binding calls. The parts of agent_test share this file.
#pragma once

#include <cstring>
#include <future>
#include <optional>
#include <variant>

#include "../entries.h"
#include "../pack.h"
#include "harness.h"

namespace dynamo::nixl::test {

using Entry = void (*)(const Call&, TaskRef);
using Completion = MockKnobs::Completion;

constexpr uint64_t READ = 0;
constexpr uint64_t WRITE = 1;
constexpr size_t BYTES = 1 << 18;

struct Running {
  TaskRef task;
  std::future<Reply> reply;
};

inline Running begin(Entry entry, const Call& call) {
  auto promise = std::make_shared<std::promise<Reply>>();
  auto reply = promise->get_future();
  auto task = std::make_shared<Task>([promise](Reply given) { promise->set_value(std::move(given)); });
  entry(call, task);
  return {task, std::move(reply)};
}

inline Reply wait(Running running) {
  if (running.reply.wait_for(std::chrono::seconds(30)) != std::future_status::ready) {
    row("an operation ends", false);
    std::exit(1);
  }
  running.task.reset();
  return running.reply.get();
}

inline Reply run(Entry entry, const Call& call) { return wait(begin(entry, call)); }

// The bytes contain every message, reason and report as plain text.
inline bool contains(const Reply& reply, const std::string& what) {
  if (!reply.bytes.has_value()) return false;
  const std::string text(reply.bytes->begin(), reply.bytes->end());
  return text.find(what) != std::string::npos;
}

inline void judge(const std::string& name, const Reply& reply, bool held) {
  if (!held && reply.bytes.has_value())
    std::printf("# it returned %.*s\n", static_cast<int>(reply.bytes->size()),
                reinterpret_cast<const char*>(reply.bytes->data()));
  row(name, held);
}

inline void succeeds(const std::string& name, const Reply& reply) { judge(name, reply, !reply.failed); }

inline void fails(const std::string& name, const Reply& reply, const std::string& what) {
  judge(name, reply, reply.failed && contains(reply, what));
}

// The integer with this name in a map.
inline int64_t number_in(const Reply& reply, const std::string& name) {
  if (!reply.bytes.has_value()) return -1;
  const std::string text(reply.bytes->begin(), reply.bytes->end());
  const size_t at = text.find(name);
  if (at == std::string::npos || at + name.size() + 9 > text.size()) return -1;
  int64_t value = 0;
  for (size_t i = 1; i <= 8; ++i) value = (value << 8) | static_cast<unsigned char>(text[at + name.size() + i]);
  return value;
}

using Value = std::variant<std::string, int64_t, bool, std::vector<std::string>>;

inline std::vector<uint8_t> args_of(const std::vector<std::pair<std::string, Value>>& fields) {
  Packer packer;
  packer.map(fields.size());
  for (const auto& [name, value] : fields) {
    packer.text(name);
    if (const auto* text = std::get_if<std::string>(&value)) {
      packer.text(*text);
    } else if (const auto* number = std::get_if<int64_t>(&value)) {
      packer.integer(*number);
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      packer.boolean(*flag);
    } else {
      const auto& list = std::get<std::vector<std::string>>(value);
      packer.array(list.size());
      for (const auto& item : list) packer.text(item);
    }
  }
  return packer.take();
}

inline std::vector<uint8_t> note(const std::string& message) { return args_of({{"notification", message}}); }

template <typename T>
std::vector<uint8_t> payload_of(const std::vector<T>& numbers) {
  std::vector<uint8_t> bytes(numbers.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

struct Region {
  ObjectRef handle;
  double id = 0;
  uint64_t address = 0;
  double device = 0;
};

// The reply of `region_allocate` and similar entries.
inline std::vector<Region> regions_in(const Reply& reply) {
  std::vector<Region> regions;
  if (reply.failed) return regions;
  std::vector<double> numbers(reply.bytes->size() / sizeof(double));
  std::memcpy(numbers.data(), reply.bytes->data(), reply.bytes->size());
  for (size_t i = 0; i + 3 < numbers.size(); i += 4) {
    const auto id = static_cast<uint64_t>(numbers[i]);
    regions.push_back(
        {region_find({.a = id}).objects.at(0), numbers[i], static_cast<uint64_t>(numbers[i + 1]), numbers[i + 3]});
  }
  return regions;
}

struct SideOptions {
  std::vector<std::string> backends = {"UCX"};
  int listen_port = 0;  // 0: none
  int fake_gpus = 0;
};

// An agent with one region.
struct Side {
  explicit Side(const std::string& name, const SideOptions& options = {}) : name(name) {
    // Resets the knobs. A test sets its knobs after its agents exist.
    library = library_mock({.args = args_of({{"fakeGpus", options.fake_gpus}})}).objects.at(0);
    std::vector<std::pair<std::string, Value>> fields{{"name", name}, {"progressDelayUs", 1000}, {"telemetry", true}};
    if (options.listen_port != 0) fields.emplace_back("listenPort", options.listen_port);
    agent = run(agent_create, {.handle = library, .args = args_of(fields)}).objects.at(0);
    for (const auto& backend : options.backends) add(backend);
    if (!options.backends.empty()) region = allocate(BYTES).at(0);
  }

  Reply add(const std::string& backend) const {
    Packer args;
    args.map(2).text("name").text(backend).text("params").map(0);
    return run(agent_backend, {.handle = agent, .args = args.take()});
  }

  std::vector<Region> allocate(size_t bytes, bool on_device = false, uint64_t device = 0) const {
    return regions_in(
        run(region_allocate,
            {.handle = agent, .args = args_of({{"device", on_device}, {"hugePages", true}}), .a = bytes, .b = device}));
  }

  std::vector<uint8_t> metadata() const { return run(agent_metadata, {.handle = agent}).bytes.value(); }

  ObjectRef meet(const Side& other) const {
    return run(agent_connect, {.handle = agent, .payload = other.metadata()}).objects.at(0);
  }

  ObjectRef self() const { return run(agent_self, {.handle = agent}).objects.at(0); }

  Reply write(const ObjectRef& peer, std::span<const uint8_t> payload) const {
    return run(transfer_start, {.handle = agent, .other = peer, .payload = payload, .a = WRITE});
  }

  // One run: the local region and the remote address.
  std::vector<uint8_t> to(const Region& other, uint64_t offset = 0, uint64_t bytes = BYTES) const {
    return payload_of<double>({region.id, static_cast<double>(offset), static_cast<double>(bytes),
                               static_cast<double>(other.address + offset), other.device});
  }
  std::vector<uint8_t> to(const Side& other, uint64_t offset = 0, uint64_t bytes = BYTES) const {
    return to(other.region, offset, bytes);
  }

  void fill(uint8_t value) const {
    run(region_write, {.handle = region.handle, .payload = std::vector<uint8_t>(BYTES, value)});
  }

  bool holds(uint8_t value) const {
    return run(region_read, {.handle = region.handle, .b = BYTES}).bytes == std::vector<uint8_t>(BYTES, value);
  }

  // Waits for a message with this content.
  bool receives(const std::string& message) const {
    return wait_for([&] { return contains(run(agent_notifications, {.handle = agent, .a = 10}), message); });
  }

  Reply close() const { return run(agent_close, {.handle = agent}); }

  const std::string name;
  ObjectRef library;
  ObjectRef agent;
  Region region;
};

// The parts. Each has separate agents.
void block_lists();
void registered_memory();
void files_and_queries();
void device_memory();
void partial_metadata();
void metadata_by_sockets();
void plugins();
void messages();
void disconnects();
void estimates();
void guards();

}  // namespace dynamo::nixl::test
