// The functions that all areas share: pulled streams, sinks, inboxes, the log.
#include "functions.h"

namespace dynamo {

static constexpr Function functions[] = {
    {"versions", dyn_versions, nullptr},        {"logOpen", dyn_log_open, nullptr},
    {"streamPull", nullptr, dyn_stream_pull},   {"streamCancel", dyn_stream_cancel, nullptr},
    {"sinkWrite", dyn_sink_write, nullptr},     {"sinkEnd", dyn_sink_end, nullptr},
    {"sinkNotify", dyn_sink_notify, nullptr},   {"sinkReady", nullptr, dyn_sink_ready},
    {"inboxAccept", nullptr, dyn_inbox_accept}, {"inboxGrant", dyn_inbox_grant, nullptr},
    {"inboxClose", dyn_inbox_close, nullptr},
};

std::span<const Function> stream_functions() { return functions; }

}  // namespace dynamo
