// Blocks of memory that the library has looked up once. Transfers name them by index.
#pragma once

#include "agent.h"

namespace dynamo::nixl {

class BlockList final : public Dependent {
 public:
  static constexpr const char* KIND = "BlockList";

  // Blocks of one size at equal distances.
  struct Run {
    uintptr_t address = 0;  // of the first block
    uint64_t device = 0;
    size_t bytes = 0;   // of each block
    size_t stride = 0;  // from the begin of a block to that of the next one
    size_t count = 0;
  };

  // Blocks of this agent if `peer` is null. The library must be locked.
  static std::shared_ptr<BlockList> prepare(std::shared_ptr<Agent> agent, PeerRef peer, std::vector<RegionRef> regions,
                                            Memory memory, const std::vector<Run>& runs, const std::string& backend);
  const char* kind() const override { return KIND; }

  void release();
  void invalidate(const Failure& why) override;
  void check() const;

  const std::shared_ptr<Agent> agent;
  const PeerRef peer;
  const std::vector<RegionRef> regions;
  const Memory memory;
  std::vector<uint32_t> bytes;  // of each block
  PreparedListRef ref = nullptr;
  std::optional<Failure> invalid;

 private:
  BlockList(std::shared_ptr<Agent> agent, PeerRef peer, std::vector<RegionRef> regions, Memory memory)
      : agent(std::move(agent)), peer(std::move(peer)), regions(std::move(regions)), memory(memory) {}
};

}  // namespace dynamo::nixl
