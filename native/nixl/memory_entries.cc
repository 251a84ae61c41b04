#include <mutex>
#include <unordered_map>

#include "decode.h"
#include "entries.h"
#include "hold.h"

namespace dynamo::nixl {
namespace {

// Regions by id, for other threads of the process.
std::mutex shared_mutex;
std::unordered_map<uint64_t, std::weak_ptr<Region>> shared;

void share(const std::vector<ObjectRef>& objects) {
  std::lock_guard lock(shared_mutex);
  // Remove expired entries as the table grows.
  static size_t sweep = 1024;
  if (shared.size() > sweep) {
    std::erase_if(shared, [](const auto& entry) { return entry.second.expired(); });
    sweep = 2 * shared.size() + 1024;
  }
  for (const auto& object : objects) {
    const auto region = std::static_pointer_cast<Region>(object);
    shared[region->id] = region;
  }
}

std::vector<uint8_t> description(const std::vector<ObjectRef>& objects) {
  std::vector<double> numbers;
  for (const auto& object : objects) {
    const auto& region = static_cast<const Region&>(*object);
    const Storage& storage = *region.storage;
    for (const uint64_t number :
         {region.id, static_cast<uint64_t>(storage.address), static_cast<uint64_t>(storage.bytes), storage.device}) {
      numbers.push_back(static_cast<double>(number));
    }
  }
  std::vector<uint8_t> bytes(numbers.size() * sizeof(double));
  if (!bytes.empty()) std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

// Settles with the description of the regions only: of thousands, few are ever needed as objects (`region_find`). If
// the caller has cancelled, the regions are released again.
void register_and_settle(const std::shared_ptr<Agent>& agent, std::vector<std::shared_ptr<Storage>> storages,
                         const std::string& backend, const TaskRef& operation) {
  const auto objects = agent->register_regions(std::move(storages), backend);
  share(objects);
  Reply reply = Reply::of_bytes(description(objects));
  if (operation->settle(std::move(reply))) return;
  for (const auto& object : objects) {
    agent->release(std::static_pointer_cast<Region>(object), std::make_shared<Task>([](Reply) {}));
  }
}

// The storage of a region, after a check of the range.
Storage& storage_of(Region& region, uint64_t offset, uint64_t bytes) {
  if (region.storage == nullptr || !region.releasing.empty())
    throw Failure{"InvalidRequest", "nixl.region_released", "the region was released"};
  Storage& storage = *region.storage;
  if (offset > storage.bytes || bytes > storage.bytes - offset)
    throw Failure::bad_argument("offset: expected bytes within the region");
  return storage;
}

void check_copied(const std::string& error) {
  if (!error.empty()) throw Failure{"Internal", "nixl.device_copy", "the copy failed: " + error};
}

}  // namespace

void region_allocate(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = object_as<Agent>(call.handle);
    const Options args(call.args);
    agent->submit_later(operation, [agent, bytes = call.a, device = static_cast<int>(call.b),
                                    on_device = args.boolean("device"), huge_pages = args.boolean("hugePages"),
                                    backend = args.text("backend")](const TaskRef& running) {
      const Cuda& cuda = *agent->library.cuda;
      if (on_device && !cuda.available()) {
        throw Failure{"NotImplemented", "nixl.no_gpu", "device memory cannot be allocated: " + cuda.unavailable()};
      }
      auto storage = on_device ? Storage::allocate_device(cuda, device, bytes) : Storage::allocate(bytes, huge_pages);
      register_and_settle(agent, {std::move(storage)}, backend, running);
    });
  });
}

void region_file(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = object_as<Agent>(call.handle);
    const Options args(call.args);
    agent->submit_later(
        operation, [agent, bytes = call.a, path = args.text("path"), write = args.boolean("write"),
                    create = args.boolean("create"), backend = args.text("backend")](const TaskRef& running) {
          register_and_settle(agent, {Storage::open_file(path, write, create, bytes)}, backend, running);
        });
  });
}

