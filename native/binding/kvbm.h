// The functions of KV blocks that are not in the table: views of memory, and the calls that are made for every batch.
#pragma once

#include "setup.h"

namespace dynamo {

void export_block_views(Napi::Env env, Napi::Object exports);

}  // namespace dynamo
