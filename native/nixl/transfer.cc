#include "transfer.h"

#include <algorithm>

#include "pack.h"

namespace dynamo::nixl {
namespace {

// The most bytes in flight. It is large enough that an asynchronous transport always has work.
constexpr size_t WINDOW_BYTES = 4 * Transfer::PIECE_BYTES;
constexpr auto LINGER = std::chrono::milliseconds(50);

}  // namespace

Transfer::Transfer(std::shared_ptr<Agent> agent, Plan plan, bool once)
    : agent_(std::move(agent)), plan_(std::move(plan)), once_(once) {
  if (plan_.backend.empty()) plan_.backend = agent_->backend_for(plan_.local_memory, plan_.remote_memory);
  if (plan_.local_blocks != nullptr) {
    cut_blocks();
  } else {
    cut_runs();
  }
  for (const Piece& piece : pieces_) bytes_ += piece.bytes;
  if (pieces_.size() == 1) {
    costs_ = &plan_.peer->costs(plan_.local_memory, plan_.remote_memory, plan_.backend);
    cost_size_ = Costs::size_of(bytes_, pieces_.front().count);
  }
}

void Transfer::cut_runs() {
  const auto is_big = [](const Run& run) { return run.bytes > PIECE_BYTES; };
  if (std::any_of(plan_.runs.begin(), plan_.runs.end(), is_big)) {
    std::vector<Run> cut;
    for (Run run : plan_.runs) {
      for (; is_big(run); run.bytes -= PIECE_BYTES) {
        cut.push_back(run);
        cut.back().bytes = PIECE_BYTES;
        run.local += PIECE_BYTES;
        run.remote += PIECE_BYTES;
      }
      cut.push_back(run);
    }
    plan_.runs = std::move(cut);
  }
  for (size_t i = 0; i < plan_.runs.size(); i++) {
    const size_t bytes = plan_.runs[i].bytes;
    if (pieces_.empty() || pieces_.back().bytes + bytes > PIECE_BYTES) pieces_.push_back({.first = i});
    pieces_.back().count += 1;
    pieces_.back().bytes += bytes;
  }
}

void Transfer::cut_blocks() {
  for (size_t i = 0; i < plan_.local_indices.size(); i++) {
    const size_t bytes = plan_.local_blocks->bytes[static_cast<size_t>(plan_.local_indices[i])];
    if (pieces_.empty() || pieces_.back().bytes + bytes > PIECE_BYTES) pieces_.push_back({.first = i});
    pieces_.back().count += 1;
    pieces_.back().bytes += bytes;
  }
}

void Transfer::prepare() {
  agent_->check_peer(*plan_.peer);
  for (Piece& piece : pieces_) create(piece);
  const auto self = shared_from_this();
  for (const auto& region : plan_.regions) region->depend(self);
  plan_.peer->depend(self);
  agent_->keep(self);
}

void Transfer::create(Piece& piece) {
  const Functions& call = agent_->call();
  const bool has_options = !plan_.backend.empty() || !plan_.custom.empty();
  const OptArgsRef args = has_options ? agent_->options_for(plan_.backend, plan_.custom) : nullptr;
  Status status = Status::ok;
  if (plan_.local_blocks != nullptr) {
    plan_.local_blocks->check();
    plan_.remote_blocks->check();
    status = call.make_xfer_req(agent_->ref, plan_.operation, plan_.local_blocks->ref,
                                plan_.local_indices.data() + piece.first, piece.count, plan_.remote_blocks->ref,
                                plan_.remote_indices.data() + piece.first, piece.count, &piece.request, args);
  } else {
    const TransferListRef local = agent_->local_list(plan_.local_memory);
    const TransferListRef remote = agent_->remote_list(plan_.remote_memory);
    for (size_t i = piece.first; i < piece.first + piece.count; i++) {
      const Run& run = plan_.runs[i];
      call.xfer_dlist_add_desc(local, run.local, run.bytes, run.local_device);
      call.xfer_dlist_add_desc(remote, run.remote, run.bytes, run.remote_device);
    }
    status = call.create_xfer_req(agent_->ref, plan_.operation, local, remote, plan_.peer->name.c_str(), &piece.request,
                                  args);
  }
  if (args != nullptr) call.destroy_opt_args(args);
  if (status != Status::ok) {
    piece.request = nullptr;
    throw why_not_created(piece, status);
  }
}

// The library returns the same status for every reason.
Failure Transfer::why_not_created(const Piece& piece, Status status) const {
  const Functions& call = agent_->call();
  const std::string& name = plan_.peer->name;
  const char* function = plan_.local_blocks != nullptr ? "make_xfer_req" : "create_xfer_req";
  for (size_t i = piece.first; plan_.local_blocks == nullptr && !plan_.peer->is_self && i < piece.first + piece.count;
       i++) {
    const Run& run = plan_.runs[i];
    const TransferListRef remote = agent_->remote_list(plan_.remote_memory);
    call.xfer_dlist_add_desc(remote, run.remote, run.bytes, run.remote_device);
    if (call.check_remote_md(agent_->ref, name.c_str(), remote) == Status::ok) continue;
    return {"InvalidRequest",
            "nixl.range",
            "the " + std::to_string(run.bytes) + " bytes at remote address " + std::to_string(run.remote) +
                " (device " + std::to_string(run.remote_device) + ") are not in one region that the metadata of '" +
                name + "' contains",
            "for a region that was registered later, exchange the metadata again",
            function,
            status};
  }
  return {"InvalidRequest",
          "nixl.no_backend",
          "no backend moves these bytes between '" + agent_->options.name + "' and '" + name + "'",
          "both sides need one backend that accepts both kinds of memory",
          function,
          status};
}

Failure Transfer::why_failed(const Piece& piece, const char* function, Status status) const {
  const std::string& name = plan_.peer->name;
  const auto detail = agent_->library.transfer_detail;
  const bool lost = detail != nullptr && detail(agent_->ref, piece.request) == Detail::remote_disconnect;
  if (lost) {
    return {"Unavailable",
            "nixl.peer_lost",
            "the connection to the peer '" + name + "' is lost",
            "connect to the peer again after its restart",
            function,
            status};
  }
  if (plan_.peer->gone.has_value()) return *plan_.peer->gone;
  return {"Unavailable",
          "nixl.transfer",
          "the transfer with '" + name + "' failed",
          "the peer may have ended or released the memory; see the library's log on stderr",
          function,
          status};
}

// Device memory needs a current context of CUDA, which only the agent's thread has.
bool Transfer::may_run_inline() const {
  return costs_ != nullptr && plan_.peer->warm && plan_.local_memory != Memory::vram &&
         plan_.remote_memory != Memory::vram && costs_->is_post_short(cost_size_);
}

void Transfer::post(TaskRef operation, std::optional<std::vector<uint8_t>> notification, bool looks) {
  if (is_active())
    throw Failure{"Conflict", "nixl.active", "the transfer is in flight",
                  "before it is posted again, wait for it, or after an abort for its end"};
  if (invalid_.has_value()) throw *invalid_;
  agent_->check_peer(*plan_.peer);
  for (const auto& region : plan_.regions) {
    if (!region->releasing.empty())
      throw Failure{"InvalidRequest", "nixl.region_released", "a region of this transfer was released"};
  }
  operation_ = std::move(operation);
  notification_ = std::move(notification);
  running_ = true;
  abandoned_ = false;
  next_ = 0;
  active_pieces_ = 0;
  active_bytes_ = 0;
  failure_.reset();
  elapsed_.reset();
  started_ = Clock::now();
  agent_->pin(plan_.regions, plan_.peer.get());
  // The first post also connects.
  const bool learns = costs_ != nullptr && plan_.peer->warm;
  learns_end_ = false;
  poll(started_);
  if (learns && elapsed_.has_value()) {
    costs_->posted(cost_size_, std::chrono::nanoseconds(*elapsed_));
  } else if (learns && active_pieces_ > 0) {
    costs_->posted(cost_size_, Clock::now() - started_);
    learns_end_ = true;
    if (looks) look();
  }
  if (is_active()) agent_->add_active(shared_from_this());
}

void Transfer::look() {
  const auto until = Clock::now() + costs_->look_for(cost_size_);
  while (running_ && Clock::now() < until) {
    Executor::relax();
    poll(until);
  }
}

void Transfer::wait(TaskRef operation) {
  if (running_) {
    operation_ = std::move(operation);
  } else if (failure_.has_value()) {
    operation->fail(*failure_);
  } else if (elapsed_.has_value()) {
    operation->settle(Reply::of_number(*elapsed_));
  } else {
    throw Failure{"Conflict", "nixl.not_posted", "the transfer was not posted"};
  }
}

bool Transfer::poll(Clock::time_point until) {
  if (!running_) {
    if (lingering_ && Clock::now() >= lingers_until_) unpin();
    return false;
  }
  const Functions& call = agent_->call();
  bool moved = false;
  for (size_t i = 0; active_pieces_ > 0 && i < next_; i++) {
    Piece& piece = pieces_[i];
    if (!piece.active) continue;
    const Status status = call.get_xfer_status(agent_->ref, piece.request);
    if (status == Status::in_progress) continue;
    moved = true;
    piece.active = false;
    active_pieces_ -= 1;
    active_bytes_ -= piece.bytes;
    if (status != Status::ok && !failure_.has_value()) {
      failure_ = why_failed(piece, "get_xfer_status", status);
      lingering_ = true;
    }
    if (once_) destroy(piece);
  }
  while (next_ < pieces_.size() && !failure_.has_value() && !abandoned()) {
    Piece& piece = pieces_[next_];
    const bool last = next_ + 1 == pieces_.size();
    if (active_bytes_ > 0 && active_bytes_ + piece.bytes > WINDOW_BYTES) break;
    // The notification must arrive after all bytes: it is sent with the last piece, after all others.
    if (last && notification_.has_value() && active_pieces_ > 0) break;
    post_piece(piece, last);
    next_ += 1;
    moved = true;
    if (next_ < pieces_.size() && Clock::now() >= until) break;
  }
  const bool ends = next_ == pieces_.size() || failure_.has_value() || abandoned();
  if (ends && active_pieces_ == 0) finish();
  return moved;
}

void Transfer::post_piece(Piece& piece, bool last) {
  const Functions& call = agent_->call();
  OptArgsRef args = nullptr;
  try {
    if (plan_.peer->gone.has_value()) throw *plan_.peer->gone;
    if (piece.request == nullptr) create(piece);
    if (plan_.local_memory == Memory::vram)
      agent_->library.cuda->use(static_cast<int>(plan_.regions.front()->storage->device));
    // The library sends the notification of a request again with its next post, unless the post has options without
    // one.
    if (last && (notification_.has_value() || keeps_notification_)) args = agent_->options_for({}, {});
    if (last && notification_.has_value()) {
      call.opt_args_set_notif_msg(args, notification_->data(), notification_->size());
      call.opt_args_set_has_notif(args, true);
    }
    if (last) keeps_notification_ = notification_.has_value();
    const Status status = call.post_xfer_req(agent_->ref, piece.request, args);
    if (status == Status::in_progress) {
      piece.active = true;
      active_pieces_ += 1;
      active_bytes_ += piece.bytes;
    } else if (status != Status::ok) {
      lingering_ = true;
      throw why_failed(piece, "post_xfer_req", status);
    } else if (once_) {
      destroy(piece);
    }
  } catch (const Failure& failure) {
    failure_ = failure;
  } catch (const std::exception& error) {
    failure_ = Failure::of_exception(error);
  }
  if (args != nullptr) call.destroy_opt_args(args);
}

void Transfer::destroy(Piece& piece) {
  if (piece.request == nullptr) return;
  agent_->call().release_xfer_req(agent_->ref, piece.request);
  agent_->call().destroy_xfer_req(piece.request);
  piece.request = nullptr;
}

void Transfer::finish() {
  const bool done = next_ == pieces_.size() && !failure_.has_value();
  running_ = false;
  if (done) {
    elapsed_ = static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - started_).count());
    plan_.peer->warm = true;
    if (learns_end_) costs_->ended(cost_size_, std::chrono::nanoseconds(*elapsed_));
  } else if (!failure_.has_value()) {
    failure_ = Failure{"Cancelled", "nixl.aborted", "the transfer was cancelled before it ended"};
  }
  if (lingering_) {
    lingers_until_ = Clock::now() + LINGER;
  } else {
    unpin();
  }
  const TaskRef operation = std::exchange(operation_, nullptr);
  if (operation == nullptr) return;
  if (done) {
    operation->settle(Reply::of_number(*elapsed_));
  } else {
    operation->fail(*failure_);
  }
}

