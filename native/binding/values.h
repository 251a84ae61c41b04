// JavaScript values to and from the C ABI.
//
// What goes to JavaScript never throws: it also runs outside of a JavaScript call, where nobody would catch it, and in
// environments that are being terminated, where every creation fails. What could not be created is null, and freed.
#pragma once

#include "setup.h"

namespace dynamo {

// Whether what a failed `napi_create_external_buffer` or `_arraybuffer` was given is still the caller's to free. Behind
// its own checks Node has called the finalizer by then, or will.
inline bool still_ours(napi_status status) { return status != napi_ok && status != napi_generic_failure; }

// A handle as an External that frees it when collected. Tagged: any other External is refused.
napi_value handle_to_js(napi_env env, dyn_handle* handle);

// null and undefined give nullptr; a value that is no handle of ours throws a TypeError.
const dyn_handle* handle_from_js(napi_env env, napi_value value);

// A view of a Uint8Array, valid until JavaScript runs again; null and undefined give none.
dyn_slice bytes_from_js(napi_env env, napi_value value);

uint64_t number_from_js(napi_env env, napi_value value);

// What a reply carries and nothing more: undefined, a number, bytes, a handle, or an array of bytes (or undefined) and
// handles. A failure gives its encoded bytes. Takes the reply.
napi_value reply_to_js(napi_env env, dyn_reply reply);

// Frees a reply that nobody will see.
void discard(dyn_reply reply);

}  // namespace dynamo
