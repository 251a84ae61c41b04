// Two libraries that the loader refuses. With STUB: a stub that only forwards. Without it: a library that lacks
// functions.
#include <stdbool.h>

#ifdef STUB
bool nixl_capi_is_stub(void) { return true; }
#else
bool nixl_capi_is_stub(void) { return false; }
#endif
