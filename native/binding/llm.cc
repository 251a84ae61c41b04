#include "functions.h"

namespace dynamo {

static constexpr Function functions[] = {
    {"entrypointStart", nullptr, dyn_entrypoint_start},
    {"entrypointReady", nullptr, dyn_entrypoint_ready},
    {"entrypointWait", nullptr, dyn_entrypoint_wait},
    {"entrypointClose", nullptr, dyn_entrypoint_close},
    {"workerStart", nullptr, dyn_worker_start},
    {"workerReady", nullptr, dyn_worker_ready},
    {"workerWait", nullptr, dyn_worker_wait},
    {"workerClose", nullptr, dyn_worker_close},
    {"workerPublishKv", dyn_worker_publish_kv, nullptr},
    {"workerPublishLoad", dyn_worker_publish_load, nullptr},
    {"modelRegister", nullptr, dyn_model_register},
    {"modelUnregister", nullptr, dyn_model_unregister},
    {"modelTaints", nullptr, dyn_model_taints},
    {"modelFetch", nullptr, dyn_model_fetch},
    {"conformanceInbox", dyn_conformance_inbox, nullptr},
    {"conformanceRun", nullptr, dyn_conformance_run},
};

std::span<const Function> llm_functions() { return functions; }

}  // namespace dynamo
