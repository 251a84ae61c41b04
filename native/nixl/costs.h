// What transfers with one peer have cost, for one kind of memory on each side and one backend. It decides which posts
// run on the caller's thread: a backend that copies takes longer for more bytes, one with a network card does not.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

#include "types.h"

namespace dynamo::nixl {

class Costs {
 public:
  using Duration = std::chrono::nanoseconds;

  // A longer post is left to the agent's thread.
  static constexpr Duration MAX_POST = std::chrono::microseconds(50);
  // The longest look for the end of a post on the caller's thread.
  static constexpr Duration MAX_LOOK = std::chrono::microseconds(60);

  Costs(Memory local, Memory remote, std::string backend) : local(local), remote(remote), backend(std::move(backend)) {}

  const Memory local;
  const Memory remote;
  const std::string backend;

  // The size of a transfer for the functions below. A run costs about as much as 4 KiB.
  static size_t size_of(size_t bytes, size_t runs) { return bytes + (runs - 1) * RUN_BYTES; }

  // Whether a post of this size is expected to take less than `MAX_POST`. Before the first post, one of 64 KiB is.
  bool is_post_short(size_t size) const;
  // How long to look for the end of a post of this size that did not complete at once: twice the usual time. Zero if it
  // usually takes longer than `MAX_LOOK`, except now and then, because that may change.
  Duration look_for(size_t size);

  void posted(size_t size, Duration took) { mean_of(posts_, size).add(took); }
  // The time from the post to the end, of a transfer that did not complete at once.
  void ended(size_t size, Duration took);

 private:
  static constexpr size_t RUN_BYTES = 4 << 10;
  // Classes of sizes: 2^n to 2^(n + 1) - 1 bytes. The last one has all larger sizes.
  static constexpr size_t CLASSES = 26;
  static constexpr size_t UNKNOWN_BYTES = 64 << 10;
  static constexpr int SKIPPED_LOOKS = 16;

  // A moving mean. One late thread does not change it much.
  struct Mean {
    bool known = false;
    Duration value{0};
    void add(Duration took);
  };
  using Means = std::array<Mean, CLASSES>;

  static size_t class_of(size_t size);
  static Mean& mean_of(Means& means, size_t size) { return means[class_of(size)]; }
  Duration expected_post(size_t size) const;

  Means posts_;
  Means ends_;
  int skipped_looks_ = 0;
};

}  // namespace dynamo::nixl
