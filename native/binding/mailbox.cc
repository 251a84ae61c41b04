#include "mailbox.h"

#include "values.h"

namespace dynamo {

namespace {
std::atomic<uint64_t> next_scope{1};
}

Mailbox::Mailbox(napi_env env, napi_value deliver) : scope_(next_scope++), env_(env) {
  napi_value name = nullptr;
  napi_create_string_utf8(env, "dynamo-node", NAPI_AUTO_LENGTH, &name);
  napi_status status = napi_create_threadsafe_function(env, deliver, nullptr, name, 0, 1, nullptr, nullptr, this,
                                                       drain, &wake_);
  if (status != napi_ok) throw Napi::Error::New(env);
  napi_unref_threadsafe_function(env, wake_);
}

Mailbox::~Mailbox() {
  for (const Completion& completion : posted_) discard(completion.reply);
}

void* Mailbox::begin(uint64_t op, bool held) {
  if (held) hold(env_, 1);
  return new Pending{shared_from_this(), op, held};
}

void Mailbox::done(void* user, dyn_reply reply) {
  std::unique_ptr<Pending> pending(static_cast<Pending*>(user));
  pending->mailbox->post({pending->op, pending->held, reply});
}

void Mailbox::post(Completion completion) {
  std::lock_guard lock(mutex_);
  if (wake_ == nullptr) return discard(completion.reply);
  posted_.push_back(completion);
  if (scheduled_) return;
  scheduled_ = true;
  // Under the lock: `close` cannot release the function between the check and the call.
  napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Mailbox::drain(napi_env env, napi_value deliver, void* context, void*) {
  if (env == nullptr) return;
  auto mailbox = static_cast<Mailbox*>(context)->shared_from_this();
  std::vector<Completion> completions;
  {
    std::lock_guard lock(mailbox->mutex_);
    mailbox->scheduled_ = false;
    completions.swap(mailbox->posted_);
  }
  // One flat array [op, failed, value, ...]: one crossing for all completions of this turn.
  napi_value batch = nullptr;
  napi_create_array_with_length(env, completions.size() * 3, &batch);
  uint32_t index = 0;
  for (const Completion& completion : completions) {
    napi_value op = nullptr, failed = nullptr;
    napi_create_double(env, static_cast<double>(completion.op), &op);
    napi_get_boolean(env, completion.reply.failed != 0, &failed);
    napi_set_element(env, batch, index++, op);
    napi_set_element(env, batch, index++, failed);
    napi_set_element(env, batch, index++, reply_to_js(env, completion.reply));
    if (completion.held) mailbox->hold(env, -1);
  }
  napi_value undefined = nullptr;
  napi_get_undefined(env, &undefined);
  napi_call_function(env, undefined, deliver, 1, &batch, nullptr);
}

void Mailbox::hold(napi_env env, int change) {
  const bool was = held_ > 0;
  held_ += change;
  if (was == (held_ > 0) || wake_ == nullptr) return;
  if (held_ > 0) {
    napi_ref_threadsafe_function(env, wake_);
  } else {
    napi_unref_threadsafe_function(env, wake_);
  }
}

void Mailbox::close() {
  napi_threadsafe_function wake = nullptr;
  {
    std::lock_guard lock(mutex_);
    std::swap(wake, wake_);
  }
  if (wake != nullptr) napi_release_threadsafe_function(wake, napi_tsfn_abort);
  dyn_scope_close(scope_);
}

}  // namespace dynamo
