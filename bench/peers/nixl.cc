// NIXL's C API without Node.js, and memcpy: nixl_peer NAME LIBRARY. It has the commands of nixl.mjs, one line of flat
// JSON each.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../native/nixl/backend.h"
#include "../../native/nixl/storage.h"

using namespace dynamo::nixl;
using Clock = std::chrono::steady_clock;

namespace {

const Functions* table = nullptr;
const Functions& call() { return *table; }

void check(Status status, const char* what) {
  if (status != Status::ok)
    throw std::runtime_error(std::string(what) + ": status " + std::to_string(static_cast<int>(status)));
}

// The value of a field in a line of flat JSON, without quotes.
std::string field(const std::string& line, const std::string& name) {
  const size_t found = line.find("\"" + name + "\":");
  if (found == std::string::npos) throw std::runtime_error("no " + name + " in the command");
  size_t begin = found + name.size() + 3;
  const bool quoted = line[begin] == '"';
  if (quoted) begin += 1;
  return line.substr(begin, line.find_first_of(quoted ? "\"" : ",}", begin) - begin);
}

size_t number(const std::string& line, const std::string& name) { return std::stoull(field(line, name)); }

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

AgentRef agent_named(const std::string& name) {
  const AgentConfig config{};
  AgentRef agent = nullptr;
  check(call().create_configured_agent(name.c_str(), &config, &agent), "create_configured_agent");
  ParamsRef params = nullptr;
  check(call().create_params(&params), "create_params");
  BackendRef backend = nullptr;
  check(call().create_backend(agent, "UCX", params, &backend), "create_backend");
  call().destroy_params(params);
  return agent;
}

void register_runs(AgentRef agent, uintptr_t address, size_t bytes, size_t count, bool registers) {
  RegistrationListRef list = nullptr;
  check(call().create_reg_dlist(Memory::dram, &list), "create_reg_dlist");
  for (size_t i = 0; i < count; i++) call().reg_dlist_add_desc(list, address + i * bytes, bytes, 0, nullptr, 0);
  check(registers ? call().register_mem(agent, list, nullptr) : call().deregister_mem(agent, list, nullptr),
        "register_mem");
  call().destroy_reg_dlist(list);
}

TransferListRef list_of(uintptr_t address, size_t bytes, size_t count = 1) {
  TransferListRef list = nullptr;
  check(call().create_xfer_dlist(Memory::dram, &list), "create_xfer_dlist");
  for (size_t i = 0; i < count; i++) call().xfer_dlist_add_desc(list, address + i * bytes, bytes, 0);
  return list;
}

std::shared_ptr<Storage> filled(size_t bytes) {
  auto storage = Storage::allocate(bytes, true);
  std::memset(reinterpret_cast<void*>(storage->address), 7, bytes);
  return storage;
}

std::string load_metadata(AgentRef agent, const void* data, size_t length) {
  char* name = nullptr;
  check(call().load_remote_md(agent, data, length, &name), "load_remote_md");
  std::string copy = name;
  std::free(name);
  return copy;
}

// A target of writes.
struct Place {
  std::string agent;
  uintptr_t address = 0;
};

class Mover {
 public:
  explicit Mover(const std::string& name) : name_(name), agent_(agent_named(name)) {}

  // {bytes, metadata, address}: connects to the target of the other process, and creates one in this process.
  void connect(const std::string& line) {
    const size_t bytes = number(line, "bytes");
    local_ = filled(bytes);
    register_runs(agent_, local_->address, bytes, 1, true);
    AgentRef other = agent_named(name_ + "-target");
    here_ = filled(bytes);
    register_runs(other, here_->address, bytes, 1, true);
    void* data = nullptr;
    size_t length = 0;
    check(call().get_local_md(other, &data, &length), "get_local_md");
    one_ = {load_metadata(agent_, data, length), here_->address};
    std::free(data);
    const std::string metadata = bytes_of_hex(field(line, "metadata"));
    two_ = {load_metadata(agent_, metadata.data(), metadata.size()), number(line, "address")};
  }

