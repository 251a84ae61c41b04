// The Rust core's part of the module; left out of a build with NIXL alone.
#pragma once

#include "setup.h"

namespace dynamo {

void export_core(Napi::Env env, Napi::Object exports);

// Of an operation or a scope that it does not know, nothing.
void cancel_core(uint64_t op);
void close_core(uint64_t scope);

}  // namespace dynamo
