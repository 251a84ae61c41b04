#include "blocks.h"

namespace dynamo::nixl {

std::shared_ptr<BlockList> BlockList::prepare(std::shared_ptr<Agent> agent, PeerRef peer,
                                              std::vector<RegionRef> regions, Memory memory,
                                              const std::vector<Run>& runs, const std::string& backend) {
  agent->check_feature("preparedLists", "has no prepared lists");
  if (peer != nullptr) agent->check_peer(*peer);
  const Functions& call = agent->call();
  TransferListRef list = nullptr;
  call.create_xfer_dlist(memory, &list);
  std::shared_ptr<BlockList> prepared(new BlockList(agent, peer, std::move(regions), memory));
  for (const Run& run : runs) {
    for (size_t i = 0; i < run.count; i++)
      call.xfer_dlist_add_desc(list, run.address + i * run.stride, run.bytes, run.device);
    prepared->bytes.insert(prepared->bytes.end(), run.count, static_cast<uint32_t>(run.bytes));
  }
  const OptArgsRef args = backend.empty() ? nullptr : agent->options_for(backend, {});
  const Status status =
      call.prep_xfer_dlist(agent->ref, peer == nullptr ? "" : peer->name.c_str(), list, &prepared->ref, args);
  if (args != nullptr) call.destroy_opt_args(args);
  call.destroy_xfer_dlist(list);
  if (status != Status::ok) {
    const std::string whose =
        peer == nullptr ? "regions of this agent" : "regions that the metadata of '" + peer->name + "' contains";
    throw Failure{"InvalidRequest",
                  "nixl.range",
                  "the blocks are not all in " + whose,
                  peer == nullptr ? "" : "for a region that was registered later, exchange the metadata again",
                  "prep_xfer_dlist",
                  status};
  }
  for (const auto& region : prepared->regions) region->depend(prepared);
  if (peer != nullptr) peer->depend(prepared);
  agent->keep(prepared);
  return prepared;
}

void BlockList::release() {
  invalidate({"InvalidRequest", "nixl.list_released", "a block list of this transfer was released"});
}

void BlockList::invalidate(const Failure& why) {
  if (invalid.has_value()) return;
  invalid = why;
  if (ref != nullptr) agent->call().release_xfer_dlist_handle(agent->ref, ref);
  ref = nullptr;
}

void BlockList::check() const {
  if (invalid.has_value()) throw *invalid;
}

}  // namespace dynamo::nixl
