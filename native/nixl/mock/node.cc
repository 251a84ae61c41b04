#include "node.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

namespace dynamo::nixl::mocked {
namespace {

struct Registry {
  std::mutex lock;
  std::map<uint64_t, std::weak_ptr<Node>> nodes;
};

// Never destroyed: threads that serve peers may outlive main.
Registry& registry() {
  static Registry* instance = new Registry;
  return *instance;
}

}  // namespace

uint64_t random_id() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DYNAMO_THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_THREAD__)
#define DYNAMO_THREAD_SANITIZER
#endif

#if defined(DYNAMO_THREAD_SANITIZER)
__attribute__((no_sanitize("thread"))) void copy_bytes(void* to, const void* from, size_t length) {
  auto* target = static_cast<volatile unsigned char*>(to);
  const auto* source = static_cast<const volatile unsigned char*>(from);
  const bool forward = to <= from;
  for (size_t i = 0; i < length; ++i) {
    const size_t at = forward ? i : length - 1 - i;
    target[at] = source[at];
  }
}
#else
void copy_bytes(void* to, const void* from, size_t length) {
  if (length > 0) std::memmove(to, from, length);
}
#endif

Node::Node(std::string name) : name_(std::move(name)), id_(random_id()) {}

Node::~Node() {
  std::lock_guard guard(registry().lock);
  registry().nodes.erase(id_);
}

std::shared_ptr<Node> make_node(const std::string& name) {
  auto node = std::make_shared<Node>(name);
  std::lock_guard guard(registry().lock);
  registry().nodes[node->id()] = node;
  return node;
}

std::shared_ptr<Node> find_node(uint64_t id) {
  std::lock_guard guard(registry().lock);
  const auto found = registry().nodes.find(id);
  return found == registry().nodes.end() ? nullptr : found->second.lock();
}

void Node::add(const Region& region) {
  std::lock_guard guard(lock_);
  regions_.push_back(region);
}

bool Node::remove(const Region& region) {
  std::lock_guard guard(lock_);
  const auto same = [&](const Region& known) {
    return known.plugin == region.plugin && known.memory == region.memory && known.block == region.block;
  };
  const auto found = std::find_if(regions_.begin(), regions_.end(), same);
  if (found == regions_.end()) return false;
  regions_.erase(found);
  return true;
}

bool Node::holds(Plugin plugin, Memory memory, const Block& block) const {
  std::lock_guard guard(lock_);
  return std::any_of(regions_.begin(), regions_.end(), [&](const Region& region) {
    return region.plugin == plugin && region.memory == memory && region.block.contains(block);
  });
}

bool Node::holds_any(Plugin plugin, Memory memory) const {
  std::lock_guard guard(lock_);
  return std::any_of(regions_.begin(), regions_.end(),
                     [&](const Region& region) { return region.plugin == plugin && region.memory == memory; });
}

std::vector<Region> Node::regions() const {
  std::lock_guard guard(lock_);
  return regions_;
}

Detail Node::reachable(Memory memory, const Block& block) const {
  if (closed_) return Detail::remote_disconnect;
  const bool known = std::any_of(regions_.begin(), regions_.end(), [&](const Region& region) {
    return region.plugin == Plugin::ucx && region.memory == memory && region.block.contains(block);
  });
  return known ? Detail::ok : Detail::backend;
}

Detail Node::write(Memory memory, const Block& to, const void* from) {
  std::lock_guard guard(lock_);
  if (const Detail detail = reachable(memory, to); detail != Detail::ok) return detail;
  copy_bytes(reinterpret_cast<void*>(to.address), from, to.length);
  return Detail::ok;
}

Detail Node::read(Memory memory, const Block& from, void* to) {
  std::lock_guard guard(lock_);
  if (const Detail detail = reachable(memory, from); detail != Detail::ok) return detail;
  copy_bytes(to, reinterpret_cast<const void*>(from.address), from.length);
  return Detail::ok;
}

Detail Node::notify(const std::string& from, const std::string& message) {
  std::lock_guard guard(lock_);
  if (closed_) return Detail::remote_disconnect;
  inbox_[from].push_back(message);
  return Detail::ok;
}

std::map<std::string, std::vector<std::string>> Node::take_notifications() {
  std::lock_guard guard(lock_);
  return std::exchange(inbox_, {});
}

void Node::close() {
  std::lock_guard guard(lock_);
  closed_ = true;
}

}  // namespace dynamo::nixl::mocked
