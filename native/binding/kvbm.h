// What of KV blocks is no plain entry: views of their memory, and the calls that are made for every batch.
#pragma once

#include "setup.h"

namespace dynamo {

void export_block_views(Napi::Env env, Napi::Object exports);

}  // namespace dynamo
