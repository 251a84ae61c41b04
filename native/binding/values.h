// Conversion of JavaScript values to and from the C ABI.
//
// The conversions to JavaScript never throw. They also run outside of a JavaScript call, where no code would catch the
// error, and in environments that are being terminated, where every creation fails. A value that cannot be created is
// null, and its memory is freed.
#pragma once

#include "setup.h"

namespace dynamo {

// Whether the caller must free the memory after a failed `napi_create_external_buffer` or `_arraybuffer`. After its own
// checks Node calls the finalizer.
inline bool still_ours(napi_status status) { return status != napi_ok && status != napi_generic_failure; }

// A handle as an External that frees it when it is collected. It has a type tag, so any other External is refused.
napi_value handle_to_js(napi_env env, dyn_handle* handle);

// Returns nullptr for null and undefined. Throws a TypeError for a value that is not a handle of this library.
const dyn_handle* handle_from_js(napi_env env, napi_value value);

// The bytes of a Uint8Array, valid until JavaScript runs again. null and undefined have no bytes.
dyn_slice bytes_from_js(napi_env env, napi_value value);

uint64_t number_from_js(napi_env env, napi_value value);

// The value of a reply: undefined, a number, bytes, a handle, or an array of bytes (or undefined) and handles. For a
// failure it is the encoded bytes. It consumes the reply.
napi_value reply_to_js(napi_env env, dyn_reply reply);

// Frees a reply that is not delivered.
void discard(dyn_reply reply);

}  // namespace dynamo
