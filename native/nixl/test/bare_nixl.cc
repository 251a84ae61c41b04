// The mock as a library that has only the functions of the feature `core`.
#include "../mock/objects.h"

using namespace dynamo::nixl;

// An indirect function: a lookup by its name finds the function of the mock.
#define CORE(name, parameters)                                                                     \
  extern "C" {                                                                                     \
  static void* find_##name() { return reinterpret_cast<void*>(&mocked::name); }                    \
  __attribute__((visibility("default"), ifunc("find_" #name))) Status nixl_capi_##name parameters; \
  }
#define EXPORT_core(name, parameters) CORE(name, parameters)
#define EXPORT_preparedLists(name, parameters)
#define EXPORT_partialMetadata(name, parameters)
#define EXPORT_metadataExchange(name, parameters)
#define EXPORT_telemetry(name, parameters)
#define EXPORT_cost(name, parameters)
#define EXPORT_queryMemory(name, parameters)
#define EXPORT_customParam(name, parameters)
#define EXPORT_memView(name, parameters)
#define EXPORT(feature, name, parameters) EXPORT_##feature(name, parameters)

DYNAMO_NIXL_FUNCTIONS(EXPORT)

extern "C" __attribute__((visibility("default"))) bool nixl_capi_is_stub() { return false; }
