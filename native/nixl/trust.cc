#include "trust.h"

#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace dynamo::nixl {
namespace {

std::string mode_of(const struct stat& info) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(info.st_mode & 07777));
  return text;
}

// Why this file or folder alone cannot be trusted.
std::string why_not(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return path + " cannot be examined: " + std::strerror(errno);
  if (info.st_uid != 0 && info.st_uid != geteuid()) {
    return path + " belongs to the user " + std::to_string(info.st_uid) +
           ", not to root or to the user of this process";
  }
  // In a sticky folder such as /tmp others can add files, but not replace those of this user.
  const bool is_shared = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX) != 0;
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !is_shared) {
    return path + " can be written by other users (mode " + mode_of(info) + "): remove that with chmod go-w";
  }
  return {};
}

std::string why_not_with_folders(std::string path) {
  for (;;) {
    if (auto why = why_not(path); !why.empty()) return why;
    if (path == "/") return {};
    const size_t end = path.rfind('/');
    path.resize(end == std::string::npos || end == 0 ? 1 : end);
    if (path[0] != '/') return path + " is not an absolute path";
  }
}

// The libraries that match a pattern: a link counts as the file that it names.
std::string why_not_any(const std::string& pattern) {
  glob_t found;
  std::string why;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc && why.empty(); ++i) {
      char resolved[PATH_MAX];
      const std::string path = found.gl_pathv[i];
      // A link to nothing cannot be loaded.
      if (realpath(path.c_str(), resolved) == nullptr) continue;
      why = path == resolved ? why_not(path) : why_not_with_folders(resolved);
    }
  }
  globfree(&found);
  return why;
}

}  // namespace

std::string why_untrusted(const std::string& path) {
  if (auto why = why_not_with_folders(path); !why.empty()) return why;
  const std::string folder = path.substr(0, path.rfind('/'));
  if (auto why = why_not_any(folder + "/libnixl*.so*"); !why.empty()) return why;
  // The plugins and, in a wheel, the libraries of its other folder. Each folder is checked before its files.
  std::string folders[] = {folder + "/plugins", folder + "/../nixl_cu1[0-9].libs",
                           folder + "/../nixl_cu1[0-9].libs/ucx"};
  for (const auto& each : folders) {
    if (&each != folders && folder.find(".mesonpy.libs") == std::string::npos) break;
    if (auto why = why_not_any(each); !why.empty()) return why;
    if (auto why = why_not_any(each + "/*.so*"); !why.empty()) return why;
  }
  return {};
}

}  // namespace dynamo::nixl
