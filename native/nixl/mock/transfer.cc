// Transfers, prepared lists and notifications.
#include <algorithm>
#include <numeric>

#include "objects.h"

namespace dynamo::nixl::mocked {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double MOST_US = 3.6e9;  // an hour

uint64_t microseconds(Clock::duration duration) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

bool supports_notifications(Plugin plugin) { return plugin == Plugin::ucx; }

// Whether each block lies within one region of the named peer with this backend. "" is the agent itself.
bool holds_all(const AgentObject& agent, const std::string& peer, Plugin plugin, Memory memory,
               const std::vector<Block>& blocks) {
  if (peer.empty() || peer == agent.name) {
    return std::all_of(blocks.begin(), blocks.end(),
                       [&](const Block& block) { return agent.node->holds(plugin, memory, block); });
  }
  const auto known = agent.remotes.find(peer);
  if (known == agent.remotes.end() || plugin != Plugin::ucx) return false;
  const auto& regions = known->second.regions;
  return std::all_of(blocks.begin(), blocks.end(), [&](const Block& block) {
    return std::any_of(regions.begin(), regions.end(),
                       [&](const Region& region) { return region.memory == memory && region.block.contains(block); });
  });
}

// The backends to try, in order: the requested ones, else all.
std::vector<Plugin> candidates(const AgentObject& agent, const OptArgsObject* args) {
  if (args != nullptr && !args->backends.empty()) return args->backends;
  std::vector<Plugin> plugins;
  for (const auto& [plugin, values] : agent.engines) plugins.push_back(plugin);
  return plugins;
}

// Within an agent with both backends, the library may choose POSIX for a transfer that only UCX can do, and fail.
bool is_ambiguous(const AgentObject& agent, const std::string& peer, const OptArgsObject* args, Memory remote) {
  if (args != nullptr && !args->backends.empty()) return false;
  return peer == agent.name && remote == Memory::dram && agent.node->holds_any(Plugin::ucx, Memory::dram) &&
         agent.node->holds_any(Plugin::posix, Memory::dram);
}

// UCX moves bytes between memories, POSIX between host memory and a file of the agent.
bool fits(Plugin plugin, Memory local, Memory remote) {
  if (plugin == Plugin::posix) return local == Memory::dram && remote == Memory::file;
  return (local == Memory::dram || local == Memory::vram) && (remote == Memory::dram || remote == Memory::vram);
}

bool is_own_or_known(const AgentObject& agent, const std::string& peer) {
  return peer == agent.name || agent.knows(peer);
}

std::optional<std::string> notification_of(const OptArgsObject* args) {
  if (args == nullptr || !args->has_notification) return std::nullopt;
  return args->message;
}

RequestObject* make_request(AgentObject& agent, Operation operation, const std::string& peer, Plugin plugin,
                            Memory local_memory, Memory remote_memory, std::vector<Step> steps,
                            const OptArgsObject* args) {
  auto* request = new RequestObject{};
  request->operation = operation;
  request->peer = peer;
  request->plugin = plugin;
  request->local_memory = local_memory;
  request->remote_memory = remote_memory;
  request->steps = std::move(steps);
  request->notification = notification_of(args);
  if (plugin == Plugin::posix) {
    for (Step& step : request->steps) {
      step.remote.device = static_cast<uint64_t>(agent.files.descriptor(step.remote.device));
    }
  }
  return request;
}

uint64_t bytes_of(const RequestObject& request) {
  return std::accumulate(request.steps.begin(), request.steps.end(), uint64_t{0},
                         [](uint64_t sum, const Step& step) { return sum + step.local.length; });
}

// Completes a finished post: the notification is sent now. If it fails, the transfer fails.
void settle(AgentObject& agent, RequestObject& request, Detail detail) {
  request.status = detail;
  if (detail == Detail::in_progress) return;
  request.transfer_us = microseconds(Clock::now() - request.posted_at);
  if (detail != Detail::ok || !request.due_notification.has_value()) return;
  request.status = request.link->notify(agent.name, *request.due_notification);
  request.due_notification.reset();
}

// Polls a transfer in flight. The agent must be locked.
void refresh(AgentObject& agent, RequestObject& request) {
  if (request.status != Detail::in_progress) return;
  settle(agent, request, request.link->poll(*request.job));
}

Detail start(AgentObject& agent, RequestObject& request) {
  const auto knobs = current_knobs();
  request.posted_at = Clock::now();
  if (post_is_to_fail(knobs)) return Detail::backend;
  auto link = link_to(agent, request.peer, request.plugin);
  if (link == nullptr) return Detail::not_found;

  auto job = std::make_shared<Job>();
  job->operation = request.operation;
  job->remote_memory = request.remote_memory;
  job->steps = request.steps;
  job->bytes = bytes_of(request);
  job->never = knobs.never_complete;
  job->immediate = !knobs.never_complete && draw_immediate(knobs);
  if (!job->immediate) {
    job->polls = draw_polls(knobs);
    auto wait = std::chrono::microseconds(knobs.latency_us);
    if (knobs.bytes_per_second > 0) {
      const double needed = static_cast<double>(job->bytes) * 1e6 / static_cast<double>(knobs.bytes_per_second);
      wait += std::chrono::microseconds(static_cast<uint64_t>(std::min(needed, MOST_US)));
    }
    job->due = request.posted_at + wait;
  }
  request.job = job;
  request.link = link;
  link->post(job);
  return link->state(*job);
}

}  // namespace

