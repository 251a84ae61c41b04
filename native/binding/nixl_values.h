// JavaScript values to and from NIXL's entries; see values.h for the rules.
#pragma once

#include "../nixl/call.h"
#include "setup.h"

namespace dynamo {

// null and undefined give none; a value that is no handle of NIXL's throws a TypeError.
nixl::ObjectRef nixl_object_from_js(napi_env env, napi_value value);

// A view of a Uint8Array, valid until JavaScript runs again.
std::span<const uint8_t> nixl_bytes_from_js(napi_env env, napi_value value);

uint64_t nixl_number_from_js(napi_env env, napi_value value);

// What a reply carries and nothing more, as `reply_to_js` does.
napi_value nixl_reply_to_js(napi_env env, nixl::Reply reply);

}  // namespace dynamo
