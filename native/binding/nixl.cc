#include "nixl.h"

#include <dlfcn.h>

#include "../nixl/entries.h"
#include "../nixl/hold.h"
#include "mailbox.h"
#include "nixl_values.h"
#include "values.h"

namespace dynamo {

namespace {

struct NixlFunction {
  const char* name;
  nixl::Reply (*sync)(const nixl::Call&);
  void (*async)(const nixl::Call&, nixl::TaskRef);
};

constexpr NixlFunction functions[] = {
    {"nixlLibraryLoad", nixl::library_load, nullptr},
    {"nixlLibraryMock", nixl::library_mock, nullptr},
    {"nixlProcessRead", nixl::process_read, nullptr},
    {"nixlProcessReceived", nixl::process_received, nullptr},
    {"nixlAgentCreate", nullptr, nixl::agent_create},
    {"nixlAgentClose", nullptr, nixl::agent_close},
    {"nixlAgentPlugins", nullptr, nixl::agent_plugins},
    {"nixlAgentBackend", nullptr, nixl::agent_backend},
    {"nixlAgentMetadata", nullptr, nixl::agent_metadata},
    {"nixlAgentPartialMetadata", nullptr, nixl::agent_partial_metadata},
    {"nixlAgentConnect", nullptr, nixl::agent_connect},
    {"nixlAgentFetch", nullptr, nixl::agent_fetch},
    {"nixlAgentSendMetadata", nullptr, nixl::agent_send_metadata},
    {"nixlAgentWithdrawMetadata", nullptr, nixl::agent_withdraw_metadata},
    {"nixlAgentSelf", nullptr, nixl::agent_self},
    {"nixlAgentNotify", nullptr, nixl::agent_notify},
    {"nixlAgentNotifications", nullptr, nixl::agent_notifications},
    {"nixlAgentQuery", nullptr, nixl::agent_query},
    {"nixlPeerDisconnect", nullptr, nixl::peer_disconnect},
    {"nixlRegionAllocate", nullptr, nixl::region_allocate},
    {"nixlRegionFile", nullptr, nixl::region_file},
    {"nixlRegionRegister", nullptr, nixl::region_register},
    {"nixlRegionRelease", nullptr, nixl::region_release},
    {"nixlRegionWrite", nullptr, nixl::region_write},
    {"nixlRegionRead", nullptr, nixl::region_read},
#if defined(DYNAMO_TESTING)
    {"nixlRegionCopy", nullptr, nixl::region_copy},
#endif
    {"nixlRegionFind", nixl::region_find, nullptr},
    {"nixlTransferRun", nixl::transfer_run, nullptr},
    {"nixlTransferStart", nullptr, nixl::transfer_start},
    {"nixlTransferPrepare", nullptr, nixl::transfer_prepare},
    {"nixlTransferPostInline", nixl::transfer_post_inline, nullptr},
    {"nixlTransferPost", nullptr, nixl::transfer_post},
    {"nixlTransferWait", nullptr, nixl::transfer_wait},
    {"nixlTransferRelease", nullptr, nixl::transfer_release},
    {"nixlTransferTelemetry", nullptr, nixl::transfer_telemetry},
    {"nixlTransferEstimate", nullptr, nixl::transfer_estimate},
    {"nixlBlocksPrepare", nullptr, nixl::blocks_prepare},
    {"nixlBlocksRelease", nullptr, nixl::blocks_release},
    {"nixlBlocksStart", nullptr, nixl::blocks_start},
    {"nixlBlocksTransfer", nullptr, nixl::blocks_transfer},
};

// How long the end of an environment waits for its agents.
constexpr auto CLOSE_LIMIT = std::chrono::seconds(2);

class NixlPending final : public Pending {
 public:
  explicit NixlPending(NixlEnvironment& environment) : environment_(environment) {}
  // If the environment has ended before the delivery, its objects have no handles that could be garbage-collected.
  ~NixlPending() override {
    for (const auto& object : reply_.objects) object->collected();
  }
  bool failed() const override { return reply_.failed; }
  napi_value to_js(napi_env env) override {
    environment_.end(op());
    return nixl_reply_to_js(env, std::move(reply_));
  }

  static void done(std::unique_ptr<NixlPending> pending, nixl::Reply reply) {
    pending->reply_ = std::move(reply);
    Mailbox::deliver(std::move(pending));
  }

