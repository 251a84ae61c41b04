#include "call.h"

#include "pack.h"

namespace dynamo::nixl {

Reply Reply::of_failure(const Failure& failure) {
  Packer packer;
  const bool known = failure.error_class == "BadArgument" || failure.error_class == "Closed";
  packer.map(known ? 2 : 4);
  packer.text("class").text(failure.error_class);
  packer.text("message").text(failure.message);
  if (!known) {
    packer.text("reason").text(failure.reason);
    packer.text("nixl").map(3);
    packer.text("status").integer(static_cast<int>(failure.status));
    packer.text("call").text(failure.call);
    packer.text("hint").text(failure.hint);
  }
  return {.failed = true, .bytes = packer.take()};
}

Task::~Task() {
  try {
    if (!settled()) fail({"Internal", "nixl.dropped", "the operation was dropped before it ended"});
  } catch (...) {
    // There is no memory to report it.
  }
}

bool Task::settle(Reply reply) {
  if (settled_.exchange(true, std::memory_order_acq_rel)) return false;
  auto done = std::move(done_);
  done(std::move(reply));
  return true;
}

void settle_all(const std::vector<TaskRef>& tasks, const Reply& reply) {
  for (const TaskRef& task : tasks) {
    try {
      task->settle(reply);
    } catch (...) {
      // The others are settled nevertheless.
    }
  }
}

void Task::cancel() { fail({"Cancelled", "nixl.aborted", "the caller cancelled"}); }

}  // namespace dynamo::nixl
