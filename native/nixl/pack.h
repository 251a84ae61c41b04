// The part of MessagePack that this folder and lib/nixl exchange.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dynamo::nixl {

class Packer {
 public:
  Packer& map(size_t size) { return header(size, 0x80, 15, 0xde); }
  Packer& array(size_t size) { return header(size, 0x90, 15, 0xdc); }
  Packer& text(std::string_view text);
  Packer& binary(std::span<const uint8_t> bytes);
  Packer& integer(int64_t value);
  Packer& boolean(bool value);
  Packer& nil();

  std::vector<uint8_t> take() { return std::move(bytes_); }

 private:
  Packer& header(size_t size, uint8_t fixed, size_t most, uint8_t sized);
  void big_endian(uint64_t value, int bytes);

  std::vector<uint8_t> bytes_;
};

// A map of options: strings, integers, booleans, maps of strings, and arrays of strings. A nil value counts as absent.
class Options {
 public:
  // Throws a Failure if the bytes are not such a map.
  explicit Options(std::span<const uint8_t> bytes);

  bool has(const std::string& name) const;
  std::string text(const std::string& name, std::string otherwise = {}) const;
  uint64_t integer(const std::string& name, uint64_t otherwise = 0) const;
  bool boolean(const std::string& name, bool otherwise = false) const;
  const std::map<std::string, std::string>& strings(const std::string& name) const;
  const std::vector<std::string>& list(const std::string& name) const;

 private:
  std::map<std::string, std::string> texts_;
  std::map<std::string, uint64_t> integers_;
  std::map<std::string, std::map<std::string, std::string>> maps_;
  std::map<std::string, std::vector<std::string>> lists_;
};

}  // namespace dynamo::nixl