// Called when no part of the run is in flight any longer.
void Transfer::unpin() {
  lingering_ = false;
  if (once_) release();
  if (plan_.peer->gone.has_value()) invalidate(*plan_.peer->gone);
  agent_->unpin(plan_.regions, plan_.peer.get());
}

void Transfer::abandon(const Failure& why) {
  abandoned_ = true;
  if (operation_ != nullptr) operation_->fail(why);
}

void Transfer::fail(const Failure& why) {
  if (!failure_.has_value()) failure_ = why;
  lingering_ = true;
  abandon(why);
}

void Transfer::release() {
  once_ = true;
  if (is_active()) return;
  for (Piece& piece : pieces_) destroy(piece);
  if (!invalid_.has_value())
    invalid_ = Failure{"InvalidRequest", "nixl.transfer_released", "the transfer was released"};
  agent_->drop(shared_from_this());
}

void Transfer::invalidate(const Failure& why) {
  if (is_active()) return;
  for (Piece& piece : pieces_) destroy(piece);
  if (!invalid_.has_value()) invalid_ = why;
}

std::optional<uint64_t> Transfer::elapsed() const { return elapsed_; }

std::vector<uint8_t> Transfer::telemetry() const {
  const Functions& call = agent_->call();
  agent_->check_feature("telemetry", "has no telemetry");
  TransferTelemetry sum{UINT64_MAX, 0, 0, 0, 0};
  uint64_t end_us = 0;
  for (const Piece& piece : pieces_) {
    TransferTelemetry one{};
    const Status status =
        piece.request == nullptr ? Status::no_telemetry : call.get_xfer_telemetry(agent_->ref, piece.request, &one);
    if (status != Status::ok) {
      throw Failure{"InvalidRequest",
                    "nixl.no_telemetry",
                    "the transfer has no telemetry",
                    "create the agent with telemetry, and call it after the transfer has completed",
                    "get_xfer_telemetry",
                    status};
    }
    sum.start_time_us = std::min(sum.start_time_us, one.start_time_us);
    sum.post_duration_us += one.post_duration_us;
    end_us = std::max(end_us, one.start_time_us + one.xfer_duration_us);
    sum.total_bytes += one.total_bytes;
    sum.desc_count += one.desc_count;
  }
  // The pieces are in flight at the same time.
  sum.xfer_duration_us = end_us - sum.start_time_us;
  Packer packer;
  packer.map(5);
  packer.text("startUs").integer(static_cast<int64_t>(sum.start_time_us));
  packer.text("postUs").integer(static_cast<int64_t>(sum.post_duration_us));
  packer.text("transferUs").integer(static_cast<int64_t>(sum.xfer_duration_us));
  packer.text("bytes").integer(static_cast<int64_t>(sum.total_bytes));
  packer.text("descriptors").integer(static_cast<int64_t>(sum.desc_count));
  return packer.take();
}

std::vector<uint8_t> Transfer::estimate() {
  const Functions& call = agent_->call();
  agent_->check_feature("cost", "cannot estimate costs");
  if (invalid_.has_value()) throw *invalid_;
  int64_t duration = 0;
  int64_t margin = 0;
  for (const Piece& piece : pieces_) {
    int64_t us = 0;
    int64_t error = 0;
    CostMethod method{};
    const Status status = call.estimate_xfer_cost(agent_->ref, piece.request, nullptr, &us, &error, &method);
    if (status != Status::ok) throw Failure::of_call("estimate_xfer_cost", status, "the backend has no estimate");
    duration += us;
    margin += error;
  }
  Packer packer;
  packer.map(2).text("durationUs").integer(duration).text("marginUs").integer(margin);
  return packer.take();
}

}  // namespace dynamo::nixl
