// Another agent, as known to this agent. A peer that restarts under the same name becomes another peer with a higher
// generation. Objects made for the old peer never reach the new one.
#pragma once

#include <list>
#include <optional>
#include <string>

#include "costs.h"
#include "region.h"

namespace dynamo::nixl {

class Peer final : public Object, public UseCounted {
 public:
  static constexpr const char* KIND = "NixlPeer";

  Peer(std::weak_ptr<Agent> agent, std::string name, uint64_t generation, bool is_self)
      : agent(std::move(agent)), name(std::move(name)), generation(generation), is_self(is_self) {}
  const char* kind() const override { return KIND; }

  const std::weak_ptr<Agent> agent;
  const std::string name;
  const uint64_t generation;
  const bool is_self;
  // The library must be locked for every member below.
  std::optional<Failure> gone;  // why the peer can no longer be used
  bool warm = false;            // a transfer has succeeded: the connection exists, and a post does not wait for it
  std::string connection;       // from its metadata; empty if none was loaded from bytes
  std::string metadata;

  // What transfers with these kinds of memory and this backend have cost. It stays as long as the peer.
  Costs& costs(Memory local, Memory remote, const std::string& backend) {
    for (Costs& known : costs_) {
      if (known.local == local && known.remote == remote && known.backend == backend) return known;
    }
    return costs_.emplace_back(local, remote, backend);
  }

 private:
  std::list<Costs> costs_;
};

using PeerRef = std::shared_ptr<Peer>;

}  // namespace dynamo::nixl
