#include "nixl_values.h"

#include "mailbox.h"
#include "nixl.h"

namespace dynamo {

namespace {

// What a handle of NIXL points to.
struct HandleBox {
  nixl::ObjectRef object;
  std::shared_ptr<NixlHandles> handles;
};

bool is_nothing(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_undefined || type == napi_null;
}

napi_value object_to_js(napi_env env, nixl::ObjectRef object) {
  NixlEnvironment& environment = nixl_of(env);
  if (auto agent = std::dynamic_pointer_cast<nixl::Agent>(object)) environment.opened(agent);
  auto* box = new HandleBox{std::move(object), environment.handles()};
  auto finalize = [](napi_env, void* data, void*) {
    auto* box = static_cast<HandleBox*>(data);
    box->handles->erase(box);
    box->object->collected();
    delete box;
  };
  napi_value value = nullptr;
  if (napi_create_external(env, box, finalize, nullptr, &value) != napi_ok) {
    box->object->collected();
    delete box;
    return nullptr;
  }
  box->handles->insert(box);
  return value;
}

}  // namespace

nixl::ObjectRef nixl_object_from_js(napi_env env, napi_value value) {
  if (is_nothing(env, value)) return nullptr;
  void* data = nullptr;
  // Fails for values that are not externals. Externals of other libraries are not in the set.
  const bool is_ours = napi_get_value_external(env, value, &data) == napi_ok && nixl_of(env).handles()->contains(data);
  if (!is_ours) throw Napi::TypeError::New(env, "handle: expected a handle of NIXL");
  return static_cast<HandleBox*>(data)->object;
}

std::span<const uint8_t> nixl_bytes_from_js(napi_env env, napi_value value) {
  if (is_nothing(env, value)) return {};
  bool is_typed_array = false;
  napi_is_typedarray(env, value, &is_typed_array);
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (is_typed_array) napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr);
  if (!is_typed_array || type != napi_uint8_array) {
    throw Napi::TypeError::New(env, "bytes: expected a Uint8Array");
  }
  return {static_cast<const uint8_t*>(data), length};
}

uint64_t nixl_number_from_js(napi_env env, napi_value value) {
  return is_nothing(env, value) ? 0 : op_from_js(env, value);
}

napi_value nixl_reply_to_js(napi_env env, nixl::Reply reply) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  if (reply.number != nixl::Reply::NO_NUMBER) {
    napi_create_double(env, static_cast<double>(reply.number), &value);
    return value;
  }
  const bool has_bytes = reply.bytes.has_value();
  if (has_bytes) {
    void* copied = nullptr;
    napi_create_buffer_copy(env, reply.bytes->size(), reply.bytes->data(), &copied, &value);
  }
  if (reply.objects.empty()) return value;
  if (reply.objects.size() == 1 && !has_bytes) return object_to_js(env, std::move(reply.objects.front()));
  napi_value list = nullptr;
  napi_create_array_with_length(env, reply.objects.size() + 1, &list);
  napi_set_element(env, list, 0, value);
  uint32_t index = 1;
  for (auto& object : reply.objects) napi_set_element(env, list, index++, object_to_js(env, std::move(object)));
  return list;
}

}  // namespace dynamo
