// The behaviour matrix of NIXL 1.5's C API, row by row, on the mock or on the real library:
//   matrix mock[:delayed|:at-once] | matrix /path/to/libnixl_capi.so
// With `store` behind it, the rows of a store that NIXL_ETCD_ENDPOINTS names and that is not there.
// Prints one line a row and ends with 0 when all rows hold: what holds for both is what the mock promises.

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
