// GPU memory without a toolkit: the CUDA driver, loaded at run time, or host memory that stands in for it in the mock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dynamo::nixl {

struct Gpu {
  std::string name;
  uint64_t total_bytes = 0;
};

// Every call may come from any thread: the device's primary context is made current on the calling thread first, and
// stays so (the library needs it there too: registering and posting VRAM without one fails). A call gives an empty
// string, or why it failed.
class Cuda {
 public:
  virtual ~Cuda() = default;

  bool available() const { return unavailable_.empty(); }
  // Why there is no GPU to use; empty where there is.
  const std::string& unavailable() const { return unavailable_; }
  // The driver's version as it gives it, 12040 for 12.4; 0 without one.
  int driver_version() const { return version_; }
  const std::vector<Gpu>& gpus() const { return gpus_; }

  virtual std::string use(int device) const = 0;
  virtual std::string allocate(int device, size_t bytes, uint64_t* address) const = 0;
  virtual std::string free(int device, uint64_t address) const = 0;
  virtual std::string copy_to_device(int device, uint64_t to, const void* from, size_t bytes) const = 0;
  virtual std::string copy_from_device(int device, void* to, uint64_t from, size_t bytes) const = 0;
  virtual std::string copy_on_device(int device, uint64_t to, uint64_t from, size_t bytes) const = 0;
  virtual std::string set(int device, uint64_t address, uint8_t value, size_t bytes) const = 0;
  // The device that an address of this driver's belongs to; -1 for host memory and what it does not know.
  virtual int device_of(uint64_t address) const = 0;

 protected:
  std::string unavailable_;
  int version_ = 0;
  std::vector<Gpu> gpus_;
};

// The driver of this machine: loaded at the first call, the same object ever after, also where there is none.
const Cuda& cuda_driver();

}  // namespace dynamo::nixl
