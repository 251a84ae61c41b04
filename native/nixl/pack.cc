#include "pack.h"

#include <bit>

#include "failure.h"

namespace dynamo::nixl {
namespace {

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  bool ended() const { return next_ == bytes_.size(); }

  uint8_t peek() const {
    if (ended()) fail();
    return bytes_[next_];
  }

  uint8_t byte() {
    const uint8_t value = peek();
    next_ += 1;
    return value;
  }

  uint64_t big_endian(int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | byte();
    return value;
  }

  static bool is_map(uint8_t tag) { return (tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf; }
  static bool is_array(uint8_t tag) { return (tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd; }
  static bool is_text(uint8_t tag) {
    return (tag & 0xe0) == 0xa0 || (tag >= 0xd9 && tag <= 0xdb) || (tag >= 0xc4 && tag <= 0xc6);
  }

  size_t size(uint8_t fixed, uint8_t mask, uint8_t sized) {
    const uint8_t tag = byte();
    if ((tag & ~mask) == fixed) return tag & mask;
    if (tag == sized) return big_endian(2);
    if (tag == sized + 1) return big_endian(4);
    fail();
  }

  size_t map() { return size(0x80, 0x0f, 0xde); }
  size_t array() { return size(0x90, 0x0f, 0xdc); }

  std::string text() {
    const uint8_t tag = byte();
    size_t length = 0;
    if ((tag & 0xe0) == 0xa0) {
      length = tag & 0x1f;
    } else if (tag >= 0xd9 && tag <= 0xdb) {
      length = big_endian(1 << (tag - 0xd9));
    } else if (tag >= 0xc4 && tag <= 0xc6) {
      length = big_endian(1 << (tag - 0xc4));
    } else {
      fail();
    }
    if (length > bytes_.size() - next_) fail();
    const auto* start = reinterpret_cast<const char*>(bytes_.data() + next_);
    next_ += length;
    return {start, length};
  }

  uint64_t integer() {
    const uint8_t tag = byte();
    if (tag < 0x80) return tag;
    if (tag >= 0xcc && tag <= 0xcf) return big_endian(1 << (tag - 0xcc));
    if (tag == 0xcb) {
      const auto value = std::bit_cast<double>(big_endian(8));
      if (value >= 0 && value <= 9007199254740992.0) return static_cast<uint64_t>(value);
    }
    fail();
  }

  [[noreturn]] static void fail() { throw Failure::bad_argument("args: expected a map of options in MessagePack"); }

 private:
  std::span<const uint8_t> bytes_;
  size_t next_ = 0;
};

}  // namespace

void Packer::big_endian(uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) bytes_.push_back(static_cast<uint8_t>(value >> shift));
}

Packer& Packer::header(size_t size, uint8_t fixed, size_t most, uint8_t sized) {
  if (size <= most) {
    bytes_.push_back(static_cast<uint8_t>(fixed | size));
  } else {
    bytes_.push_back(size <= UINT16_MAX ? sized : sized + 1);
    big_endian(size, size <= UINT16_MAX ? 2 : 4);
  }
  return *this;
}

Packer& Packer::text(std::string_view text) {
  if (text.size() <= UINT8_MAX && text.size() > 31) {
    bytes_.push_back(0xd9);
    bytes_.push_back(static_cast<uint8_t>(text.size()));
  } else {
    header(text.size(), 0xa0, 31, 0xda);
  }
  bytes_.insert(bytes_.end(), text.begin(), text.end());
  return *this;
}

Packer& Packer::binary(std::span<const uint8_t> bytes) {
  bytes_.push_back(0xc6);
  big_endian(bytes.size(), 4);
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

Packer& Packer::integer(int64_t value) {
  bytes_.push_back(value < 0 ? 0xd3 : 0xcf);
  big_endian(static_cast<uint64_t>(value), 8);
  return *this;
}

Packer& Packer::boolean(bool value) {
  bytes_.push_back(value ? 0xc3 : 0xc2);
  return *this;
}

Packer& Packer::nil() {
  bytes_.push_back(0xc0);
  return *this;
}

Options::Options(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return;
  Reader reader(bytes);
  for (size_t left = reader.map(); left > 0; left--) {
    const std::string name = reader.text();
    const uint8_t tag = reader.peek();
    if (Reader::is_text(tag)) {
      texts_[name] = reader.text();
    } else if (Reader::is_map(tag)) {
      auto& map = maps_[name];
      for (size_t entries = reader.map(); entries > 0; entries--) {
        std::string key = reader.text();
        map[std::move(key)] = reader.text();
      }
    } else if (Reader::is_array(tag)) {
      auto& list = lists_[name];
      for (size_t entries = reader.array(); entries > 0; entries--) list.push_back(reader.text());
    } else if (tag == 0xc0) {
      reader.byte();
    } else if (tag == 0xc2 || tag == 0xc3) {
      integers_[name] = reader.byte() == 0xc3 ? 1 : 0;
    } else {
      integers_[name] = reader.integer();
    }
  }
  if (!reader.ended()) Reader::fail();
}

bool Options::has(const std::string& name) const {
  return texts_.contains(name) || integers_.contains(name) || maps_.contains(name) || lists_.contains(name);
}

std::string Options::text(const std::string& name, std::string otherwise) const {
  const auto found = texts_.find(name);
  return found == texts_.end() ? otherwise : found->second;
}

uint64_t Options::integer(const std::string& name, uint64_t otherwise) const {
  const auto found = integers_.find(name);
  return found == integers_.end() ? otherwise : found->second;
}

bool Options::boolean(const std::string& name, bool otherwise) const { return integer(name, otherwise ? 1 : 0) != 0; }

const std::map<std::string, std::string>& Options::strings(const std::string& name) const {
  static const std::map<std::string, std::string> none;
  const auto found = maps_.find(name);
  return found == maps_.end() ? none : found->second;
}

const std::vector<std::string>& Options::list(const std::string& name) const {
  static const std::vector<std::string> none;
  const auto found = lists_.find(name);
  return found == lists_.end() ? none : found->second;
}

}  // namespace dynamo::nixl
