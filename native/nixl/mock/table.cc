// The table of the mock, and its knobs.
#include <random>
#include <utility>

#include "objects.h"

namespace dynamo::nixl::mocked {
namespace {

struct Settings {
  std::mutex lock;
  MockKnobs knobs;
  std::mt19937_64 random;
  uint64_t posts = 0;
  std::map<unsigned, const Backend*> backends;  // by the number of simulated GPUs
};

// Never destroyed: the threads that use it may outlive main.
Settings& settings() {
  static Settings* instance = new Settings;
  return *instance;
}

// Host memory that simulates the memory of a GPU.
class FakeCuda final : public Cuda {
 public:
  explicit FakeCuda(unsigned count) {
    if (count == 0) unavailable_ = "the mock has no GPU: its knob fakeGpus is 0";
    version_ = count == 0 ? 0 : 12000;
    for (unsigned i = 0; i < count; ++i) gpus_.push_back({"mock GPU " + std::to_string(i), uint64_t{1} << 30});
  }

  std::string use(int device) const override {
    if (!available()) return unavailable_;
    if (device >= 0 && static_cast<size_t>(device) < gpus_.size()) return {};
    return "there is no GPU " + std::to_string(device) + " (there are " + std::to_string(gpus_.size()) + ")";
  }

  std::string allocate(int device, size_t bytes, uint64_t* address) const override {
    if (auto reason = use(device); !reason.empty()) return reason;
    if (bytes == 0) return "cuMemAlloc: CUDA_ERROR_INVALID_VALUE";
    if (bytes > gpus_[static_cast<size_t>(device)].total_bytes) return "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY";
    auto memory = std::make_unique<char[]>(bytes);
    *address = reinterpret_cast<uint64_t>(memory.get());
    std::lock_guard guard(lock_);
    held_.emplace(*address, Held{device, bytes, std::move(memory)});
    return {};
  }

  std::string free(int device, uint64_t address) const override {
    if (auto reason = use(device); !reason.empty()) return reason;
    std::lock_guard guard(lock_);
    return held_.erase(address) == 1 ? "" : "cuMemFree: CUDA_ERROR_INVALID_VALUE";
  }

  std::string copy_to_device(int device, uint64_t to, const void* from, size_t bytes) const override {
    return copy(device, reinterpret_cast<void*>(to), from, bytes);
  }

  std::string copy_from_device(int device, void* to, uint64_t from, size_t bytes) const override {
    return copy(device, to, reinterpret_cast<const void*>(from), bytes);
  }

  std::string copy_on_device(int device, uint64_t to, uint64_t from, size_t bytes) const override {
    return copy(device, reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  }

  std::string set(int device, uint64_t address, uint8_t value, size_t bytes) const override {
    const std::vector<uint8_t> pattern(bytes, value);
    return copy(device, reinterpret_cast<void*>(address), pattern.data(), bytes);
  }

  int device_of(uint64_t address) const override {
    std::lock_guard guard(lock_);
    auto next = held_.upper_bound(address);
    if (next == held_.begin()) return -1;
    --next;
    return address - next->first < next->second.bytes ? next->second.device : -1;
  }

 private:
  std::string copy(int device, void* to, const void* from, size_t bytes) const {
    if (auto reason = use(device); !reason.empty()) return reason;
    copy_bytes(to, from, bytes);
    return {};
  }

  struct Held {
    int device;
    size_t bytes;
    std::unique_ptr<char[]> memory;
  };
  mutable std::mutex lock_;
  mutable std::map<uint64_t, Held> held_;
};

// No exception leaves the mock, as in the library's C API.
template <auto Call>
struct Guarded;

template <typename... Arguments, Status (*Call)(Arguments...)>
struct Guarded<Call> {
  static Status call(Arguments... arguments) {
    try {
      return Call(arguments...);
    } catch (...) {
      return Status::backend;
    }
  }
};

Backend* make_backend(unsigned fake_gpus) {
  auto* backend = new Backend;
  backend->kind = Backend::Kind::mock;
  backend->cuda = new FakeCuda(fake_gpus);
  backend->transfer_detail = transfer_detail;
  backend->inspect_metadata = inspect;
  backend->join_metadata = join;
  const auto add = [&](const char* feature) {
    if (!backend->supports(feature)) backend->features.push_back({feature, true, {}});
  };
#define DYNAMO_NIXL_FILL(feature, name, parameters) \
  backend->call.name = Guarded<&name>::call;        \
  backend->functions += 1;                          \
  add(#feature);
  DYNAMO_NIXL_FUNCTIONS(DYNAMO_NIXL_FILL)
#undef DYNAMO_NIXL_FILL
  add("detailedStatus");
  return backend;
}

}  // namespace

MockKnobs current_knobs() {
  std::lock_guard guard(settings().lock);
  return settings().knobs;
}

const Cuda& current_cuda() {
  std::lock_guard guard(settings().lock);
  return *settings().backends.at(settings().knobs.fake_gpus)->cuda;
}

bool post_is_to_fail(const MockKnobs& knobs) {
  std::lock_guard guard(settings().lock);
  settings().posts += 1;
  return knobs.fail_at != 0 && settings().posts == knobs.fail_at;
}

bool draw_immediate(const MockKnobs& knobs) {
  if (knobs.completion != MockKnobs::Completion::random) return knobs.completion == MockKnobs::Completion::immediate;
  std::lock_guard guard(settings().lock);
  return settings().random() % 2 == 0;
}

uint32_t draw_polls(const MockKnobs& knobs) {
  if (knobs.polls > 0 || knobs.completion != MockKnobs::Completion::random) return knobs.polls;
  std::lock_guard guard(settings().lock);
  return static_cast<uint32_t>(settings().random() % 4);
}

}  // namespace dynamo::nixl::mocked

namespace dynamo::nixl {

const Backend* mock(const MockKnobs& knobs) {
  auto& settings = mocked::settings();
  std::lock_guard guard(settings.lock);
  settings.knobs = knobs;
  settings.random.seed(knobs.seed);
  settings.posts = 0;
  auto& backend = settings.backends[knobs.fake_gpus];
  if (backend == nullptr) backend = mocked::make_backend(knobs.fake_gpus);
  return backend;
}

}  // namespace dynamo::nixl
