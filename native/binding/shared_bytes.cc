#include "shared_bytes.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <map>
#include <mutex>

#include "values.h"

namespace dynamo {

namespace {

// V8 takes new memory for each large string, which costs more than reading it. From this size on, a text of ASCII can
// be a string over the memory of its message instead.
constexpr size_t min_text_bytes = size_t{64} * 1024;

struct Shared {
  const dyn_bytes bytes;
  // The Buffer is one owner, and each string is another one.
  std::atomic<size_t> owners{1};
  bool counted = false;
};

// Buffers that texts can share, by their address. Those of all environments, because a Buffer does not name its memory.
std::mutex shared_mutex;
std::map<const uint8_t*, Shared*> shared_buffers;

void drop(Shared* shared) {
  if (--shared->owners > 0) return;
  dyn_bytes_free(shared->bytes);
  delete shared;
}

bool can_share(const Shared& shared) { return shared.bytes.len >= min_text_bytes; }

void buffer_collected(napi_env env, void*, void* hint) {
  auto* shared = static_cast<Shared*>(hint);
  int64_t adjusted = 0;
  if (shared->counted) napi_adjust_external_memory(env, -static_cast<int64_t>(shared->bytes.len), &adjusted);
  if (can_share(*shared)) {
    std::lock_guard lock(shared_mutex);
    shared_buffers.erase(shared->bytes.data);
  }
  drop(shared);
}

// Runs during a garbage collection, or after the environment has ended.
void text_collected(napi_env, void*, void* hint) { drop(static_cast<Shared*>(hint)); }

// Adds an owner to the memory with these bytes. Null if no live Buffer of the core has them, or if they are less than
// half of it: the string would keep the rest.
Shared* share(const uint8_t* data, size_t length) {
  std::lock_guard lock(shared_mutex);
  auto next = shared_buffers.upper_bound(data);
  if (next == shared_buffers.begin()) return nullptr;
  Shared* shared = std::prev(next)->second;
  const auto offset = static_cast<size_t>(data - shared->bytes.data);
  if (offset > shared->bytes.len || length > shared->bytes.len - offset || length < shared->bytes.len / 2)
    return nullptr;
  shared->owners += 1;
  return shared;
}

bool is_ascii(const uint8_t* data, size_t length) {
  constexpr size_t chunk = 4096;
  for (size_t at = 0; at < length; at += chunk) {
    const size_t end = std::min(length, at + chunk);
    uint8_t all = 0;
    for (size_t i = at; i < end; i++) all |= data[i];
    if (all >= 0x80) return false;
  }
  return true;
}

// Stable in Node-API 10 and exported by every supported version of Node.js. A runtime that lacks it still loads us.
using CreateString = napi_status (*)(napi_env, char*, size_t, napi_finalize, void*, napi_value*, bool*);

CreateString create_string() {
  static const auto found =
      reinterpret_cast<CreateString>(dlsym(RTLD_DEFAULT, "node_api_create_external_string_latin1"));
  return found;
}

// (bytes, start, end): the text of these bytes as a string over their memory. Undefined if that is not possible, or if
// they are not ASCII.
Napi::Value text_over(const Napi::CallbackInfo& info) {
  napi_env env = info.Env();
  const dyn_slice bytes = bytes_from_js(env, info[0]);
  const uint64_t start = number_from_js(env, info[1]);
  const uint64_t end = number_from_js(env, info[2]);
  if (start > end || end > bytes.len) throw Napi::RangeError::New(env, "text: expected bytes within the array");
  const size_t length = end - start;
  if (create_string() == nullptr || length < min_text_bytes) return info.Env().Undefined();
  const uint8_t* data = bytes.data + start;
  Shared* shared = share(data, length);
  if (shared == nullptr) return info.Env().Undefined();
  napi_value text = nullptr;
  bool copied = false;
  // The string is never written to.
  auto* characters = const_cast<char*>(reinterpret_cast<const char*>(data));
  if (!is_ascii(data, length) ||
      create_string()(env, characters, length, text_collected, shared, &text, &copied) != napi_ok) {
    drop(shared);
    return info.Env().Undefined();
  }
  return Napi::Value(env, text);
}

}  // namespace

bool shared_buffer(napi_env env, dyn_bytes bytes, napi_value* buffer) {
  auto* shared = new Shared{.bytes = bytes};
  if (can_share(*shared)) {
    std::lock_guard lock(shared_mutex);
    shared_buffers[bytes.data] = shared;
  }
  const napi_status status = napi_create_external_buffer(env, bytes.len, bytes.data, buffer_collected, shared, buffer);
  if (status == napi_ok) {
    int64_t adjusted = 0;
    napi_adjust_external_memory(env, static_cast<int64_t>(bytes.len), &adjusted);
    shared->counted = true;
    return true;
  }
  *buffer = nullptr;
  if (!still_ours(status)) return true;
  // Runtimes with a V8 sandbox allow no external buffers.
  if (can_share(*shared)) {
    std::lock_guard lock(shared_mutex);
    shared_buffers.erase(bytes.data);
  }
  delete shared;
  return false;
}

void export_shared_bytes(Napi::Env env, Napi::Object exports) {
  exports.Set("textOver", Napi::Function::New(env, text_over, "textOver"));
}

}  // namespace dynamo
