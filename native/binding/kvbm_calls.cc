// What of KV blocks is no plain entry: views of their memory, and the calls that are made for every batch.
#include "kvbm.h"

#include <algorithm>
#include <cstring>

#include "values.h"

namespace dynamo {

namespace {

dyn_call checked_call(const Napi::CallbackInfo& info) {
  dyn_call call = {};
  call.handle = handle_from_js(info.Env(), info[0]);
  bytes_from_js(info.Env(), info[1]);
  bytes_from_js(info.Env(), info[2]);
  call.a = number_from_js(info.Env(), info[3]);
  call.b = number_from_js(info.Env(), info[4]);
  return call;
}

[[noreturn]] void fail(napi_env env, dyn_reply reply) {
  auto error = Napi::Error::New(env, "native call failed");
  error.Set("failure", Napi::Value(env, reply_to_js(env, reply)));
  throw error;
}

// An ArrayBuffer over block `b` of the batch `a`, or over all with `a` 0, with the arguments of every function. It keeps the memory mapped, not the block held: the
// owner of the batch detaches it when the block goes back.
Napi::Value block_view(const Napi::CallbackInfo& info) {
  napi_env env = info.Env();
  const dyn_call call = checked_call(info);
  dyn_reply reply = dyn_blocks_memory(&call);
  if (reply.failed != 0) fail(env, reply);
  uint64_t length = 0;
  std::memcpy(&length, reply.bytes.data, sizeof length);
  dyn_bytes_free(reply.bytes);
  dyn_handle* storage = reply.handles[0];
  dyn_handles_free(reply.handles, reply.handle_count);
  auto release = [](napi_env, void*, void* held) { dyn_handle_free(static_cast<dyn_handle*>(held)); };
  napi_value view = nullptr;
  napi_status status = napi_create_external_arraybuffer(env, reinterpret_cast<void*>(reply.number), length, release,
                                                        storage, &view);
  if (status != napi_ok) {
    dyn_handle_free(storage);
    throw Napi::Error::New(env, "views of blocks need a runtime that allows external buffers");
  }
  return Napi::Value(env, view);
}

Napi::Value buffer_detach(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer()) throw Napi::TypeError::New(info.Env(), "buffer: expected an ArrayBuffer");
  info[0].As<Napi::ArrayBuffer>().Detach();
  return info.Env().Undefined();
}

// One manager, for the functions that are bound to it: what each call would say again is said once. They are given to
// nobody but lib/kvbm/manager.ts, so that a sequence's handle among their arguments needs no second look at its tag.
struct Bound {
  ~Bound() { dyn_handle_free(manager); }

  dyn_handle* manager = nullptr;
  // Words for ids to be written to, and doubles that name batches to be released first; JavaScript keeps both.
  dyn_slice words = {};
  dyn_slice released = {};
  int functions = 0;
};

constexpr size_t most_arguments = 4;

struct Arguments {
  Arguments(napi_env env, napi_callback_info info) {
    size_t count = most_arguments;
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, values, nullptr, &data);
    bound = static_cast<Bound*>(data);
  }

  uint64_t number(napi_env env, size_t index) const {
    double value = 0;
    napi_get_value_double(env, values[index], &value);
    return static_cast<uint64_t>(value);
  }

  Bound* bound = nullptr;
  napi_value values[most_arguments] = {};
};

// Nothing is thrown through C++ here, so that the calls need no try block.
napi_value fail_softly(napi_env env, dyn_reply reply) {
  napi_value message = nullptr, error = nullptr;
  napi_create_string_utf8(env, "native call failed", NAPI_AUTO_LENGTH, &message);
  napi_create_error(env, nullptr, message, &error);
  napi_set_named_property(env, error, "failure", reply_to_js(env, reply));
  napi_throw(env, error);
  return nullptr;
}

napi_value number_or_failure(napi_env env, dyn_reply reply) {
  if (reply.failed != 0) return fail_softly(env, reply);
  napi_value number = nullptr;
  napi_create_double(env, static_cast<double>(reply.number), &number);
  return number;
}

// Releases the first `count` batches that JavaScript has noted.
dyn_reply release_noted(const Bound& bound, uint64_t count) {
  dyn_call call = {};
  call.handle = bound.manager;
  call.args = {bound.released.data, std::min<size_t>(count * sizeof(double), bound.released.len)};
  return dyn_blocks_release(&call);
}

// (blocks, offset, noted)
napi_value bound_allocate(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Bound& bound = *arguments.bound;
  if (uint64_t noted = arguments.number(env, 2); noted != 0) {
    dyn_reply released = release_noted(bound, noted);
    if (released.failed != 0) return fail_softly(env, released);
  }
  dyn_call call = {};
  call.handle = bound.manager;
  call.payload = bound.words;
  call.a = arguments.number(env, 0);
  call.b = arguments.number(env, 1);
  return number_or_failure(env, dyn_blocks_allocate(&call));
}

// (sequence, range, offset, noted)
napi_value bound_match(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Bound& bound = *arguments.bound;
  if (uint64_t noted = arguments.number(env, 3); noted != 0) {
    dyn_reply released = release_noted(bound, noted);
    if (released.failed != 0) return fail_softly(env, released);
  }
  void* sequence = nullptr;
  napi_get_value_external(env, arguments.values[0], &sequence);
  dyn_call call = {};
  call.handle = bound.manager;
  call.other = static_cast<const dyn_handle*>(sequence);
  call.payload = bound.words;
  call.a = arguments.number(env, 1);
  call.b = arguments.number(env, 2);
  return number_or_failure(env, dyn_blocks_match(&call));
}

// (noted)
napi_value bound_release(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  dyn_reply released = release_noted(*arguments.bound, arguments.number(env, 0));
  return released.failed != 0 ? fail_softly(env, released) : nullptr;
}

// (words, noted batches): the bytes that the others use from now on. Whoever calls keeps them.
napi_value bound_use(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  for (size_t index : {0, 1}) {
    size_t length = 0;
    void* data = nullptr;
    napi_get_typedarray_info(env, arguments.values[index], nullptr, &length, &data, nullptr, nullptr);
    (index == 0 ? arguments.bound->words : arguments.bound->released) = {static_cast<uint8_t*>(data), length};
  }
  return nullptr;
}

// [use, allocate, match, release] of a manager.
Napi::Value blocks_bind(const Napi::CallbackInfo& info) {
  napi_env env = info.Env();
  const dyn_call call = checked_call(info);
  dyn_reply reply = dyn_blocks_id(&call);
  if (reply.failed != 0) fail(env, reply);
  auto* bound = new Bound{.manager = dyn_handle_share(call.handle)};
  auto release = [](napi_env, void* data, void*) {
    auto* one = static_cast<Bound*>(data);
    if (--one->functions == 0) delete one;
  };
  napi_value list = nullptr;
  napi_create_array(env, &list);
  for (napi_callback callback : {bound_use, bound_allocate, bound_match, bound_release}) {
    napi_value function = nullptr;
    napi_create_function(env, nullptr, 0, callback, bound, &function);
    napi_add_finalizer(env, function, bound, release, nullptr, nullptr);
    napi_set_element(env, list, static_cast<uint32_t>(bound->functions++), function);
  }
  return Napi::Value(env, list);
}

}  // namespace

void export_block_views(Napi::Env env, Napi::Object exports) {
  exports.Set("blockView", Napi::Function::New(env, block_view, "blockView"));
  exports.Set("blocksBind", Napi::Function::New(env, blocks_bind, "blocksBind"));
  exports.Set("bufferDetach", Napi::Function::New(env, buffer_detach, "bufferDetach"));
}

}  // namespace dynamo
