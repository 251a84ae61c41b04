// Metadata: how agents connect to each other.
#include <algorithm>
#include <cstdlib>

#include "agent.h"
#include "blob.h"
#include "pack.h"

namespace dynamo::nixl {
namespace {

using std::chrono::milliseconds;

// How long the transfers of a restarted peer may take to end. Then the library is forced to end them.
constexpr auto RETIRE_LIMIT = milliseconds(1000);

struct Freed {
  void operator()(void* pointer) const { std::free(pointer); }
};

Failure damaged(const std::string& why) {
  return {"InvalidRequest", "nixl.metadata", "the metadata is damaged: " + why};
}

Failure refused() {
  return {"InvalidRequest",
          "nixl.metadata",
          "the metadata was refused: its agent has no backend in common with this agent",
          "both sides need the same backend and similar versions of the library",
          "load_remote_md",
          Status::backend};
}

bool has_control(std::string_view name) {
  return std::any_of(name.begin(), name.end(), [](unsigned char byte) { return byte < ' ' || byte == 0x7f; });
}

std::string_view text_of(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

// Adds a checksum: the library does not check blobs, and a damaged blob can crash the process that loads it.
std::vector<uint8_t> sealed(void* data, size_t length) {
  const std::unique_ptr<void, Freed> owner(data);
  return bytes_of(seal({static_cast<const char*>(data), length}));
}

// For metadata over sockets and etcd the library chooses the backends.
OptArgsRef address_options(const Agent& agent, const SocketAddress& address) {
  if (address.host.empty()) return nullptr;
  const OptArgsRef args = agent.options_for({}, {});
  agent.call().opt_args_set_ip_addr(args, address.host.c_str());
  agent.call().opt_args_set_port(args, address.port);
  return args;
}

}  // namespace

std::vector<uint8_t> Agent::metadata() const {
  if (backends.empty()) {
    throw Failure{"InvalidRequest", "nixl.no_backend",
                  "the agent '" + options.name + "' has no backend, and therefore no metadata",
                  "create one with agent.createBackend"};
  }
  void* data = nullptr;
  size_t length = 0;
  const Status status = call().get_local_md(ref, &data, &length);
  if (status != Status::ok) {
    throw Failure::of_call("get_local_md", status, "the agent '" + options.name + "' has no metadata",
                           "none of its backends can connect to other agents");
  }
  return sealed(data, length);
}

std::string Agent::part_of_metadata(const std::vector<RegionRef>& regions, Memory memory) const {
  void* data = nullptr;
  size_t length = 0;
  const RegistrationListRef list = registration_list(regions, memory);
  const Status status = call().get_local_partial_md(ref, list, &data, &length, nullptr);
  call().destroy_reg_dlist(list);
  if (status != Status::ok) throw Failure::of_call("get_local_partial_md", status, "these regions have no metadata");
  const std::unique_ptr<void, Freed> owner(data);
  return {static_cast<const char*>(data), length};
}

std::vector<uint8_t> Agent::partial_metadata(const std::vector<RegionRef>& regions, Memory memory) const {
  check_feature("partialMetadata", "has no partial metadata");
  std::string blob = part_of_metadata(regions, memory);
  if (!regions.empty()) blob = library.join_metadata(part_of_metadata({}, memory), blob);
  if (blob.empty())
    throw Failure{"Internal", "nixl.metadata", "the library returned partial metadata of a form that is not known"};
  return bytes_of(seal(blob));
}

void Agent::check_peer(const Peer& peer) const {
  if (peer.gone.has_value()) throw *peer.gone;
}

PeerRef Agent::peer_of(const std::string& name) {
  const auto found = peers_.find(name);
  if (found != peers_.end() && !found->second->gone.has_value()) return found->second;
  const uint64_t generation = found == peers_.end() ? 1 : found->second->generation + 1;
  auto peer = std::make_shared<Peer>(weak_from_this(), name, generation, name == options.name);
  peers_[name] = peer;
  return peer;
}

Reply Agent::reply_of(const PeerRef& peer) {
  Packer packer;
  packer.map(2).text("name").text(peer->name).text("generation").integer(static_cast<int64_t>(peer->generation));
  Reply reply = Reply::of_bytes(packer.take());
  reply.objects.push_back(peer);
  return reply;
}

PeerRef Agent::self() { return peer_of(options.name); }

// Null if the library refuses the blob.
PeerRef Agent::load(const std::string& blob, const std::string& expected, const std::string& connection) {
  char* name = nullptr;
  if (call().load_remote_md(ref, blob.data(), blob.size(), &name) != Status::ok) return nullptr;
  const std::unique_ptr<char, Freed> owner(name);
  if (name == nullptr || name != expected) {
    const std::string other = name == nullptr ? "" : name;
    if (name != nullptr && !peers_.contains(other)) call().invalidate_remote_md(ref, name);
    throw damaged("the library loaded the agent '" + other + "' from metadata of '" + expected + "'");
  }
  PeerRef peer = peer_of(name);
  // Partial metadata contains regions, but not always a connection.
  if (!connection.empty()) {
    peer->metadata = blob;
    peer->connection = connection;
  }
  return peer;
}

void Agent::connect(const std::vector<uint8_t>& bytes, TaskRef connected) {
  if (backends.empty())
    throw Failure{"InvalidRequest", "nixl.no_backend",
                  "the agent '" + options.name + "' has no backend to connect with"};
  std::string_view view = text_of(bytes);
  if (!unseal(view)) throw damaged("its checksum does not match");
  const MetadataView parts = library.inspect_metadata(view);
  if (!parts.damage.empty()) throw damaged(parts.damage);
  // The library returns names as C strings, which end at the first NUL.
  if (parts.name.empty() || has_control(parts.name)) throw damaged("the name of its agent has control characters");
  if (parts.name == options.name) {
    throw Failure{"InvalidRequest", "nixl.own_metadata",
                  "the metadata is that of an agent of this name, '" + options.name + "'",
                  "use agent.self to move bytes within an agent, and give every agent a unique name"};
  }
  const std::string blob(view);
  const auto found = peers_.find(parts.name);
  const bool known = found != peers_.end() && !found->second->gone.has_value() && !parts.connection.empty();
  // A peer that was found through sockets or etcd has no known connection to compare: try to load the blob.
  const bool comparable = known && !found->second->connection.empty();
  if (!comparable || found->second->connection == parts.connection) {
    if (const PeerRef peer = load(blob, parts.name, parts.connection)) {
      connected->settle(reply_of(peer));
      return;
    }
    if (!known || comparable) throw refused();
  }
  // Without the retirement of the old peer, the library would refuse the blob or reach the old address.
  const PeerRef old = found->second;
  retire(old, {"Unavailable", "nixl.peer_restarted", "the peer '" + old->name + "' has restarted",
               "use the peer that agent.connect returned for its new metadata"});
  const auto limit = Clock::now() + RETIRE_LIMIT;
  wait_for([this, old, blob, name = parts.name, connection = parts.connection, connected, limit] {
    if (old->use_count > 0 && Clock::now() < limit) return false;
    retired(old);
    try {
      if (const PeerRef peer = load(blob, name, connection)) {
        connected->settle(reply_of(peer));
      } else {
        // The old peer may still be alive. Its transfers and lists are gone, but the peer can be used.
        old->gone.reset();
        if (load(old->metadata, old->name, old->connection) == nullptr) old->gone = refused();
        connected->fail(refused());
      }
    } catch (const Failure& failure) {
      connected->fail(failure);
    }
    return true;
  });
}

void Agent::retire(const PeerRef& peer, Failure why) {
  if (!peer->gone.has_value()) peer->gone = std::move(why);
}

void Agent::retired(const PeerRef& peer) {
  peer->invalidate_dependents(*peer->gone);
  // Do not invalidate a newer peer of the same name.
  if (const auto found = peers_.find(peer->name); found != peers_.end() && found->second != peer) return;
  call().invalidate_remote_md(ref, peer->name.c_str());
}

void Agent::disconnect(const PeerRef& peer, TaskRef disconnected) {
  if (peer->is_self || peer->gone.has_value()) {
    disconnected->settle({});
    return;
  }
  retire(peer, {"InvalidRequest", "nixl.peer_disconnected", "the peer '" + peer->name + "' was disconnected"});
  wait_for([this, peer, disconnected] {
    if (peer->use_count > 0) return false;
    retired(peer);
    disconnected->settle({});
    return true;
  });
}

void Agent::fetch(const std::string& name, const SocketAddress& from, bool accept, TaskRef fetched) {
  check_feature("metadataExchange", "cannot exchange metadata");
  const auto begin = [this, name, from, accept, fetched] {
    if (!accept) {
      const OptArgsRef args = address_options(*this, from);
      const Status status = call().fetch_remote_md(ref, name.c_str(), args);
      if (args != nullptr) call().destroy_opt_args(args);
      if (status != Status::ok) {
        fetched->fail(Failure::of_call("fetch_remote_md", status, "the metadata of '" + name + "' cannot be requested",
                                       from.host.empty()
                                           ? "check that NIXL_ETCD_ENDPOINTS was set before the library was loaded"
                                           : "check that the host is an IPv4 address"));
        return;
      }
    }
    // The library works in the background and does not report failures.
    wait_for([this, name, fetched] {
      if (fetched->settled()) return true;
      if (closing_) return fetched->fail(Failure::closed("the agent '" + options.name + "'"));
      if (call().check_remote_md(ref, name.c_str(), nullptr) != Status::ok) return false;
      fetched->settle(reply_of(peer_of(name)));
      return true;
    });
  };
  const auto found = peers_.find(name);
  const bool known = found != peers_.end() && !found->second->gone.has_value() && !found->second->is_self;
  if (!known || accept) return begin();
  // The known peer may have restarted since.
  const PeerRef old = found->second;
  retire(old, {"Unavailable", "nixl.peer_restarted", "the metadata of '" + name + "' was fetched again",
               "use the peer that agent.fetch returned"});
  const auto limit = Clock::now() + RETIRE_LIMIT;
  wait_for([this, old, begin, limit] {
    if (old->use_count > 0 && Clock::now() < limit) return false;
    retired(old);
    begin();
    return true;
  });
}

void Agent::send_metadata(const SocketAddress& to, const std::optional<std::vector<RegionRef>>& partial,
                          Memory memory) {
  check_feature("metadataExchange", "cannot exchange metadata");
  if (partial.has_value() && to.host.empty()) {
    throw Failure{"NotImplemented", "nixl.not_supported",
                  "partial metadata cannot be sent to etcd: it needs a label, which the library's C API cannot set",
                  "send it to the address of the peer, or through your program"};
  }
  const OptArgsRef args = address_options(*this, to);
  Status status = Status::ok;
  if (partial.has_value()) {
    // The library sends regions without the connection. A peer that does not have it refuses them.
    const auto send = [&](const std::vector<RegionRef>& regions) {
      const RegistrationListRef list = registration_list(regions, memory);
      status = call().send_local_partial_md(ref, list, args);
      call().destroy_reg_dlist(list);
    };
    send({});
    if (status == Status::ok && !partial->empty()) send(*partial);
  } else {
    status = call().send_local_md(ref, args);
  }
  if (args != nullptr) call().destroy_opt_args(args);
  if (status != Status::ok) {
    throw Failure::of_call(
        "send_local_md", status, "the metadata cannot be sent",
        to.host.empty() ? "check that NIXL_ETCD_ENDPOINTS was set before the library was loaded" : "");
  }
}

void Agent::withdraw_metadata(const SocketAddress& from) {
  check_feature("metadataExchange", "cannot exchange metadata");
  const OptArgsRef args = address_options(*this, from);
  const Status status = call().invalidate_local_md(ref, args);
  if (args != nullptr) call().destroy_opt_args(args);
  if (status != Status::ok) throw Failure::of_call("invalidate_local_md", status, "the metadata cannot be withdrawn");
}

}  // namespace dynamo::nixl
