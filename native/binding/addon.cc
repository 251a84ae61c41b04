// The module: per environment one mailbox and the tables of functions. Values in and out, nothing else.
#include <atomic>
#include <memory>

#include "functions.h"
#include "mailbox.h"
#include "values.h"

namespace dynamo {

namespace {

// Unique in the process: `dyn_op_cancel` knows no environments.
std::atomic<uint64_t> next_op{1};

// Every function takes (handle, args, payload, a, b, other), all optional; an asynchronous one then `background`: true
// where the operation must not keep the event loop alive.
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

}  // namespace

class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) {
    for (auto functions : {transport_functions(), runtime_functions(), llm_functions()}) {
      for (const Function& function : functions) {
        auto* data = const_cast<Function*>(&function);
        exports.Set(function.name, function.sync != nullptr
                                       ? Napi::Function::New(env, call_sync, function.name, data)
                                       : Napi::Function::New(env, call_async, function.name, data));
      }
    }
    DefineAddon(exports, {
                             InstanceMethod("open", &Addon::open),
                             InstanceMethod("cancel", &Addon::cancel),
                         });
  }

 private:
  // Takes the function that every batch of completions is delivered to. Once, before any asynchronous call.
  Napi::Value open(const Napi::CallbackInfo& info) {
    mailbox_ = std::make_shared<Mailbox>(info.Env(), info[0]);
    // Registered after the mailbox's threadsafe function, so that it runs before that function's own hook.
    info.Env().AddCleanupHook([mailbox = mailbox_] { mailbox->close(); });
    return info.Env().Undefined();
  }

  Napi::Value cancel(const Napi::CallbackInfo& info) {
    dyn_op_cancel(number_from_js(info.Env(), info[0]));
    return info.Env().Undefined();
  }

  // Gives the operation's id, under which its completion is delivered.
  static Napi::Value call_async(const Napi::CallbackInfo& info) {
    const auto* function = static_cast<const Function*>(info.Data());
    Addon* addon = info.Env().GetInstanceData<Addon>();
    if (addon->mailbox_ == nullptr) throw Napi::Error::New(info.Env(), "open: not called yet");
    dyn_call call = call_from_js(info);
    const bool background = info[6].IsBoolean() && info[6].As<Napi::Boolean>().Value();
    call.op = next_op++;
    call.scope = addon->mailbox_->scope();
    call.done = Mailbox::done;
    call.user = addon->mailbox_->begin(call.op, !background);
    function->async(&call);
    return Napi::Number::New(info.Env(), static_cast<double>(call.op));
  }

  std::shared_ptr<Mailbox> mailbox_;
};

}  // namespace dynamo

using DynamoAddon = dynamo::Addon;
NODE_API_NAMED_ADDON(dynamo_node, DynamoAddon)
