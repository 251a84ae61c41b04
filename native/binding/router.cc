#include "functions.h"

namespace dynamo {

static constexpr Function functions[] = {
    {"hashBlocks", dyn_hash_blocks, nullptr},
    {"hashSequences", dyn_hash_sequences, nullptr},
    {"radixTreeCreate", dyn_radix_tree_create, nullptr},
    {"radixTreeApply", dyn_radix_tree_apply, nullptr},
    {"radixTreeMatch", dyn_radix_tree_match, nullptr},
    {"radixTreeRemove", dyn_radix_tree_remove, nullptr},
    {"radixTreeDump", dyn_radix_tree_dump, nullptr},
    {"radixTreeState", dyn_radix_tree_state, nullptr},
    {"indexerCreate", dyn_indexer_create, nullptr},
    {"indexerApply", nullptr, dyn_indexer_apply},
    {"indexerMatch", nullptr, dyn_indexer_match},
    {"indexerMatchHere", dyn_indexer_match_here, nullptr},
    {"indexerRouted", nullptr, dyn_indexer_routed},
    {"indexerRemove", nullptr, dyn_indexer_remove},
    {"indexerDump", nullptr, dyn_indexer_dump},
    {"indexerClose", nullptr, dyn_indexer_close},
    {"kvPublisherCreate", nullptr, dyn_kv_publisher_create},
    {"kvPublisherPublish", dyn_kv_publisher_publish, nullptr},
    {"kvPublisherClose", dyn_kv_publisher_close, nullptr},
    {"loadPublisherCreate", nullptr, dyn_load_publisher_create},
    {"loadPublisherPublish", dyn_load_publisher_publish, nullptr},
    {"loadPublisherClose", dyn_load_publisher_close, nullptr},
    {"selectionCreate", nullptr, dyn_selection_create},
    {"selectionPutWorker", nullptr, dyn_selection_put_worker},
    {"selectionRemoveWorker", nullptr, dyn_selection_remove_worker},
    {"selectionApply", nullptr, dyn_selection_apply},
    {"selectionQuery", nullptr, dyn_selection_query},
    {"selectionSelect", nullptr, dyn_selection_select},
    {"selectionOverlap", nullptr, dyn_selection_overlap},
    {"selectionPotentialLoads", nullptr, dyn_selection_potential_loads},
    {"selectionExplain", nullptr, dyn_selection_explain},
    {"selectionClose", nullptr, dyn_selection_close},
    {"kvRouterCreate", nullptr, dyn_kv_router_create},
    {"kvRouterSelect", nullptr, dyn_kv_router_select},
    {"kvRouterOverlap", nullptr, dyn_kv_router_overlap},
    {"kvRouterLoads", nullptr, dyn_kv_router_loads},
    {"kvRouterExplain", nullptr, dyn_kv_router_explain},
    {"kvRouterMark", nullptr, dyn_kv_router_mark},
    {"kvRouterDump", nullptr, dyn_kv_router_dump},
    {"kvRouterClose", dyn_kv_router_close, nullptr},
    {"routerDefaults", dyn_router_defaults, nullptr},
    {"policyCounts", dyn_policy_counts, nullptr},
    {"replayInbox", dyn_replay_inbox, nullptr},
    {"replayRun", nullptr, dyn_replay_run},
};

std::span<const Function> router_functions() { return functions; }

}  // namespace dynamo
