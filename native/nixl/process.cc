// Facts about this process that the kernel knows: evidence for nixlDoctor() and nixlExplain().
#include <dirent.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "entries.h"

namespace dynamo::nixl {

Reply process_read(const Call& call) {
  char byte = 0;
  const iovec local{&byte, 1};
  const iovec remote{reinterpret_cast<void*>(call.b), 1};
  const bool may = process_vm_readv(static_cast<pid_t>(call.a), &local, 1, &remote, 1, 0) == 1;
  const std::string reason = may ? "" : std::string("process_vm_readv: ") + std::strerror(errno);
  return Reply::of_bytes({reason.begin(), reason.end()});
}

Reply process_received(const Call&) {
  uint64_t received = 0;
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) throw Failure{"Internal", "nixl.process", "/proc/self/fd cannot be read"};
  while (const dirent* entry = readdir(folder)) {
    tcp_info info{};
    socklen_t length = sizeof info;
    // The call fails for descriptors that are not TCP sockets.
    if (getsockopt(std::atoi(entry->d_name), IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
      received += info.tcpi_bytes_received;
  }
  closedir(folder);
  return Reply::of_number(received);
}

}  // namespace dynamo::nixl
