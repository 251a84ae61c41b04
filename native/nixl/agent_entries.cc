#include "decode.h"
#include "entries.h"
#include "library.h"

namespace dynamo::nixl {
namespace {

std::shared_ptr<Agent> called_agent(const Call& call) { return object_as<Agent>(call.handle); }

SocketAddress address_of(const Options& args) {
  return {args.text("host"), static_cast<uint16_t>(args.integer("port"))};
}

void pack_params(Packer& packer, const Functions& call, ParamsRef params) {
  std::vector<std::pair<std::string, std::string>> entries;
  bool empty = true;
  call.params_is_empty(params, &empty);
  if (!empty) {
    ParamsIteratorRef iterator = nullptr;
    call.params_create_iterator(params, &iterator);
    for (bool more = true; more;) {
      const char* key = nullptr;
      const char* value = nullptr;
      if (call.params_iterator_next(iterator, &key, &value, &more) != Status::ok) break;
      entries.emplace_back(key, value);
    }
    call.params_destroy_iterator(iterator);
  }
  packer.map(entries.size());
  for (const auto& [key, value] : entries) packer.text(key).text(value);
}

std::vector<uint8_t> plugins(const Agent& agent) {
  const Functions& call = agent.call();
  StringListRef list = nullptr;
  const Status status = call.get_available_plugins(agent.ref, &list);
  if (status != Status::ok) throw Failure::of_call("get_available_plugins", status, "the plugins cannot be listed");
  size_t count = 0;
  call.string_list_size(list, &count);
  Packer packer;
  packer.array(count);
  for (size_t i = 0; i < count; i++) {
    const char* name = nullptr;
    call.string_list_get(list, i, &name);
    MemoryListRef memories = nullptr;
    ParamsRef params = nullptr;
    // The file of a plugin may exist although its dependencies do not.
    const bool loads = call.get_plugin_params(agent.ref, name, &memories, &params) == Status::ok;
    packer.map(loads ? 4 : 2).text("name").text(name).text("loads").boolean(loads);
    if (!loads) continue;
    size_t memory_count = 0;
    call.mem_list_size(memories, &memory_count);
    packer.text("memories").array(memory_count);
    for (size_t j = 0; j < memory_count; j++) {
      Memory memory = Memory::unknown;
      call.mem_list_get(memories, j, &memory);
      packer.integer(static_cast<int>(memory));
    }
    packer.text("params");
    pack_params(packer, call, params);
    call.destroy_mem_list(memories);
    call.destroy_params(params);
  }
  call.destroy_string_list(list);
  return packer.take();
}

std::vector<uint8_t> query(const Agent& agent, const std::string& backend, Memory memory,
                           const std::vector<std::string>& metas) {
  const Functions& call = agent.call();
  agent.check_feature("queryMemory", "cannot query memory");
  const OptArgsRef args = agent.options_for(agent.backend_named(backend).name, {});
  RegistrationListRef list = nullptr;
  QueryRef answers = nullptr;
  call.create_reg_dlist(memory, &list);
  for (const auto& meta : metas) call.reg_dlist_add_desc(list, 0, 0, 0, meta.data(), meta.size());
  call.create_query_resp_list(&answers);
  const Status status = call.query_mem(agent.ref, list, answers, args);
  Packer packer;
  size_t count = 0;
  if (status == Status::ok) call.query_resp_list_size(answers, &count);
  packer.array(count);
  for (size_t i = 0; i < count; i++) {
    bool has_value = false;
    call.query_resp_list_has_value(answers, i, &has_value);
    ParamsRef params = nullptr;
    if (!has_value || call.query_resp_list_get_params(answers, i, &params) != Status::ok) {
      packer.nil();
    } else {
      pack_params(packer, call, params);
      call.destroy_params(params);
    }
  }
  call.destroy_query_resp_list(answers);
  call.destroy_reg_dlist(list);
  call.destroy_opt_args(args);
  if (status != Status::ok)
    throw Failure::of_call("query_mem", status, "the backend " + backend + " cannot answer the query",
                           "POSIX can, for FILE memory");
  return packer.take();
}

}  // namespace

void agent_create(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const Options args(call.args);
    Agent::start(object_as<Library>(call.handle)->backend,
                 {
                     .name = args.text("name"),
                     .progress_delay_us = args.integer("progressDelayUs"),
                     .listens = args.has("listenPort"),
                     .listen_port = static_cast<int>(args.integer("listenPort")),
                     .telemetry = args.boolean("telemetry"),
                 },
                 operation);
  });
}

void agent_close(const Call& call, TaskRef operation) {
  guarded(operation, [&] { called_agent(call)->begin_close(operation); });
}

void agent_plugins(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    agent->submit(operation, [agent] { return Reply::of_bytes(plugins(*agent)); });
  });
}

void agent_backend(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    const Options args(call.args);
    agent->submit(operation, [agent, name = args.text("name"), params = args.strings("params")] {
      agent->create_backend(name, params);
      return Reply{};
    });
  });
}

void agent_metadata(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    agent->submit(operation, [agent] { return Reply::of_bytes(agent->metadata()); });
  });
}

void agent_partial_metadata(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    agent->submit(operation, [agent, memory = memory_of(call.a), ids = numbers_of<double>(call.payload)] {
      return Reply::of_bytes(agent->partial_metadata(regions_named(*agent, ids, memory), memory));
    });
  });
}

void agent_connect(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    agent->submit_later(operation,
                        [agent, blob = copy(call.payload)](const TaskRef& running) { agent->connect(blob, running); });
  });
}

void agent_fetch(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    const Options args(call.args);
    agent->submit_later(operation,
                        [agent, name = args.text("name"), from = address_of(args), accept = args.boolean("accept")](
                            const TaskRef& running) { agent->fetch(name, from, accept, running); });
  });
}

void agent_send_metadata(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    const Options args(call.args);
    agent->submit(operation, [agent, to = address_of(args), partial = args.boolean("partial"),
                              memory = memory_of(call.a), ids = numbers_of<double>(call.payload)] {
      std::optional<std::vector<RegionRef>> regions;
      if (partial) regions = regions_named(*agent, ids, memory);
      agent->send_metadata(to, regions, memory);
      return Reply{};
    });
  });
}

void agent_withdraw_metadata(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    agent->submit(operation, [agent, from = address_of(Options(call.args))] {
      agent->withdraw_metadata(from);
      return Reply{};
    });
  });
}

void agent_self(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    agent->submit(operation, [agent] { return agent->reply_of(agent->self()); });
  });
}

void agent_notify(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    const auto peer = object_as<Peer>(call.other);
    agent->submit(operation, [agent, peer, message = copy(call.payload)] {
      agent->notify(*peer, message);
      return Reply{};
    });
  });
}

void agent_notifications(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    agent->submit_later(operation,
                        [agent, most = call.a](const TaskRef& running) { agent->pull_notifications(most, running); });
  });
}

void agent_query(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = called_agent(call);
    const Options args(call.args);
    agent->submit(operation,
                  [agent, backend = args.text("backend"), memory = memory_of(args.integer("memory")),
                   metas = args.list("metas")] { return Reply::of_bytes(query(*agent, backend, memory, metas)); });
  });
}

void peer_disconnect(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto peer = object_as<Peer>(call.handle);
    const auto agent = agent_of(peer->agent);
    agent->submit_later(operation, [agent, peer](const TaskRef& running) { agent->disconnect(peer, running); });
  });
}

}  // namespace dynamo::nixl
