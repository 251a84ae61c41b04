// KV blocks: the table of entries.
#include "functions.h"

namespace dynamo {

static constexpr Function functions[] = {
    {"sequenceCreate", dyn_sequence_create, nullptr},
    {"sequenceExtend", dyn_sequence_extend, nullptr},
    {"sequenceTruncate", dyn_sequence_truncate, nullptr},
    {"sequenceTokens", dyn_sequence_tokens, nullptr},
    {"sequenceHashes", dyn_sequence_hashes, nullptr},
    {"sequenceClone", dyn_sequence_clone, nullptr},
    {"sequenceClose", dyn_sequence_close, nullptr},
    {"registryCreate", dyn_registry_create, nullptr},
    {"registryPresence", dyn_registry_presence, nullptr},
    {"registryFrequency", dyn_registry_frequency, nullptr},
    {"registryCount", dyn_registry_count, nullptr},
    {"registryEvents", dyn_registry_events, nullptr},
    {"blocksCreate", dyn_blocks_create, nullptr},
    {"blocksAttach", dyn_blocks_attach, nullptr},
    {"blocksId", dyn_blocks_id, nullptr},
    {"blocksAvailable", dyn_blocks_available, nullptr},
    {"blocksStatistics", dyn_blocks_statistics, nullptr},
    {"blocksDrain", dyn_blocks_drain, nullptr},
    {"blocksEvents", dyn_blocks_events, nullptr},
    {"blocksAllocate", dyn_blocks_allocate, nullptr},
    {"blocksStage", dyn_blocks_stage, nullptr},
    {"blocksStageAs", dyn_blocks_stage_as, nullptr},
    {"blocksRegister", dyn_blocks_register, nullptr},
    {"blocksCommit", dyn_blocks_commit, nullptr},
    {"blocksUnstage", dyn_blocks_unstage, nullptr},
    {"blocksMatch", dyn_blocks_match, nullptr},
    {"blocksMatchEach", dyn_blocks_match_each, nullptr},
    {"blocksScan", dyn_blocks_scan, nullptr},
    {"blocksClone", dyn_blocks_clone, nullptr},
    {"blocksSplit", dyn_blocks_split, nullptr},
    {"blocksJoin", dyn_blocks_join, nullptr},
    {"blocksWeak", dyn_blocks_weak, nullptr},
    {"blocksUpgrade", dyn_blocks_upgrade, nullptr},
    {"blocksHashes", dyn_blocks_hashes, nullptr},
    {"blocksResetOnRelease", dyn_blocks_reset_on_release, nullptr},
    {"blocksClose", dyn_blocks_close, nullptr},
    {"blocksChecksums", dyn_blocks_checksums, nullptr},
    {"blocksDigest", dyn_blocks_digest, nullptr},
    {"blocksNote", dyn_blocks_note, nullptr},
    {"blocksIdentities", dyn_blocks_identities, nullptr},
    {"blocksCopy", nullptr, dyn_blocks_copy},
    {"blocksRead", nullptr, dyn_blocks_read},
    {"blocksWrite", nullptr, dyn_blocks_write},
};

std::span<const Function> kvbm_functions() { return functions; }

}  // namespace dynamo
