// What an agent exchanges with its peers and the library: metadata, messages, plugins, estimates.
#include <unistd.h>

#include "agent_side.h"

namespace dynamo::nixl::test {
namespace {

std::vector<uint8_t> ids_of(const std::vector<Region>& regions) {
  std::vector<double> ids;
  for (const Region& region : regions) ids.push_back(region.id);
  return payload_of(ids);
}

std::vector<uint8_t> at(const std::string& host, int port, std::vector<std::pair<std::string, Value>> fields = {}) {
  if (!host.empty()) fields.insert(fields.end(), {{"host", host}, {"port", port}});
  return args_of(fields);
}

}  // namespace

void partial_metadata() {
  const Side one("part-one");
  const Side two("part-two");
  const Region shared = two.allocate(4096).at(0);
  const Region hidden = two.allocate(4096).at(0);
  const auto part = [&](const std::vector<Region>& regions) {
    return run(agent_partial_metadata, {.handle = two.agent, .payload = ids_of(regions)});
  };
  const Reply connection = part({});
  const Reply some = part({shared});
  succeeds("metadata of the connection only", connection);
  succeeds("metadata of one region", some);
  const Reply met = run(agent_connect, {.handle = one.agent, .payload = *connection.bytes});
  row("a peer by its connection", number_in(met, "generation"), {1});
  fails("has no regions", one.write(met.objects.at(0), one.to(shared, 0, 4096)), "nixl.range");
  const Reply more = run(agent_connect, {.handle = one.agent, .payload = *some.bytes});
  row("a part adds to it", number_in(more, "generation"), {1});
  const Side stranger("part-stranger");
  const Reply alone = run(agent_connect, {.handle = stranger.agent, .payload = *some.bytes});
  row("a part is enough for an agent that did not know its owner", number_in(alone, "generation"), {1});
  for (const auto& [side, reply] : {std::pair{&one, &more}, std::pair{&stranger, &alone}}) {
    const ObjectRef peer = reply->objects.at(0);
    succeeds("the region in the metadata is reached", side->write(peer, side->to(shared, 0, 4096)));
    fails("what was not is not", side->write(peer, side->to(hidden, 0, 4096)), "nixl.range");
  }

  fails("a part of another agent's region",
        run(agent_partial_metadata, {.handle = one.agent, .payload = ids_of({shared})}), "nixl.region_released");
  fails("a part of another kind of memory",
        run(agent_partial_metadata, {.handle = two.agent, .payload = ids_of({shared}), .a = 1}),
        "expected all of one kind of memory");
  run(region_release, {.handle = shared.handle});
  fails("metadata of a released region", part({shared}), "nixl.region_released");
  const Side bare("part-bare", {.backends = {}});
  fails("whole metadata without a backend", run(agent_metadata, {.handle = bare.agent}), "nixl.no_backend");
  fails("a peer without a backend", run(agent_connect, {.handle = bare.agent, .payload = *connection.bytes}),
        "nixl.no_backend");
  for (const Side* side : {&one, &two, &stranger, &bare}) side->close();
}

void metadata_by_sockets() {
  const int port = free_port();
  const std::string host = "127.0.0.1";
  const Side server("socket-server", {.listen_port = port});
  const Side client("socket-client", {.listen_port = free_port()});
  fails("a port that is taken",
        run(agent_create,
            {.handle = server.library,
             .args =
                 args_of({{"name", "taken"}, {"progressDelayUs", 1000}, {"listenPort", port}, {"telemetry", false}})}),
        "create_configured_agent");

  const auto fetch = [&](const std::string& name, const std::string& from, int on) {
    return run(agent_fetch, {.handle = client.agent, .args = at(from, on, {{"name", name}, {"accept", false}})});
  };
  const Reply fetched = fetch(server.name, host, port);
  row("a peer is fetched", number_in(fetched, "generation"), {1});
  succeeds("and reached", client.write(fetched.objects.at(0), client.to(server)));
  const Reply again = fetch(server.name, host, port);
  row("fetched again it is another peer", number_in(again, "generation"), {2});
  fails("the first is gone", client.write(fetched.objects.at(0), client.to(server)), "nixl.peer_restarted");

  const auto send = [&](const std::vector<uint8_t>& args, const std::vector<Region>& regions = {}) {
    return run(agent_send_metadata, {.handle = client.agent, .args = args, .payload = ids_of(regions)});
  };
  const auto accept = [&] {
    return run(agent_fetch, {.handle = server.agent, .args = args_of({{"name", client.name}, {"accept", true}})});
  };
  const Region later = client.allocate(4096).at(0);
  const Region apart = client.allocate(4096).at(0);
  succeeds("a part is sent: a region, with the connection", send(at(host, port, {{"partial", true}}), {apart}));
  const Reply accepted = accept();
  row("and accepted", number_in(accepted, "generation"), {1});
  const ObjectRef sender = accepted.objects.at(0);
  row("its region is reached", wait_for([&] { return !server.write(sender, server.to(apart, 0, 4096)).failed; }));
  fails("without the others", server.write(sender, server.to(client)), "nixl.range");
  succeeds("a part is sent: the connection", send(at(host, port, {{"partial", true}})));
  succeeds("a part is sent: another region", send(at(host, port, {{"partial", true}}), {client.region}));
  row("and reached, once it is there", wait_for([&] { return !server.write(sender, server.to(client)).failed; }));
  succeeds("the whole is sent", send(at(host, port, {{"partial", false}})));
  row("and reached too", wait_for([&] { return !server.write(sender, server.to(later, 0, 4096)).failed; }));
  succeeds("it is withdrawn", run(agent_withdraw_metadata, {.handle = client.agent, .args = at(host, port)}));
  row("is no longer reached after the withdrawal",
      wait_for([&] { return server.write(sender, server.to(client)).failed; }));

  fails("the whole to nowhere", send(at("", 0, {{"partial", false}})), "send_local_md");
  fails("a part to a store", send(at("", 0, {{"partial", true}}), {client.region}), "nixl.not_supported");
  fails("a part of what is not there", send(at(host, port, {{"partial", true}}), {server.region}),
        "nixl.region_released");
  fails("withdrawn from nowhere", run(agent_withdraw_metadata, {.handle = client.agent}), "invalidate_local_md");
  fails("fetched without an address", fetch("unknown", "", 0), "fetch_remote_md");
  auto waiting =
      begin(agent_fetch, {.handle = client.agent, .args = at(host, 1, {{"name", "unknown"}, {"accept", false}})});
  waiting.task->cancel();
  fails("a fetch that is cancelled", wait(std::move(waiting)), "nixl.aborted");
  waiting = begin(agent_fetch, {.handle = client.agent, .args = args_of({{"name", "unknown"}, {"accept", true}})});
  client.close();
  fails("a fetch whose agent closes", wait(std::move(waiting)), "Closed");
  server.close();
}

void plugins() {
  const Side one("plugins");
  const Reply listed = run(agent_plugins, {.handle = one.agent});
  for (const char* text : {"UCX", "POSIX", "GDS", "ucx_error_handling_mode"})
    row(std::string("plugins include ") + text, contains(listed, text));
  fails("a backend that is there", one.add("UCX"), "nixl.backend_exists");
  fails("one that is unknown", one.add("NOPE"), "create_backend");
  fails("one that does not load", one.add("GDS"), "create_backend");
  succeeds("another", one.add("POSIX"));
  row("a process may read itself",
      process_read({.a = static_cast<uint64_t>(getpid()), .b = one.region.address}).bytes->empty());
  row("but not an address that is not mapped",
      !process_read({.a = static_cast<uint64_t>(getpid()), .b = 8}).bytes->empty());
  row("bytes of sockets are counted", !process_received({}).failed);
  one.close();
  fails("a closed agent lists no plugins", run(agent_plugins, {.handle = one.agent}), "Closed");
}

void messages() {
  const Side one("message-one");
  const Side two("message-two");
  const ObjectRef peer = one.meet(two);
  const auto notify = [&](const ObjectRef& to, const std::string& text) {
    return run(agent_notify,
               {.handle = one.agent, .other = to, .payload = std::vector<uint8_t>(text.begin(), text.end())});
  };
  for (const char* text : {"first", "second", "third"}) succeeds("a message", notify(peer, text));
  const Reply some = run(agent_notifications, {.handle = two.agent, .a = 2});
  row("at most the requested number", contains(some, "first") && contains(some, "second") && !contains(some, "third"));
  row("the sender of a message", contains(some, "message-one"));
  row("the rest comes next", contains(run(agent_notifications, {.handle = two.agent, .a = 2}), "third"));
  succeeds("a message to oneself", notify(one.self(), "own"));
  row("arrives", one.receives("own"));

  auto first = begin(agent_notifications, {.handle = two.agent, .a = 1});
  fails("a second reader", run(agent_notifications, {.handle = two.agent, .a = 1}), "nixl.notifications_read");
  first.task->cancel();
  fails("a reader that gives up", wait(std::move(first)), "nixl.aborted");
  notify(peer, "kept");
  row("takes nothing along", two.receives("kept"));
  fails("a message to no peer", run(agent_notify, {.handle = one.agent, .other = two.agent}),
        "expected NixlPeer, got NixlAgent");
  mock({.drop_peer = "message-two"});
  fails("a message to one that is lost", notify(peer, "x"), "nixl.peer_lost");
  mock({});
  auto last = begin(agent_notifications, {.handle = two.agent, .a = 1});
  two.close();
  fails("a reader whose agent closes", wait(std::move(last)), "Closed");
  one.close();
}

void disconnects() {
  const Side one("leave-one");
  const Side two("leave-two");
  const ObjectRef peer = one.meet(two);
  const ObjectRef prepared =
      run(transfer_prepare, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE}).objects.at(0);
  mock({.completion = Completion::delayed, .latency_us = 100'000});
  auto running = begin(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE});
  auto leaving = begin(peer_disconnect, {.handle = peer});
  fails("a disconnect is felt at once", one.write(peer, one.to(two)), "nixl.peer_disconnected");
  row("and waits for transfers in flight",
      leaving.reply.wait_for(std::chrono::seconds(0)) != std::future_status::ready);
  succeeds("which ends", wait(std::move(running)));
  succeeds("and then it is done", wait(std::move(leaving)));
  succeeds("twice", run(peer_disconnect, {.handle = peer}));
  succeeds("of oneself it is nothing", run(peer_disconnect, {.handle = one.self()}));
  fails("a transfer prepared for it", run(transfer_post, {.handle = prepared}), "nixl.peer_disconnected");
  fails("a message", run(agent_notify, {.handle = one.agent, .other = peer}), "nixl.peer_disconnected");
  fails("blocks",
        run(blocks_prepare, {.handle = one.agent, .other = peer, .payload = payload_of<double>({0, 4096, 1, 1, 1, 0})}),
        "nixl.peer_disconnected");
  mock({});
  const Reply again = run(agent_connect, {.handle = one.agent, .payload = two.metadata()});
  row("it is met again as another", number_in(again, "generation"), {2});
  succeeds("and written to", one.write(again.objects.at(0), one.to(two)));
  one.close();
  fails("a disconnect behind the close", run(peer_disconnect, {.handle = again.objects.at(0)}), "Closed");
  two.close();
}

void estimates() {
  const Side one("cost-one");
  const Side two("cost-two");
  const ObjectRef peer = one.meet(two);
  const auto prepare = [&](uint64_t bytes) {
    return run(transfer_prepare, {.handle = one.agent, .other = peer, .payload = one.to(two, 0, bytes), .a = WRITE})
        .objects.at(0);
  };
  const ObjectRef small = prepare(4096);
  const Reply little = run(transfer_estimate, {.handle = small});
  const Reply much = run(transfer_estimate, {.handle = prepare(BYTES)});
  row("an estimate has a margin", number_in(little, "marginUs") > 0);
  row("more bytes take longer",
      number_in(much, "durationUs") > number_in(little, "durationUs") && number_in(little, "durationUs") > 0);
  succeeds("a prepared transfer is released", run(transfer_release, {.handle = small}));
  fails("and has no estimate", run(transfer_estimate, {.handle = small}), "nixl.transfer_released");
  fails("a peer has none", run(transfer_estimate, {.handle = peer}), "expected TransferRequest, got NixlPeer");
  one.close();
  two.close();
}

}  // namespace dynamo::nixl::test
