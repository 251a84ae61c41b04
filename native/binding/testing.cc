// The functions that only this project's tests and benches call. A published addon has none of them.
#include "functions.h"

namespace dynamo {

#ifdef DYNAMO_TESTING
static constexpr Function functions[] = {
    {"conformanceInbox", dyn_conformance_inbox, nullptr},
    {"conformanceRun", nullptr, dyn_conformance_run},
    {"kvbmBench", dyn_kvbm_bench, nullptr},
};

std::span<const Function> testing_functions() { return functions; }
#else
std::span<const Function> testing_functions() { return {}; }
#endif

}  // namespace dynamo
