// The `bind` of everything in this library: the linker replaces the calls (`--wrap=bind`). Some of the crates listen on
// all interfaces and have no option for it.
#include <sys/socket.h>

#include <cstring>

extern "C" {

// native/core/src/listen.rs
void dynamo_core_bind_address(sockaddr* address, socklen_t length);

// The linker's option fixes both names.
// NOLINTBEGIN(bugprone-reserved-identifier)
int __real_bind(int socket, const sockaddr* address, socklen_t length);

int __wrap_bind(int socket, const sockaddr* address, socklen_t length) {
  sockaddr_storage chosen = {};
  int type = 0;
  socklen_t size = sizeof type;
  const bool is_stream = getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
  if (!is_stream || address == nullptr || length > sizeof chosen) return __real_bind(socket, address, length);
  std::memcpy(&chosen, address, length);
  dynamo_core_bind_address(reinterpret_cast<sockaddr*>(&chosen), length);
  return __real_bind(socket, reinterpret_cast<const sockaddr*>(&chosen), length);
}
// NOLINTEND(bugprone-reserved-identifier)

}  // extern "C"
