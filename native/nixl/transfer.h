// Moving bytes between this agent's regions and a peer's: a plan, cut into pieces, each a request of the library.
#pragma once

#include "agent.h"
#include "blocks.h"

namespace dynamo::nixl {

// One run of bytes: of a local region, and where it goes to or comes from.
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

  // The most that one post moves: small transfers, notifications and everything else of the agent wait for it.
  static constexpr size_t PIECE_BYTES = 8 << 20;
  // The most that may be posted from a thread that must not wait.
  static constexpr size_t INLINE_BYTES = 64 << 10;

  // `once`: released at its end. Such a one is made while it runs, piece by piece.
  Transfer(std::shared_ptr<Agent> agent, Plan plan, bool once);
  const char* kind() const override { return KIND; }

  const std::shared_ptr<Agent>& agent() const { return agent_; }
  size_t bytes() const { return bytes_; }

  // All below with the library taken.

  void prepare();
  // Begins a run; an operation may be given later, with `wait`.
  void post(TaskRef operation, std::optional<std::vector<uint8_t>> notification);
  void wait(TaskRef operation);
  // Posts what may be posted and asks for what is under way. True when something moved.
  bool poll(Clock::time_point until);
  bool is_active() const { return running_ || lingering_; }
  // The caller is told why, the bytes go on.
  void give_up(const Failure& why);
  void release();
  void invalidate(const Failure& why) override;

  // Whether a post on the caller's thread is sure to be short.
  bool may_run_inline() const;
  // Of the last run, in nanoseconds, where it has ended well.
  std::optional<uint64_t> elapsed() const;
  // The failure of the last run, where it has ended with one.
  const std::optional<Failure>& failure() const { return failure_; }
  bool running() const { return running_; }
  std::vector<uint8_t> telemetry() const;
  std::vector<uint8_t> estimate();

 private:
  struct Piece {
    size_t first = 0;  // of the runs or indices
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
  bool given_up() const { return abandoned_ || (operation_ != nullptr && operation_->settled()); }
  void finish();
  void let_go();

  const std::shared_ptr<Agent> agent_;
  Plan plan_;
  bool once_;
  size_t bytes_ = 0;
  std::vector<Piece> pieces_;
  std::optional<Failure> invalid_;
  bool keeps_notification_ = false;

  // Of one run.
  bool running_ = false;
  bool abandoned_ = false;
  TaskRef operation_;
  std::optional<std::vector<uint8_t>> notification_;
  size_t next_ = 0;
  size_t active_pieces_ = 0;
  size_t active_bytes_ = 0;
  std::optional<Failure> failure_;
  Clock::time_point started_;
  std::optional<uint64_t> elapsed_;
  // A failed run's memory stays for a moment: the library reports the first failure, and parts of the request may not
  // have ended with it.
  bool lingering_ = false;
  Clock::time_point lingers_until_;
};

}  // namespace dynamo::nixl
