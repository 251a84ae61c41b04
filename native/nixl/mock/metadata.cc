#include "metadata.h"

#include <cstring>

namespace dynamo::nixl::mocked {
namespace {

constexpr std::string_view MAGIC = "dynamo-nixl-mock/1";

// FNV-1a: it only has to detect accidental damage.
uint64_t checksum(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

void put(std::string& out, uint64_t value) { out.append(reinterpret_cast<const char*>(&value), sizeof value); }

void put(std::string& out, const std::string& text) {
  put(out, text.size());
  out += text;
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool take(uint64_t& value) {
    if (rest_.size() < sizeof value) return false;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return true;
  }

  bool take(std::string& text) {
    uint64_t length = 0;
    if (!take(length) || length > rest_.size()) return false;
    text.assign(rest_.substr(0, length));
    rest_.remove_prefix(length);
    return true;
  }

  bool ended() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

bool take(Reader& reader, Region& region) {
  uint64_t plugin = 0;
  uint64_t memory = 0;
  if (!reader.take(plugin) || !reader.take(memory) || !reader.take(region.block.address) ||
      !reader.take(region.block.length) || !reader.take(region.block.device)) {
    return false;
  }
  if (plugin > static_cast<uint64_t>(Plugin::posix) || memory >= static_cast<uint64_t>(Memory::unknown)) return false;
  region.plugin = static_cast<Plugin>(plugin);
  region.memory = static_cast<Memory>(memory);
  return true;
}

bool take(Reader& reader, Metadata& metadata) {
  uint64_t has_address = 0;
  uint64_t poisoned = 0;
  if (!reader.take(metadata.name) || !reader.take(poisoned) || !reader.take(has_address)) return false;
  if (poisoned > 1 || has_address > 1 || metadata.name.empty()) return false;
  metadata.poisoned = poisoned == 1;
  if (has_address == 1) {
    Address address;
    if (!reader.take(address.process) || !reader.take(address.node) || !reader.take(address.socket)) return false;
    metadata.address = std::move(address);
  }
  uint64_t count = 0;
  if (!reader.take(count)) return false;
  for (uint64_t i = 0; i < count; ++i) {
    Region region;
    if (!take(reader, region)) return false;  // also if the count is larger than the list
    metadata.regions.push_back(region);
  }
  return true;
}

}  // namespace

std::string serialize(const Metadata& metadata) {
  std::string out(MAGIC);
  put(out, metadata.name);
  put(out, metadata.poisoned ? 1 : 0);
  put(out, metadata.address.has_value() ? 1 : 0);
  if (metadata.address.has_value()) {
    put(out, metadata.address->process);
    put(out, metadata.address->node);
    put(out, metadata.address->socket);
  }
  put(out, metadata.regions.size());
  for (const auto& region : metadata.regions) {
    put(out, static_cast<uint64_t>(region.plugin));
    put(out, static_cast<uint64_t>(region.memory));
    put(out, region.block.address);
    put(out, region.block.length);
    put(out, region.block.device);
  }
  return with_checksum(std::move(out));
}

std::string with_checksum(std::string bytes) {
  put(bytes, checksum(bytes));
  return bytes;
}

std::optional<Metadata> parse(std::string_view blob) {
  if (blob.size() < MAGIC.size() + sizeof(uint64_t) || blob.substr(0, MAGIC.size()) != MAGIC) return std::nullopt;
  uint64_t sum = 0;
  std::memcpy(&sum, blob.data() + blob.size() - sizeof sum, sizeof sum);
  blob.remove_suffix(sizeof sum);
  if (sum != checksum(blob)) return std::nullopt;

  Reader reader(blob.substr(MAGIC.size()));
  Metadata metadata;
  if (!take(reader, metadata) || !reader.ended()) return std::nullopt;
  return metadata;
}

MetadataView inspect(std::string_view blob) {
  const auto metadata = parse(blob);
  if (!metadata.has_value()) return {"it is not metadata of the mock, or is truncated or damaged", "", ""};
  MetadataView view{"", metadata->name, ""};
  if (metadata->poisoned) view.damage = POISONED;
  if (metadata->address.has_value()) view.connection = std::to_string(metadata->address->node);
  return view;
}

std::string join(std::string_view connection, std::string_view regions) {
  const auto first = parse(connection);
  auto second = parse(regions);
  if (!first.has_value() || !second.has_value()) return {};
  second->address = first->address;
  return serialize(*second);
}

}  // namespace dynamo::nixl::mocked
