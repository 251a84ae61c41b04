// Memory of the core that Buffers and strings share. The last of them frees it.
#pragma once

#include "setup.h"

namespace dynamo {

// Passes the memory to a Buffer without a copy. The Buffer is null if it cannot be created. Returns false if this
// runtime allows no external buffers: the memory still belongs to the caller.
bool shared_buffer(napi_env env, dyn_bytes bytes, napi_value* buffer);

void export_shared_bytes(Napi::Env env, Napi::Object exports);

}  // namespace dynamo
