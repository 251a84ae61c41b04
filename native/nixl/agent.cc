#include "agent.h"

#include <algorithm>

#include "transfer.h"

namespace dynamo::nixl {
namespace {

// How long one turn posts before it checks for jobs again.
constexpr auto TURN = std::chrono::milliseconds(1);

}  // namespace

std::shared_ptr<Agent> Agent::start(const Backend& library, AgentOptions options, TaskRef created) {
  std::shared_ptr<Agent> agent(new Agent(library, std::move(options)));
  agent->executor_->start("nixl-" + agent->options.name, [agent] { return agent->poll(); });
  agent->executor_->post([agent, created] {
    try {
      agent->create();
      if (!created->settle(Reply::of_object(agent))) agent->begin_close(nullptr);
    } catch (const Failure& failure) {
      agent->closing_ = true;
      created->fail(failure);
    } catch (const std::exception& error) {
      agent->closing_ = true;
      created->fail(Failure::of_exception(error));
    }
  });
  return agent;
}

void Agent::create() {
  const AgentConfig config{
      .enable_prog_thread = true,
      .enable_listen_thread = options.listens,
      .listen_port = options.listen_port,
      .thread_sync = ThreadSync::read_write,
      .pthr_delay_us = options.progress_delay_us,
      .capture_telemetry = options.telemetry,
  };
  const Status status = call().create_configured_agent(options.name.c_str(), &config, &ref);
  if (status != Status::ok) {
    ref = nullptr;
    throw Failure::of_call(
        "create_configured_agent", status, "the agent '" + options.name + "' was not created",
        options.listens ? "check that the port " + std::to_string(options.listen_port) + " is free" : "");
  }
  call().create_notif_map(&notifications_);
}

void Agent::submit(TaskRef operation, std::function<Reply()> work) {
  submit_later(std::move(operation), [work = std::move(work)](const TaskRef& running) { running->settle(work()); });
}

void Agent::submit_later(TaskRef operation, std::function<void(const TaskRef&)> work) {
  const bool posted = executor_->post([self = shared_from_this(), operation, work = std::move(work)] {
    if (operation->settled()) return;
    try {
      self->check_open();
      work(operation);
    } catch (const Failure& failure) {
      operation->fail(failure);
    } catch (const std::exception& error) {
      operation->fail(Failure::of_exception(error));
    }
  });
  if (!posted) operation->fail(Failure::closed("the agent '" + options.name + "'"));
}

bool Agent::submit_always(TaskRef operation, std::function<void()> work) {
  return executor_->post([operation = std::move(operation), work = std::move(work)] {
    try {
      work();
    } catch (const Failure& failure) {
      operation->fail(failure);
    } catch (const std::exception& error) {
      operation->fail(Failure::of_exception(error));
    }
  });
}

void Agent::check_open() const {
  if (closing_) throw Failure::closed("the agent '" + options.name + "'");
}

void Agent::check_feature(std::string_view name, const std::string& without) const {
  for (const Feature& feature : library.features) {
    if (feature.name != name || feature.available) continue;
    std::string missing;
    for (const auto& symbol : feature.missing) missing += (missing.empty() ? "" : ", ") + symbol;
    throw Failure{"NotImplemented", "nixl.not_supported", "this library " + without + ": it lacks " + missing,
                  "use a newer version of NIXL"};
  }
}

void Agent::begin_close(TaskRef closed) {
  const bool posted = executor_->post([self = shared_from_this(), closed] {
    if (closed != nullptr && self->torn_down_) {
      closed->settle(Reply::of_number(0));
      return;
    }
    if (closed != nullptr) self->closed_.push_back(closed);
    if (self->closing_.exchange(true)) return;
    const auto why = Failure::closed("the agent '" + self->options.name + "'");
    for (const auto& transfer : self->active_) {
      try {
        transfer->abandon(why);
      } catch (...) {
        // The transfer is abandoned, although its operation cannot learn why.
      }
    }
    if (self->pulling_ != nullptr) std::exchange(self->pulling_, nullptr)->fail(why);
  });
  if (!posted && closed != nullptr) closed->settle(Reply::of_number(0));
}

Executor::Polled Agent::poll() {
  using Polled = Executor::Polled;
  const auto until = Clock::now() + TURN;
  bool moved = false;
  for (size_t i = 0; i < active_.size(); i++) {
    try {
      moved |= active_[i]->poll(until);
    } catch (const std::exception& error) {
      active_[i]->fail(Failure::of_exception(error));
    }
  }
  std::erase_if(active_, [](const auto& transfer) { return !transfer->is_active(); });
  // The first transfer of this turn is the last of the next turn, so that large transfers share the thread.
  if (active_.size() > 1) std::rotate(active_.begin(), active_.begin() + 1, active_.end());

  auto waiting = std::move(waiting_);
  waiting_.clear();
  // One that throws is dropped, and its operation with it.
  std::erase_if(waiting, [](const auto& done) {
    try {
      return done();
    } catch (...) {
      return true;
    }
  });
  for (auto& added : waiting_) waiting.push_back(std::move(added));
  waiting_ = std::move(waiting);

  try {
    moved |= poll_notifications();
  } catch (const std::exception& error) {
    if (pulling_ != nullptr) std::exchange(pulling_, nullptr)->fail(Failure::of_exception(error));
  }
  if (closing_ && active_.empty() && waiting_.empty()) {
    tear_down();
    return Polled::progress;
  }
  if (moved) return Polled::progress;
  if (!active_.empty()) return Polled::active;
  return pulling_ != nullptr || !waiting_.empty() ? Polled::waiting : Polled::idle;
}

// Blocks as long as the library does. Only the callers of close wait for it. If there is no memory for a step, it is
// called again: nothing is destroyed twice.
void Agent::tear_down() {
  const auto why = Failure::closed("the agent '" + options.name + "'");
  for (const auto& dependent : std::exchange(kept_, {})) dependent->invalidate(why);
  std::map<Memory, std::vector<RegionRef>> by_memory;
  for (const auto& [id, region] : regions_) by_memory[region->storage->memory].push_back(region);
  for (const auto& [memory, regions] : by_memory) deregister(regions, memory);
  for (auto* lists : {&local_lists_, &remote_lists_}) {
    for (const auto& [memory, list] : std::exchange(*lists, {})) call().destroy_xfer_dlist(list);
  }
  if (notifications_ != nullptr) call().destroy_notif_map(std::exchange(notifications_, nullptr));
  if (ref != nullptr) call().destroy_agent(std::exchange(ref, nullptr));
  for (const auto& backend : backends) call().destroy_backend(backend.ref);
  backends.clear();
  peers_.clear();
  enrolled_.clear();
  for (const auto& [id, region] : std::exchange(regions_, {})) {
    region->storage = nullptr;
    region->released = true;
    settle_all(std::exchange(region->releasing, {}), {});
  }
  torn_down_ = true;
  executor_->finish();
  settle_all(std::exchange(closed_, {}), Reply::of_number(0));
}

void Agent::create_backend(const std::string& name, const std::map<std::string, std::string>& params) {
  for (const auto& backend : backends) {
    if (backend.name == name)
      throw Failure{"Conflict", "nixl.backend_exists",
                    "the agent '" + options.name + "' already has the backend " + name};
  }
  ParamsRef given = nullptr;
  call().create_params(&given);
  for (const auto& [key, value] : params) call().params_add(given, key.c_str(), value.c_str());
  AgentBackend backend{name, nullptr, {}, {}};
  const Status status = call().create_backend(ref, name.c_str(), given, &backend.ref);
  call().destroy_params(given);
  if (status != Status::ok) {
    throw Failure::of_call(
        "create_backend", status, "the backend " + name + " was not created",
        "see the library's log on stderr; nixlDoctor() reports the plugins that do not load, with the reasons");
  }
  MemoryListRef memories = nullptr;
  ParamsRef used = nullptr;
  if (call().get_backend_params(ref, backend.ref, &memories, &used) == Status::ok) {
    size_t count = 0;
    call().mem_list_size(memories, &count);
    for (size_t i = 0; i < count; i++) {
      Memory memory = Memory::unknown;
      if (call().mem_list_get(memories, i, &memory) == Status::ok) backend.memories.push_back(memory);
    }
    call().destroy_mem_list(memories);
    backend.params = params;
    call().destroy_params(used);
  }
  backends.push_back(std::move(backend));
}

const AgentBackend& Agent::backend_named(const std::string& name) const {
  for (const auto& backend : backends) {
    if (backend.name == name) return backend;
  }
  throw Failure{"NotFound", "nixl.no_backend", "the agent '" + options.name + "' has no backend " + name,
                "create it with agent.createBackend"};
}

std::string Agent::backend_for(Memory local, Memory remote) const {
  if (backends.size() < 2) return {};
  const auto takes = [](const AgentBackend& backend, Memory memory) {
    return std::find(backend.memories.begin(), backend.memories.end(), memory) != backend.memories.end();
  };
  const auto stores = [&](const AgentBackend& backend) {
    return takes(backend, Memory::file) || takes(backend, Memory::object) || takes(backend, Memory::block);
  };
  const bool to_storage = remote != Memory::dram && remote != Memory::vram;
  for (const auto& backend : backends) {
    if (takes(backend, local) && takes(backend, remote) && (to_storage || !stores(backend))) return backend.name;
  }
  return {};
}

OptArgsRef Agent::options_for(const std::string& backend, const std::string& custom) const {
  OptArgsRef args = nullptr;
  const BackendRef chosen = backend.empty() ? nullptr : backend_named(backend).ref;
  if (!custom.empty()) check_feature("customParam", "has no custom parameters");
  call().create_opt_args(&args);
  if (chosen != nullptr) call().opt_args_add_backend(args, chosen);
  if (!custom.empty()) call().opt_args_set_custom_param(args, custom.data(), custom.size());
  return args;
}

void Agent::pin(const std::vector<RegionRef>& regions, Peer* peer) {
  for (const auto& region : regions) region->use_count += 1;
  if (peer != nullptr) peer->use_count += 1;
}

void Agent::unpin(const std::vector<RegionRef>& regions, Peer* peer) {
  if (peer != nullptr) peer->use_count -= 1;
  for (const auto& region : regions) {
    region->use_count -= 1;
    if (region->use_count == 0 && !region->releasing.empty()) finish_release(region);
  }
}

void Agent::add_active(std::shared_ptr<Transfer> transfer) { active_.push_back(std::move(transfer)); }

TransferListRef Agent::list(std::map<Memory, TransferListRef>& lists, Memory memory) {
  TransferListRef& list = lists[memory];
  if (list == nullptr) {
    call().create_xfer_dlist(memory, &list);
  } else {
    call().xfer_dlist_clear(list);
  }
  return list;
}

}  // namespace dynamo::nixl