 private:
  // Outlives the drains of the mailbox: both belong to the environment.
  NixlEnvironment& environment_;
  nixl::Reply reply_;
};

nixl::Call call_from_js(const Napi::CallbackInfo& info) {
  napi_env env = info.Env();
  return {
      .handle = nixl_object_from_js(env, info[0]),
      .other = nixl_object_from_js(env, info[5]),
      .args = nixl_bytes_from_js(env, info[1]),
      .payload = nixl_bytes_from_js(env, info[2]),
      .a = nixl_number_from_js(env, info[3]),
      .b = nixl_number_from_js(env, info[4]),
  };
}

[[noreturn]] void throw_failure(Napi::Env env, nixl::Reply reply) {
  auto error = Napi::Error::New(env, "native call failed");
  error.Set("failure", Napi::Value(env, nixl_reply_to_js(env, std::move(reply))));
  throw error;
}

Napi::Value call_sync(const Napi::CallbackInfo& info) {
  const auto* function = static_cast<const NixlFunction*>(info.Data());
  nixl::Reply reply;
  try {
    reply = function->sync(call_from_js(info));
  } catch (const nixl::Failure& failure) {
    reply = nixl::Reply::of_failure(failure);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    reply = nixl::Reply::of_failure(nixl::Failure::of_exception(error));
  }
  if (reply.failed) throw_failure(info.Env(), std::move(reply));
  return Napi::Value(info.Env(), nixl_reply_to_js(info.Env(), std::move(reply)));
}

// Returns the id of the operation, under which its completion is delivered.
Napi::Value call_async(const Napi::CallbackInfo& info) {
  const auto* function = static_cast<const NixlFunction*>(info.Data());
  Mailbox& mailbox = mailbox_of(info.Env());
  NixlEnvironment& environment = nixl_of(info.Env());
  const nixl::Call call = call_from_js(info);
  const bool background = info[6].IsBoolean() && info[6].As<Napi::Boolean>().Value();
  auto pending = std::make_unique<NixlPending>(environment);
  const uint64_t op = mailbox.begin(*pending, !background);
  // Shared only because a std::function must be copyable. Called once.
  auto shared = std::make_shared<std::unique_ptr<NixlPending>>(std::move(pending));
  auto task = std::make_shared<nixl::Task>(
      [shared](nixl::Reply reply) { NixlPending::done(std::move(*shared), std::move(reply)); });
  environment.begin(op, task);
  function->async(call, std::move(task));
  return Napi::Number::New(info.Env(), static_cast<double>(op));
}

// Returns an ArrayBuffer over the memory of a region. It keeps the memory, but not the registration.
Napi::Value region_view(const Napi::CallbackInfo& info) {
  const auto object = nixl_object_from_js(info.Env(), info[0]);
  const auto* region = dynamic_cast<const nixl::Region*>(object.get());
  if (region == nullptr) throw Napi::TypeError::New(info.Env(), "handle: expected MemoryRegion");
  auto storage = region->memory.lock();
  if (storage == nullptr || !storage->viewable) return info.Env().Null();
  auto* data = reinterpret_cast<void*>(storage->address);
  const size_t bytes = storage->bytes;
  auto* owner = new std::shared_ptr<nixl::Storage>(std::move(storage));
  auto release = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<nixl::Storage>*>(hint); };
  napi_value view = nullptr;
  const napi_status status = napi_create_external_arraybuffer(info.Env(), data, bytes, release, owner, &view);
  if (status == napi_generic_failure) throw Napi::Error::New(info.Env());
  if (still_ours(status)) {
    delete owner;
    throw Napi::Error::New(info.Env(), "views of regions need a runtime that allows external buffers");
  }
  return Napi::Value(info.Env(), view);
}

Napi::Value buffer_address(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer()) throw Napi::TypeError::New(info.Env(), "buffer: expected an ArrayBuffer");
  const auto address = reinterpret_cast<uintptr_t>(info[0].As<Napi::ArrayBuffer>().Data());
  return Napi::Number::New(info.Env(), static_cast<double>(address));
}

// The backing store of an ArrayBuffer owns its bytes. `transfer()` and a BYOB read move it to another ArrayBuffer,
// whose end frees the bytes. N-API has no handle to it, so two functions of V8 are looked up by name. Including v8.h
// instead would bind the addon to one version of Node.js. Both return what their declarations in v8-array-buffer.h say:
// `std::shared_ptr<v8::BackingStore> v8::ArrayBuffer::GetBackingStore()` and `void* v8::BackingStore::Data() const`. A
// `napi_value` is V8's handle: Node.js asserts that (js_native_api_v8.h).
struct BackingStores {
  std::shared_ptr<void> (*of)(void* buffer) = nullptr;
  void* (*data)(const void* store) = nullptr;

