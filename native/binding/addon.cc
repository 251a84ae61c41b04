// The module. Each environment has one mailbox and the functions of each part. It only converts values.
#include <memory>

#include "mailbox.h"
#include "nixl.h"
#ifndef DYNAMO_NIXL_ONLY
#include "core.h"
#endif

namespace dynamo {

class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) {
#ifndef DYNAMO_NIXL_ONLY
    export_core(env, exports);
#endif
    export_nixl(env, exports);
    DefineAddon(exports, {
                             InstanceMethod("open", &Addon::open),
                             InstanceMethod("cancel", &Addon::cancel),
                             InstanceMethod("bufferDetach", &Addon::buffer_detach),
                         });
  }

  Mailbox& mailbox(Napi::Env env) {
    if (mailbox_ == nullptr) throw Napi::Error::New(env, "open: not called yet");
    return *mailbox_;
  }

  NixlEnvironment& nixl() { return *nixl_; }

 private:
  // Takes the function that receives every batch of completions. Called once, before any asynchronous call.
  Napi::Value open(const Napi::CallbackInfo& info) {
    mailbox_ = std::make_shared<Mailbox>(info.Env(), info[0]);
    // Registered after the threadsafe function of the mailbox, so that it runs before that function's own hook.
    info.Env().AddCleanupHook([mailbox = mailbox_, nixl = nixl_] {
      mailbox->close();
#ifndef DYNAMO_NIXL_ONLY
      close_core(mailbox->scope());
#endif
      nixl->close();
    });
    return info.Env().Undefined();
  }

  Napi::Value cancel(const Napi::CallbackInfo& info) {
    const uint64_t op = op_from_js(info.Env(), info[0]);
    if (nixl_->cancel(op)) return info.Env().Undefined();
#ifndef DYNAMO_NIXL_ONLY
    cancel_core(op);
#endif
    return info.Env().Undefined();
  }

  // Detaches a view of native memory: the view becomes empty.
  Napi::Value buffer_detach(const Napi::CallbackInfo& info) {
    if (!info[0].IsArrayBuffer()) throw Napi::TypeError::New(info.Env(), "buffer: expected an ArrayBuffer");
    info[0].As<Napi::ArrayBuffer>().Detach();
    return info.Env().Undefined();
  }

  std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<NixlEnvironment> nixl_ = std::make_shared<NixlEnvironment>();
};

Mailbox& mailbox_of(Napi::Env env) { return env.GetInstanceData<Addon>()->mailbox(env); }

NixlEnvironment& nixl_of(Napi::Env env) { return env.GetInstanceData<Addon>()->nixl(); }

}  // namespace dynamo

using DynamoAddon = dynamo::Addon;
NODE_API_NAMED_ADDON(dynamo_node, DynamoAddon)
