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

  // Registers what `device` stands for: an open descriptor, or, with a meta of "MODE:/path" (ro or rw, and after commas
  // direct, sync, noatime, create), a number of the caller's choice. False when it cannot be.
  bool add(uint64_t device, const std::string& meta);
  void remove(uint64_t device);
  // The descriptor behind a device.
  int descriptor(uint64_t device) const;

 private:
  struct Open {
    int fd;
    bool owned;
    unsigned registrations;
  };
  std::map<uint64_t, Open> open_;
};

// What query_mem says of a path: size, mode and mtime; none when it is not there.
std::optional<std::map<std::string, std::string>> describe_file(const std::string& path);

}  // namespace dynamo::nixl::mocked
