// Another agent as this one knows it. A peer that restarts under the same name is another peer: its generation differs,
// and nothing made for the old one reaches it.
#pragma once

#include <optional>
#include <string>

#include "region.h"

namespace dynamo::nixl {

class Peer final : public Object, public Held {
 public:
  static constexpr const char* KIND = "NixlPeer";

  Peer(std::weak_ptr<Agent> agent, std::string name, uint64_t generation, bool is_self)
      : agent(std::move(agent)), name(std::move(name)), generation(generation), is_self(is_self) {}
  const char* kind() const override { return KIND; }

  const std::weak_ptr<Agent> agent;
  const std::string name;
  const uint64_t generation;
  const bool is_self;
  // With the library taken.
  std::optional<Failure> gone;  // why nothing can be sent to it any more
  bool warm = false;            // something went through: its connection stands, and a post does not wait for it
  std::string connection;       // of its metadata; empty where none was loaded from bytes
  std::string metadata;
};

using PeerRef = std::shared_ptr<Peer>;

}  // namespace dynamo::nixl
