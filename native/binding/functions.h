// The C ABI as JavaScript sees it: one table an area, one row an entry. A row has the synchronous or the asynchronous
// form, never both. Adding a function is adding a row here and its declaration in lib/addon/native.ts.
#pragma once

#include <span>

#include "dynamo_core.h"

namespace dynamo {

struct Function {
  const char* name;
  dyn_reply (*sync)(const dyn_call*);
  void (*async)(const dyn_call*);
};

std::span<const Function> transport_functions();
std::span<const Function> runtime_functions();
std::span<const Function> llm_functions();
std::span<const Function> kvbm_functions();
std::span<const Function> router_functions();

}  // namespace dynamo
