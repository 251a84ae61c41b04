// Tests the agent on the mock through the entries that the binding calls, with sanitizers. They check the data that
// crosses between the threads of the caller, the agent and the library. This part: transfers, their early ends, and the
// lifecycle of agents.
#include "agent_side.h"

using namespace dynamo::nixl;
using namespace dynamo::nixl::test;

namespace {

void transfers() {
  const Side one("one");
  const Side two("two");
  const ObjectRef peer = one.meet(two);
  mock({.latency_us = 100});
  one.fill(7);
  const Reply written = run(
      transfer_start, {.handle = one.agent, .other = peer, .args = note("note"), .payload = one.to(two), .a = WRITE});
  row("write", !written.failed && written.number != Reply::NO_NUMBER);
  row("its bytes", two.holds(7));
  row("its notification", two.receives("note"));
  two.fill(8);
  row("read", !run(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = READ}).failed);
  row("its bytes too", one.holds(8));

  // Many at once. Small transfers run on this thread if the library is free, while the agents' threads poll.
  std::vector<Running> all;
  std::vector<ObjectRef> going;
  size_t inline_runs = 0;
  for (uint64_t i = 0; i < 400; ++i) {
    const auto payload = one.to(two, (i % 64) * 4096, 4096);
    if (i % 2 == 0) {
      all.push_back(begin(transfer_start, {.handle = one.agent, .other = peer, .payload = payload, .a = WRITE}));
      continue;
    }
    const Reply reply = transfer_run({.handle = one.agent, .other = peer, .payload = payload, .a = WRITE});
    if (reply.number != Reply::NO_NUMBER) inline_runs += 1;
    if (!reply.objects.empty()) all.push_back(begin(transfer_wait, {.handle = reply.objects[0]}));
  }
  size_t failed = 0;
  for (auto& running : all) failed += wait(std::move(running)).failed ? 1 : 0;
  row("failures of 400 transfers", static_cast<long>(failed), {0});
  std::printf("# %zu were done on the caller's thread\n", inline_runs);

  const Reply prepared =
      run(transfer_prepare, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE});
  const ObjectRef transfer = prepared.objects.at(0);
  for (int i = 0; i < 20; ++i)
    failed += run(transfer_post, {.handle = transfer, .args = note(std::to_string(i))}).failed ? 1 : 0;
  row("failures of 20 posts", static_cast<long>(failed), {0});
  row("telemetry", !run(transfer_telemetry, {.handle = transfer}).failed);
  row("release", !run(transfer_release, {.handle = transfer}).failed);
  row("close", !one.close().failed && !two.close().failed);
  row("a closed agent refuses", run(agent_metadata, {.handle = one.agent}).failed);
}

// A cancelled call is answered at once. The memory stays until the bytes have stopped, even if it is released before.
void cancel() {
  long aborted = 0;
  for (int i = 0; i < 10; ++i) {
    const Side one("cancel-one");
    const Side two("cancel-two");
    const ObjectRef peer = one.meet(two);
    mock({.completion = Completion::delayed, .latency_us = 30'000});
    auto running = begin(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE});
    auto again = begin(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE});
    running.task->cancel();
    aborted += contains(wait(std::move(running)), "nixl.aborted") ? 1 : 0;
    auto released = begin(region_release, {.handle = one.region.handle});
    auto closed = begin(agent_close, {.handle = one.agent});
    again.task->cancel();
    wait(std::move(again));
    wait(std::move(closed));
    wait(std::move(released));
    two.close();
  }
  row("transfers that were cancelled are aborted", aborted, {10});
}

