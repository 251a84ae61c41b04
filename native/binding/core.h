// The part of the module for the Rust core. A build with NIXL only does not have it.
#pragma once

#include "setup.h"

namespace dynamo {

void export_core(Napi::Env env, Napi::Object exports);

// Both do nothing for an unknown operation or scope.
void cancel_core(uint64_t op);
void close_core(uint64_t scope);

}  // namespace dynamo
