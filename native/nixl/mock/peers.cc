// The peers of an agent: metadata in and out, and the links to them.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "objects.h"

namespace dynamo::nixl::mocked {
namespace {

Status give(const std::string& blob, void** data, size_t* length) {
  *data = std::malloc(blob.size());
  if (*data == nullptr) return Status::backend;
  std::memcpy(*data, blob.data(), blob.size());
  *length = blob.size();
  return Status::ok;
}

Address address_of(const AgentObject& agent) {
  Address address = own_process();
  address.node = agent.node->id();
  return address;
}

// A list of some regions. An empty list means the connection only.
std::optional<std::string> partial_metadata(AgentObject& agent, const RegistrationListObject& list, Status& status) {
  std::lock_guard guard(agent.lock);
  Metadata metadata{agent.name, std::nullopt, {}, false};
  if (list.items.empty()) {
    if (agent.has(Plugin::ucx)) metadata.address = address_of(agent);
    return serialize(metadata);
  }
  if (!agent.has(Plugin::ucx)) {
    status = agent.engines.empty() ? Status::not_found : Status::backend;
    return std::nullopt;
  }
  // Without any region of that kind of memory the library returns no regions and no error.
  if (!agent.node->holds_any(Plugin::ucx, list.memory)) return serialize(metadata);
  const auto known = agent.node->regions();
  for (const auto& item : list.items) {
    const Region wanted{Plugin::ucx, list.memory, item.block};
    const bool there = std::any_of(known.begin(), known.end(), [&](const Region& region) {
      return region.plugin == Plugin::ucx && region.memory == wanted.memory && region.block == wanted.block;
    });
    if (!there) {
      status = Status::not_found;
      return std::nullopt;
    }
    metadata.regions.push_back(wanted);
  }
  return serialize(metadata);
}

bool has_store() { return std::getenv("NIXL_ETCD_ENDPOINTS") != nullptr; }

bool is_addressed(const OptArgsObject* args) { return args != nullptr && !args->address.empty(); }

}  // namespace

std::optional<std::string> whole_metadata(AgentObject& agent) {
  std::lock_guard guard(agent.lock);
  if (!agent.has(Plugin::ucx)) return std::nullopt;
  Metadata metadata{agent.name, address_of(agent), agent.node->regions(), agent.poisoned};
  std::erase_if(metadata.regions, [](const Region& region) { return region.plugin != Plugin::ucx; });
  return serialize(metadata);
}

Status load_metadata(AgentObject& agent, const void* data, size_t length, std::string* name) {
  std::string_view blob(static_cast<const char*>(data), length);
  if (!unseal(blob)) return Status::backend;
  auto metadata = parse(blob);
  if (!metadata.has_value()) return Status::backend;
  if (metadata->name == agent.name) return Status::invalid_param;

  std::lock_guard guard(agent.lock);
  const auto known = agent.remotes.find(metadata->name);
  if (metadata->address.has_value()) {
    if (!agent.has(Plugin::ucx)) return Status::backend;
    if (known != agent.remotes.end() && known->second.address.has_value() &&
        known->second.address != metadata->address) {
      return Status::backend;  // restarted: the old peer must be invalidated first
    }
    if (agent.stuck.contains(metadata->name)) return Status::invalid_param;
  }
  const bool connected =
      metadata->address.has_value() || (known != agent.remotes.end() && known->second.address.has_value());
  if (metadata->poisoned || (!metadata->regions.empty() && !connected)) {
    if (known != agent.remotes.end()) agent.remotes.erase(known);
    if (connected) agent.stuck.insert(metadata->name);
    return Status::not_found;
  }
  RemotePeer& peer = agent.remotes[metadata->name];
  if (metadata->address.has_value()) peer.address = metadata->address;
  for (const auto& region : metadata->regions) {
    const bool there = std::any_of(peer.regions.begin(), peer.regions.end(), [&](const Region& other) {
      return other.memory == region.memory && other.block == region.block;
    });
    if (!there) peer.regions.push_back(region);
  }
  *name = metadata->name;
  return Status::ok;
}

Status unload_metadata(AgentObject& agent, const std::string& name) {
  std::shared_ptr<Link> cut;
  {
    std::lock_guard guard(agent.lock);
    if (name == agent.name) return Status::invalid_param;
    const auto known = agent.remotes.find(name);
    if (known == agent.remotes.end()) return Status::not_found;
    if (known->second.address.has_value()) {
      const auto link = agent.links.find(known->second.address->node);
      if (link != agent.links.end()) {
        cut = link->second;
        agent.links.erase(link);
      }
    }
    agent.remotes.erase(known);
  }
  // Transfers in flight end with the connection. Loading the metadata again makes another connection.
  if (cut != nullptr) cut->stop(Detail::not_found);
  return Status::ok;
}

std::shared_ptr<Link> link_to(AgentObject& agent, const std::string& peer, Plugin plugin) {
  if (plugin == Plugin::posix) {
    if (agent.file_link == nullptr) agent.file_link = std::make_shared<Link>(peer, channel_to_files());
    return agent.file_link;
  }
  Address address = address_of(agent);
  if (peer != agent.name) {
    const auto known = agent.remotes.find(peer);
    if (known == agent.remotes.end() || !known->second.address.has_value()) return nullptr;
    address = *known->second.address;
  }
  auto& link = agent.links[address.node];
  if (link == nullptr) link = std::make_shared<Link>(peer, channel_to(address));
  return link;
}

Status get_local_md(AgentRef agent, void** data, size_t* length) {
  if (agent == nullptr || data == nullptr || length == nullptr) return Status::invalid_param;
  const auto blob = whole_metadata(*agent);
  return blob.has_value() ? give(*blob, data, length) : Status::invalid_param;
}

Status get_local_partial_md(AgentRef agent, RegistrationListRef list, void** data, size_t* length, OptArgsRef) {
  if (agent == nullptr || list == nullptr || data == nullptr || length == nullptr) return Status::invalid_param;
  Status status = Status::ok;
  const auto blob = partial_metadata(*agent, *list, status);
  return blob.has_value() ? give(*blob, data, length) : status;
}

Status load_remote_md(AgentRef agent, const void* data, size_t length, char** name) {
  if (agent == nullptr || data == nullptr || length == 0 || name == nullptr) return Status::invalid_param;
  std::string loaded;
  const Status status = load_metadata(*agent, data, length, &loaded);
  if (status == Status::ok) *name = strdup(loaded.c_str());
  return status;
}

Status invalidate_remote_md(AgentRef agent, const char* name) {
  if (agent == nullptr || name == nullptr) return Status::invalid_param;
  return unload_metadata(*agent, name);
}

Status check_remote_md(AgentRef agent, const char* name, TransferListRef list) {
  if (agent == nullptr || name == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  if (agent->name == name && (list == nullptr || list->items.empty())) {
    return agent->node->regions().empty() ? Status::not_found : Status::ok;
  }
  const auto known = agent->remotes.find(name);
  if (known == agent->remotes.end()) return Status::not_found;
  if (list == nullptr) return Status::ok;
  const auto& regions = known->second.regions;
  const bool all = std::all_of(list->items.begin(), list->items.end(), [&](const Block& block) {
    return std::any_of(regions.begin(), regions.end(), [&](const Region& region) {
      return region.memory == list->memory && region.block.contains(block);
    });
  });
  return all ? Status::ok : Status::not_found;
}

Status agent_make_connection(AgentRef agent, const char* name, OptArgsRef) {
  if (agent == nullptr || name == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  const auto known = agent->remotes.find(name);
  return known == agent->remotes.end() || !known->second.address.has_value() ? Status::not_found : Status::ok;
}

// To an address, or to the store of NIXL_ETCD_ENDPOINTS. In the mock that store never answers.
Status send_local_md(AgentRef agent, OptArgsRef args) {
  if (agent == nullptr) return Status::invalid_param;
  auto blob = whole_metadata(*agent);
  if (!blob.has_value()) return Status::invalid_param;
  if (!is_addressed(args)) return has_store() ? Status::ok : Status::invalid_param;
  agent->exchange->send(args->address, args->port, std::move(*blob));
  return Status::ok;
}

Status send_local_partial_md(AgentRef agent, RegistrationListRef list, OptArgsRef args) {
  if (agent == nullptr || list == nullptr) return Status::invalid_param;
  Status status = Status::ok;
  auto blob = partial_metadata(*agent, *list, status);
  if (!blob.has_value()) return status;
  if (!is_addressed(args)) return Status::invalid_param;  // a store needs a label, which the C API cannot set
  agent->exchange->send(args->address, args->port, std::move(*blob));
  return Status::ok;
}

Status fetch_remote_md(AgentRef agent, const char* name, OptArgsRef args) {
  if (agent == nullptr || name == nullptr) return Status::invalid_param;
  if (!is_addressed(args)) return has_store() ? Status::ok : Status::invalid_param;
  // Only the listener's thread reads answers.
  if (agent->config.enable_listen_thread) agent->exchange->fetch(args->address, args->port);
  return Status::ok;
}

Status invalidate_local_md(AgentRef agent, OptArgsRef args) {
  if (agent == nullptr) return Status::invalid_param;
  if (!is_addressed(args)) return has_store() ? Status::ok : Status::invalid_param;
  agent->exchange->invalidate(args->address, args->port);
  return Status::ok;
}

}  // namespace dynamo::nixl::mocked
