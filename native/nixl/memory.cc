// Registration and deregistration.
#include <algorithm>
#include <atomic>
#include <cstdio>

#include "agent.h"

namespace dynamo::nixl {
namespace {

std::atomic<uint64_t> next_region{1};

const char* name_of(Memory memory) {
  constexpr const char* names[] = {"DRAM", "VRAM", "BLOCK", "OBJECT", "FILE", "UNKNOWN"};
  return names[static_cast<int>(memory)];
}

// Files and objects are found by their number alone.
bool by_number(const Storage& storage) { return storage.memory == Memory::file || storage.memory == Memory::object; }

Place place_of(const Storage& storage) {
  return {storage.memory, storage.device, by_number(storage) ? 0 : storage.address};
}

std::string described(const Storage& storage, uintptr_t address, size_t bytes) {
  const std::string number = std::to_string(storage.device);
  if (by_number(storage)) return std::string(name_of(storage.memory)) + " number " + number;
  char text[32];
  std::snprintf(text, sizeof text, "0x%zx", static_cast<size_t>(address));
  const std::string where = storage.memory == Memory::dram ? "" : " of device " + number;
  return std::to_string(bytes) + " bytes of " + name_of(storage.memory) + " at " + text + where;
}

}  // namespace

bool Agent::enroll(const Storage& storage, const std::string& backend) {
  const Place place = place_of(storage);
  const auto next = enrolled_.lower_bound(place);
  if (next != enrolled_.end() && next->first == place) {
    Enrolled& same = next->second;
    if (same.address == storage.address && same.bytes == storage.bytes && same.meta == storage.meta &&
        same.backend == backend) {
      same.regions += 1;
      return false;
    }
  }
  const auto overlaps = [&](const auto& known) {
    const auto& [at, enrolled] = known;
    if (at.memory != place.memory || at.device != place.device) return false;
    if (by_number(storage)) return true;
    return at.address < place.address ? enrolled.bytes > place.address - at.address
                                      : storage.bytes > at.address - place.address;
  };
  // Registrations do not overlap, so only the neighbours can.
  auto other = enrolled_.end();
  if (next != enrolled_.end() && overlaps(*next)) other = next;
  if (next != enrolled_.begin() && overlaps(*std::prev(next))) other = std::prev(next);
  if (other != enrolled_.end()) {
    throw Failure{"Conflict", "nixl.overlap",
                  described(storage, storage.address, storage.bytes) + " cannot be registered: " +
                      (by_number(storage) ? "the number already has another registration"
                                          : "they overlap a registration of " +
                                                described(storage, other->second.address, other->second.bytes)),
                  by_number(storage) ? "give each file and each object its own number"
                                     : "register the memory once, and use slices of the region; or release the other "
                                       "region first, and wait for its release"};
  }
  enrolled_.emplace_hint(next, place, Enrolled{storage.address, storage.bytes, storage.meta, backend, 1});
  return true;
}

bool Agent::leave(const Storage& storage) {
  const auto found = enrolled_.find(place_of(storage));
  if (found == enrolled_.end() || --found->second.regions > 0) return false;
  enrolled_.erase(found);
  return true;
}

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
  std::vector<RegionRef> added;
  size_t counted = 0;
  const auto take_back = [&] {
    for (size_t i = 0; i < counted; i++) leave(*regions[i]->storage);
  };
  Status status = Status::ok;
  try {
    for (; counted < regions.size(); counted++) {
      if (enroll(*regions[counted]->storage, backend)) added.push_back(regions[counted]);
    }
    if (!added.empty()) {
      const OptArgsRef args = backend.empty() ? nullptr : options_for(backend, {});
      const RegistrationListRef list = registration_list(added, memory);
      status = call().register_mem(ref, list, args);
      if (args != nullptr) call().destroy_opt_args(args);
      call().destroy_reg_dlist(list);
    }
  } catch (...) {
    take_back();
    throw;
  }
  if (status != Status::ok) {
    take_back();
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
  // The library would release or describe the same memory twice.
  std::set<Place> listed;
  for (const auto& region : regions) {
    const Storage& storage = *region->storage;
    if (!listed.insert(place_of(storage)).second) continue;
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
  if (leave(*region->storage)) deregister({region}, region->storage->memory);
  regions_.erase(region->id);
  region->storage = nullptr;
  region->released = true;
  settle_all(std::exchange(region->releasing, {}), {});
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
