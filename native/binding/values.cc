#include "values.h"

#include <cmath>

#include "shared_bytes.h"

namespace dynamo {

namespace {

constexpr napi_type_tag handle_tag = {0x64796e616d6f2d6eULL, 0x6f64652068616e64ULL};

// From this size on a buffer is passed without a copy. For smaller buffers the copy costs less than an external buffer.
constexpr size_t external_bytes = size_t{16} * 1024;

napi_value bytes_to_js(napi_env env, dyn_bytes bytes) {
  napi_value value = nullptr;
  if (bytes.len >= external_bytes && shared_buffer(env, bytes, &value)) return value;
  void* copied = nullptr;
  napi_create_buffer_copy(env, bytes.len, bytes.data, &copied, &value);
  dyn_bytes_free(bytes);
  return value;
}

bool is_nothing(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_undefined || type == napi_null;
}

}  // namespace

napi_value handle_to_js(napi_env env, dyn_handle* handle) {
  napi_value value = nullptr;
  auto finalize = [](napi_env, void* data, void*) { dyn_handle_free(static_cast<dyn_handle*>(data)); };
  if (napi_create_external(env, handle, finalize, nullptr, &value) != napi_ok) {
    dyn_handle_free(handle);
    return nullptr;
  }
  napi_type_tag_object(env, value, &handle_tag);
  return value;
}

const dyn_handle* handle_from_js(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  if (type == napi_undefined || type == napi_null) return nullptr;
  bool ours = false;
  if (type == napi_external) napi_check_object_type_tag(env, value, &handle_tag, &ours);
  if (!ours) throw Napi::TypeError::New(env, "handle: expected a native handle of dynamo-node");
  void* data = nullptr;
  napi_get_value_external(env, value, &data);
  return static_cast<const dyn_handle*>(data);
}

dyn_slice bytes_from_js(napi_env env, napi_value value) {
  if (is_nothing(env, value)) return {nullptr, 0};
  bool is_typed_array = false;
  napi_is_typedarray(env, value, &is_typed_array);
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (is_typed_array) napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr);
  // Arrays of words are accepted as little-endian bytes, because a Uint8Array over them would cost more than a small
  // call.
  const size_t size = type == napi_uint8_array       ? 1
                      : type == napi_uint32_array    ? 4
                      : type == napi_biguint64_array ? 8
                                                     : 0;
  if (!is_typed_array || size == 0) throw Napi::TypeError::New(env, "bytes: expected a Uint8Array");
  return {static_cast<const uint8_t*>(data), length * size};
}

uint64_t number_from_js(napi_env env, napi_value value) {
  if (is_nothing(env, value)) return 0;
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0) || number > 9007199254740992.0) {
    throw Napi::TypeError::New(env, "number: expected an integer from 0 to 2^53");
  }
  return static_cast<uint64_t>(number);
}

napi_value reply_to_js(napi_env env, dyn_reply reply) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  const bool has_bytes = reply.bytes.data != nullptr;
  if (reply.number != DYN_NO_NUMBER) {
    napi_create_double(env, static_cast<double>(reply.number), &value);
    return value;
  }
  if (has_bytes) value = bytes_to_js(env, reply.bytes);
  if (reply.handle_count == 0) return value;
  if (reply.handle_count == 1 && !has_bytes) {
    value = handle_to_js(env, reply.handles[0]);
  } else {
    napi_value list = nullptr;
    napi_create_array_with_length(env, reply.handle_count + 1, &list);
    napi_set_element(env, list, 0, value);
    for (size_t i = 0; i < reply.handle_count; i++) {
      napi_set_element(env, list, static_cast<uint32_t>(i + 1), handle_to_js(env, reply.handles[i]));
    }
    value = list;
  }
  dyn_handles_free(reply.handles, reply.handle_count);
  return value;
}

void discard(dyn_reply reply) {
  dyn_bytes_free(reply.bytes);
  for (size_t i = 0; i < reply.handle_count; i++) dyn_handle_free(reply.handles[i]);
  dyn_handles_free(reply.handles, reply.handle_count);
}

}  // namespace dynamo
