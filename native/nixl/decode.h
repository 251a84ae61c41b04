// Functions that the entries share to decode their arguments.
#pragma once

#include <cstring>
#include <vector>

#include "agent.h"
#include "pack.h"

namespace dynamo::nixl {

// Copies, because the bytes are only valid during the call, and may be unaligned.
template <typename T>
std::vector<T> numbers_of(std::span<const uint8_t> bytes) {
  if (bytes.size() % sizeof(T) != 0)
    throw Failure::bad_argument("payload: expected whole numbers of " + std::to_string(sizeof(T)) + " bytes");
  std::vector<T> numbers(bytes.size() / sizeof(T));
  if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), bytes.size());
  return numbers;
}

// Floats are exact up to this number.
inline constexpr double MAX_WHOLE = 9007199254740992.0;

inline uint64_t whole(double number) {
  if (!(number >= 0) || number > MAX_WHOLE) throw Failure::bad_argument("payload: expected integers from 0 to 2^53");
  return static_cast<uint64_t>(number);
}

inline Memory memory_of(uint64_t number) {
  if (number > static_cast<uint64_t>(Memory::file))
    throw Failure::bad_argument("memory: expected a number from 0 to 4");
  return static_cast<Memory>(number);
}

inline Operation operation_of(uint64_t number) {
  if (number > 1) throw Failure::bad_argument("operation: expected 0 or 1");
  return static_cast<Operation>(number);
}

inline std::vector<uint8_t> copy(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

// Runs the body of an entry. Its failures settle the operation.
template <typename Body>
void guarded(const TaskRef& operation, Body body) {
  try {
    body();
  } catch (const Failure& failure) {
    operation->fail(failure);
  } catch (const std::exception& error) {
    operation->fail(Failure::of_exception(error));
  }
}

inline std::shared_ptr<Agent> agent_of(const std::weak_ptr<Agent>& agent) {
  auto found = agent.lock();
  if (found == nullptr) throw Failure::closed("the agent");
  return found;
}

inline std::vector<RegionRef> regions_named(const Agent& agent, const std::vector<double>& ids, Memory memory) {
  std::vector<RegionRef> regions;
  for (const double id : ids) {
    regions.push_back(agent.region(whole(id)));
    if (regions.back()->storage->memory != memory)
      throw Failure::bad_argument("regions: expected all of one kind of memory");
  }
  return regions;
}

}  // namespace dynamo::nixl
