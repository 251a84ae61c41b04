// Moves bytes between the regions of this agent and those of a peer. A plan is cut into pieces. Each piece is a request
// of the library.
#pragma once

#include "agent.h"
#include "blocks.h"

namespace dynamo::nixl {

// One run of bytes: its local and its remote memory.
struct Run {
  uintptr_t local = 0;
  uint64_t local_device = 0;
  uintptr_t remote = 0;
  uint64_t remote_device = 0;
  size_t bytes = 0;
};

struct Plan {
  Operation operation = Operation::write;
  PeerRef peer;
  std::vector<RegionRef> regions;
  std::string backend;
  std::string custom;

  // Either runs ...
  Memory local_memory = Memory::dram;
  Memory remote_memory = Memory::dram;
  std::vector<Run> runs;
  // ... or blocks of two prepared lists.
  std::shared_ptr<BlockList> local_blocks;
  std::shared_ptr<BlockList> remote_blocks;
  std::vector<int> local_indices;
  std::vector<int> remote_indices;
};

class Transfer final : public Dependent, public std::enable_shared_from_this<Transfer> {
 public:
  static constexpr const char* KIND = "TransferRequest";

  // The most bytes of one post. Small transfers, notifications and all other work of the agent wait for a post.
  static constexpr size_t PIECE_BYTES = 8 << 20;

  // `once`: the transfer is released at its end, and its requests are made piece by piece while it runs.
  Transfer(std::shared_ptr<Agent> agent, Plan plan, bool once);
  const char* kind() const override { return KIND; }

  const std::shared_ptr<Agent>& agent() const { return agent_; }
  size_t bytes() const { return bytes_; }

  // The library must be locked for every function below.

  void prepare();
  // Begins a run. The operation may be null; `wait` can set it later. `looks`: if the post does not complete at once,
  // this function looks for its end for a moment, because another thread would notice it later.
  void post(TaskRef operation, std::optional<std::vector<uint8_t>> notification, bool looks = false);
  void wait(TaskRef operation);
  // Posts pieces and polls those in flight. Returns true if something changed.
  bool poll(Clock::time_point until);
  bool is_active() const { return running_ || lingering_; }
  // Fails the operation of the caller. The bytes in flight continue.
  void abandon(const Failure& why);
  // Ends the run with a failure after the pieces in flight.
  void fail(const Failure& why);
  void release();
  void invalidate(const Failure& why) override;

  // Whether a post on the caller's thread is expected to be short.
  bool may_run_inline() const;
  // The duration of the last run in nanoseconds, if it has succeeded.
  std::optional<uint64_t> elapsed() const;
  // The failure of the last run, if it has failed.
  const std::optional<Failure>& failure() const { return failure_; }
  bool running() const { return running_; }
  std::vector<uint8_t> telemetry() const;
  std::vector<uint8_t> estimate();

 private:
  struct Piece {
    size_t first = 0;  // index of the first run or block
    size_t count = 0;
    size_t bytes = 0;
    RequestRef request = nullptr;
    bool active = false;
  };

  void cut_runs();
  void cut_blocks();
  void create(Piece& piece);
  Failure why_not_created(const Piece& piece, Status status) const;
  Failure why_failed(const Piece& piece, const char* call, Status status) const;
  void post_piece(Piece& piece, bool last);
  void destroy(Piece& piece);
  bool abandoned() const { return abandoned_ || (operation_ != nullptr && operation_->settled()); }
  void look();
  void finish();
  void unpin();

  const std::shared_ptr<Agent> agent_;
  Plan plan_;
  bool once_;
  size_t bytes_ = 0;
  std::vector<Piece> pieces_;
  // Owned by the peer. Null if the transfer is too large to be posted on the caller's thread.
  Costs* costs_ = nullptr;
  size_t cost_size_ = 0;
  std::optional<Failure> invalid_;
  bool keeps_notification_ = false;

  // The state of one run.
  bool running_ = false;
  bool abandoned_ = false;
  TaskRef operation_;
  std::optional<std::vector<uint8_t>> notification_;
  size_t next_ = 0;
  size_t active_pieces_ = 0;
  size_t active_bytes_ = 0;
  std::optional<Failure> failure_;
  Clock::time_point started_;
  // The connection existed, and the post did not complete at once.
  bool learns_end_ = false;
  std::optional<uint64_t> elapsed_;
  // After a failure the memory stays for a moment: the library reports the first failure, and other parts of the
  // request may still be in flight.
  bool lingering_ = false;
  Clock::time_point lingers_until_;
};

}  // namespace dynamo::nixl
