#include "cuda.h"

#include <dlfcn.h>

#include <mutex>

namespace dynamo::nixl {
namespace {

using Result = int;
using Device = int;
using Context = void*;
using Pointer = unsigned long long;

constexpr int ATTRIBUTE_DEVICE_ORDINAL = 9;  // CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
constexpr int ATTRIBUTE_MEMORY_TYPE = 2;     // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
constexpr unsigned MEMORY_DEVICE = 2;        // CU_MEMORYTYPE_DEVICE

// The driver's functions, with the names of its current ABI.
struct Driver {
  Result (*init)(unsigned flags);
  Result (*version)(int* version);
  Result (*error_name)(Result error, const char** name);
  Result (*device_count)(int* count);
  Result (*device_get)(Device* device, int ordinal);
  Result (*device_name)(char* name, int length, Device device);
  Result (*device_memory)(size_t* bytes, Device device);
  Result (*retain)(Context* context, Device device);
  Result (*set_current)(Context context);
  Result (*synchronize)();
  Result (*allocate)(Pointer* address, size_t bytes);
  Result (*free)(Pointer address);
  Result (*to_device)(Pointer to, const void* from, size_t bytes);
  Result (*from_device)(void* to, Pointer from, size_t bytes);
  Result (*on_device)(Pointer to, Pointer from, size_t bytes);
  Result (*set)(Pointer address, unsigned char value, size_t bytes);
  Result (*attribute)(void* value, int attribute, Pointer address);
};

class CudaDriver final : public Cuda {
 public:
  CudaDriver() { unavailable_ = open(); }

  std::string use(int device) const override {
    if (!available()) return unavailable_;
    if (device < 0 || static_cast<size_t>(device) >= gpus_.size()) {
      return "there is no GPU " + std::to_string(device) + " (there are " + std::to_string(gpus_.size()) + ")";
    }
    std::lock_guard guard(lock_);
    auto& context = contexts_[static_cast<size_t>(device)];
    if (context == nullptr) {
      // Never released: the library and UCX may use it until the process ends.
      Device handle = 0;
      if (auto reason = check(driver_.device_get(&handle, device), "cuDeviceGet"); !reason.empty()) return reason;
      if (auto reason = check(driver_.retain(&context, handle), "cuDevicePrimaryCtxRetain"); !reason.empty()) {
        context = nullptr;
        return reason;
      }
    }
    return check(driver_.set_current(context), "cuCtxSetCurrent");
  }

  std::string allocate(int device, size_t bytes, uint64_t* address) const override {
    if (auto reason = use(device); !reason.empty()) return reason;
    Pointer pointer = 0;
    auto reason = check(driver_.allocate(&pointer, bytes), "cuMemAlloc");
    if (reason.empty()) *address = pointer;
    return reason;
  }

  std::string free(int device, uint64_t address) const override {
    if (auto reason = use(device); !reason.empty()) return reason;
    return check(driver_.free(address), "cuMemFree");
  }

  std::string copy_to_device(int device, uint64_t to, const void* from, size_t bytes) const override {
    if (auto reason = use(device); !reason.empty()) return reason;
    return check(driver_.to_device(to, from, bytes), "cuMemcpyHtoD");
  }

  std::string copy_from_device(int device, void* to, uint64_t from, size_t bytes) const override {
    if (auto reason = use(device); !reason.empty()) return reason;
    return check(driver_.from_device(to, from, bytes), "cuMemcpyDtoH");
  }

  // The driver's functions return before the device has finished. A peer that is notified next must see the bytes, so
  // the next two functions wait.
  std::string copy_on_device(int device, uint64_t to, uint64_t from, size_t bytes) const override {
    if (auto reason = use(device); !reason.empty()) return reason;
    if (auto reason = check(driver_.on_device(to, from, bytes), "cuMemcpyDtoD"); !reason.empty()) return reason;
    return check(driver_.synchronize(), "cuCtxSynchronize");
  }

  std::string set(int device, uint64_t address, uint8_t value, size_t bytes) const override {
    if (auto reason = use(device); !reason.empty()) return reason;
    if (auto reason = check(driver_.set(address, value, bytes), "cuMemsetD8"); !reason.empty()) return reason;
    return check(driver_.synchronize(), "cuCtxSynchronize");
  }

  int device_of(uint64_t address) const override {
    if (!available() || !use(0).empty()) return -1;
    unsigned memory = 0;
    int ordinal = -1;
    if (driver_.attribute(&memory, ATTRIBUTE_MEMORY_TYPE, address) != 0 || memory != MEMORY_DEVICE) return -1;
    return driver_.attribute(&ordinal, ATTRIBUTE_DEVICE_ORDINAL, address) == 0 ? ordinal : -1;
  }

 private:
  std::string open() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* text = dlerror();
      return std::string("no CUDA driver: ") + (text == nullptr ? "libcuda.so.1 did not load" : text);
    }
    std::string missing;
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      if (function == nullptr && missing.empty()) missing = name;
    };
    find(driver_.init, "cuInit");
    find(driver_.version, "cuDriverGetVersion");
    find(driver_.error_name, "cuGetErrorName");
    find(driver_.device_count, "cuDeviceGetCount");
    find(driver_.device_get, "cuDeviceGet");
    find(driver_.device_name, "cuDeviceGetName");
    find(driver_.device_memory, "cuDeviceTotalMem_v2");
    find(driver_.retain, "cuDevicePrimaryCtxRetain");
    find(driver_.set_current, "cuCtxSetCurrent");
    find(driver_.synchronize, "cuCtxSynchronize");
    find(driver_.allocate, "cuMemAlloc_v2");
    find(driver_.free, "cuMemFree_v2");
    find(driver_.to_device, "cuMemcpyHtoD_v2");
    find(driver_.from_device, "cuMemcpyDtoH_v2");
    find(driver_.on_device, "cuMemcpyDtoD_v2");
    find(driver_.set, "cuMemsetD8_v2");
    find(driver_.attribute, "cuPointerGetAttribute");
    if (!missing.empty()) return "the CUDA driver is too old: it has no " + missing;

    driver_.version(&version_);
    if (auto reason = check(driver_.init(0), "cuInit"); !reason.empty()) return reason;
    int count = 0;
    if (auto reason = check(driver_.device_count(&count), "cuDeviceGetCount"); !reason.empty()) return reason;
    if (count == 0) return "the CUDA driver sees no GPU";
    for (int ordinal = 0; ordinal < count; ++ordinal) {
      Device device = 0;
      char name[256] = "";
      size_t bytes = 0;
      if (auto reason = check(driver_.device_get(&device, ordinal), "cuDeviceGet"); !reason.empty()) return reason;
      driver_.device_name(name, sizeof name, device);
      driver_.device_memory(&bytes, device);
      gpus_.push_back({name, bytes});
    }
    contexts_.resize(gpus_.size());
    return {};
  }

  std::string check(Result result, const char* call) const {
    if (result == 0) return {};
    const char* name = nullptr;
    driver_.error_name(result, &name);
    return std::string(call) + ": " + (name == nullptr ? "error " + std::to_string(result) : name);
  }

  Driver driver_{};
  mutable std::mutex lock_;
  mutable std::vector<Context> contexts_;
};

}  // namespace

const Cuda& cuda_driver() {
  // Never destroyed: threads may use it while the process ends.
  static const CudaDriver* driver = new CudaDriver;
  return *driver;
}

}  // namespace dynamo::nixl
