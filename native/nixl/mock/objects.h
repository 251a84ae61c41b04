// The objects behind the opaque references of the mock.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../backend.h"
#include "exchange.h"
#include "files.h"
#include "link.h"
#include "metadata.h"
#include "node.h"

namespace dynamo::nixl {

struct ParamsObject {
  std::map<std::string, std::string> values;
};

struct ParamsIteratorObject {
  std::map<std::string, std::string> values;
  std::map<std::string, std::string>::const_iterator next;
};

struct MemoryListObject {
  std::vector<Memory> items;
};

struct StringListObject {
  std::vector<std::string> items;
};

struct RegistrationListObject {
  Memory memory;
  std::vector<mocked::Registration> items;
};

struct TransferListObject {
  Memory memory;
  std::vector<mocked::Block> items;
};

struct RemoteListObject {
  Memory memory;
  std::vector<std::pair<std::string, mocked::Block>> items;
};

struct BackendObject {
  mocked::Plugin plugin;
};

struct OptArgsObject {
  std::vector<mocked::Plugin> backends;
  std::string message;
  bool has_notification = false;
  bool skip_merge = false;
  std::string address;
  uint16_t port = 8888;
  std::string custom;
};

struct NotificationsObject {
  std::map<std::string, std::vector<std::string>> messages;
};

struct QueryObject {
  std::vector<std::optional<std::map<std::string, std::string>>> answers;
};

struct PreparedListObject {
  std::string name;  // empty for the local side
  Memory memory;
  std::vector<mocked::Plugin> plugins;  // those that have registered every block
  std::vector<mocked::Block> blocks;
};

// A peer, as described by the loaded metadata.
struct RemotePeer {
  std::optional<mocked::Address> address;
  std::vector<mocked::Region> regions;
};

struct AgentObject {
  std::string name;
  AgentConfig config;
  std::shared_ptr<mocked::Node> node;

  std::mutex lock;  // guards all members below
  std::vector<std::pair<mocked::Plugin, std::map<std::string, std::string>>> engines;
  std::map<std::string, RemotePeer> remotes;
  std::map<uint64_t, std::shared_ptr<mocked::Link>> links;  // by the id of the node at the other end
  mocked::Files files;
  std::shared_ptr<mocked::Link> file_link;
  bool poisoned = false;
  // Peers whose metadata failed after the backend had connected. The library removes the peer, but not its connection.
  std::set<std::string> stuck;

  // Last, so that its threads end before the objects that they use.
  std::unique_ptr<mocked::Exchange> exchange;

  bool has(mocked::Plugin plugin) const;
  bool knows(const std::string& peer) const;
};

struct RequestObject {
  bool released = false;
  Operation operation;
  std::string peer;
  mocked::Plugin plugin;
  Memory local_memory;
  Memory remote_memory;
  std::vector<mocked::Step> steps;
  std::optional<std::string> notification;

  Detail status = Detail::not_posted;
  std::optional<std::string> due_notification;  // sent when a poll sees the transfer complete
  std::shared_ptr<mocked::Job> job;
  std::shared_ptr<mocked::Link> link;
  std::chrono::steady_clock::time_point posted_at;
  uint64_t post_us = 0;
  uint64_t transfer_us = 0;
};

namespace mocked {

Status status_of(Detail detail);

// The implementation of load_remote_md. The agent must not be locked.
Status load_metadata(AgentObject& agent, const void* data, size_t length, std::string* name);
Status unload_metadata(AgentObject& agent, const std::string& name);
// The full metadata of the agent. None if peers can reach none of its backends.
std::optional<std::string> whole_metadata(AgentObject& agent);

// The link to a known peer, or to the agent's own node or files. The agent must be locked.
std::shared_ptr<Link> link_to(AgentObject& agent, const std::string& peer, Plugin plugin);

MockKnobs current_knobs();
// The simulated GPUs of the knobs.
const Cuda& current_cuda();
// Counts a post of the process. True if this post must fail.
bool post_is_to_fail(const MockKnobs& knobs);
// Chooses whether a post completes before it returns.
bool draw_immediate(const MockKnobs& knobs);
uint32_t draw_polls(const MockKnobs& knobs);

#define DYNAMO_NIXL_DECLARE(feature, name, parameters) Status name parameters;
DYNAMO_NIXL_FUNCTIONS(DYNAMO_NIXL_DECLARE)
#undef DYNAMO_NIXL_DECLARE
Detail transfer_detail(AgentRef agent, RequestRef request);

}  // namespace mocked
}  // namespace dynamo::nixl
