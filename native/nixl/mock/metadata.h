// The mock's metadata blob: the agent's name, the address of its process, and its registered memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../blob.h"
#include "node.h"

namespace dynamo::nixl::mocked {

// The address of a node. A restarted agent of the same name has another address.
struct Address {
  uint64_t process = 0;
  uint64_t node = 0;
  std::string socket;

  bool operator==(const Address&) const = default;
};

struct Metadata {
  std::string name;
  std::optional<Address> address;  // none in a blob that contains only regions
  std::vector<Region> regions;
  bool poisoned = false;
};

std::string serialize(const Metadata& metadata);

// The last step of packing: the bytes followed by their checksum.
std::string with_checksum(std::string bytes);

// None if the bytes are not exactly one blob of this format.
std::optional<Metadata> parse(std::string_view blob);

MetadataView inspect(std::string_view blob);

std::string join(std::string_view connection, std::string_view regions);

}  // namespace dynamo::nixl::mocked