  // Each call waits for the call `window` calls before it.
  std::function<void()> posts(const std::string& line) {
    const size_t bytes = number(line, "bytes");
    const size_t window = number(line, "window");
    struct Slot {
      RequestRef request;
      Status status = Status::ok;
    };
    std::vector<Slot> slots;
    for (size_t i = 0; i < window; i++) slots.push_back({request_of(place_of(line), bytes)});
    return [this, slots, next = size_t{0}]() mutable {
      Slot& slot = slots[next++ % slots.size()];
      wait(slot.request, slot.status);
      slot.status = call().post_xfer_req(agent_, slot.request, nullptr);
      if (slots.size() == 1) wait(slot.request, slot.status);
    };
  }

  std::function<void()> creates(const std::string& line) {
    const size_t bytes = number(line, "bytes");
    const Place& place = place_of(line);
    return [this, bytes, &place] {
      RequestRef request = request_of(place, bytes);
      run(request);
      release(request);
    };
  }

  std::function<void()> blocks(const std::string& line) {
    const size_t bytes = number(line, "bytes");
    const size_t count = number(line, "count");
    const Place& place = place_of(line);
    PreparedListRef mine = prepared("", local_->address, bytes, count);
    PreparedListRef theirs = prepared(place.agent, place.address, bytes, count);
    return [this, count, mine, theirs, from = scattered(count, 0), to = scattered(count, 1)] {
      RequestRef request = nullptr;
      check(call().make_xfer_req(agent_, Operation::write, mine, from.data(), count, theirs, to.data(), count, &request,
                                 nullptr),
            "make_xfer_req");
      run(request);
      release(request);
    };
  }

  // Reads of scattered blocks. Each call waits for the read `window` calls before it.
  std::function<void()> reads(const std::string& line) {
    const size_t bytes = number(line, "bytes");
    const size_t count = number(line, "count");
    const Place& place = place_of(line);
    PreparedListRef mine = prepared("", local_->address, bytes, count);
    PreparedListRef theirs = prepared(place.agent, place.address, bytes, count);
    struct Slot {
      RequestRef request = nullptr;
      Status status = Status::ok;
    };
    return [this, count, mine, theirs, to = scattered(count, 1), from = scattered(count, 0),
            slots = std::vector<Slot>(number(line, "window")), next = size_t{0}]() mutable {
      Slot& slot = slots[next++ % slots.size()];
      if (slot.request != nullptr) {
        wait(slot.request, slot.status);
        release(slot.request);
      }
      check(call().make_xfer_req(agent_, Operation::read, mine, to.data(), count, theirs, from.data(), count,
                                 &slot.request, nullptr),
            "make_xfer_req");
      slot.status = call().post_xfer_req(agent_, slot.request, nullptr);
      if (slots.size() == 1) wait(slot.request, slot.status);
    };
  }

  std::function<void()> copies(const std::string& line) {
    const size_t bytes = number(line, "bytes");
    const size_t count = number(line, "count");
    return [this, bytes, count, from = scattered(count, 0), to = scattered(count, 1)] {
      for (size_t i = 0; i < count; i++) {
        std::memcpy(reinterpret_cast<char*>(here_->address) + static_cast<size_t>(to[i]) * bytes,
                    reinterpret_cast<const char*>(local_->address) + static_cast<size_t>(from[i]) * bytes, bytes);
        // Keeps the compiler from removing the copy.
        asm volatile("" ::: "memory");
      }
    };
  }

  double registers(const std::string& line) {
    const size_t bytes = number(line, "bytes");
    const size_t count = number(line, "count");
    const auto storage = filled(bytes * count);
    const auto begin = Clock::now();
    register_runs(agent_, storage->address, bytes, count, true);
    const std::chrono::duration<double, std::nano> took = Clock::now() - begin;
    register_runs(agent_, storage->address, bytes, count, false);
    return took.count();
  }

 private:
  const Place& place_of(const std::string& line) const { return field(line, "place") == "one" ? one_ : two_; }

