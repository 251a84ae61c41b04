// The `socket` of everything in this library: the linker replaces the calls (`--wrap=socket`). If no file descriptor is
// free, the crates drop a request that they cannot connect to its caller, and its caller waits forever. They try again
// for one error only, that no address is free.
#include <sys/socket.h>

#include <cerrno>

extern "C" {

// native/core/src/runtime/call_home.rs
bool dynamo_core_connects_to_caller();

// The linker's option fixes both names.
// NOLINTBEGIN(bugprone-reserved-identifier)
int __real_socket(int domain, int type, int protocol);

int __wrap_socket(int domain, int type, int protocol) {
  const int made = __real_socket(domain, type, protocol);
  if (made != -1 || (errno != EMFILE && errno != ENFILE)) return made;
  const int error = errno;
  errno = dynamo_core_connects_to_caller() ? EADDRNOTAVAIL : error;
  return -1;
}
// NOLINTEND(bugprone-reserved-identifier)

}  // extern "C"
