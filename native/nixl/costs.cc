#include "costs.h"

#include <algorithm>
#include <bit>

namespace dynamo::nixl {
namespace {

constexpr int WEIGHT = 8;
// One duration counts as at most this many times the mean, and this much more.
constexpr int MAX_TIMES = 4;
constexpr Costs::Duration MAX_MORE = std::chrono::microseconds(20);

}  // namespace

void Costs::Mean::add(Duration took) {
  if (known) {
    value += (std::min(took, MAX_TIMES * value + MAX_MORE) - value) / WEIGHT;
  } else {
    known = true;
    value = took;
  }
}

size_t Costs::class_of(size_t size) {
  const auto width = static_cast<size_t>(std::bit_width(size));
  return std::min(width == 0 ? 0 : width - 1, CLASSES - 1);
}

// If the class is not known, a larger known class is an upper bound, and so is a smaller one in proportion to the size.
Costs::Duration Costs::expected_post(size_t size) const {
  const size_t wanted = class_of(size);
  if (posts_[wanted].known) return posts_[wanted].value;
  Duration expected = Duration::max();
  for (size_t i = wanted + 1; i < CLASSES && expected == Duration::max(); i++) {
    if (posts_[i].known) expected = posts_[i].value;
  }
  for (size_t i = wanted; i-- > 0;) {
    if (!posts_[i].known) continue;
    return std::min(expected, posts_[i].value * (int64_t{1} << (wanted - i)));
  }
  return std::min(expected, MAX_POST * static_cast<int64_t>(size) / static_cast<int64_t>(UNKNOWN_BYTES));
}

bool Costs::is_post_short(size_t size) const { return expected_post(size) <= MAX_POST; }

Costs::Duration Costs::look_for(size_t size) {
  const Mean& end = mean_of(ends_, size);
  if (!end.known) return MAX_LOOK;
  if (end.value <= MAX_LOOK) return std::min(2 * end.value, MAX_LOOK);
  if (++skipped_looks_ < SKIPPED_LOOKS) return {};
  skipped_looks_ = 0;
  return MAX_LOOK;
}

// Ends that are not looked for are seen late. So one that a look has seen says more than all of those before it.
void Costs::ended(size_t size, Duration took) {
  Mean& end = mean_of(ends_, size);
  if (end.known && end.value > MAX_LOOK && took <= MAX_LOOK) end.known = false;
  end.add(took);
}

}  // namespace dynamo::nixl