  // Every index once, scattered. The order is the same in each program.
  static std::vector<int> scattered(size_t count, size_t shift) {
    std::vector<int> indices;
    for (size_t i = 0; i < count; i++) indices.push_back(static_cast<int>((i * 101 + shift * 37) % count));
    return indices;
  }

  RequestRef request_of(const Place& place, size_t bytes) {
    TransferListRef mine = list_of(local_->address, bytes);
    TransferListRef theirs = list_of(place.address, bytes);
    RequestRef request = nullptr;
    check(call().create_xfer_req(agent_, Operation::write, mine, theirs, place.agent.c_str(), &request, nullptr),
          "create_xfer_req");
    call().destroy_xfer_dlist(mine);
    call().destroy_xfer_dlist(theirs);
    return request;
  }

  PreparedListRef prepared(const std::string& agent, uintptr_t address, size_t bytes, size_t count) {
    TransferListRef list = list_of(address, bytes, count);
    PreparedListRef prepared = nullptr;
    check(call().prep_xfer_dlist(agent_, agent.c_str(), list, &prepared, nullptr), "prep_xfer_dlist");
    call().destroy_xfer_dlist(list);
    return prepared;
  }

  void wait(RequestRef request, Status status) {
    while (status == Status::in_progress) status = call().get_xfer_status(agent_, request);
    check(status, "post_xfer_req");
  }

  void run(RequestRef request) { wait(request, call().post_xfer_req(agent_, request, nullptr)); }

  void release(RequestRef request) {
    check(call().release_xfer_req(agent_, request), "release_xfer_req");
    call().destroy_xfer_req(request);
  }

  const std::string name_;
  AgentRef agent_;
  std::shared_ptr<Storage> local_;
  std::shared_ptr<Storage> here_;
  Place one_;
  Place two_;
};

void repeat(double ms, size_t least, const std::function<void()>& work, std::vector<double>& took) {
  const auto end = Clock::now() + std::chrono::duration<double, std::milli>(ms);
  auto before = Clock::now();
  do {
    work();
    const auto after = Clock::now();
    took.push_back(std::chrono::duration<double, std::nano>(after - before).count());
    before = after;
  } while (before < end || took.size() < least);
}

std::string measured(double ms, const std::function<void()>& work) {
  std::vector<double> took;
  repeat(ms / 4, 1, work, took);
  took.clear();
  const auto begin = Clock::now();
  repeat(ms, 2, work, took);
  const std::chrono::duration<double, std::nano> all = Clock::now() - begin;
  std::nth_element(took.begin(), took.begin() + static_cast<std::ptrdiff_t>(took.size() / 2), took.end());
  return "{\"meanNs\":" + std::to_string(all.count() / static_cast<double>(took.size())) +
         ",\"p50Ns\":" + std::to_string(took[took.size() / 2]) + "}";
}

void tell(const std::string& answer) { std::cout << "{\"bench\":" << answer << "}" << std::endl; }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const LoadResult result = load({.path = argv[2]});
  if (result.backend == nullptr) {
    tell("{\"error\":\"NIXL cannot be loaded\"}");
    return 1;
  }
  table = &result.backend->call;
  Mover mover(argv[1]);
  tell("{\"ready\":true,\"library\":\"" + result.backend->path + "\"}");
  for (std::string line; std::getline(std::cin, line);) {
    try {
      const std::string verb = field(line, "verb");
      if (verb == "connect") {
        mover.connect(line);
        tell("{}");
      } else if (verb == "register") {
        const std::string took = std::to_string(mover.registers(line));
        tell("{\"meanNs\":" + took + ",\"p50Ns\":" + took + "}");
      } else {
        const auto work = verb == "post"     ? mover.posts(line)
                          : verb == "create" ? mover.creates(line)
                          : verb == "blocks" ? mover.blocks(line)
                          : verb == "reads"  ? mover.reads(line)
                                             : mover.copies(line);
        tell(measured(static_cast<double>(number(line, "ms")), work));
      }
    } catch (const std::exception& error) {
      tell(std::string("{\"error\":\"") + error.what() + "\"}");
    }
  }
  // Skips the library's teardown, which may wait.
  std::_Exit(0);
}
