// Agents, their backends and their registered memory.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "objects.h"

namespace dynamo::nixl {

bool AgentObject::has(mocked::Plugin plugin) const {
  return std::any_of(engines.begin(), engines.end(), [&](const auto& engine) { return engine.first == plugin; });
}

bool AgentObject::knows(const std::string& peer) const { return remotes.contains(peer); }

}  // namespace dynamo::nixl

namespace dynamo::nixl::mocked {
namespace {

using Values = std::map<std::string, std::string>;

constexpr uint16_t DEFAULT_PORT = 8888;

// GDS is listed although it cannot be loaded: the library lists every plugin that has a file.
constexpr const char* PLUGINS[] = {"GDS", "POSIX", "UCX"};

std::optional<Plugin> plugin_named(const std::string& name) {
  if (name == "UCX") return Plugin::ucx;
  if (name == "POSIX") return Plugin::posix;
  return std::nullopt;
}

std::vector<Memory> memories_of(Plugin plugin) {
  if (plugin == Plugin::posix) return {Memory::file, Memory::dram};
  return {Memory::dram, Memory::vram};
}

bool serves(Plugin plugin, Memory memory) {
  const auto memories = memories_of(plugin);
  return std::find(memories.begin(), memories.end(), memory) != memories.end();
}

Values defaults_of(Plugin plugin) {
  if (plugin == Plugin::posix) {
    return {{"use_aio", "false"}, {"use_uring", "false"}, {"use_posix_aio", "false"}};
  }
  return {{"ucx_devices", ""}, {"num_workers", "1"}, {"ucx_error_handling_mode", "peer"}};
}

bool on_fake_gpu(const Block& block) {
  const Cuda& cuda = current_cuda();
  return block.device < cuda.gpus().size() && cuda.device_of(block.address) == static_cast<int>(block.device);
}

// Registers the whole list with one backend, or nothing.
bool add_all(AgentObject& agent, Plugin plugin, const RegistrationListObject& list) {
  if (list.items.empty()) return false;
  size_t added = 0;
  for (const auto& item : list.items) {
    bool ok = serves(plugin, list.memory);
    if (ok && list.memory == Memory::vram && !on_fake_gpu(item.block)) {
      // The library does not remove the entry of a failed registration, so the agent's metadata stays unusable.
      agent.poisoned = true;
      ok = false;
    }
    if (ok && list.memory == Memory::file) ok = agent.files.add(item.block.device, item.meta);
    if (!ok) break;
    agent.node->add({plugin, list.memory, item.block});
    added += 1;
  }
  if (added == list.items.size()) return true;
  for (size_t i = 0; i < added; ++i) {
    agent.node->remove({plugin, list.memory, list.items[i].block});
    if (list.memory == Memory::file) agent.files.remove(list.items[i].block.device);
  }
  return false;
}

}  // namespace

Status create_configured_agent(const char* name, const AgentConfig* config, AgentRef* agent) {
  if (name == nullptr || config == nullptr || agent == nullptr) return Status::invalid_param;
  if (*name == '\0') return Status::backend;

  auto made = std::make_unique<AgentObject>();
  made->name = name;
  made->config = *config;
  made->node = make_node(name);
  AgentObject* self = made.get();
  made->exchange = std::make_unique<Exchange>(Exchange::Host{
      name,
      [self] { return whole_metadata(*self); },
      [self](const std::string& blob) {
        std::string loaded;
        load_metadata(*self, blob.data(), blob.size(), &loaded);
      },
      [self](const std::string& peer) { unload_metadata(*self, peer); },
  });
  if (config->enable_listen_thread) {
    const auto port = config->listen_port == 0 ? DEFAULT_PORT : static_cast<uint16_t>(config->listen_port);
    if (!made->exchange->listen(port)) return Status::backend;
  }
  *agent = made.release();
  return Status::ok;
}

Status destroy_agent(AgentRef agent) {
  if (agent == nullptr) return Status::invalid_param;
  agent->exchange.reset();
  agent->node->close();
  // Transfers in flight end here: the caller may free the memory when this returns.
  for (const auto& [node, link] : agent->links) link->stop();
  if (agent->file_link != nullptr) agent->file_link->stop();
  delete agent;
  return Status::ok;
}

Status get_available_plugins(AgentRef agent, StringListRef* plugins) {
  if (agent == nullptr || plugins == nullptr) return Status::invalid_param;
  *plugins = new StringListObject{{std::begin(PLUGINS), std::end(PLUGINS)}};
  return Status::ok;
}

Status get_plugin_params(AgentRef agent, const char* name, MemoryListRef* memories, ParamsRef* params) {
  if (agent == nullptr || name == nullptr || memories == nullptr || params == nullptr) return Status::invalid_param;
  const auto plugin = plugin_named(name);
  if (!plugin.has_value()) return Status::backend;
  *memories = new MemoryListObject{memories_of(*plugin)};
  *params = new ParamsObject{defaults_of(*plugin)};
  return Status::ok;
}

Status create_backend(AgentRef agent, const char* name, ParamsRef params, BackendRef* backend) {
  if (agent == nullptr || name == nullptr || params == nullptr || backend == nullptr) return Status::invalid_param;
  const auto plugin = plugin_named(name);
  if (!plugin.has_value()) return Status::backend;
  std::lock_guard guard(agent->lock);
  if (agent->has(*plugin)) return Status::backend;
  Values values = defaults_of(*plugin);
  for (const auto& [key, value] : params->values) values[key] = value;
  agent->engines.emplace_back(*plugin, std::move(values));
  *backend = new BackendObject{*plugin};
  return Status::ok;
}

Status destroy_backend(BackendRef backend) {
  if (backend == nullptr) return Status::invalid_param;
  delete backend;
  return Status::ok;
}

Status get_backend_params(AgentRef agent, BackendRef backend, MemoryListRef* memories, ParamsRef* params) {
  if (agent == nullptr || backend == nullptr || memories == nullptr || params == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  for (const auto& [plugin, values] : agent->engines) {
    if (plugin != backend->plugin) continue;
    *memories = new MemoryListObject{memories_of(plugin)};
    *params = new ParamsObject{values};
    return Status::ok;
  }
  return Status::backend;
}

Status register_mem(AgentRef agent, RegistrationListRef list, OptArgsRef args) {
  if (agent == nullptr || list == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  std::vector<Plugin> plugins;
  if (args != nullptr && !args->backends.empty()) {
    plugins = args->backends;
  } else {
    for (const auto& [plugin, values] : agent->engines) {
      if (serves(plugin, list->memory)) plugins.push_back(plugin);
    }
    if (plugins.empty()) return Status::not_found;
  }
  // One backend that accepts the memory is enough.
  const auto taken =
      std::count_if(plugins.begin(), plugins.end(), [&](Plugin plugin) { return add_all(*agent, plugin, *list); });
  return taken > 0 ? Status::ok : Status::backend;
}

Status deregister_mem(AgentRef agent, RegistrationListRef list, OptArgsRef args) {
  if (agent == nullptr || list == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  std::vector<Plugin> plugins;
  if (args != nullptr && !args->backends.empty()) {
    plugins = args->backends;
  } else {
    for (const auto& [plugin, values] : agent->engines) {
      if (agent->node->holds_any(plugin, list->memory)) plugins.push_back(plugin);
    }
    if (plugins.empty()) return Status::not_found;
  }
  Status status = Status::ok;
  for (const Plugin plugin : plugins) {
    for (const auto& item : list->items) {
      if (!agent->node->remove({plugin, list->memory, item.block})) {
        status = Status::not_found;
      } else if (list->memory == Memory::file) {
        agent->files.remove(item.block.device);
      }
    }
  }
  return status;
}

Status query_mem(AgentRef agent, RegistrationListRef list, QueryRef answers, OptArgsRef args) {
  if (agent == nullptr || list == nullptr || answers == nullptr) return Status::invalid_param;
  if (args == nullptr || args->backends.size() != 1) return Status::invalid_param;
  if (args->backends.front() != Plugin::posix) return Status::backend;
  answers->answers.clear();
  for (const auto& item : list->items) answers->answers.push_back(describe_file(item.meta));
  return Status::ok;
}

// Views are for GPU kernels, which the mock does not have.
Status prep_mem_view_local(AgentRef agent, TransferListRef list, MemoryViewRef* view, OptArgsRef) {
  return agent == nullptr || list == nullptr || view == nullptr ? Status::invalid_param : Status::backend;
}

Status prep_mem_view_remote(AgentRef agent, RemoteListRef list, MemoryViewRef* view, OptArgsRef) {
  return agent == nullptr || list == nullptr || view == nullptr ? Status::invalid_param : Status::backend;
}

Status release_mem_view(AgentRef, MemoryViewRef) { return Status::invalid_param; }

}  // namespace dynamo::nixl::mocked
