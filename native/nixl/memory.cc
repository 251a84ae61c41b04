// Registration and deregistration.
#include <algorithm>
#include <atomic>

#include "agent.h"

namespace dynamo::nixl {
namespace {

std::atomic<uint64_t> next_region{1};

const char* name_of(Memory memory) {
  constexpr const char* names[] = {"DRAM", "VRAM", "BLOCK", "OBJECT", "FILE", "UNKNOWN"};
  return names[static_cast<int>(memory)];
}

}  // namespace

std::vector<ObjectRef> Agent::register_regions(std::vector<std::shared_ptr<Storage>> storages,
                                               const std::string& backend) {
  const Memory memory = storages.front()->memory;
  if (memory == Memory::vram && !library.cuda->available()) {
    // The library would fail without a GPU, and then no peer could load the agent's metadata.
    throw Failure{"NotImplemented", "nixl.no_gpu",
                  "device memory cannot be registered: " + library.cuda->unavailable()};
  }
  const bool taken = std::any_of(backends.begin(), backends.end(), [&](const auto& one) {
    return (backend.empty() || one.name == backend) &&
           std::find(one.memories.begin(), one.memories.end(), memory) != one.memories.end();
  });
  if (!taken) {
    throw Failure{"InvalidRequest", "nixl.no_backend",
                  backend.empty()
                      ? "no backend of the agent '" + options.name + "' accepts " + name_of(memory) + " memory"
                      : "the backend " + backend + " does not exist or does not accept " + name_of(memory) + " memory",
                  "create one with agent.createBackend: UCX for DRAM and VRAM, POSIX for FILE"};
  }
  if (memory == Memory::vram) {
    for (const auto& storage : storages) {
      const std::string error = library.cuda->use(static_cast<int>(storage->device));
      if (!error.empty())
        throw Failure{"InvalidRequest", "nixl.no_gpu", "device " + std::to_string(storage->device) + ": " + error};
    }
  }
  std::vector<RegionRef> regions;
  std::vector<ObjectRef> objects;
  for (auto& storage : storages) {
    regions.push_back(std::make_shared<Region>(weak_from_this(), next_region++, std::move(storage)));
    objects.push_back(regions.back());
  }
  const RegistrationListRef list = registration_list(regions, memory);
  OptArgsRef args = nullptr;
  if (!backend.empty()) args = options_for(backend, {});
  const Status status = call().register_mem(ref, list, args);
  if (args != nullptr) call().destroy_opt_args(args);
  call().destroy_reg_dlist(list);
  if (status != Status::ok) {
    throw Failure::of_call("register_mem", status,
                           std::to_string(regions.size()) + (regions.size() == 1 ? " region of " : " regions of ") +
                               name_of(memory) + " memory could not be registered",
                           memory == Memory::file ? "check that the file descriptor is open and registered only once"
                                                  : "check that the address is mapped and memlock is large enough");
  }
  for (const auto& region : regions) regions_.emplace(region->id, region);
  return objects;
}

RegistrationListRef Agent::registration_list(const std::vector<RegionRef>& regions, Memory memory) const {
  RegistrationListRef list = nullptr;
  call().create_reg_dlist(memory, &list);
  for (const auto& region : regions) {
    const Storage& storage = *region->storage;
    call().reg_dlist_add_desc(list, storage.address, storage.bytes, storage.device, storage.meta.data(),
                              storage.meta.size());
  }
  return list;
}

void Agent::deregister(const std::vector<RegionRef>& regions, Memory memory) {
  const RegistrationListRef list = registration_list(regions, memory);
  call().deregister_mem(ref, list, nullptr);
  call().destroy_reg_dlist(list);
}

void Agent::release(const RegionRef& region, TaskRef released) {
  if (region->released) {
    released->settle({});
    return;
  }
  region->releasing.push_back(std::move(released));
  if (region->use_count == 0) finish_release(region);
}

void Agent::finish_release(const RegionRef& region) {
  region->invalidate_dependents({"InvalidRequest", "nixl.region_released", "a region of this transfer was released"});
  deregister({region}, region->storage->memory);
  regions_.erase(region->id);
  region->storage = nullptr;
  region->released = true;
  for (const auto& operation : std::exchange(region->releasing, {})) operation->settle({});
}

RegionRef Agent::region(uint64_t id) const {
  const auto found = regions_.find(id);
  if (found == regions_.end() || !found->second->releasing.empty()) {
    throw Failure{"InvalidRequest", "nixl.region_released",
                  "a region of this transfer was released, or belongs to another agent"};
  }
  return found->second;
}

RegionRef Agent::region_holding(Memory memory, uint64_t device, uintptr_t address, size_t bytes) const {
  for (const auto& [id, region] : regions_) {
    const Storage& storage = *region->storage;
    if (storage.memory == memory && storage.device == device && region->releasing.empty() &&
        address >= storage.address && bytes <= storage.bytes && address - storage.address <= storage.bytes - bytes) {
      return region;
    }
  }
  return nullptr;
}

}  // namespace dynamo::nixl
