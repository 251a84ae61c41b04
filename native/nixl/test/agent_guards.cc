// What must not end the process: exceptions on the agent's thread, memory that is registered twice, memory whose owner
// lets go of it, and a library that names another agent than the metadata.
#include <fcntl.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <new>

#include "../executor.h"
#include "../hold.h"
#include "../library.h"
#include "agent_side.h"

namespace dynamo::nixl::test {
namespace {

constexpr size_t BLOCK = 4096;
constexpr uint64_t DRAM = 0;
constexpr uint64_t FILE_MEMORY = 4;

// An operation whose caller has no memory for the reply.
void begin_unheard(Entry entry, const Call& call) {
  entry(call, std::make_shared<Task>([](Reply) { throw std::bad_alloc(); }));
}

void executor_keeps_its_thread() {
  const auto executor = std::make_shared<Executor>();
  std::atomic<int> polls{0};
  std::atomic<int> jobs{0};
  executor->start("guards", [&]() -> Executor::Polled {
    if (++polls % 2 == 1) throw std::bad_alloc();
    return Executor::Polled::idle;
  });
  executor->post([] { throw std::runtime_error("a job"); });
  executor->post([] { throw 7; });
  executor->post([&] { jobs += 1; });
  row("a job after jobs that throw is run", wait_for([&] { return jobs == 1; }));
  row("the agent is polled after a poll that throws", wait_for([&] { return polls > 2; }));
  row("the library is not left locked", wait_for([&] { return executor->try_inline([] {}); }));
  executor->post([executor] { executor->finish(); });
  row("the thread ends", executor->wait_finished(std::chrono::seconds(30)));
}

void replies_that_throw() {
  const Side one("unheard-one");
  const Side two("unheard-two");
  const ObjectRef peer = one.meet(two);
  const ObjectRef prepared =
      run(transfer_prepare, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE}).objects.at(0);
  const Region spare = one.allocate(BLOCK).at(0);
  mock({.completion = Completion::delayed, .latency_us = 2000});
  for (int i = 0; i < 5; ++i) {
    begin_unheard(transfer_start, {.handle = one.agent, .other = peer, .payload = one.to(two), .a = WRITE});
    begin_unheard(agent_metadata, {.handle = one.agent});
    begin_unheard(agent_connect, {.handle = one.agent, .payload = two.metadata()});
    begin_unheard(agent_connect, {.handle = one.agent, .payload = std::vector<uint8_t>{1, 2, 3}});
    begin_unheard(agent_fetch, {.handle = one.agent, .args = args_of({{"name", std::string("missing")}})});
    begin_unheard(agent_notifications, {.handle = one.agent, .a = 1});
    begin_unheard(region_allocate, {.handle = one.agent, .a = BLOCK});
    begin_unheard(agent_plugins, {.handle = one.agent});
  }
  begin_unheard(transfer_post, {.handle = prepared});
  begin_unheard(transfer_wait, {.handle = prepared});
  begin_unheard(transfer_release, {.handle = prepared});
  begin_unheard(region_release, {.handle = spare.handle});
  begin_unheard(peer_disconnect, {.handle = two.meet(one)});
  succeeds("after replies that throw: the agent answers", run(agent_metadata, {.handle = one.agent}));
  mock({});
  one.fill(4);
  succeeds("it moves bytes", one.write(peer, one.to(two)));
  row("all of them", two.holds(4));
  begin_unheard(agent_close, {.handle = one.agent});
  succeeds("and closes", one.close());
  succeeds("as does its peer", two.close());
}

void memory_registered_twice() {
  std::vector<unsigned char> memory(3 * BLOCK, 9);
  const Side one("twice", {.backends = {"UCX", "POSIX"}});
  const auto at = static_cast<double>(reinterpret_cast<uintptr_t>(memory.data()));
  const auto enroll = [&](const std::vector<double>& numbers, uint64_t kind = DRAM) {
    return run(region_register, {.handle = one.agent, .payload = payload_of(numbers), .a = kind});
  };
  const auto first = regions_in(enroll({at, BLOCK, 0, at, BLOCK, 0}));
  const auto second = regions_in(enroll({at, BLOCK, 0}));
  row("the same memory has three regions", first.size() == 2 && second.size() == 1);
  fails("memory that begins in it", enroll({at + 1, BLOCK, 0}), "nixl.overlap");
  fails("memory that ends in it", enroll({at + BLOCK, BLOCK, 0, at + 10, 1, 0}), "nixl.overlap");
  succeeds("memory behind it", enroll({at + BLOCK, BLOCK, 0}));
  one.fill(3);
  for (const Region& region : {first[0], second[0], first[1]}) {
    succeeds("each region takes bytes", one.write(one.self(), one.to(region, 0, BLOCK)));
    succeeds("and is released", run(region_release, {.handle = region.handle}));
  }
  fails("without a region there is no registration", one.write(one.self(), one.to(first[0], 0, BLOCK)), "nixl.range");
  succeeds("then it is registered again, twice", enroll({at, BLOCK, 0, at, BLOCK, 0}));

  char path[] = "/tmp/dynamo-nixl-twice-XXXXXX";
  const int file = mkstemp(path);
  const auto number = static_cast<double>(file);
  succeeds("a file", enroll({0, BLOCK, number}, FILE_MEMORY));
  fails("another of its number", enroll({BLOCK, BLOCK, number}, FILE_MEMORY), "nixl.overlap");
  succeeds("the same file", enroll({0, BLOCK, number}, FILE_MEMORY));
  succeeds("the close ends each registration once", one.close());
  close(file);
  unlink(path);
}

void memory_of_another_owner() {
  std::atomic<bool> freed{false};
  auto* memory = new std::vector<unsigned char>(BLOCK, 1);
  const auto at = static_cast<double>(reinterpret_cast<uintptr_t>(memory->data()));
  auto hold = Hold::make(std::shared_ptr<void>(memory, [&](void* owner) {
    freed = true;
    delete static_cast<std::vector<unsigned char>*>(owner);
  }));
  const uint64_t id = hold->id;
  const Side one("held");
  const auto enroll = [&](double held) {
    const auto ids = payload_of<double>({held});
    return run(region_register, {.handle = one.agent,
                                 .args = args_of({{"holds", std::string(ids.begin(), ids.end())}}),
                                 .payload = payload_of<double>({at, BLOCK, 0}),
                                 .a = DRAM});
  };
  fails("a hold that is not there", enroll(1e15), "expected ids of holds");
  const Region region = regions_in(enroll(static_cast<double>(id))).at(0);
  hold = nullptr;
  row("registered memory stays without its owner", !freed && Hold::find(id) != nullptr);
  one.fill(2);
  succeeds("it takes bytes", one.write(one.self(), one.to(region, 0, BLOCK)));
  succeeds("it is released", run(region_release, {.handle = region.handle}));
  row("and freed after that", freed && Hold::find(id) == nullptr);
  one.close();
}

Status load_another(AgentRef, const void*, size_t, char** name) {
  *name = strdup("another");
  return Status::ok;
}

void names_in_metadata() {
  const Side other("named");
  static Backend lying = *mock({});
  lying.call.load_remote_md = load_another;
  Side one("lied-to");
  const std::vector<std::pair<std::string, Value>> fields{{"name", std::string("lied-to-2")},
                                                          {"progressDelayUs", 1000}};
  const ObjectRef agent =
      run(agent_create, {.handle = std::make_shared<Library>(lying), .args = args_of(fields)}).objects.at(0);
  Packer ucx;
  ucx.map(2).text("name").text("UCX").text("params").map(0);
  succeeds("an agent of a library that names others", run(agent_backend, {.handle = agent, .args = ucx.take()}));
  fails("does not get another peer than that of the metadata",
        run(agent_connect, {.handle = agent, .payload = other.metadata()}), "loaded the agent 'another'");
  run(agent_close, {.handle = agent});
  one.close();
  other.close();
}

}  // namespace

void guards() {
  executor_keeps_its_thread();
  replies_that_throw();
  memory_registered_twice();
  memory_of_another_owner();
  names_in_metadata();
}

}  // namespace dynamo::nixl::test
