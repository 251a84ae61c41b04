// GPU memory without the CUDA toolkit: the CUDA driver, loaded at run time, or the mock's simulation in host memory.
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

// Any thread may call every function. Each call makes the device's primary context current on the calling thread, and
// leaves it current: the library needs it too, to register and post VRAM. A call returns an empty string, or why it
// failed.
class Cuda {
 public:
  virtual ~Cuda() = default;

  bool available() const { return unavailable_.empty(); }
  // Why there is no usable GPU. Empty if there is one.
  const std::string& unavailable() const { return unavailable_; }
  // The driver's version, for example 12040 for 12.4. 0 without a driver.
  int driver_version() const { return version_; }
  const std::vector<Gpu>& gpus() const { return gpus_; }

  virtual std::string use(int device) const = 0;
  virtual std::string allocate(int device, size_t bytes, uint64_t* address) const = 0;
  virtual std::string free(int device, uint64_t address) const = 0;
  virtual std::string copy_to_device(int device, uint64_t to, const void* from, size_t bytes) const = 0;
  virtual std::string copy_from_device(int device, void* to, uint64_t from, size_t bytes) const = 0;
  virtual std::string copy_on_device(int device, uint64_t to, uint64_t from, size_t bytes) const = 0;
  virtual std::string set(int device, uint64_t address, uint8_t value, size_t bytes) const = 0;
  // The device of an address. -1 for host memory and unknown addresses.
  virtual int device_of(uint64_t address) const = 0;

 protected:
  std::string unavailable_;
  int version_ = 0;
  std::vector<Gpu> gpus_;
};

// The driver of this machine. The first call loads it. Every call returns the same object, also without a driver.
const Cuda& cuda_driver();

}  // namespace dynamo::nixl
