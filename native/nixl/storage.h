// The memory of a region. It is freed after its last owner: the region, a transfer that the library still runs, or a
// view in JavaScript.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "cuda.h"
#include "types.h"

namespace dynamo::nixl {

class Storage {
 public:
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  uintptr_t address = 0;
  size_t bytes = 0;
  Memory memory = Memory::dram;
  uint64_t device = 0;
  // Extra information for the library, such as the path of a file.
  std::string meta;
  // Whether JavaScript may have a view of it.
  bool viewable = false;

  // Zeroed host memory. From 2 MiB on it is aligned to 2 MiB and requests huge pages. One-sided copies pin memory page
  // by page: with small pages they run at half the speed.
  static std::shared_ptr<Storage> allocate(size_t bytes, bool huge_pages);
  static std::shared_ptr<Storage> allocate_device(const Cuda& cuda, int device, size_t bytes);
  static std::shared_ptr<Storage> open_file(const std::string& path, bool write, bool create, size_t bytes);
  // Memory of another owner. `hold` keeps it; without one its owner must.
  static std::shared_ptr<Storage> borrow(uintptr_t address, size_t bytes, Memory memory, uint64_t device,
                                         std::string meta, std::shared_ptr<const void> hold = nullptr);

 protected:
  Storage() = default;
};

}  // namespace dynamo::nixl
