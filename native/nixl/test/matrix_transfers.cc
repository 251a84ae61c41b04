// Requests, transfers and notifications.
#include <memory>

#include "matrix.h"

namespace dynamo::nixl::test {

void create_requests() {
  Agent one("cr-one");
  Agent two("cr-two");
  const Buffer local(8 * PAGE, 1);
  const Buffer remote(8 * PAGE, 2);
  one.enroll(Memory::dram, {local.piece()});
  two.enroll(Memory::dram, {remote.piece(0, PAGE), remote.piece(PAGE, PAGE)});
  one.load(two.metadata());

  const auto create = [&](const std::vector<Piece>& from, const std::vector<Piece>& to, const std::string& peer,
                          Memory memory = Memory::dram) {
    const TransferList left(Memory::dram, from);
    const TransferList right(memory, to);
    return Request(one, Operation::write, left, right, peer).created;
  };
  const Piece l = local.piece(0, PAGE);
  const Piece r = remote.piece(0, PAGE);
  row("create", create({l}, {r}, "cr-two"), {OK});
  row("create for an unknown agent", create({l}, {r}, "unknown"), {BACKEND});
  row("create with empty lists", create({}, {}, "cr-two"), {BACKEND});
  row("create with unequal lengths", create({l}, {remote.piece(0, 100)}, "cr-two"), {BACKEND});
  row("create with unequal counts", create({l, l}, {r}, "cr-two"), {BACKEND});
  row("create outside of the remote region", create({l}, {remote.piece(4 * PAGE, PAGE)}, "cr-two"), {BACKEND});
  row("create across two adjacent regions", create({local.piece(0, 2 * PAGE)}, {remote.piece(0, 2 * PAGE)}, "cr-two"),
      {BACKEND});
  row("create outside of the local region", create({r}, {r}, "cr-two"), {BACKEND});
  row("create with another device", create({l}, {{r.address, r.length, 7}}, "cr-two"), {BACKEND});
  row("create with the wrong memory", create({l}, {r}, "cr-two", Memory::vram), {BACKEND});
  row("create with length 0", create({{l.address, 0}}, {{r.address, 0}}, "cr-two"), {OK});
  row("create to one's own name", create({l}, {local.piece(PAGE, PAGE)}, "cr-one"), {OK});
  row("create with an end beyond 2^64", create({l}, {{r.address, ~uint64_t{0} - 10}}, "cr-two"), {BACKEND});

  two.enroll(Memory::dram, {remote.piece(4 * PAGE, PAGE)});
  row("create for a later region", create({l}, {remote.piece(4 * PAGE, PAGE)}, "cr-two"), {BACKEND});
  one.load(two.metadata());
  row("create for it after a reload", create({l}, {remote.piece(4 * PAGE, PAGE)}, "cr-two"), {OK});

  const TransferList left(Memory::dram, {local.piece(0, PAGE), local.piece(PAGE, PAGE)});
  const TransferList right(Memory::dram, {remote.piece(0, PAGE), remote.piece(PAGE, PAGE)});
  PreparedListRef mine = nullptr;
  PreparedListRef theirs = nullptr;
  row("prepare for an unknown agent", call->prep_xfer_dlist(one.ref, "unknown", right.ref, &theirs, nullptr),
      {NOT_FOUND});
  row("prepare the local side", call->prep_xfer_dlist(one.ref, "", left.ref, &mine, nullptr), {OK});
  row("prepare the remote side", call->prep_xfer_dlist(one.ref, "cr-two", right.ref, &theirs, nullptr), {OK});
  const auto make = [&](PreparedListRef a, const std::vector<int>& ai, PreparedListRef b, const std::vector<int>& bi) {
    RequestRef made = nullptr;
    const Status status = call->make_xfer_req(one.ref, Operation::write, a, ai.data(), ai.size(), b, bi.data(),
                                              bi.size(), &made, nullptr);
    if (made != nullptr) Request(one, made);
    return status;
  };
  row("make", make(mine, {1, 0}, theirs, {0, 1}), {OK});
  row("make with the same block twice", make(mine, {1, 1}, theirs, {0, 1}), {OK});
  row("make with an index too large", make(mine, {0, 2}, theirs, {0, 1}), {INVALID});
  row("make with a negative index", make(mine, {-1}, theirs, {0}), {INVALID});
  row("make with the sides swapped", make(theirs, {0}, mine, {0}), {INVALID});
  row("make with unequal counts", make(mine, {0, 1}, theirs, {0}), {INVALID});
  row("make with nothing", make(mine, {}, theirs, {}), {INVALID});
  call->release_xfer_dlist_handle(one.ref, mine);
  call->release_xfer_dlist_handle(one.ref, theirs);
}

void transfers() {
  Agent one("tr-one", {.telemetry = true});
  Agent two("tr-two");
  Buffer local(1 << 20, 1);
  Buffer remote(1 << 20, 2);
  one.enroll(Memory::dram, {local.piece()});
  two.enroll(Memory::dram, {remote.piece()});
  one.load(two.metadata());
  const auto target = [&] { two.inbox("tr-one"); };

  const TransferList left(Memory::dram, {local.piece()});
  const TransferList right(Memory::dram, {remote.piece()});
  {
    Request write(one, Operation::write, left, right, "tr-two");
    TransferTelemetry telemetry{};
    row("status before the post", write.status(), {BACKEND});
    row("telemetry before the post", call->get_xfer_telemetry(one.ref, write.ref, &telemetry), {BACKEND});
    row("write", write.run(target), {OK});
    row("the bytes of a write", remote.is(1));
    row("telemetry after it", call->get_xfer_telemetry(one.ref, write.ref, &telemetry), {OK});
    row("telemetry's bytes", static_cast<long>(telemetry.total_bytes), {1 << 20});
    row("telemetry's descriptors", static_cast<long>(telemetry.desc_count), {1});
    row("status after it", write.status(), {OK});
    local.fill(3);
    row("post again", write.run(target), {OK});
    row("the bytes of the second", remote.is(3));
    BackendRef used = nullptr;
    row("the backend of a transfer", call->query_xfer_backend(one.ref, write.ref, &used), {OK});
    call->destroy_backend(used);
    int64_t duration = -1;
    int64_t margin = -1;
    CostMethod method;
    row("estimate", call->estimate_xfer_cost(one.ref, write.ref, nullptr, &duration, &margin, &method), {OK});
    row("destroy before release", call->destroy_xfer_req(write.ref), {STATE});
    row("release", call->release_xfer_req(one.ref, write.ref), {OK});
    row("release twice", call->release_xfer_req(one.ref, write.ref), {INVALID});
  }
  remote.fill(4);
  Request read(one, Operation::read, left, right, "tr-two");
  row("read", read.run(target), {OK});
  row("the bytes of a read", local.is(4));

  const TransferList near(Memory::dram, {local.piece(0, PAGE)});
  const TransferList far(Memory::dram, {local.piece(8 * PAGE, PAGE)});
  Request loop(one, Operation::write, near, far, "tr-one");
  local.fill(5);
  row("write to one's own name", loop.run(), {OK});
  row("its bytes", std::memcmp(local.data, local.data + 8 * PAGE, PAGE) == 0);

  Agent silent("tr-silent");
  silent.enroll(Memory::dram, {local.piece()});
  Request unmeasured(silent, Operation::write, near, far, "tr-silent");
  TransferTelemetry telemetry{};
  row("telemetry of an agent without it", call->get_xfer_telemetry(silent.ref, unmeasured.ref, &telemetry),
      {NO_TELEMETRY});

  Agent both("tr-both", {.backends = {"UCX", "POSIX"}});
  both.enroll(Memory::dram, {local.piece()});
  Options named;
  call->opt_args_add_backend(named.ref, both.backends[0]);
  Request inner(both, Operation::write, near, far, "tr-both", named.ref);
  row("create within an agent of two backends, the backend named", inner.created, {OK});
  row("write within it", inner.run(), {OK});

  Request late(one, Operation::write, left, right, "tr-two");
  one.forget("tr-two");
  row("post after invalidate", late.post(), {NOT_FOUND});
}

void notifications() {
  Agent one("no-one");
  Agent two("no-two");
  Buffer local(64 * PAGE, 1);
  Buffer remote(64 * PAGE, 2);
  one.enroll(Memory::dram, {local.piece()});
  two.enroll(Memory::dram, {remote.piece()});
  one.load(two.metadata());
  two.load(one.metadata());
  std::vector<std::string> got;
  const auto collect = [&] {
    const auto more = two.inbox("no-one");
    got.insert(got.end(), more.begin(), more.end());
  };
  const auto arrived = [&](size_t count) {
    return wait_for([&] {
      collect();
      return got.size() >= count;
    });
  };

  row("notify an unknown agent", one.notify("unknown", "x"), {NOT_FOUND});
  row("notify", one.notify("no-two", "first"), {OK});
  row("notify with nothing", one.notify("no-two", ""), {OK});
  row("notify with 200 kB", one.notify("no-two", std::string(200'000, 'n')), {OK});
  row("all arrive", arrived(3));
  row("in their order", got.size() == 3 && got[0] == "first" && got[1].empty() && got[2].size() == 200'000);
  row("notify oneself", one.notify("no-one", "self"), {OK});
  std::vector<std::string> own;
  row("it arrives from one's own name", wait_for([&] {
                                          own = one.inbox("no-one");
                                          return !own.empty();
                                        }) &&
                                            own[0] == "self");

  got.clear();
  const TransferList left(Memory::dram, {local.piece()});
  const TransferList right(Memory::dram, {remote.piece()});
  Options made;
  made.notify("made");
  Request request(one, Operation::write, left, right, "no-two", made.ref);
  row("write with a notification", request.run(collect), {OK});
  row("it arrives", arrived(1) && got[0] == "made");
  row("after the bytes", remote.is(1));
  got.clear();
  Options other;
  other.notify("posted");
  row("post with another", request.run(collect, other.ref), {OK});
  row("that one arrives", arrived(1) && got[0] == "posted");
  got.clear();
  const Options none;
  row("post with options and none", request.run(collect, none.ref), {OK});
  row("a marker after it", one.notify("no-two", "marker"), {OK});
  row("none arrives", arrived(1) && got.size() == 1 && got[0] == "marker");
  got.clear();
  row("post without options", request.run(collect), {OK});
  one.notify("no-two", "marker");
  row("what options took away stays away", arrived(1) && got[0] == "marker");
}

namespace {

// Two agents that have not communicated yet, and a request between them.
struct Fresh {
  Fresh(const Buffer& local, const Buffer& remote)
      : one("ac-one", {.telemetry = true}),
        two("ac-two"),
        left(Memory::dram, {local.piece()}),
        right(Memory::dram, {remote.piece()}) {
    one.enroll(Memory::dram, {local.piece()});
    two.enroll(Memory::dram, {remote.piece()});
    one.load(two.metadata());
    request = std::make_unique<Request>(one, Operation::write, left, right, "ac-two");
  }
  Status end() {
    Status status = Status::in_progress;
    wait_for([&] {
      two.inbox("ac-one");
      status = request->status();
      return status != Status::in_progress;
    });
    return status;
  }
  Agent one;
  Agent two;
  const TransferList left;
  const TransferList right;
  std::unique_ptr<Request> request;
};

}  // namespace

void active_transfers() {
  // Large enough to be seen in flight. The memory outlives the agents: a released transfer continues to use it.
  const Buffer local(32 << 20, 1);
  Buffer remote(32 << 20, 2);
  bool caught = false;
  // The first post is in flight when it returns, because connecting takes a moment. On a busy machine it may have ended
  // a moment later.
  const auto while_active = [&](const std::string& name, const std::function<bool(Fresh&)>& holds) {
    bool held = false;
    for (int i = 0; i < 10 && !held; ++i) {
      remote.fill(2);
      Fresh fresh(local, remote);
      if (fresh.request->post() != Status::in_progress || fresh.request->status() != Status::in_progress) continue;
      caught = true;
      held = holds(fresh);
    }
    if (caught) row(name, held);
  };
  while_active("post while active, which is refused and does no harm", [&](Fresh& fresh) {
    return fresh.request->post() == Status::backend && fresh.end() == Status::ok && remote.is(1);
  });
  if (!caught) {
    std::printf("# %s: transfers complete in the post here\n", NO_ACTIVE);
    return;
  }
  while_active("telemetry while active", [](Fresh& fresh) {
    TransferTelemetry telemetry{};
    return call->get_xfer_telemetry(fresh.one.ref, fresh.request->ref, &telemetry) == Status::in_progress;
  });
  while_active("release while active",
               [](Fresh& fresh) { return call->release_xfer_req(fresh.one.ref, fresh.request->ref) == Status::ok; });
  while_active("status after invalidate, which stays when the peer is loaded again", [](Fresh& fresh) {
    const std::string blob = fresh.two.metadata();
    return fresh.one.forget("ac-two") == Status::ok && fresh.request->status() == Status::not_found &&
           fresh.one.load(blob) == Status::ok && fresh.request->status() == Status::not_found;
  });
  while_active("status when the peer was invalidated and loaded again during a transfer", [](Fresh& fresh) {
    const std::string blob = fresh.two.metadata();
    return fresh.one.forget("ac-two") == Status::ok && fresh.one.load(blob) == Status::ok &&
           fresh.end() == Status::not_found;
  });
}

}  // namespace dynamo::nixl::test
