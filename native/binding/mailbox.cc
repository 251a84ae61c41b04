#include "mailbox.h"

namespace dynamo {

namespace {
std::atomic<uint64_t> next_scope{1};
// Unique in the process, because a cancellation does not name an environment.
std::atomic<uint64_t> next_op{1};
}  // namespace

Mailbox::Mailbox(napi_env env, napi_value deliver) : scope_(next_scope++), env_(env) {
  napi_value name = nullptr;
  napi_create_string_utf8(env, "dynamo-node", NAPI_AUTO_LENGTH, &name);
  napi_status status =
      napi_create_threadsafe_function(env, deliver, nullptr, name, 0, 1, nullptr, nullptr, this, drain, &wake_);
  if (status != napi_ok) throw Napi::Error::New(env);
  napi_unref_threadsafe_function(env, wake_);
}

Mailbox::~Mailbox() = default;

uint64_t Mailbox::begin(Pending& pending, bool keeps_alive) {
  if (keeps_alive) adjust_keep_alive(env_, 1);
  pending.mailbox_ = shared_from_this();
  pending.op_ = next_op++;
  pending.keeps_alive_ = keeps_alive;
  return pending.op_;
}

void Mailbox::deliver(std::unique_ptr<Pending> pending) {
  const auto mailbox = std::move(pending->mailbox_);
  mailbox->post(std::move(pending));
}

void Mailbox::post(std::unique_ptr<Pending> pending) {
  std::lock_guard lock(mutex_);
  if (wake_ == nullptr) return;
  posted_.push_back(std::move(pending));
  if (scheduled_) return;
  scheduled_ = true;
  // Called under the lock, so that `close` cannot release the function between the check and the call.
  napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Mailbox::drain(napi_env env, napi_value deliver, void* context, void*) {
  if (env == nullptr) return;
  auto mailbox = static_cast<Mailbox*>(context)->shared_from_this();
  std::vector<std::unique_ptr<Pending>> completions;
  {
    std::lock_guard lock(mailbox->mutex_);
    mailbox->scheduled_ = false;
    completions.swap(mailbox->posted_);
  }
  // One flat array [op, failed, value, ...], so that all completions of this turn take one crossing.
  napi_value batch = nullptr;
  napi_create_array_with_length(env, completions.size() * 3, &batch);
  uint32_t index = 0;
  for (const auto& completion : completions) {
    napi_value op = nullptr, failed = nullptr;
    napi_create_double(env, static_cast<double>(completion->op_), &op);
    napi_get_boolean(env, completion->failed(), &failed);
    napi_set_element(env, batch, index++, op);
    napi_set_element(env, batch, index++, failed);
    napi_set_element(env, batch, index++, completion->to_js(env));
    if (completion->keeps_alive_) mailbox->adjust_keep_alive(env, -1);
  }
  napi_value undefined = nullptr;
  napi_get_undefined(env, &undefined);
  napi_call_function(env, undefined, deliver, 1, &batch, nullptr);
}

void Mailbox::adjust_keep_alive(napi_env env, int change) {
  const bool was_kept_alive = keep_alive_count_ > 0;
  keep_alive_count_ += change;
  const bool is_kept_alive = keep_alive_count_ > 0;
  if (was_kept_alive == is_kept_alive || wake_ == nullptr) return;
  if (is_kept_alive) {
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
}

uint64_t op_from_js(napi_env env, napi_value value) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0) || number > 9007199254740992.0) {
    throw Napi::TypeError::New(env, "number: expected an integer from 0 to 2^53");
  }
  return static_cast<uint64_t>(number);
}

}  // namespace dynamo
