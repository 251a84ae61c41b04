// Linked into the addon of a coverage build only. A process of the tests may end by SIGTERM, which runs no exit
// handlers: the counters are written here instead. `__gcov_dump` would be that of LLVM's runtime, which knows no
// counter of g++; `__gcov_exit` is in g++'s alone.
#include <csignal>

extern "C" {
void __gcov_exit(void);
int __llvm_profile_write_file(void);
}

namespace {

void flush(int signal) {
  __llvm_profile_write_file();
  __gcov_exit();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

__attribute__((constructor)) void install() { std::signal(SIGTERM, flush); }

}  // namespace
