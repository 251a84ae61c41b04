#include "decode.h"
#include "entries.h"
#include "transfer.h"

namespace dynamo::nixl {
namespace {

constexpr size_t RUN_FIELDS = 5;
constexpr size_t BLOCK_RUN_FIELDS = 6;

// The most blocks of a list. Each takes some 200 bytes in the library.
constexpr uint64_t MAX_BLOCKS = uint64_t{1} << 22;

// One-shot transfers with more runs than this take too long to make on the caller's thread.
constexpr size_t INLINE_RUNS = 16;

struct Request {
  Operation operation;
  Memory local;
  Memory remote;
  std::string backend;
  std::string custom;
  std::optional<std::vector<uint8_t>> notification;
};

std::optional<std::vector<uint8_t>> notification_of(const Options& args) {
  if (!args.has("notification")) return std::nullopt;
  const std::string text = args.text("notification");
  return std::vector<uint8_t>(text.begin(), text.end());
}

Request request_of(const Call& call) {
  Request request{
      operation_of(call.a & 0xff), memory_of(call.a >> 8 & 0xff), memory_of(call.a >> 16 & 0xff), {}, {}, {}};
  if (call.args.empty()) return request;
  const Options args(call.args);
  request.backend = args.text("backend");
  request.custom = args.text("custom");
  request.notification = notification_of(args);
  return request;
}

void check_within(const Storage& storage, uint64_t offset, uint64_t bytes) {
  if (offset > storage.bytes || bytes > storage.bytes - offset)
    throw Failure::bad_argument("payload: expected bytes within one region");
}

// The library must be locked.
Plan plan_of(const Agent& agent, PeerRef peer, const Request& request, const std::vector<double>& numbers) {
  if (numbers.empty() || numbers.size() % RUN_FIELDS != 0)
    throw Failure::bad_argument("payload: expected five numbers for each run");
  if (peer->agent.lock().get() != &agent) throw Failure::bad_argument("peer: expected one of the same agent");
  Plan plan;
  plan.operation = request.operation;
  plan.peer = std::move(peer);
  plan.backend = request.backend;
  plan.custom = request.custom;
  plan.local_memory = request.local;
  plan.remote_memory = request.remote;
  plan.runs.reserve(numbers.size() / RUN_FIELDS);
  RegionRef local;
  RegionRef remote;
  for (size_t i = 0; i < numbers.size(); i += RUN_FIELDS) {
    const uint64_t offset = whole(numbers[i + 1]);
    const uint64_t bytes = whole(numbers[i + 2]);
    const uint64_t address = whole(numbers[i + 3]);
    const uint64_t device = whole(numbers[i + 4]);
    if (local == nullptr || static_cast<double>(local->id) != numbers[i]) {
      local = agent.region(whole(numbers[i]));
      if (local->storage->memory != request.local)
        throw Failure::bad_argument("payload: expected local regions of one kind of memory");
      plan.regions.push_back(local);
    }
    const Storage& storage = *local->storage;
    check_within(storage, offset, bytes);
    // A transfer within the agent pins the regions of both ends.
    const auto holds = [&](const RegionRef& region) {
      return region != nullptr && address >= region->storage->address && bytes <= region->storage->bytes &&
             device == region->storage->device && address - region->storage->address <= region->storage->bytes - bytes;
    };
    if (plan.peer->is_self && !holds(remote)) {
      remote = agent.region_holding(request.remote, device, address, bytes);
      if (remote == nullptr) {
        throw Failure{"InvalidRequest", "nixl.range",
                      "the " + std::to_string(bytes) + " bytes at address " + std::to_string(address) +
                          " are not in one region of this agent"};
      }
      plan.regions.push_back(remote);
    }
    plan.runs.push_back({storage.address + offset, storage.device, address, device, bytes});
  }
  return plan;
}

Plan blocks_plan_of(const std::shared_ptr<BlockList>& local, const std::shared_ptr<BlockList>& remote,
                    const Request& request, std::vector<int> indices) {
  local->check();
  remote->check();
  if (local->agent != remote->agent) throw Failure::bad_argument("blocks: expected lists of one agent");
  const size_t count = indices.size() / 2;
  Plan plan;
  plan.operation = request.operation;
  plan.peer = remote->peer == nullptr ? local->agent->self() : remote->peer;
  plan.regions = local->regions;
  plan.backend = request.backend;
  plan.custom = request.custom;
  plan.local_memory = local->memory;
  plan.remote_memory = remote->memory;
  plan.local_blocks = local;
  plan.remote_blocks = remote;
  plan.local_indices.assign(indices.begin(), indices.begin() + static_cast<std::ptrdiff_t>(count));
  plan.remote_indices.assign(indices.begin() + static_cast<std::ptrdiff_t>(count), indices.end());
  plan.regions.insert(plan.regions.end(), remote->regions.begin(), remote->regions.end());
  for (size_t i = 0; i < count; i++) {
    const int here = plan.local_indices[i];
    const int there = plan.remote_indices[i];
    const auto outside = [](int index, const BlockList& list) {
      return index < 0 || static_cast<size_t>(index) >= list.bytes.size();
    };
    if (outside(here, *local))
      throw Failure::bad_argument("localIndices[" + std::to_string(i) + "]: expected an index below " +
                                  std::to_string(local->bytes.size()) + ", got " + std::to_string(here));
    if (outside(there, *remote))
      throw Failure::bad_argument("remoteIndices[" + std::to_string(i) + "]: expected an index below " +
                                  std::to_string(remote->bytes.size()) + ", got " + std::to_string(there));
    if (local->bytes[static_cast<size_t>(here)] != remote->bytes[static_cast<size_t>(there)]) {
      throw Failure::bad_argument("block " + std::to_string(i) + ": expected the same size on both sides, got " +
                                  std::to_string(local->bytes[static_cast<size_t>(here)]) + " and " +
                                  std::to_string(remote->bytes[static_cast<size_t>(there)]) + " bytes");
    }
  }
  return plan;
}

// The library must be locked. Adds the regions of the runs.
std::vector<BlockList::Run> block_runs_of(const Agent& agent, Memory memory, const std::vector<double>& numbers,
                                          std::vector<RegionRef>& regions) {
  if (numbers.empty() || numbers.size() % BLOCK_RUN_FIELDS != 0)
    throw Failure::bad_argument("payload: expected six numbers for each run");
  std::vector<BlockList::Run> runs;
  uint64_t blocks = 0;
  for (size_t i = 0; i < numbers.size(); i += BLOCK_RUN_FIELDS) {
    const uint64_t begin = whole(numbers[i + 1]);
    const uint64_t bytes = whole(numbers[i + 2]);
    const uint64_t stride = whole(numbers[i + 3]);
    const uint64_t count = whole(numbers[i + 4]);
    if (bytes > UINT32_MAX) throw Failure::bad_argument("blocks: expected blocks below 4 GiB");
    if (count == 0 || count > MAX_BLOCKS - blocks)
      throw Failure::bad_argument("blocks: expected from 1 to " + std::to_string(MAX_BLOCKS) + " blocks");
    if (stride < bytes) throw Failure::bad_argument("blocks: expected a stride of at least the bytes of a block");
    if (stride > 0 && count - 1 > (whole(MAX_WHOLE) - bytes) / stride)
      throw Failure::bad_argument("blocks: expected blocks below 2^53");
    blocks += count;
    const uint64_t device = whole(numbers[i + 5]);
    if (numbers[i] == 0) {
      runs.push_back({begin, device, bytes, stride, count});
      continue;
    }
    if (regions.empty() || static_cast<double>(regions.back()->id) != numbers[i]) {
      regions.push_back(agent.region(whole(numbers[i])));
      if (regions.back()->storage->memory != memory)
        throw Failure::bad_argument("blocks: expected regions of one kind of memory");
    }
    const Storage& storage = *regions.back()->storage;
    check_within(storage, begin, (count - 1) * stride + bytes);
    runs.push_back({storage.address + begin, storage.device, bytes, stride, count});
  }
  return runs;
}

std::shared_ptr<Transfer> prepared(const std::shared_ptr<Agent>& agent, Plan plan) {
  auto transfer = std::make_shared<Transfer>(agent, std::move(plan), false);
  try {
    transfer->prepare();
  } catch (const Failure&) {
    transfer->release();
    throw;
  }
  return transfer;
}

Reply bytes_and(const std::shared_ptr<Transfer>& transfer) {
  Packer packer;
  packer.map(1).text("bytes").integer(static_cast<int64_t>(transfer->bytes()));
  Reply reply = Reply::of_bytes(packer.take());
  reply.objects.push_back(transfer);
  return reply;
}

// If the caller has cancelled, the prepared transfer is released again.
void settle_prepared(const std::shared_ptr<Transfer>& transfer, const TaskRef& operation) {
  if (!operation->settle(bytes_and(transfer))) transfer->release();
}

// The state of a run after its post on this thread has returned.
Reply reply_of(const std::shared_ptr<Transfer>& transfer, uint64_t when_active) {
  if (const auto elapsed = transfer->elapsed(); !transfer->running() && elapsed.has_value())
    return Reply::of_number(*elapsed);
  if (const auto& failure = transfer->failure(); !transfer->running() && failure.has_value())
    return Reply::of_failure(*failure);
  transfer->agent()->executor().wake();
  return when_active == Reply::NO_NUMBER ? Reply::of_object(transfer) : Reply{};
}

template <typename Body>
Reply guarded_reply(Body body) {
  try {
    return body();
  } catch (const Failure& failure) {
    return Reply::of_failure(failure);
  } catch (const std::exception& error) {
    return Reply::of_failure(Failure::of_exception(error));
  }
}

}  // namespace

Reply transfer_run(const Call& call) {
  return guarded_reply([&] {
    const auto agent = object_as<Agent>(call.handle);
    const auto peer = object_as<Peer>(call.other);
    const auto numbers = numbers_of<double>(call.payload);
    if (numbers.size() > INLINE_RUNS * RUN_FIELDS) return Reply{};
    Reply reply;
    agent->executor().try_inline([&] {
      reply = guarded_reply([&] {
        agent->check_open();
        if (!peer->warm) return Reply{};
        const Request request = request_of(call);
        const auto transfer = std::make_shared<Transfer>(agent, plan_of(*agent, peer, request, numbers), true);
        if (!transfer->may_run_inline()) return Reply{};
        transfer->post(nullptr, request.notification, call.b != 0);
        return reply_of(transfer, Reply::NO_NUMBER);
      });
    });
    return reply;
  });
}

void transfer_start(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = object_as<Agent>(call.handle);
    const auto peer = object_as<Peer>(call.other);
    agent->submit_later(operation, [agent, peer, request = request_of(call),
                                    numbers = numbers_of<double>(call.payload)](const TaskRef& running) {
      std::make_shared<Transfer>(agent, plan_of(*agent, peer, request, numbers), true)
          ->post(running, request.notification);
    });
  });
}