Status status_of(Detail detail) {
  switch (detail) {
    case Detail::in_progress:
      return Status::in_progress;
    case Detail::ok:
      return Status::ok;
    case Detail::invalid_param:
      return Status::invalid_param;
    case Detail::not_found:
      return Status::not_found;
    case Detail::no_telemetry:
      return Status::no_telemetry;
    default:
      return Status::backend;
  }
}

Status create_xfer_req(AgentRef agent, Operation operation, TransferListRef local, TransferListRef remote,
                       const char* name, RequestRef* request, OptArgsRef args) {
  if (agent == nullptr || local == nullptr || remote == nullptr || name == nullptr || request == nullptr) {
    return Status::invalid_param;
  }
  // This call has one status for every error.
  std::lock_guard guard(agent->lock);
  const auto& from = local->items;
  const auto& to = remote->items;
  if (!is_own_or_known(*agent, name) || from.empty() || from.size() != to.size()) return Status::backend;
  if (is_ambiguous(*agent, name, args, remote->memory)) return Status::backend;
  std::vector<Step> steps;
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i].length != to[i].length) return Status::backend;
    steps.push_back({from[i], to[i]});
  }
  for (const Plugin plugin : candidates(*agent, args)) {
    if (!fits(plugin, local->memory, remote->memory)) continue;
    if (!holds_all(*agent, "", plugin, local->memory, from)) continue;
    if (!holds_all(*agent, name, plugin, remote->memory, to)) continue;
    if (notification_of(args).has_value() && !supports_notifications(plugin)) return Status::backend;
    *request = make_request(*agent, operation, name, plugin, local->memory, remote->memory, std::move(steps), args);
    return Status::ok;
  }
  return Status::backend;
}

