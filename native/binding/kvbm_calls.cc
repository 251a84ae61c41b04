// The functions of KV blocks that are not in the table: views of memory, and the calls that are made for every batch.
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

// An ArrayBuffer over block `b` of the batch `a`, or over all blocks if `a` is 0. It takes the arguments of every
// function. It keeps the memory mapped, but not the block. The owner of the batch detaches it when the block is
// returned.
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
  napi_status status =
      napi_create_external_arraybuffer(env, reinterpret_cast<void*>(reply.number), length, release, storage, &view);
  if (status == napi_generic_failure) throw Napi::Error::New(env);
  if (still_ours(status)) {
    dyn_handle_free(storage);
    throw Napi::Error::New(env, "views of blocks need a runtime that allows external buffers");
  }
  return Napi::Value(env, view);
}

// One manager and the functions that are bound to it, so that a call needs fewer arguments. Only lib/kvbm has these
// functions. It passes no handles but those of sequences, so their tag is not checked again.
struct Bound {
  ~Bound() { dyn_handle_free(manager); }

  dyn_handle* manager = nullptr;
  // Words that receive ids, and a frame of numbers in and out. JavaScript owns both. Reading them costs less than
  // arguments.
  dyn_slice words = {};
  double* frame = nullptr;
  size_t frame_length = 0;
  int functions = 0;
};

// The slots of the frame. The result replaces `A`. From `IDS` on there are `PENDING` ids of batches to release.
enum Frame : size_t { A, B, PENDING, IDS };

// Throws the failure without a C++ exception, so that the calls need no try block.
napi_value fail_softly(napi_env env, dyn_reply reply) {
  napi_value message = nullptr, error = nullptr;
  napi_create_string_utf8(env, "native call failed", NAPI_AUTO_LENGTH, &message);
  napi_create_error(env, nullptr, message, &error);
  napi_set_named_property(env, error, "failure", reply_to_js(env, reply));
  napi_throw(env, error);
  return nullptr;
}

dyn_slice pending_in(const Bound& bound) {
  const size_t count = std::min(static_cast<size_t>(bound.frame[PENDING]), bound.frame_length - IDS);
  return {reinterpret_cast<const uint8_t*>(bound.frame + IDS), count * sizeof(double)};
}

// Calls `entry` with the values of the frame and with the argument, a sequence, if there is one. `releases`: the entry
// itself releases the pending batches.
template <dyn_reply (*entry)(const dyn_call*), bool releases>
napi_value bound_call(napi_env env, napi_callback_info info) {
  napi_value argument = nullptr;
  size_t count = 1;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &data);
  Bound& bound = *static_cast<Bound*>(data);
  dyn_call call = {};
  call.handle = bound.manager;
  const dyn_slice pending = pending_in(bound);
  if (releases) {
    call.args = pending;
  } else if (pending.len != 0) {
    call.args = pending;
    const dyn_reply released = dyn_blocks_release(&call);
    if (released.failed != 0) return fail_softly(env, released);
    call.args = {};
  }
  if (count != 0) {
    void* sequence = nullptr;
    napi_get_value_external(env, argument, &sequence);
    call.other = static_cast<const dyn_handle*>(sequence);
  }
  call.payload = bound.words;
  call.a = static_cast<uint64_t>(bound.frame[A]);
  call.b = static_cast<uint64_t>(bound.frame[B]);
  const dyn_reply reply = entry(&call);
  if (reply.failed != 0) return fail_softly(env, reply);
  bound.frame[A] = static_cast<double>(reply.number);
  return nullptr;
}

// (words, frame): sets the memory that the other functions use. The caller keeps it alive.
napi_value bound_use(napi_env env, napi_callback_info info) {
  napi_value arguments[2] = {};
  size_t count = 2;
  void* bound = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &bound);
  auto& used = *static_cast<Bound*>(bound);
  size_t length = 0;
  void* data = nullptr;
  napi_get_typedarray_info(env, arguments[0], nullptr, &length, &data, nullptr, nullptr);
  used.words = {static_cast<uint8_t*>(data), length * sizeof(uint32_t)};
  napi_get_typedarray_info(env, arguments[1], nullptr, &used.frame_length, &data, nullptr, nullptr);
  used.frame = static_cast<double*>(data);
  return nullptr;
}

// The functions of a manager, in the order of `BoundBlocks`.
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
  for (napi_callback callback : {bound_use, bound_call<dyn_blocks_allocate, true>, bound_call<dyn_blocks_match, true>,
                                 bound_call<dyn_blocks_stage, false>, bound_call<dyn_blocks_register, false>,
                                 bound_call<dyn_blocks_release, true>}) {
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
}

}  // namespace dynamo
