// The mock's POSIX backend: files by an open descriptor, or by a path that it opens.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "node.h"

namespace dynamo::nixl::mocked {

class Files {
 public:
  ~Files();

  // Registers a file. `device` is an open descriptor, or a number that the caller chooses if `meta` is "MODE:/path".
  // MODE is ro or rw, then after commas direct, sync, noatime or create. False if the file cannot be registered.
  bool add(uint64_t device, const std::string& meta);
  void remove(uint64_t device);
  // The descriptor of a device.
  int descriptor(uint64_t device) const;

 private:
  struct Open {
    int fd;
    bool owned;
    unsigned registrations;
  };
  std::map<uint64_t, Open> open_;
};

// The answer of query_mem for a path: size, mode and mtime. None if it does not exist.
std::optional<std::map<std::string, std::string>> describe_file(const std::string& path);

}  // namespace dynamo::nixl::mocked
