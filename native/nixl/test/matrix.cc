// The behaviour matrix of NIXL 1.5's C API, row by row, on the mock or on the real library:
//   matrix mock[:delayed|:immediate] | matrix /path/to/libnixl_capi.so
// With the further argument `store`, the rows of a store in NIXL_ETCD_ENDPOINTS that does not exist.
// Prints one line per row, and exits with 0 if all rows pass. The mock promises the behaviour that both share.

#include "matrix.h"

using namespace dynamo::nixl::test;

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  if (!open_backend(argv[1])) return 1;
  if (argc > 2 && std::string(argv[2]) == "store") {
    unreachable_store();
    std::printf("%d rows, %d failed\n", rows, failures);
    std::fflush(stdout);
    std::_Exit(failures == 0 ? 0 : 1);
  }
  if (argc > 2) return serve_as_peer(argv[2]);
  agents_and_backends();
  options();
  registration();
  metadata();
  create_requests();
  transfers();
  notifications();
  active_transfers();
  device_memory();
  files();
  sockets();
  peer_death();
  std::printf("%d rows, %d failed\n", rows, failures);
  return failures == 0 ? 0 : 1;
}
