// Behaviour that only the mock can produce: late copies, lost peers, failures on demand, GPUs of host memory. Runs with
// sanitizers, which detect memory that is freed too early.
#include <dirent.h>
#include <unistd.h>

#include <atomic>

#include "harness.h"
#include "peer.h"

using namespace dynamo::nixl;
using namespace dynamo::nixl::test;

namespace {

constexpr size_t PAGE = 4096;
// A library that every process has.
constexpr const char* OTHER_LIBRARY = "/lib/x86_64-linux-gnu/libm.so.6";
using Completion = MockKnobs::Completion;

// Two connected agents with one buffer each. The memory is freed last.
struct Pair {
  explicit Pair(size_t bytes = 1 << 20) : local(bytes, 1), remote(bytes, 2), one("one"), two("two") {
    one.enroll(Memory::dram, {local.piece()});
    two.enroll(Memory::dram, {remote.piece()});
    one.load(two.metadata());
    two.load(one.metadata());
    left = std::make_unique<TransferList>(Memory::dram, std::vector{local.piece()});
    right = std::make_unique<TransferList>(Memory::dram, std::vector{remote.piece()});
  }
  std::unique_ptr<Request> request(OptArgsRef options = nullptr) {
    return std::make_unique<Request>(one, Operation::write, *left, *right, "two", options);
  }
  Buffer local;
  Buffer remote;
  Agent one;
  Agent two;
  std::unique_ptr<TransferList> left;
  std::unique_ptr<TransferList> right;
};

// Reads memory that a transfer may write. Hidden from the thread sanitizer.
__attribute__((no_sanitize("thread"))) bool has_arrived(const volatile unsigned char* to,
                                                        const volatile unsigned char* from, size_t length) {
  for (size_t i = 0; i < length; ++i) {
    if (to[i] != from[i]) return false;
  }
  return true;
}

size_t entries_of(const char* folder) {
  DIR* directory = opendir(folder);
  size_t count = 0;
  while (readdir(directory) != nullptr) count += 1;
  closedir(directory);
  return count;
}

void completion() {
  for (const auto kind : {Completion::immediate, Completion::delayed}) {
    mock({.completion = kind, .polls = 3, .latency_us = 1000});
    Pair pair;
    const auto request = pair.request();
    const auto begin = std::chrono::steady_clock::now();
    const Status posted = request->post();
    const bool immediate = kind == Completion::immediate;
    row(immediate ? "post immediate" : "post delayed", posted, {immediate ? 0L : 1L});
    int polls = 0;
    row("it completes", wait_for([&] {
          polls += 1;
          return request->status() == Status::ok;
        }));
    if (immediate) continue;
    row("not before it was polled", polls > 3);
    row("nor before its time", std::chrono::steady_clock::now() - begin >= std::chrono::microseconds(1000));
    row("its bytes", pair.remote.is(1));
  }
  mock({.seed = 7});
  Pair pair(PAGE);
  int immediate = 0;
  for (int i = 0; i < 100; ++i) {
    const auto request = pair.request();
    immediate += request->post() == Status::ok ? 1 : 0;
    wait_for([&] { return request->status() == Status::ok; });
  }
  row("random posts are of both kinds", immediate > 10 && immediate < 90);
  mock({.completion = Completion::delayed, .bytes_per_second = 100 << 20});
  Pair slow(1 << 20);
  const auto request = slow.request();
  const auto begin = std::chrono::steady_clock::now();
  request->run();
  row("bandwidth holds a transfer back", std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(9));
}

void cancel() {
  mock({.late_copy_us = 500'000, .never_complete = true});
  Pair pair;
  auto request = pair.request();
  row("post", request->post(), {1});
  row("half of it arrives", wait_for([&] { return has_arrived(pair.remote.data, pair.local.data, 1 << 19); }));
  row("not all of it", !has_arrived(pair.remote.data, pair.local.data, 1 << 20));
  row("release while active", call->release_xfer_req(pair.one.ref, request->ref), {0});
  row("the rest is still in flight", !has_arrived(pair.remote.data, pair.local.data, 1 << 20));
  row("and arrives after the release",
      wait_for([&] { return has_arrived(pair.remote.data, pair.local.data, 1 << 20); }));

  mock({.late_copy_us = 60'000'000, .never_complete = true});
  auto memory = std::make_unique<Buffer>(1 << 20, 3);
  Agent agent("brief");
  agent.enroll(Memory::dram, {memory->piece(0, 1 << 19), memory->piece(1 << 19)});
  {
    const TransferList from(Memory::dram, {memory->piece(0, 1 << 19)});
    const TransferList to(Memory::dram, {memory->piece(1 << 19)});
    Request abandoned(agent, Operation::write, from, to, "brief");
    abandoned.post();
  }
  agent.destroy();
  memory.reset();  // must not be used after the end of the agent
  row("a transfer ends with its agent", true);
}

void failures_on_demand() {
  mock({.completion = Completion::immediate, .fail_at = 2});
  Pair pair(PAGE);
  const auto request = pair.request();
  row("the first post", request->run(), {0});
  row("the second, which must fail", request->run(), {-2});
  row("its detail", static_cast<long>(backend->transfer_detail(pair.one.ref, request->ref)), {-3});
  row("the third", request->run(), {0});

  mock({.never_complete = true});
  row("never done", request->post(), {1});
  row("is not done", request->status(), {1});
  mock({.never_complete = true, .drop_peer = "two"});
  row("until its peer is lost", wait_for([&] { return request->status() == Status::backend; }));
  row("its detail is remote_disconnect", static_cast<long>(backend->transfer_detail(pair.one.ref, request->ref)),
      {-10});
  row("a lost peer is not notified", pair.one.notify("two", "x"), {-2});
  row("nor written to", pair.request()->post(), {-2});
  row("but still known", pair.one.check("two"), {0});

  mock({.never_complete = true});
  const auto waiting = pair.request();
  waiting->post();
  pair.two.destroy();
  row("a peer that goes takes transfers along", wait_for([&] { return waiting->status() == Status::backend; }));
}

void notifications() {
  mock({.completion = Completion::delayed, .latency_us = 200'000});
  Pair pair(PAGE);
  Options options;
  options.notify("done");
  const auto request = pair.request(options.ref);
  request->post();
  row("the bytes arrive without a poll",
      wait_for([&] { return has_arrived(pair.remote.data, pair.local.data, PAGE); }));
  row("the notification does not", pair.two.inbox("one").empty());
  row("a poll sees the end", wait_for([&] { return request->status() == Status::ok; }));
  row("and lets it go", pair.two.inbox("one") == std::vector<std::string>{"done"});
  request->status();
  row("once", pair.two.inbox("one").empty());
}

void gpus() {
  backend = mock({.fake_gpus = 2});
  call = &backend->call;
  const Cuda& cuda = *backend->cuda;
  row("two GPUs", static_cast<long>(cuda.gpus().size()), {2});
  row("a third is refused", !cuda.use(2).empty());
  uint64_t first = 0;
  uint64_t second = 0;
  row("allocate on each", cuda.allocate(0, PAGE, &first).empty() && cuda.allocate(1, PAGE, &second).empty());
  row("more than there is", !cuda.allocate(0, uint64_t{1} << 40, &first).empty());
  row("an address knows its device", cuda.device_of(first + 10) == 0 && cuda.device_of(second + PAGE - 1) == 1);
  Buffer host(PAGE, 5);
  row("host memory has none", static_cast<long>(cuda.device_of(address_of(host.data))), {-1});
  {
    Agent one("gpu-one");
    Agent two("gpu-two");
    row("register VRAM", one.enroll(Memory::vram, {{first, PAGE, 0}}), {0});
    row("register VRAM of another device", two.enroll(Memory::vram, {{second, PAGE, 1}}), {0});
    one.load(two.metadata());
    cuda.copy_to_device(0, first, host.data, PAGE);
    const TransferList left(Memory::vram, {{first, PAGE, 0}});
    const TransferList right(Memory::vram, {{second, PAGE, 1}});
    const TransferList wrong(Memory::vram, {{second, PAGE, 0}});
    row("create with the wrong device", Request(one, Operation::write, left, wrong, "gpu-two").created, {-2});
    Request request(one, Operation::write, left, right, "gpu-two");
    row("write from GPU to GPU", request.run(), {0});
    host.fill(0);
    cuda.copy_from_device(1, host.data, second, PAGE);
    row("its bytes", host.is(5));
    row("host memory passed off as VRAM", two.enroll(Memory::vram, {{address_of(host.data), PAGE, 0}}), {-2});
  }
  row("free", cuda.free(0, first).empty() && cuda.free(1, second).empty());
  row("free twice", !cuda.free(0, first).empty());
  backend = mock({});
  call = &backend->call;
  row("no GPU without the knob", !backend->cuda->available() && !backend->cuda->use(0).empty());
}

void processes() {
  mock({.completion = Completion::delayed, .latency_us = 100});
  Buffer local(PAGE, 4);
  Agent one("pr-one");
  one.enroll(Memory::dram, {local.piece()});
  const TransferList left(Memory::dram, {local.piece()});
  {
    Peer peer("pr-stopped");
    one.load(peer.blob);
    const TransferList right(Memory::dram, {{peer.address, PAGE}});
    Request request(one, Operation::write, left, right, "pr-stopped");
    row("write to a peer", request.run(), {0});
    peer.kill(SIGSTOP);
    Status status = request.post();
    for (int i = 0; i < 100 && status != Status::backend; ++i) status = request.status();
    row("a stopped peer is not a dead one", status, {0, 1});
    row("a notification waits for it", one.notify("pr-stopped", "hello"), {0});
    peer.kill(SIGCONT);
    row("once it goes on the transfer is done", wait_for([&] { return request.status() == Status::ok; }));
    row("the peer is notified", peer.expect("hello pr-one"));
  }
  for (const char* when : {"before", "during"}) {
    const std::string name = std::string("pr-killed-") + when;
    Peer peer(name);
    one.load(peer.blob);
    const TransferList right(Memory::dram, {{peer.address, PAGE}});
    Request request(one, Operation::write, left, right, name);
    if (std::string(when) == "during") {
      mock({.never_complete = true});
      row("a transfer in flight", request.post(), {1});
    }
    peer.kill();
    if (std::string(when) == "before") request.post();
    row("a peer killed " + std::string(when) + " it", wait_for([&] { return request.status() == Status::backend; }));
    mock({.completion = Completion::delayed});
  }
}

void threads() {
  mock({.latency_us = 50});
  Pair pair(64 * PAGE);
  std::atomic<int> wrong{0};
  std::vector<std::thread> all;
  for (int t = 0; t < 4; ++t) {
    all.emplace_back([&, t] {
      const auto offset = static_cast<uint64_t>(t) * PAGE;
      const TransferList from(Memory::dram, {pair.local.piece(offset, PAGE)});
      const TransferList to(Memory::dram, {pair.remote.piece(offset, PAGE)});
      for (int i = 0; i < 100; ++i) {
        Request request(pair.one, Operation::write, from, to, "two");
        if (request.run() != Status::ok) wrong += 1;
      }
    });
  }
  all.emplace_back([&] {
    for (int i = 0; i < 200; ++i) {
      if (pair.one.notify("two", std::to_string(i)) != Status::ok) wrong += 1;
    }
  });
  std::vector<std::string> got;
  all.emplace_back([&] {
    wait_for([&] {
      for (auto& message : pair.two.inbox("one")) got.push_back(std::move(message));
      return got.size() >= 200;
    });
  });
  all.emplace_back([&] {
    const Buffer buffer(PAGE, 1);
    for (int i = 0; i < 200; ++i) {
      if (pair.one.enroll(Memory::dram, {buffer.piece()}) != Status::ok) wrong += 1;
      if (pair.one.withdraw(Memory::dram, {buffer.piece()}) != Status::ok) wrong += 1;
    }
  });
  for (auto& thread : all) thread.join();
  row("failures of six threads at one agent", static_cast<long>(wrong), {0});
  bool ordered = got.size() == 200;
  for (size_t i = 0; ordered && i < got.size(); ++i) ordered = got[i] == std::to_string(i);
  row("notifications in their order", ordered);
  row("the bytes of four threads", pair.remote.is(1, 0, 4 * PAGE));
}

void lives(int count) {
  mock({});
  const auto live = [] {
    Pair pair(PAGE);
    pair.request()->run();
  };
  live();
  const size_t files = entries_of("/proc/self/fd");
  const size_t tasks = entries_of("/proc/self/task");
  for (int i = 0; i < count; ++i) live();
  row("descriptors after " + std::to_string(count) + " lives", static_cast<long>(entries_of("/proc/self/fd")),
      {static_cast<long>(files)});
  row("threads after them", wait_for([&] { return entries_of("/proc/self/task") == tasks; }));
}

void loading(const char* stub, const char* old) {
  safe_environment("ERROR");
  row("UCX leaves SIGHUP alone", std::string(std::getenv("UCX_DEBUG_SIGNO")) == "0");
  row("and SIGSEGV", std::string(std::getenv("UCX_HANDLE_ERRORS")) == "none");
  row("the log level is set", std::string(std::getenv("NIXL_LOG_LEVEL")) == "ERROR");
  const auto reason_of = [](const std::string& path) {
    const auto result = load({.path = path});
    return result.backend != nullptr || result.tried.size() != 1 ? std::string() : result.tried[0].reason;
  };
  row("a file that is not there", reason_of("/nonexistent/libnixl_capi.so") == "no such file");
  row("a file that is no library", reason_of("/etc/passwd").find("invalid ELF header") != std::string::npos);
  row("another library", reason_of(OTHER_LIBRARY).find("not NIXL") != std::string::npos);
  row("a stub", reason_of(stub).find("stub") != std::string::npos);
  row("a library that is too old", reason_of(old).find("nixl_capi_create_configured_agent") != std::string::npos);
  const auto result = load({.home = "/nonexistent/home", .site_packages = {"/nonexistent/site-packages"}});
  row("nothing anywhere", result.backend == nullptr && result.tried.size() >= 3);
  row("what was tried, in order", result.tried.size() >= 3 && result.tried[0].path == "/nonexistent/home" &&
                                      result.tried[1].path == "libnixl_capi.so" &&
                                      result.tried[2].path == "/nonexistent/site-packages");
}

}  // namespace

int main(int argc, char** argv) {
  open_backend("mock");
  if (argc == 3 && std::string(argv[1]) == "mock") return serve_as_peer(argv[2]);
  if (argc < 4) return 64;
  completion();
  cancel();
  failures_on_demand();
  notifications();
  gpus();
  processes();
  threads();
  lives(std::atoi(argv[1]));
  loading(argv[2], argv[3]);
  std::printf("%d rows, %d failed\n", rows, failures);
  return failures == 0 ? 0 : 1;
}
