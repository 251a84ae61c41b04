// Converts JavaScript values to and from the values of NIXL's entries. The rules are in values.h.
#pragma once

#include "../nixl/call.h"
#include "setup.h"

namespace dynamo {

// Returns null for null and undefined. Throws a TypeError for a value that is not a handle of NIXL.
nixl::ObjectRef nixl_object_from_js(napi_env env, napi_value value);

// A view of a Uint8Array, valid until JavaScript runs again.
std::span<const uint8_t> nixl_bytes_from_js(napi_env env, napi_value value);

uint64_t nixl_number_from_js(napi_env env, napi_value value);

// Converts the parts that a reply has, as `reply_to_js` does.
napi_value nixl_reply_to_js(napi_env env, nixl::Reply reply);

}  // namespace dynamo