  BackingStores() {
    of = reinterpret_cast<decltype(of)>(dlsym(RTLD_DEFAULT, "_ZN2v811ArrayBuffer15GetBackingStoreEv"));
    data = reinterpret_cast<decltype(data)>(dlsym(RTLD_DEFAULT, "_ZNK2v812BackingStore4DataEv"));
  }
};

// Returns the address of a buffer, the id of the hold that keeps its bytes, and the hold. Null if it cannot be held.
Napi::Value buffer_hold(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer()) throw Napi::TypeError::New(info.Env(), "buffer: expected an ArrayBuffer");
  auto owner = nixl_of(info.Env()).hold(info.Env(), info[0]);
  if (owner == nullptr) return info.Env().Null();
  const auto hold = nixl::Hold::make(std::move(owner));
  auto result = Napi::Array::New(info.Env(), 3);
  result.Set(0u, buffer_address(info));
  result.Set(1u, Napi::Number::New(info.Env(), static_cast<double>(hold->id)));
  result.Set(2u, Napi::Value(info.Env(), nixl_reply_to_js(info.Env(), nixl::Reply::of_object(hold))));
  return result;
}

}  // namespace

std::shared_ptr<void> NixlEnvironment::hold(napi_env env, napi_value buffer) {
  static const BackingStores stores;
  void* address = nullptr;
  size_t bytes = 0;
  if (stores.of == nullptr || stores.data == nullptr) return nullptr;
  if (napi_get_arraybuffer_info(env, buffer, &address, &bytes) != napi_ok || bytes == 0) return nullptr;
  auto store = stores.of(buffer);
  // Another layout of V8's objects would return something else.
  if (store == nullptr || stores.data(store.get()) != address) return nullptr;
  auto release = [gate = gate_](std::shared_ptr<void>* kept) {
    std::unique_lock guard(gate->lock);
    // An agent that did not close in time may end after its environment, whose allocator is gone. Its buffers stay.
    if (gate->ended && std::this_thread::get_id() != gate->thread) return;
    delete kept;
  };
  auto* kept = new std::shared_ptr<void>(std::move(store));
  return std::shared_ptr<std::shared_ptr<void>>(kept, std::move(release));
}

void NixlEnvironment::opened(std::weak_ptr<nixl::Agent> agent) {
  std::erase_if(agents_, [](const auto& one) { return one.expired(); });
  agents_.push_back(std::move(agent));
}

bool NixlEnvironment::cancel(uint64_t op) {
  const auto found = running_.find(op);
  if (found == running_.end()) return false;
  // Its completion removes it from the table.
  const nixl::TaskRef task = found->second;
  task->cancel();
  return true;
}

void NixlEnvironment::close() {
  for (const auto& [op, task] : std::exchange(running_, {})) task->cancel();
  std::vector<std::shared_ptr<nixl::Agent>> agents;
  for (const auto& weak : agents_) {
    if (auto agent = weak.lock()) agents.push_back(std::move(agent));
  }
  for (const auto& agent : agents) agent->begin_close(nullptr);
  const auto limit = nixl::Clock::now() + CLOSE_LIMIT;
  for (const auto& agent : agents)
    agent->executor().wait_finished(std::max(nixl::Clock::duration::zero(), limit - nixl::Clock::now()));
  std::lock_guard guard(gate_->lock);
  gate_->ended = true;
}

void export_nixl(Napi::Env env, Napi::Object exports) {
  for (const NixlFunction& function : functions) {
    auto* data = const_cast<NixlFunction*>(&function);
    exports.Set(function.name, function.sync != nullptr ? Napi::Function::New(env, call_sync, function.name, data)
                                                        : Napi::Function::New(env, call_async, function.name, data));
  }
  exports.Set("nixlRegionView", Napi::Function::New(env, region_view, "nixlRegionView"));
  exports.Set("nixlBufferHold", Napi::Function::New(env, buffer_hold, "nixlBufferHold"));
  exports.Set("nixlBufferAddress", Napi::Function::New(env, buffer_address, "nixlBufferAddress"));
}

}  // namespace dynamo
