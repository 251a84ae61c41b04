#include "storage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "failure.h"

namespace dynamo::nixl {
namespace {

constexpr size_t HUGE_PAGE = 2 << 20;
constexpr size_t PAGE = 4096;

std::string error_text() { return std::strerror(errno); }

struct HostMemory : Storage {
  void* mapped = nullptr;
  size_t mapped_bytes = 0;
  ~HostMemory() override { munmap(mapped, mapped_bytes); }
};

struct DeviceMemory : Storage {
  const Cuda* cuda = nullptr;
  ~DeviceMemory() override { cuda->free(static_cast<int>(device), address); }
};

struct File : Storage {
  ~File() override { close(static_cast<int>(device)); }
};

struct Borrowed : Storage {
  std::shared_ptr<const void> hold;
};

}  // namespace

std::shared_ptr<Storage> Storage::allocate(size_t bytes, bool huge_pages) {
  auto host = std::make_shared<HostMemory>();
  const bool huge = huge_pages && bytes >= HUGE_PAGE;
  const size_t unit = huge ? HUGE_PAGE : PAGE;
  const size_t whole = (bytes + unit - 1) / unit * unit;
  const size_t mapped = huge ? whole + HUGE_PAGE - PAGE : whole;
  void* start = whole < bytes || mapped < whole
                    ? MAP_FAILED
                    : mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) {
    throw Failure{"CapacityExhausted", "nixl.memory",
                  "cannot allocate " + std::to_string(bytes) + " bytes: " + error_text()};
  }
  const auto first = reinterpret_cast<uintptr_t>(start);
  const uintptr_t aligned = (first + unit - 1) / unit * unit;
  if (huge) madvise(reinterpret_cast<void*>(aligned), whole, MADV_HUGEPAGE);
  host->mapped = start;
  host->mapped_bytes = mapped;
  host->address = aligned;
  host->bytes = bytes;
  host->viewable = true;
  return host;
}

std::shared_ptr<Storage> Storage::allocate_device(const Cuda& cuda, int device, size_t bytes) {
  uint64_t address = 0;
  const std::string error = cuda.allocate(device, bytes, &address);
  if (!error.empty()) {
    throw Failure{
        "CapacityExhausted", "nixl.memory",
        "cannot allocate " + std::to_string(bytes) + " bytes on device " + std::to_string(device) + ": " + error};
  }
  auto memory = std::make_shared<DeviceMemory>();
  memory->cuda = &cuda;
  memory->address = address;
  memory->bytes = bytes;
  memory->memory = Memory::vram;
  memory->device = static_cast<uint64_t>(device);
  return memory;
}

std::shared_ptr<Storage> Storage::open_file(const std::string& path, bool write, bool create, size_t bytes) {
  const int flags = (write ? O_RDWR : O_RDONLY) | (create ? O_CREAT : 0) | O_CLOEXEC;
  const int file = open(path.c_str(), flags, 0644);
  if (file < 0) throw Failure{"NotFound", "nixl.file", path + ": " + error_text()};
  auto storage = std::make_shared<File>();
  storage->bytes = bytes;
  storage->memory = Memory::file;
  storage->device = static_cast<uint64_t>(file);
  return storage;
}

std::shared_ptr<Storage> Storage::borrow(uintptr_t address, size_t bytes, Memory memory, uint64_t device,
                                         std::string meta, std::shared_ptr<const void> hold) {
  auto storage = std::make_shared<Borrowed>();
  storage->hold = std::move(hold);
  storage->address = address;
  storage->bytes = bytes;
  storage->memory = memory;
  storage->device = device;
  storage->meta = std::move(meta);
  return storage;
}

}  // namespace dynamo::nixl