Status prep_xfer_dlist(AgentRef agent, const char* name, TransferListRef list, PreparedListRef* prepared,
                       OptArgsRef args) {
  if (agent == nullptr || name == nullptr || list == nullptr || prepared == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  if (*name != '\0' && !is_own_or_known(*agent, name)) return Status::not_found;
  std::vector<Plugin> plugins;
  for (const Plugin plugin : candidates(*agent, args)) {
    if (holds_all(*agent, name, plugin, list->memory, list->items)) plugins.push_back(plugin);
  }
  if (plugins.empty() || list->items.empty()) return Status::not_found;
  *prepared = new PreparedListObject{name, list->memory, std::move(plugins), list->items};
  return Status::ok;
}

Status release_xfer_dlist_handle(AgentRef agent, PreparedListRef prepared) {
  if (agent == nullptr || prepared == nullptr) return Status::invalid_param;
  delete prepared;
  return Status::ok;
}

Status make_xfer_req(AgentRef agent, Operation operation, PreparedListRef local, const int* local_indices,
                     size_t local_count, PreparedListRef remote, const int* remote_indices, size_t remote_count,
                     RequestRef* request, OptArgsRef args) {
  if (agent == nullptr || local == nullptr || remote == nullptr || request == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  if (!local->name.empty() || remote->name.empty()) return Status::invalid_param;  // the sides are swapped
  if (!is_own_or_known(*agent, remote->name)) return Status::not_found;
  if (local_count == 0 || local_count != remote_count) return Status::invalid_param;
  if (is_ambiguous(*agent, remote->name, args, remote->memory)) return Status::backend;
  std::vector<Step> steps;
  steps.reserve(local_count);
  for (size_t i = 0; i < local_count; ++i) {
    const auto from = static_cast<size_t>(local_indices[i]);
    const auto to = static_cast<size_t>(remote_indices[i]);
    if (local_indices[i] < 0 || from >= local->blocks.size()) return Status::invalid_param;
    if (remote_indices[i] < 0 || to >= remote->blocks.size()) return Status::invalid_param;
    if (local->blocks[from].length != remote->blocks[to].length) return Status::invalid_param;
    steps.push_back({local->blocks[from], remote->blocks[to]});
  }
  for (const Plugin plugin : candidates(*agent, args)) {
    const auto prepared_for = [&](const PreparedListObject* list) {
      return std::find(list->plugins.begin(), list->plugins.end(), plugin) != list->plugins.end();
    };
    if (!prepared_for(local) || !prepared_for(remote) || !fits(plugin, local->memory, remote->memory)) continue;
    if (notification_of(args).has_value() && !supports_notifications(plugin)) return Status::backend;
    *request =
        make_request(*agent, operation, remote->name, plugin, local->memory, remote->memory, std::move(steps), args);
    return Status::ok;
  }
  return Status::invalid_param;
}

Status post_xfer_req(AgentRef agent, RequestRef request, OptArgsRef args) {
  if (agent == nullptr || request == nullptr || request->released) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  if (!is_own_or_known(*agent, request->peer)) return Status::not_found;
  refresh(*agent, *request);
  if (request->status == Detail::in_progress) return Status::backend;
  // Options replace those of the request, also if they contain no notification.
  if (args != nullptr) request->notification = notification_of(args);
  if (request->notification.has_value() && !supports_notifications(request->plugin)) return Status::backend;
  request->due_notification = request->notification;
  const Detail detail = start(*agent, *request);
  request->post_us = microseconds(Clock::now() - request->posted_at);
  settle(*agent, *request, detail);
  return status_of(request->status);
}

Detail transfer_detail(AgentRef agent, RequestRef request) {
  if (agent == nullptr || request == nullptr || request->released) return Detail::invalid_param;
  std::lock_guard guard(agent->lock);
  if (request->status == Detail::in_progress) {
    if (is_own_or_known(*agent, request->peer)) {
      refresh(*agent, *request);
    } else {
      settle(*agent, *request, Detail::not_found);
    }
  }
  return request->status;
}

Status get_xfer_status(AgentRef agent, RequestRef request) { return status_of(transfer_detail(agent, request)); }

Status query_xfer_backend(AgentRef agent, RequestRef request, BackendRef* backend) {
  if (agent == nullptr || request == nullptr || backend == nullptr || request->released) return Status::invalid_param;
  *backend = new BackendObject{request->plugin};
  return Status::ok;
}

Status release_xfer_req(AgentRef agent, RequestRef request) {
  if (agent == nullptr || request == nullptr || request->released) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  refresh(*agent, *request);
  if (request->status == Detail::in_progress) {
    request->link->abandon(*request->job, std::chrono::microseconds(current_knobs().late_copy_us));
  }
  request->released = true;
  request->job.reset();
  request->link.reset();
  return Status::ok;
}

Status destroy_xfer_req(RequestRef request) {
  if (request == nullptr) return Status::invalid_param;
  if (!request->released) return Status::invalid_state;
  delete request;
  return Status::ok;
}

Status get_xfer_telemetry(AgentRef agent, RequestRef request, TransferTelemetry* telemetry) {
  if (agent == nullptr || request == nullptr || telemetry == nullptr || request->released) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  if (!agent->config.capture_telemetry) return Status::no_telemetry;
  if (request->status != Detail::ok) return status_of(request->status);
  *telemetry = {microseconds(request->posted_at.time_since_epoch()), request->post_us, request->transfer_us,
                bytes_of(*request), request->steps.size()};
  return Status::ok;
}

// The time of a copy in memory. The margin is the same again.
Status estimate_xfer_cost(AgentRef agent, RequestRef request, OptArgsRef, int64_t* duration_us, int64_t* margin_us,
                          CostMethod* method) {
  if (agent == nullptr || request == nullptr || duration_us == nullptr || margin_us == nullptr || method == nullptr) {
    return Status::invalid_param;
  }
  if (request->released) return Status::invalid_param;
  constexpr uint64_t BYTES_PER_MICROSECOND = 10'000;
  *duration_us = static_cast<int64_t>(1 + bytes_of(*request) / BYTES_PER_MICROSECOND);
  *margin_us = *duration_us;
  *method = CostMethod::analytical_backend;
  return request->plugin == Plugin::ucx ? Status::ok : Status::backend;
}

Status get_notifs(AgentRef agent, NotificationsRef notifications, OptArgsRef args) {
  if (agent == nullptr || notifications == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  const auto plugins = candidates(*agent, args);
  if (std::none_of(plugins.begin(), plugins.end(), supports_notifications)) return Status::backend;
  for (auto& [name, messages] : agent->node->take_notifications()) {
    auto& all = notifications->messages[name];
    all.insert(all.end(), messages.begin(), messages.end());
  }
  return Status::ok;
}

Status gen_notif(AgentRef agent, const char* name, const void* data, size_t length, OptArgsRef args) {
  if (agent == nullptr || name == nullptr) return Status::invalid_param;
  std::lock_guard guard(agent->lock);
  const auto plugins = candidates(*agent, args);
  if (std::none_of(plugins.begin(), plugins.end(), supports_notifications)) return Status::backend;
  const auto link = link_to(*agent, name, Plugin::ucx);
  if (link == nullptr) return Status::not_found;
  return status_of(link->notify(agent->name, std::string(static_cast<const char*>(data), length)));
}

}  // namespace dynamo::nixl::mocked
