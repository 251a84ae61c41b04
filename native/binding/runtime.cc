#include "functions.h"

namespace dynamo {

static constexpr Function functions[] = {
    {"runtimeCreate", nullptr, dyn_runtime_create},
    {"runtimeClose", nullptr, dyn_runtime_close},
    {"runtimeEnding", nullptr, dyn_runtime_ending},
    {"runtimeInstances", nullptr, dyn_runtime_instances},
    {"runtimeEndpoint", dyn_runtime_endpoint, nullptr},
    {"runtimePublisher", nullptr, dyn_runtime_publisher},
    {"runtimeSubscribe", nullptr, dyn_runtime_subscribe},
    {"runtimeMetric", dyn_runtime_metric, nullptr},
    {"runtimeMetrics", dyn_runtime_metrics, nullptr},
    {"runtimeMetricsText", dyn_runtime_metrics_text, nullptr},
    {"runtimeSetHealth", dyn_runtime_set_health, nullptr},
    {"runtimeEngineRoute", dyn_runtime_engine_route, nullptr},
    {"metricChange", dyn_metric_change, nullptr},
    {"metricsTextSet", dyn_metrics_text_set, nullptr},
    {"publisherPublish", nullptr, dyn_publisher_publish},
    {"publisherClose", dyn_publisher_close, nullptr},
    {"endpointServe", nullptr, dyn_endpoint_serve},
    {"endpointRegister", nullptr, dyn_endpoint_register},
    {"endpointWatch", dyn_endpoint_watch, nullptr},
    {"endpointClient", nullptr, dyn_endpoint_client},
    {"servedClose", nullptr, dyn_served_close},
    {"clientOpen", dyn_client_open, nullptr},
    {"clientUnary", nullptr, dyn_client_unary},
    {"clientOpenBidirectional", dyn_client_open_bidirectional, nullptr},
    {"clientInstances", dyn_client_instances, nullptr},
    {"clientWait", nullptr, dyn_client_wait},
    {"clientClose", dyn_client_close, nullptr},
};

std::span<const Function> runtime_functions() { return functions; }

}  // namespace dynamo
