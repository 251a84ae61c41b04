// The part of a mock agent that its peers reach: registered memory and received notifications.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "../types.h"

namespace dynamo::nixl::mocked {

enum class Plugin : uint8_t { ucx = 0, posix = 1 };

struct Block {
  uint64_t address = 0;
  uint64_t length = 0;
  uint64_t device = 0;

  bool operator==(const Block&) const = default;
  // Whether the other block lies within this one. No sum can overflow.
  bool contains(const Block& other) const {
    return device == other.device && other.address >= address && other.length <= length &&
           other.address - address <= length - other.length;
  }
};

struct Registration {
  Block block;
  std::string meta;
};

struct Region {
  Plugin plugin = Plugin::ucx;
  Memory memory = Memory::dram;
  Block block;
};

class Node {
 public:
  explicit Node(std::string name);
  ~Node();

  const std::string& name() const { return name_; }
  uint64_t id() const { return id_; }

  void add(const Region& region);
  // Removes one region that is exactly this one. False if there is none.
  bool remove(const Region& region);
  bool holds(Plugin plugin, Memory memory, const Block& block) const;
  bool holds_any(Plugin plugin, Memory memory) const;
  std::vector<Region> regions() const;

  // The operations of a peer. Bytes move while the node is locked, and only within registered memory. A deregistered
  // region is never used again.
  Detail write(Memory memory, const Block& to, const void* from);
  Detail read(Memory memory, const Block& from, void* to);
  Detail notify(const std::string& from, const std::string& message);

  std::map<std::string, std::vector<std::string>> take_notifications();

  // Every later operation of a peer finds the node closed.
  void close();

 private:
  Detail reachable(Memory memory, const Block& block) const;

  const std::string name_;
  const uint64_t id_;
  mutable std::mutex lock_;
  bool closed_ = false;
  std::vector<Region> regions_;
  std::map<std::string, std::vector<std::string>> inbox_;
};

std::shared_ptr<Node> make_node(const std::string& name);
// The open node of this process with this id.
std::shared_ptr<Node> find_node(uint64_t id);

uint64_t random_id();

// memmove for memory that another thread may use at the same time, as in a transfer. The caller must avoid that race.
// The thread sanitizer does not see it.
void copy_bytes(void* to, const void* from, size_t length);

}  // namespace dynamo::nixl::mocked