void transfer_prepare(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = object_as<Agent>(call.handle);
    const auto peer = object_as<Peer>(call.other);
    agent->submit_later(operation, [agent, peer, request = request_of(call),
                                    numbers = numbers_of<double>(call.payload)](const TaskRef& running) {
      settle_prepared(prepared(agent, plan_of(*agent, peer, request, numbers)), running);
    });
  });
}

Reply transfer_post_inline(const Call& call) {
  return guarded_reply([&] {
    const auto transfer = object_as<Transfer>(call.handle);
    Reply reply = Reply::of_bytes({});
    transfer->agent()->executor().try_inline([&] {
      reply = guarded_reply([&] {
        transfer->agent()->check_open();
        if (!transfer->may_run_inline()) return Reply::of_bytes({});
        auto notification = call.args.empty() ? std::nullopt : notification_of(Options(call.args));
        transfer->post(nullptr, std::move(notification), call.b != 0);
        return reply_of(transfer, 0);
      });
    });
    return reply;
  });
}

void transfer_post(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto transfer = object_as<Transfer>(call.handle);
    transfer->agent()->submit_later(operation, [transfer, notification = notification_of(Options(call.args))](
                                                   const TaskRef& running) { transfer->post(running, notification); });
  });
}

void transfer_wait(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto transfer = object_as<Transfer>(call.handle);
    transfer->agent()->submit_later(operation, [transfer](const TaskRef& running) { transfer->wait(running); });
  });
}

