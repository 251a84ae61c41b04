#include "functions.h"

namespace dynamo {

static constexpr Function functions[] = {
    {"entrypointStart", nullptr, dyn_entrypoint_start},
    {"entrypointReady", nullptr, dyn_entrypoint_ready},
    {"entrypointWait", nullptr, dyn_entrypoint_wait},
    {"entrypointClose", nullptr, dyn_entrypoint_close},
    {"processorGenerate", dyn_processor_generate, nullptr},
    {"workerStart", nullptr, dyn_worker_start},
    {"workerReady", nullptr, dyn_worker_ready},
    {"workerWait", nullptr, dyn_worker_wait},
    {"workerClose", nullptr, dyn_worker_close},
    {"workerMetricsText", dyn_worker_metrics_text, nullptr},
    {"workerPublishKv", dyn_worker_publish_kv, nullptr},
    {"workerPublishLoad", dyn_worker_publish_load, nullptr},
    {"modelRegister", nullptr, dyn_model_register},
    {"modelUnregister", nullptr, dyn_model_unregister},
    {"modelTaints", nullptr, dyn_model_taints},
    {"modelFetch", nullptr, dyn_model_fetch},
    {"modelParsers", dyn_model_parsers, nullptr},
    {"endpointCards", dyn_endpoint_cards, nullptr},
    {"clientWaitForData", nullptr, dyn_client_wait_for_data},
    {"firstTokenOpen", nullptr, dyn_first_token_open},
    {"firstTokenNotify", dyn_first_token_notify, nullptr},
    {"firstTokenClose", dyn_first_token_close, nullptr},
    {"forwardPassOpen", nullptr, dyn_forward_pass_open},
    {"forwardPassPublish", dyn_forward_pass_publish, nullptr},
    {"forwardPassClose", dyn_forward_pass_close, nullptr},
    {"forwardPassRelay", nullptr, dyn_forward_pass_relay},
};

std::span<const Function> llm_functions() { return functions; }

}  // namespace dynamo
