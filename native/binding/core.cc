// The C ABI of the Rust core for JavaScript: the tables of all areas, and the two forms of a call.
#include "core.h"

#include <atomic>

#include "functions.h"
#include "kvbm.h"
#include "mailbox.h"
#include "shared_bytes.h"
#include "values.h"

namespace dynamo {

namespace {

// A call in flight, and then its reply.
class CorePending final : public Pending {
 public:
  ~CorePending() override {
    if (arrived_) discard(reply_);
  }
  bool failed() const override { return reply_.failed != 0; }
  napi_value to_js(napi_env env) override {
    arrived_ = false;
    return reply_to_js(env, reply_);
  }

  static void done(void* user, dyn_reply reply) {
    std::unique_ptr<CorePending> pending(static_cast<CorePending*>(user));
    pending->reply_ = reply;
    pending->arrived_ = true;
    Mailbox::deliver(std::move(pending));
  }

 private:
  dyn_reply reply_ = {};
  bool arrived_ = false;
};

// Every function takes (handle, args, payload, a, b, other), all optional. An asynchronous function also takes
// `background`: true if the operation must not keep the event loop alive.
dyn_call call_from_js(const Napi::CallbackInfo& info) {
  napi_env env = info.Env();
  return {
      .handle = handle_from_js(env, info[0]),
      .other = handle_from_js(env, info[5]),
      .args = bytes_from_js(env, info[1]),
      .payload = bytes_from_js(env, info[2]),
      .a = number_from_js(env, info[3]),
      .b = number_from_js(env, info[4]),
      .op = 0,
      .scope = 0,
      .done = nullptr,
      .user = nullptr,
  };
}

Napi::Value call_sync(const Napi::CallbackInfo& info) {
  const auto* function = static_cast<const Function*>(info.Data());
  const dyn_call call = call_from_js(info);
  const dyn_reply reply = function->sync(&call);
  const bool failed = reply.failed != 0;
  Napi::Value value(info.Env(), reply_to_js(info.Env(), reply));
  if (!failed) return value;
  auto error = Napi::Error::New(info.Env(), "native call failed");
  error.Set("failure", value);
  throw error;
}

// Returns the id of the operation. Its completion has the same id.
Napi::Value call_async(const Napi::CallbackInfo& info) {
  const auto* function = static_cast<const Function*>(info.Data());
  Mailbox& mailbox = mailbox_of(info.Env());
  dyn_call call = call_from_js(info);
  const bool background = info[6].IsBoolean() && info[6].As<Napi::Boolean>().Value();
  auto pending = std::make_unique<CorePending>();
  call.op = mailbox.begin(*pending, !background);
  call.scope = mailbox.scope();
  call.done = CorePending::done;
  call.user = pending.release();
  function->async(&call);
  return Napi::Number::New(info.Env(), static_cast<double>(call.op));
}

}  // namespace

void export_core(Napi::Env env, Napi::Object exports) {
  for (auto functions : {stream_functions(), runtime_functions(), llm_functions(), router_functions(), kvbm_functions(),
                         testing_functions()}) {
    for (const Function& function : functions) {
      auto* data = const_cast<Function*>(&function);
      exports.Set(function.name, function.sync != nullptr ? Napi::Function::New(env, call_sync, function.name, data)
                                                          : Napi::Function::New(env, call_async, function.name, data));
    }
  }
  export_block_views(env, exports);
  export_shared_bytes(env, exports);
}

void cancel_core(uint64_t op) { dyn_op_cancel(op); }

void close_core(uint64_t scope) { dyn_scope_close(scope); }

}  // namespace dynamo
