#include "blob.h"

#include <cstdint>
#include <cstring>

namespace dynamo::nixl {
namespace {

constexpr std::string_view INTRO = "nixlSerDes|";
constexpr std::string_view SEAL = "|dynamo-node/1|";

// FNV-1a: detects accidental damage, not manipulation.
uint64_t checksum(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}

  std::string_view rest() const { return rest_; }

  bool take(std::string_view tag, std::string_view& value) {
    uint64_t length = 0;
    if (!rest_.starts_with(tag) || rest_.size() - tag.size() < sizeof length) return false;
    std::memcpy(&length, rest_.data() + tag.size(), sizeof length);
    const size_t head = tag.size() + sizeof length;
    if (length >= rest_.size() - head || rest_[head + length] != '|') return false;
    value = rest_.substr(head, length);
    rest_.remove_prefix(head + length + 1);
    return true;
  }

  bool take(std::string_view tag, uint64_t& number) {
    std::string_view value;
    if (!take(tag, value) || value.size() != sizeof number) return false;
    std::memcpy(&number, value.data(), sizeof number);
    return true;
  }

 private:
  std::string_view rest_;
};

// One list of regions: the name of the backend, the magic of the list, the kind of memory, a count and the entries.
bool take_list(Fields& fields, uint64_t& count) {
  std::string_view value;
  if (!fields.take("bknd", value) || value.empty()) return false;
  if (!fields.take("nixlDList", value) || value != "nixlSDList") return false;
  if (!fields.take("t", value) || value.size() != 4 || !fields.take("n", count)) return false;
  for (uint64_t i = 0; i < count; ++i) {
    if (!fields.take("", value) || value.size() < 3 * sizeof(uint64_t)) return false;
  }
  return true;
}

}  // namespace

MetadataView inspect_library_metadata(std::string_view blob) {
  MetadataView view;
  const auto damaged = [&](const char* what) {
    view.damage = what;
    return view;
  };
  if (!blob.starts_with(INTRO)) return damaged("it is not metadata of NIXL");
  Fields fields(blob.substr(INTRO.size()));
  std::string_view value;
  if (!fields.take("Agent", value) || value.empty()) return damaged("it names no agent");
  view.name = value;

  uint64_t count = 0;
  if (!fields.take("Conns", count)) return damaged("it is truncated or damaged before its connections");
  const std::string_view connections = fields.rest();
  for (uint64_t i = 0; i < count; ++i) {
    if (!fields.take("t", value) || value.empty() || !fields.take("c", value) || value.empty()) {
      return damaged("it is truncated or damaged within its connections");
    }
  }
  view.connection = connections.substr(0, connections.size() - fields.rest().size());
  view.regions_at = blob.size() - fields.rest().size();
  if (!fields.take("", value) || value != "MemSection" || !fields.take("nixlSecElms", count)) {
    return damaged("it is truncated or damaged before its regions");
  }
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t regions = 0;
    if (!take_list(fields, regions)) return damaged("it is truncated or damaged within its regions");
    if (regions == 0) return damaged(POISONED);
  }
  return view;
}

std::string join_library_metadata(std::string_view connection, std::string_view regions) {
  const MetadataView first = inspect_library_metadata(connection);
  const MetadataView second = inspect_library_metadata(regions);
  if (!first.damage.empty() || !second.damage.empty()) return {};
  std::string joined(connection.substr(0, first.regions_at));
  joined += regions.substr(second.regions_at);
  return joined;
}

std::string seal(std::string_view blob) {
  std::string sealed(blob);
  sealed += SEAL;
  const uint64_t sum = checksum(blob);
  sealed.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  return sealed;
}

bool unseal(std::string_view& blob) {
  uint64_t sum = 0;
  if (blob.size() < SEAL.size() + sizeof sum) return true;
  const size_t end = blob.size() - SEAL.size() - sizeof sum;
  if (blob.substr(end, SEAL.size()) != SEAL) return true;
  std::memcpy(&sum, blob.data() + end + SEAL.size(), sizeof sum);
  blob = blob.substr(0, end);
  return sum == checksum(blob);
}

}  // namespace dynamo::nixl
