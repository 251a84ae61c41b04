// Two libraries that the loader refuses: with STUB one that says it only forwards, without it one that has too little.
#include <stdbool.h>

#ifdef STUB
bool nixl_capi_is_stub(void) { return true; }
#else
bool nixl_capi_is_stub(void) { return false; }
#endif
