// The agent above the seam, on the mock, called as the binding calls it: for sanitizers, which see what crosses between the
// caller's thread, the agent's own and the library's.
#include <cstring>
#include <future>

#include "../entries.h"
#include "../pack.h"
#include "harness.h"

using namespace dynamo::nixl;
using dynamo::nixl::test::failures;
using dynamo::nixl::test::row;
using dynamo::nixl::test::rows;
using dynamo::nixl::test::wait_for;

namespace {

using Entry = void (*)(const Call&, TaskRef);
using Completion = MockKnobs::Completion;

constexpr uint64_t READ = 0;
constexpr uint64_t WRITE = 1;
constexpr size_t BYTES = 1 << 18;

struct Running {
  TaskRef task;
  std::future<Reply> reply;
};

Running begin(Entry entry, const Call& call) {
  auto promise = std::make_shared<std::promise<Reply>>();
  auto reply = promise->get_future();
  auto task = std::make_shared<Task>([promise](Reply given) { promise->set_value(std::move(given)); });
  entry(call, task);
  return {task, std::move(reply)};
}

Reply wait(Running running) {
  if (running.reply.wait_for(std::chrono::seconds(30)) != std::future_status::ready) {
    row("an operation ends", false);
    std::exit(1);
  }
  running.task.reset();
  return running.reply.get();
}

Reply run(Entry entry, const Call& call) { return wait(begin(entry, call)); }

bool tells(const Reply& reply, const std::string& what) {
  if (!reply.bytes.has_value()) return false;
  const std::string text(reply.bytes->begin(), reply.bytes->end());
  return text.find(what) != std::string::npos;
}

struct Region {
  ObjectRef handle;
  double id;
  uint64_t address;
};

std::vector<uint8_t> payload_of(const std::vector<double>& numbers) {
  std::vector<uint8_t> bytes(numbers.size() * sizeof(double));
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

struct Side {
  explicit Side(const std::string& name) {
    Packer options;
    options.map(3).text("name").text(name).text("progressDelayUs").integer(1000).text("telemetry").boolean(true);
    // Sets the knobs back: what a test asks of the mock, it asks when its agents are there.
    const ObjectRef library = library_mock({.args = EMPTY_MAP}).objects.at(0);
    agent = run(agent_create, {.handle = library, .args = options.take()}).objects.at(0);
    Packer backend;
    backend.map(2).text("name").text("UCX").text("params").map(0);
    run(agent_backend, {.handle = agent, .args = backend.take()});
    Packer memory;
    memory.map(2).text("device").boolean(false).text("hugePages").boolean(true);
    const Reply made = run(region_allocate, {.handle = agent, .args = memory.take(), .a = BYTES});
    double numbers[4];
    std::memcpy(numbers, made.bytes->data(), sizeof numbers);
    region = {region_find({.a = static_cast<uint64_t>(numbers[0])}).objects.at(0), numbers[0], static_cast<uint64_t>(numbers[1])};
  }

  ObjectRef meet(const Side& other) const {
    const Reply metadata = run(agent_metadata, {.handle = other.agent});
    return run(agent_connect, {.handle = agent, .payload = *metadata.bytes}).objects.at(0);
  }

  std::vector<uint8_t> to(const Side& other, uint64_t offset = 0, uint64_t bytes = BYTES) const {
    return payload_of({region.id, static_cast<double>(offset), static_cast<double>(bytes), static_cast<double>(other.region.address + offset), 0});
  }

  void fill(uint8_t value) const {
    const std::vector<uint8_t> bytes(BYTES, value);
    run(region_write, {.handle = region.handle, .payload = bytes});
  }

  bool holds(uint8_t value) const {
    const Reply bytes = run(region_read, {.handle = region.handle, .b = BYTES});
    return bytes.bytes == std::vector<uint8_t>(BYTES, value);
  }

  static constexpr uint8_t EMPTY_MAP[] = {0x80};
  ObjectRef agent;
  Region region;
};

std::vector<uint8_t> note(const std::string& message) {
  Packer packer;
  packer.map(1).text("notification").text(message);
  return packer.take();
}

void transfers() {
  const Side one("one");
  const Side two("two");
  const ObjectRef peer = one.meet(two);
  mock({.latency_us = 100});
  one.fill(7);
  const Reply written = run(transfer_start, {.handle = one.agent, .other = peer, .args = note("note"), .payload = one.to(two), .a = WRITE});
  row("write", !written.failed && written.number != Reply::NO_NUMBER);
  row("its bytes", two.holds(7));
  Reply got;
  wait_for([&] {
    got = run(agent_notifications, {.handle = two.agent, .a = 10});
    return !got.failed && tells(got, "note");
  });
  row("its notification", tells(got, "note"));
  two.fill(8);
  row("read", !run(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = READ}).failed);
  row("its bytes too", one.holds(8));

  // Many at once, small ones on this thread where the library is free, while the agents' threads poll.
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

  const Reply prepared = run(transfer_prepare, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE});
  const ObjectRef transfer = prepared.objects.at(0);
  for (int i = 0; i < 20; ++i) failed += run(transfer_post, {.handle = transfer, .args = note(std::to_string(i))}).failed ? 1 : 0;
  row("failures of 20 posts", static_cast<long>(failed), {0});
  row("telemetry", !run(transfer_telemetry, {.handle = transfer}).failed);
  row("release", !run(transfer_release, {.handle = transfer}).failed);
  row("close", !run(agent_close, {.handle = one.agent}).failed && !run(agent_close, {.handle = two.agent}).failed);
  row("a closed agent refuses", run(agent_metadata, {.handle = one.agent}).failed);
}