void transfer_release(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto transfer = object_as<Transfer>(call.handle);
    const bool posted = transfer->agent()->submit_always(operation, [transfer, operation] {
      transfer->abandon({"Cancelled", "nixl.aborted", "the transfer was released"});
      transfer->release();
      operation->settle({});
    });
    if (!posted) operation->settle({});
  });
}

void transfer_telemetry(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto transfer = object_as<Transfer>(call.handle);
    transfer->agent()->submit(operation, [transfer] { return Reply::of_bytes(transfer->telemetry()); });
  });
}

void transfer_estimate(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto transfer = object_as<Transfer>(call.handle);
    transfer->agent()->submit(operation, [transfer] { return Reply::of_bytes(transfer->estimate()); });
  });
}

void blocks_prepare(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto agent = object_as<Agent>(call.handle);
    const auto peer = call.other == nullptr ? nullptr : object_as<Peer>(call.other);
    const Options args(call.args);
    agent->submit_later(operation, [agent, peer, memory = memory_of(call.a), backend = args.text("backend"),
                                    numbers = numbers_of<double>(call.payload)](const TaskRef& running) {
      std::vector<RegionRef> regions;
      const auto runs = block_runs_of(*agent, memory, numbers, regions);
      const auto list = BlockList::prepare(agent, peer, std::move(regions), memory, runs, backend);
      if (!running->settle(Reply::of_object(list))) list->release();
    });
  });
}

void blocks_release(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto list = object_as<BlockList>(call.handle);
    const bool posted = list->agent->submit_always(operation, [list, operation] {
      list->release();
      list->agent->drop(list);
      operation->settle({});
    });
    if (!posted) operation->settle({});
  });
}

void blocks_start(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto local = object_as<BlockList>(call.handle);
    const auto remote = object_as<BlockList>(call.other);
    local->agent->submit_later(operation, [local, remote, request = request_of(call),
                                           indices = numbers_of<int>(call.payload)](const TaskRef& running) {
      std::make_shared<Transfer>(local->agent, blocks_plan_of(local, remote, request, indices), true)
          ->post(running, request.notification);
    });
  });
}

void blocks_transfer(const Call& call, TaskRef operation) {
  guarded(operation, [&] {
    const auto local = object_as<BlockList>(call.handle);
    const auto remote = object_as<BlockList>(call.other);
    local->agent->submit_later(operation, [local, remote, request = request_of(call),
                                           indices = numbers_of<int>(call.payload)](const TaskRef& running) {
      settle_prepared(prepared(local->agent, blocks_plan_of(local, remote, request, indices)), running);
    });
  });
}

}  // namespace dynamo::nixl
