// The mock's metadata blob: who an agent is, where its process listens, what it has registered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../blob.h"
#include "node.h"

namespace dynamo::nixl::mocked {

// Where a node is reached. A restarted agent of the same name has another one.
struct Address {
  uint64_t process = 0;
  uint64_t node = 0;
  std::string socket;

  bool operator==(const Address&) const = default;
};

struct Metadata {
  std::string name;
  std::optional<Address> address;  // a blob of regions alone has none
  std::vector<Region> regions;
  bool poisoned = false;
};

std::string serialize(const Metadata& metadata);

// The last step of it: the bytes with their checksum behind them.
std::string with_checksum(std::string bytes);

// None for what is not a whole blob of this format, byte for byte.
std::optional<Metadata> parse(std::string_view blob);

MetadataView inspect(std::string_view blob);

}  // namespace dynamo::nixl::mocked