void lost_peer() {
  const Side one("lost-one");
  const Side two("lost-two");
  const ObjectRef peer = one.meet(two);
  mock({.never_complete = true});
  auto running = begin(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE});
  mock({.never_complete = true, .drop_peer = "lost-two"});
  row("a transfer to a lost peer fails", contains(wait(std::move(running)), "nixl.peer_lost"));
  mock({});
  const std::vector<uint8_t> whole = two.metadata();
  std::vector<uint8_t> damaged = whole;
  damaged[damaged.size() / 2] ^= 1;
  fails("damaged metadata", run(agent_connect, {.handle = one.agent, .payload = damaged}), "nixl.metadata");
  const std::span<const uint8_t> cut(whole.data(), whole.size() / 2);
  fails("metadata that was cut", run(agent_connect, {.handle = one.agent, .payload = cut}), "nixl.metadata");
  one.close();
  two.close();
}

// One of many pieces of a transfer fails. The memory stays until the others have ended, and is released once.
void failed_piece() {
  const Side one("piece-one");
  const Side two("piece-two");
  const size_t bytes = 20 << 20;
  const Region from = one.allocate(bytes).at(0);
  const Region to = two.allocate(bytes).at(0);
  const ObjectRef peer = one.meet(two);
  mock({.completion = Completion::delayed, .latency_us = 300'000, .fail_at = 2});
  const auto whole = payload_of<double>({from.id, 0, static_cast<double>(bytes), static_cast<double>(to.address), 0});
  const auto begun = std::chrono::steady_clock::now();
  auto running = begin(transfer_start, {.handle = one.agent, .other = peer, .payload = whole, .a = WRITE});
  auto released = begin(region_release, {.handle = from.handle});
  succeeds("the memory of a transfer of which a piece failed is released", wait(std::move(released)));
  row("when its other pieces have ended", std::chrono::steady_clock::now() - begun >= std::chrono::milliseconds(300));
  fails("the transfer has failed", wait(std::move(running)), "nixl.transfer");
  mock({});
  succeeds("nothing else waits for it", run(peer_disconnect, {.handle = peer}));
  one.close();
  two.close();
}

void restarted_peer() {
  const Side one("restart-one");
  auto two = std::make_unique<Side>("restart-two");
  const ObjectRef old = one.meet(*two);
  one.write(old, one.to(*two));
  two->close();
  two = std::make_unique<Side>("restart-two");
  const ObjectRef peer = one.meet(*two);
  row("the old one is gone", contains(one.write(old, one.to(*two)), "nixl.peer_restarted"));
  row("the new one is there", !one.write(peer, one.to(*two)).failed);

  // Transfers that never end are ended by force.
  const Side again("restart-two");
  mock({.never_complete = true});
  auto stuck = begin(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(*two), .a = WRITE});
  auto meeting = begin(agent_connect, {.handle = one.agent, .payload = again.metadata()});
  fails("a transfer that does not end", wait(std::move(stuck)), "nixl.peer_restarted");
  const Reply met = wait(std::move(meeting));
  row("is replaced by a peer that has restarted", number_in(met, "generation"), {3});
  mock({});
  succeeds("which is written to", one.write(met.objects.at(0), one.to(again)));
  again.close();
  one.close();
  two->close();
}

void lives(int count) {
  for (int i = 0; i < count; ++i) {
    const Side one("life");
    const ObjectRef self = one.self();
    const auto payload =
        payload_of<double>({one.region.id, 0, 4096, static_cast<double>(one.region.address + 8192), 0});
    auto running = begin(transfer_start, {.handle = one.agent, .other = self, .payload = payload, .a = WRITE});
    if (i % 3 == 0) wait(std::move(running));
    // Two of three agents close while a transfer is in flight.
    if (one.close().failed) row("a life ends", false);
    if (i % 3 != 0) wait(std::move(running));
  }
  row("lives", true);
}

}  // namespace

int main(int argc, char** argv) {
  transfers();
  cancel();
  lost_peer();
  failed_piece();
  restarted_peer();
  block_lists();
  registered_memory();
  files_and_queries();
  device_memory();
  partial_metadata();
  metadata_by_sockets();
  plugins();
  messages();
  disconnects();
  estimates();
  guards();
  lives(argc > 1 ? std::atoi(argv[1]) : 50);
  std::printf("%d rows, %d failed\n", rows, failures);
  return failures == 0 ? 0 : 1;
}
