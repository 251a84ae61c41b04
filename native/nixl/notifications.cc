#include "agent.h"
#include "pack.h"

namespace dynamo::nixl {

// One delivery has at most this many bytes, or one message.
constexpr size_t MAX_DELIVERED_BYTES = 8 << 20;

void Agent::notify(const Peer& peer, const std::vector<uint8_t>& message) {
  check_peer(peer);
  const Status status = call().gen_notif(ref, peer.name.c_str(), message.data(), message.size(), nullptr);
  if (status != Status::ok) {
    throw Failure{"Unavailable",
                  "nixl.peer_lost",
                  "the notification was not sent to '" + peer.name + "'",
                  "the peer may have ended: connect to it again",
                  "gen_notif",
                  status};
  }
}

// Only one operation can wait: a second one would take the messages of the first.
void Agent::pull_notifications(size_t max_count, TaskRef pulled) {
  if (pulling_ != nullptr && !pulling_->settled()) {
    throw Failure{"Conflict", "nixl.notifications_read",
                  "the notifications of '" + options.name + "' already have a reader"};
  }
  pulling_ = std::move(pulled);
  max_pulled_ = max_count;
  deliver_notifications();
}

// The library is only polled while an operation waits. Unread messages stay in the library.
bool Agent::poll_notifications() {
  if (pulling_ == nullptr) return false;
  if (pulling_->settled()) {
    pulling_ = nullptr;
    return false;
  }
  if (call().get_notifs(ref, notifications_, nullptr) != Status::ok) return false;
  size_t senders = 0;
  call().notif_map_size(notifications_, &senders);
  if (senders == 0) return false;
  for (size_t i = 0; i < senders; i++) {
    const char* sender = nullptr;
    size_t count = 0;
    if (call().notif_map_get_agent_at(notifications_, i, &sender) != Status::ok) continue;
    const std::string name = sender;
    call().notif_map_get_notifs_size(notifications_, name.c_str(), &count);
    for (size_t j = 0; j < count; j++) {
      const void* data = nullptr;
      size_t length = 0;
      if (call().notif_map_get_notif(notifications_, name.c_str(), j, &data, &length) != Status::ok) continue;
      const auto* bytes = static_cast<const uint8_t*>(data);
      received_.emplace_back(name, std::vector<uint8_t>(bytes, bytes + length));
    }
  }
  call().notif_map_clear(notifications_);
  deliver_notifications();
  return true;
}

void Agent::deliver_notifications() {
  if (received_.empty() || pulling_ == nullptr) return;
  size_t count = 0;
  for (size_t bytes = 0; count < std::min(received_.size(), max_pulled_); count++) {
    bytes += received_[count].second.size();
    if (count > 0 && bytes > MAX_DELIVERED_BYTES) break;
  }
  Packer packer;
  packer.array(count * 2);
  for (size_t i = 0; i < count; i++) packer.text(received_[i].first).binary(received_[i].second);
  // Messages are only removed if the operation has accepted them.
  if (std::exchange(pulling_, nullptr)->settle(Reply::of_bytes(packer.take()))) {
    received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(count));
  }
}

}  // namespace dynamo::nixl
