// A NIXL agent: its thread, its registered memory, its peers and its transfers in flight.
//
// Rules. (1) The library is only called while the executor's lock is locked. (2) Every pointer of the library is
// released before the object that it points into. The order is: transfers, prepared lists, regions, the agent, its
// backends. (3) Memory that the library may still write to is neither deregistered nor freed. A transfer whose caller
// has cancelled is polled to its end. An agent with such a transfer ends after the transfer.
#pragma once

#include <compare>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include "backend.h"
#include "executor.h"
#include "peer.h"
#include "region.h"

namespace dynamo::nixl {

class Transfer;

struct AgentOptions {
  std::string name;
  uint64_t progress_delay_us = 0;
  bool listens = false;
  int listen_port = 0;
  bool telemetry = false;
};

struct AgentBackend {
  std::string name;
  BackendRef ref = nullptr;
  std::vector<Memory> memories;
  std::map<std::string, std::string> params;
};

// Where a registration begins. The library finds registrations by it, so two of them must not overlap: it would release
// one of them twice, or use one that was released already.
struct Place {
  Memory memory = Memory::dram;
  uint64_t device = 0;
  uintptr_t address = 0;
  // clang-tidy takes the zero of a defaulted comparison for a null pointer.
  auto operator<=>(const Place&) const = default;  // NOLINT(modernize-use-nullptr)
};

// One registration of the library. Regions of exactly the same memory share it.
struct Enrolled {
  uintptr_t address = 0;
  size_t bytes = 0;
  std::string meta;
  std::string backend;
  size_t regions = 0;
};

struct SocketAddress {
  std::string host;  // empty for etcd
  uint16_t port = 0;
};

class Agent final : public Object, public std::enable_shared_from_this<Agent> {
 public:
  static constexpr const char* KIND = "NixlAgent";

  static std::shared_ptr<Agent> start(const Backend& library, AgentOptions options, TaskRef created);
  ~Agent() override = default;
  const char* kind() const override { return KIND; }
  void collected() override { begin_close(nullptr); }

  // Any thread. Runs the work on the executor, unless the caller has cancelled before, and settles with its reply.
  void submit(TaskRef operation, std::function<Reply()> work);
  // For work that settles the operation itself. A failure that it throws settles the operation too.
  void submit_later(TaskRef operation, std::function<void(const TaskRef&)> work);
  // As `submit_later`, but also while the agent closes. False if the agent has ended.
  bool submit_always(TaskRef operation, std::function<void()> work);
  void begin_close(TaskRef closed);
  Executor& executor() { return *executor_; }

  // The library must be locked for every function below.

  void check_open() const;
  const Functions& call() const { return library.call; }
  // Throws if the library lacks functions of a feature, and names them. They must not be called.
  void check_feature(std::string_view feature, const std::string& without) const;

  void create_backend(const std::string& name, const std::map<std::string, std::string>& params);
  const AgentBackend& backend_named(const std::string& name) const;
  // Optional arguments with these values. The caller destroys them.
  OptArgsRef options_for(const std::string& backend, const std::string& custom) const;
  // The backend to use if the caller names none: with several backends the library may choose one that does not fit.
  // Empty if there is no choice.
  std::string backend_for(Memory local, Memory remote) const;

  std::vector<ObjectRef> register_regions(std::vector<std::shared_ptr<Storage>> storages, const std::string& backend);
  void release(const RegionRef& region, TaskRef released);
  RegionRef region(uint64_t id) const;
  RegionRef region_holding(Memory memory, uint64_t device, uintptr_t address, size_t bytes) const;

  std::vector<uint8_t> metadata() const;
  std::vector<uint8_t> partial_metadata(const std::vector<RegionRef>& regions, Memory memory) const;
  void connect(const std::vector<uint8_t>& bytes, TaskRef connected);
  void fetch(const std::string& name, const SocketAddress& from, bool accept, TaskRef fetched);
  void send_metadata(const SocketAddress& to, const std::optional<std::vector<RegionRef>>& partial, Memory memory);
  void withdraw_metadata(const SocketAddress& from);
  void disconnect(const PeerRef& peer, TaskRef disconnected);
  void check_peer(const Peer& peer) const;
  PeerRef self();
  // The peer with its name and generation.
  static Reply reply_of(const PeerRef& peer);

  void notify(const Peer& peer, const std::vector<uint8_t>& message);
  void pull_notifications(size_t max_count, TaskRef pulled);

  // Regions and peers in use. `unpin` may complete a release that waits for the last use.
  void pin(const std::vector<RegionRef>& regions, Peer* peer);
  void unpin(const std::vector<RegionRef>& regions, Peer* peer);
  void add_active(std::shared_ptr<Transfer> transfer);
  // Keeps an object until it is released, even if no handle refers to it.
  void keep(const std::shared_ptr<Dependent>& dependent) { kept_.insert(dependent); }
  void drop(const std::shared_ptr<Dependent>& dependent) { kept_.erase(dependent); }
  // Calls `done` each turn until it returns true.
  void wait_for(std::function<bool()> done) { waiting_.push_back(std::move(done)); }

  const Backend& library;
  const AgentOptions options;
  AgentRef ref = nullptr;
  // Descriptor lists that each request fills again: making a list costs as much as filling it.
  TransferListRef local_list(Memory memory) { return list(local_lists_, memory); }
  TransferListRef remote_list(Memory memory) { return list(remote_lists_, memory); }
  std::vector<AgentBackend> backends;

 private:
  Agent(const Backend& library, AgentOptions options) : library(library), options(std::move(options)) {}

  void create();
  Executor::Polled poll();
  bool poll_notifications();
  void tear_down();
  void deliver_notifications();
  TransferListRef list(std::map<Memory, TransferListRef>& lists, Memory memory);
  // Counts one more region of this memory. Returns whether the library must register it: no other region has it.
  // Throws if the memory overlaps another registration.
  bool enroll(const Storage& storage, const std::string& backend);
  // Counts one region less. Returns whether the library must deregister the memory.
  bool leave(const Storage& storage);
  RegistrationListRef registration_list(const std::vector<RegionRef>& regions, Memory memory) const;
  // The library's blob of these regions, or of the connection if there are none.
  std::string part_of_metadata(const std::vector<RegionRef>& regions, Memory memory) const;
  void deregister(const std::vector<RegionRef>& regions, Memory memory);
  void finish_release(const RegionRef& region);
  PeerRef peer_of(const std::string& name);
  void retire(const PeerRef& peer, Failure why);
  void retired(const PeerRef& peer);
  PeerRef load(const std::string& blob, const std::string& expected, const std::string& connection);

  std::shared_ptr<Executor> executor_ = std::make_shared<Executor>();
  std::atomic<bool> closing_{false};
  bool torn_down_ = false;

  // The library must be locked for every member below.
  std::unordered_map<uint64_t, RegionRef> regions_;
  std::map<Place, Enrolled> enrolled_;
  std::map<std::string, PeerRef> peers_;
  std::vector<std::shared_ptr<Transfer>> active_;
  std::set<std::shared_ptr<Dependent>> kept_;
  std::vector<std::function<bool()>> waiting_;
  std::vector<TaskRef> closed_;
  std::map<Memory, TransferListRef> local_lists_;
  std::map<Memory, TransferListRef> remote_lists_;
  NotificationsRef notifications_ = nullptr;
  std::deque<std::pair<std::string, std::vector<uint8_t>>> received_;
  TaskRef pulling_;
  size_t max_pulled_ = 0;
};

}  // namespace dynamo::nixl
