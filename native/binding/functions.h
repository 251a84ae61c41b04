// The functions of the C ABI for JavaScript: one table for each area, one row for each entry. A row has either the
// synchronous or the asynchronous form. A new function needs a row here and a declaration in lib/addon/native.
#pragma once

#include <span>

#include "dynamo_core.h"

namespace dynamo {

struct Function {
  const char* name;
  dyn_reply (*sync)(const dyn_call*);
  void (*async)(const dyn_call*);
};

std::span<const Function> stream_functions();
std::span<const Function> runtime_functions();
std::span<const Function> llm_functions();
std::span<const Function> kvbm_functions();
std::span<const Function> router_functions();
// Empty in a published addon.
std::span<const Function> testing_functions();

}  // namespace dynamo