void region_register(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = object_as<Agent>(call.handle);
    const Options args(call.args);
    const Memory memory = memory_of(call.a);
    const auto numbers = numbers_of<double>(call.payload);
    const auto& metas = args.list("metas");
    if (numbers.empty() || numbers.size() % 3 != 0)
      throw Failure::bad_argument("payload: expected address, bytes and device of each region");
    const std::string ids = args.text("holds");
    const auto holds = numbers_of<double>({reinterpret_cast<const uint8_t*>(ids.data()), ids.size()});
    std::vector<std::shared_ptr<Storage>> storages;
    for (size_t i = 0; i < numbers.size(); i += 3) {
      const size_t index = i / 3;
      std::shared_ptr<Hold> hold;
      if (index < holds.size() && holds[index] != 0) {
        hold = Hold::find(whole(holds[index]));
        if (hold == nullptr) throw Failure::bad_argument("holds: expected ids of holds that were not released");
      }
      storages.push_back(Storage::borrow(whole(numbers[i]), whole(numbers[i + 1]), memory, whole(numbers[i + 2]),
                                         index < metas.size() ? metas[index] : "", std::move(hold)));
    }
    agent->submit_later(operation, [agent, storages, backend = args.text("backend")](const TaskRef& running) {
      register_and_settle(agent, storages, backend, running);
    });
  });
}

void region_release(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto region = object_as<Region>(call.handle);
    const auto agent = region->agent.lock();
    if (agent == nullptr) {
      operation->settle({});
      return;
    }
    // Not `submit`: if the agent closes first, the close releases the region.
    const bool posted =
        agent->submit_always(operation, [agent, region, operation] { agent->release(region, operation); });
    if (!posted) operation->settle({});
  });
}

void region_write(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto region = object_as<Region>(call.handle);
    const auto agent = agent_of(region->agent);
    agent->submit(operation, [agent, region, offset = call.a, bytes = copy(call.payload)] {
      Storage& storage = storage_of(*region, offset, bytes.size());
      if (storage.memory == Memory::vram) {
        check_copied(agent->library.cuda->copy_to_device(static_cast<int>(storage.device), storage.address + offset,
                                                         bytes.data(), bytes.size()));
      } else if (storage.memory == Memory::dram) {
        std::memcpy(reinterpret_cast<void*>(storage.address + offset), bytes.data(), bytes.size());
      } else {
        throw Failure::bad_argument("region: expected DRAM or VRAM");
      }
      return Reply{};
    });
  });
}

void region_read(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto region = object_as<Region>(call.handle);
    const auto agent = agent_of(region->agent);
    agent->submit(operation, [agent, region, offset = call.a, count = call.b] {
      Storage& storage = storage_of(*region, offset, count);
      std::vector<uint8_t> bytes(count);
      if (storage.memory == Memory::vram) {
        check_copied(agent->library.cuda->copy_from_device(static_cast<int>(storage.device), bytes.data(),
                                                           storage.address + offset, count));
      } else if (storage.memory == Memory::dram) {
        std::memcpy(bytes.data(), reinterpret_cast<const void*>(storage.address + offset), count);
      } else {
        throw Failure::bad_argument("region: expected DRAM or VRAM");
      }
      return Reply::of_bytes(std::move(bytes));
    });
  });
}

#if defined(DYNAMO_TESTING)
void region_copy(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto from = object_as<Region>(call.handle);
    const auto to = object_as<Region>(call.other);
    const auto agent = agent_of(from->agent);
    agent->submit(operation, [agent, from, to, count = call.a] {
      const Storage& source = storage_of(*from, 0, count);
      const Storage& target = storage_of(*to, 0, count);
      if (to->agent.lock() != agent) throw Failure::bad_argument("other: expected a region of the same agent");
      if (source.memory != Memory::vram || target.memory != Memory::vram || source.device != target.device) {
        throw Failure::bad_argument("regions: expected memory of one device");
      }
      const auto begin = Clock::now();
      check_copied(
          agent->library.cuda->copy_on_device(static_cast<int>(source.device), target.address, source.address, count));
      return Reply::of_number(static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - begin).count()));
    });
  });
}
#endif

Reply region_find(const Call& call) {
  std::lock_guard lock(shared_mutex);
  const auto found = shared.find(call.a);
  auto region = found == shared.end() ? nullptr : found->second.lock();
  if (region == nullptr || region->released) {
    return Reply::of_failure({"InvalidRequest", "nixl.region_released",
                              "the region of this token was released, or belongs to another process"});
  }
  return Reply::of_object(std::move(region));
}

}  // namespace dynamo::nixl