// A caller who gives up gets its answer at once; the memory stays until the bytes have stopped, whoever lets go of it.
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
    aborted += tells(wait(std::move(running)), "nixl.aborted") ? 1 : 0;
    auto released = begin(region_release, {.handle = one.region.handle});
    auto closed = begin(agent_close, {.handle = one.agent});
    again.task->cancel();
    wait(std::move(again));
    wait(std::move(closed));
    wait(std::move(released));
    run(agent_close, {.handle = two.agent});
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
  row("a transfer to a lost peer fails", tells(wait(std::move(running)), "nixl.peer_lost"));
  mock({});
  const Reply whole = run(agent_metadata, {.handle = two.agent});
  std::vector<uint8_t> damaged = *whole.bytes;
  damaged[damaged.size() / 2] ^= 1;
  row("damaged metadata", tells(run(agent_connect, {.handle = one.agent, .payload = damaged}), "nixl.metadata"));
  const std::span<const uint8_t> cut(whole.bytes->data(), whole.bytes->size() / 2);
  row("metadata that was cut", tells(run(agent_connect, {.handle = one.agent, .payload = cut}), "nixl.metadata"));
  run(agent_close, {.handle = one.agent});
  run(agent_close, {.handle = two.agent});
}

void restarted_peer() {
  const Side one("restart-one");
  auto two = std::make_unique<Side>("restart-two");
  const ObjectRef old = one.meet(*two);
  run(transfer_start, {.handle = one.agent, .other = old, .payload = one.to(*two), .a = WRITE});
  run(agent_close, {.handle = two->agent});
  two = std::make_unique<Side>("restart-two");
  const ObjectRef peer = one.meet(*two);
  row("the old one is gone", tells(run(transfer_start, {.handle = one.agent, .other = old, .payload = one.to(*two), .a = WRITE}), "nixl.peer_restarted"));
  row("the new one is there", !run(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(*two), .a = WRITE}).failed);
  run(agent_close, {.handle = one.agent});
  run(agent_close, {.handle = two->agent});
}

void lives(int count) {
  for (int i = 0; i < count; ++i) {
    const Side one("life");
    const ObjectRef self = run(agent_self, {.handle = one.agent}).objects.at(0);
    const auto payload = payload_of({one.region.id, 0, 4096, static_cast<double>(one.region.address + 8192), 0});
    auto running = begin(transfer_start, {.handle = one.agent, .other = self, .payload = payload, .a = WRITE});
    if (i % 3 == 0) wait(std::move(running));
    // Two of three close with it under way.
    if (run(agent_close, {.handle = one.agent}).failed) row("a life ends", false);
    if (i % 3 != 0) wait(std::move(running));
  }
  row("lives", true);
}

}  // namespace

int main(int argc, char** argv) {
  transfers();
  cancel();
  lost_peer();
  restarted_peer();
  lives(argc > 1 ? std::atoi(argv[1]) : 50);
  std::printf("%d rows, %d failed\n", rows, failures);
  return failures == 0 ? 0 : 1;
}
