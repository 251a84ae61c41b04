// Regions, files, device memory, and blocks that are moved by index.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "agent_side.h"

namespace dynamo::nixl::test {
namespace {

constexpr size_t BLOCK = 4096;
constexpr size_t BLOCKS = BYTES / BLOCK;
constexpr uint64_t DRAM = 0;
constexpr uint64_t VRAM = 1;
constexpr uint64_t FILE_MEMORY = 4;

// All blocks of a region as one run. With `id` 0, blocks of a peer by address.
std::vector<uint8_t> blocks_of(double id, uint64_t begin, size_t block = BLOCK) {
  const auto bytes = static_cast<double>(block);
  return payload_of<double>({id, static_cast<double>(begin), bytes, bytes, static_cast<double>(BYTES / block), 0});
}

Reply blocks_of(const Side& side, size_t block = BLOCK) {
  return run(blocks_prepare, {.handle = side.agent, .payload = blocks_of(side.region.id, 0, block), .a = DRAM});
}

Reply blocks_of(const Side& side, const ObjectRef& peer, const Side& other) {
  return run(blocks_prepare,
             {.handle = side.agent, .other = peer, .payload = blocks_of(0, other.region.address), .a = DRAM});
}

std::vector<uint8_t> indices(std::vector<int> local, const std::vector<int>& remote) {
  local.insert(local.end(), remote.begin(), remote.end());
  return payload_of(local);
}

// Each block has a different value, in its place or in reverse order.
std::vector<uint8_t> numbered(bool turned) {
  std::vector<uint8_t> bytes(BYTES);
  for (size_t i = 0; i < BYTES; ++i) bytes[i] = static_cast<uint8_t>(turned ? BLOCKS - 1 - i / BLOCK : i / BLOCK);
  return bytes;
}

}  // namespace

void block_lists() {
  const Side one("blocks-one");
  const Side two("blocks-two");
  const ObjectRef peer = one.meet(two);
  const Reply prepared = blocks_of(one);
  succeeds("blocks of one's own", prepared);
  const Reply listed = blocks_of(one, peer, two);
  succeeds("blocks of a peer", listed);
  const ObjectRef local = prepared.objects.at(0);
  const ObjectRef remote = listed.objects.at(0);

  std::vector<int> all(BLOCKS);
  for (size_t i = 0; i < BLOCKS; ++i) all[i] = static_cast<int>(i);
  const std::vector<int> turned(all.rbegin(), all.rend());
  run(region_write, {.handle = one.region.handle, .payload = numbered(false)});
  const Reply moved =
      run(blocks_start,
          {.handle = local, .other = remote, .args = note("blocks"), .payload = indices(all, turned), .a = WRITE});
  row("blocks are moved", !moved.failed && moved.number != Reply::NO_NUMBER);
  row("each to its place", run(region_read, {.handle = two.region.handle, .b = BYTES}).bytes == numbered(true));
  row("their notification", two.receives("blocks"));

  const Reply made =
      run(blocks_transfer, {.handle = local, .other = remote, .payload = indices({0, 1}, {2, 3}), .a = READ});
  row("a transfer of blocks knows its bytes", number_in(made, "bytes"), {2 * BLOCK});
  succeeds("it is posted", run(transfer_post, {.handle = made.objects.at(0)}));
  const Reply first = run(region_read, {.handle = one.region.handle, .b = 2 * BLOCK});
  row("its bytes", first.bytes->front() == BLOCKS - 1 - 2 && first.bytes->back() == BLOCKS - 1 - 3);

  const auto start = [&](const ObjectRef& from, const ObjectRef& to, const std::vector<uint8_t>& payload) {
    return run(blocks_start, {.handle = from, .other = to, .payload = payload, .a = READ});
  };
  fails("a local index too large", start(local, remote, indices({static_cast<int>(BLOCKS)}, {0})),
        "localIndices[0]: expected an index below 64, got 64");
  fails("a negative index of the peer's", start(local, remote, indices({0, 1}, {0, -1})), "remoteIndices[1]");
  fails("blocks of two sizes", start(blocks_of(one, 2 * BLOCK).objects.at(0), remote, indices({0}, {0})),
        "expected the same size on both sides");
  fails("lists of two agents", start(local, blocks_of(two).objects.at(0), indices({0}, {0})),
        "expected lists of one agent");
  fails("half an index", start(local, remote, {1, 2, 3}), "payload");
  fails("no list", run(blocks_start, {.handle = one.agent, .other = remote, .payload = indices({0}, {0})}),
        "expected BlockList, got NixlAgent");
  const auto prepare = [&](const ObjectRef& of, const std::vector<double>& numbers, uint64_t memory = DRAM) {
    return run(blocks_prepare, {.handle = one.agent, .other = of, .payload = payload_of(numbers), .a = memory});
  };
  const auto address = static_cast<double>(two.region.address);
  fails("blocks of nothing", prepare(nullptr, {}), "expected six numbers for each run");
  fails("a block beyond its region", prepare(nullptr, {one.region.id, BYTES - 1, 2, 2, 1, 0}),
        "expected bytes within one region");
  fails("a last block beyond its region", prepare(nullptr, {one.region.id, 0, BLOCK, BLOCK + 1, BLOCKS, 0}),
        "expected bytes within one region");
  fails("a block of no region", prepare(nullptr, {1e15, 0, 1, 1, 1, 0}), "nixl.region_released");
  fails("a block of 4 GiB", prepare(nullptr, {one.region.id, 0, 4294967296.0, 4294967296.0, 1, 0}),
        "expected blocks below 4 GiB");
  fails("a run of no block", prepare(nullptr, {one.region.id, 0, 1, 1, 0, 0}), "expected from 1 to 4194304 blocks");
  fails("runs of too many blocks", prepare(peer, {0, address, 1, 1, 4194304, 0, 0, address, 1, 1, 1, 0}),
        "expected from 1 to 4194304 blocks");
  fails("blocks that overlap", prepare(nullptr, {one.region.id, 0, 2, 1, 2, 0}),
        "expected a stride of at least the bytes of a block");
  fails("blocks beyond every address", prepare(peer, {0, address, 1, 9007199254740992.0, 4194304, 0}),
        "expected blocks below 2^53");
  fails("a block of another kind of memory", prepare(nullptr, {one.region.id, 0, 1, 1, 1, 0}, VRAM),
        "expected regions of one kind of memory");
  fails("a block beyond the peer's region", prepare(peer, {0, address + BYTES - 1, 2, 2, 1, 0}), "nixl.range");
  constexpr double HALF = BLOCK / 2;
  const ObjectRef slices = prepare(nullptr, {one.region.id, HALF, HALF, BLOCK, BLOCKS, 0}).objects.at(0);
  const ObjectRef dense = prepare(peer, {0, address, HALF, HALF, BLOCKS, 0}).objects.at(0);
  std::vector<uint8_t> source(BYTES);
  for (size_t i = 0; i < BYTES; ++i) source[i] = static_cast<uint8_t>(i % BLOCK < BLOCK / 2 ? 255 : i / BLOCK);
  run(region_write, {.handle = one.region.handle, .payload = source});
  succeeds("the second half of each block is moved",
           run(blocks_start, {.handle = slices, .other = dense, .payload = indices(all, all), .a = WRITE}));
  std::erase(source, uint8_t{255});
  row("and they lie side by side", run(region_read, {.handle = two.region.handle, .b = BYTES / 2}).bytes == source);

  const ObjectRef spare = blocks_of(one).objects.at(0);
  succeeds("a list is released", run(blocks_release, {.handle = spare}));
  succeeds("twice", run(blocks_release, {.handle = spare}));
  fails("and is of no use", start(spare, remote, indices({0}, {0})), "nixl.list_released");
  succeeds("a region under a list is released", run(region_release, {.handle = one.region.handle}));
  fails("the list goes with it", start(local, remote, indices({0}, {0})), "nixl.region_released");
  fails("and the transfer of its blocks", run(transfer_post, {.handle = made.objects.at(0)}), "nixl.region_released");
  succeeds("close", one.close());
  fails("blocks of a closed agent", blocks_of(one), "Closed");
  two.close();
}

void registered_memory() {
  std::vector<unsigned char> memory(3 * BLOCK, 9);
  const Side one("memory-one");
  std::vector<double> numbers;
  for (size_t i = 0; i < 3; ++i) {
    for (const double number :
         {static_cast<double>(address_of(memory.data()) + i * BLOCK), static_cast<double>(BLOCK), 0.0})
      numbers.push_back(number);
  }
  const std::vector<Region> regions =
      regions_in(run(region_register, {.handle = one.agent, .payload = payload_of(numbers), .a = DRAM}));
  row("regions of one list", static_cast<long>(regions.size()), {3});
  row("are where they were",
      regions.at(2).address == address_of(memory.data()) + 2 * BLOCK && regions[0].id != regions[1].id);
  one.fill(5);
  succeeds("bytes are moved to one", one.write(one.self(), one.to(regions[1], 0, BLOCK)));
  const auto holds = [&](size_t block, unsigned char value) {
    return std::all_of(memory.begin() + static_cast<long>(block * BLOCK),
                       memory.begin() + static_cast<long>((block + 1) * BLOCK),
                       [&](unsigned char byte) { return byte == value; });
  };
  row("and to no other", holds(0, 9) && holds(1, 5) && holds(2, 9));

  const auto enroll = [&](const std::vector<double>& some, uint64_t kind) {
    return run(region_register, {.handle = one.agent, .payload = payload_of(some), .a = kind});
  };
  fails("half a region", enroll({4096, 1}, DRAM), "expected address, bytes and device of each region");
  fails("no region", enroll({}, DRAM), "expected address, bytes and device of each region");
  fails("an address that is no number", enroll({-1, 1, 0}, DRAM), "expected integers from 0 to 2^53");
  fails("memory of no kind", enroll({4096, 1, 0}, 9), "memory: expected a number from 0 to 4");
  fails("files without a backend for them", enroll({0, 1, 0}, FILE_MEMORY), "nixl.no_backend");
  fails("device memory without a GPU", enroll({4096, 1, 0}, VRAM), "nixl.no_gpu");
  fails("by a backend that is not there",
        run(region_register,
            {.handle = one.agent, .args = args_of({{"backend", "POSIX"}}), .payload = payload_of(numbers), .a = DRAM}),
        "nixl.no_backend");
  fails("more than a machine has",
        run(region_allocate, {.handle = one.agent, .args = args_of({{"hugePages", true}}), .a = uint64_t{1} << 62}),
        "nixl.memory");

  fails("a write beyond the end",
        run(region_write, {.handle = regions[0].handle, .payload = std::vector<uint8_t>(2), .a = BLOCK - 1}),
        "expected bytes within the region");
  fails("a read beyond it", run(region_read, {.handle = regions[0].handle, .a = 1, .b = BLOCK}),
        "expected bytes within the region");
  fails("a copy of host memory by the driver",
        run(region_copy, {.handle = regions[0].handle, .other = regions[1].handle, .a = BLOCK}),
        "expected memory of one device");
  const auto find = [](const Region& region) { return region_find({.a = static_cast<uint64_t>(region.id)}); };
  row("a region is found", find(regions[0]).objects.at(0) == regions[0].handle);
  fails("a number of none is not", region_find({.a = uint64_t{1} << 60}), "nixl.region_released");
  for (const Region& region : regions)
    row("released, twice", !run(region_release, {.handle = region.handle}).failed &&
                               !run(region_release, {.handle = region.handle}).failed);
  fails("is not found after its release", find(regions[0]), "nixl.region_released");
  fails("nor read", run(region_read, {.handle = regions[0].handle, .b = 1}), "nixl.region_released");
  fails("nor moved to", one.write(one.self(), one.to(regions[1], 0, BLOCK)), "nixl.range");
  one.close();
  succeeds("released once more, behind the close", run(region_release, {.handle = one.region.handle}));
}

void files_and_queries() {
  char folder[] = "/tmp/dynamo-nixl-XXXXXX";
  const std::string path = std::string(mkdtemp(folder)) + "/blocks";
  const Side both("files", {.backends = {"UCX", "POSIX"}});
  const Side ucx("files-ucx");
  const auto open = [&](const Side& side, const std::string& at, bool create) {
    return run(
        region_file,
        {.handle = side.agent, .args = args_of({{"path", at}, {"write", true}, {"create", create}}), .a = BYTES});
  };
  const Region file = regions_in(open(both, path, true)).at(0);
  const ObjectRef self = both.self();
  const auto move = [&](uint64_t operation) {
    return run(transfer_start, {.handle = both.agent,
                                .other = self,
                                .payload = both.to(file),
                                .a = operation | DRAM << 8 | FILE_MEMORY << 16});
  };
  both.fill(6);
  succeeds("a file is written", move(WRITE));
  both.fill(0);
  succeeds("and read", move(READ));
  row("its bytes", both.holds(6));
  fails("a message with it",
        run(transfer_start, {.handle = both.agent,
                             .other = self,
                             .args = note("x"),
                             .payload = both.to(file),
                             .a = WRITE | FILE_MEMORY << 16}),
        "nixl.");
  fails("bytes of a file as memory", run(region_read, {.handle = file.handle, .b = 1}), "expected DRAM or VRAM");
  fails("a file that is not there", open(both, path + "/nothing", false), "nixl.file");
  fails("without a backend for files", open(ucx, path, false), "nixl.no_backend");

  const auto query = [&](const Side& side, const std::string& backend) {
    return run(agent_query, {.handle = side.agent,
                             .args = args_of({{"backend", backend},
                                              {"memory", static_cast<int64_t>(FILE_MEMORY)},
                                              {"metas", std::vector<std::string>{path, path + "/nothing"}}})});
  };
  const Reply answers = query(both, "POSIX");
  row("a query returns the size",
      contains(answers, "size") && contains(answers, std::to_string(BYTES)) && contains(answers, "mtime"));
  row("a query returns nothing for a missing file", answers.bytes->front() == 0x92 && answers.bytes->back() == 0xc0);
  fails("UCX answers none", query(ucx, "UCX"), "query_mem");
  fails("a backend that is not there", query(ucx, "POSIX"), "nixl.no_backend");

  const Reply estimated =
      run(transfer_prepare,
          {.handle = both.agent, .other = self, .payload = both.to(file), .a = WRITE | FILE_MEMORY << 16});
  fails("no estimate of a file", run(transfer_estimate, {.handle = estimated.objects.at(0)}), "estimate_xfer_cost");
  succeeds("the file is released", run(region_release, {.handle = file.handle}));
  fails("with the transfer to it", run(transfer_post, {.handle = estimated.objects.at(0)}), "nixl.region_released");
  both.close();
  ucx.close();
  unlink(path.c_str());
  rmdir(folder);
}

void device_memory() {
  const Side one("device-one", {.fake_gpus = 2});
  const Side two("device-two", {.fake_gpus = 2});
  const std::vector<Region> near{one.allocate(BLOCK, true, 0).at(0), one.allocate(BLOCK, true, 0).at(0)};
  const Region elsewhere = one.allocate(BLOCK, true, 1).at(0);
  const Region other = two.allocate(BLOCK, true, 0).at(0);
  const std::vector<uint8_t> bytes(BLOCK, 3);
  succeeds("device memory is filled", run(region_write, {.handle = near[0].handle, .payload = bytes}));
  const auto copy = [&](const Region& to, uint64_t count) {
    return run(region_copy, {.handle = near[0].handle, .other = to.handle, .a = count});
  };
  const Reply copied = copy(near[1], BLOCK);
  row("and copied by the driver", !copied.failed && copied.number != Reply::NO_NUMBER);
  row("its bytes", run(region_read, {.handle = near[1].handle, .b = BLOCK}).bytes == bytes);
  fails("more than there is", copy(near[1], BLOCK + 1), "expected bytes within the region");
  fails("to another device", copy(elsewhere, BLOCK), "expected memory of one device");
  fails("to host memory", copy(one.region, BLOCK), "expected memory of one device");
  fails("to another agent's", copy(other, BLOCK), "expected a region of the same agent");
  fails("on a device that is not there",
        run(region_allocate, {.handle = one.agent, .args = args_of({{"device", true}}), .a = BLOCK, .b = 2}),
        "nixl.memory");

  const ObjectRef peer = one.meet(two);
  const auto run_of = payload_of<double>({near[0].id, 0, BLOCK, static_cast<double>(other.address), other.device});
  succeeds("device memory is moved to a peer's",
           run(transfer_start,
               {.handle = one.agent, .other = peer, .payload = run_of, .a = WRITE | VRAM << 8 | VRAM << 16}));
  row("its bytes there", run(region_read, {.handle = other.handle, .b = BLOCK}).bytes == bytes);
  one.close();
  two.close();
}

}  // namespace dynamo::nixl::test
