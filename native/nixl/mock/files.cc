#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "link.h"

namespace dynamo::nixl::mocked {
namespace {

// The flags of a meta of the form "MODE:/path". None if it has another form.
std::optional<std::pair<int, std::string>> parse_meta(const std::string& meta) {
  const size_t colon = meta.find(':');
  if (colon == std::string::npos || colon + 1 == meta.size()) return std::nullopt;
  int flags = O_CLOEXEC;
  bool mode = false;
  std::istringstream words(meta.substr(0, colon));
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "ro" || word == "rw") {
      flags |= word == "ro" ? O_RDONLY : O_RDWR;
      mode = true;
    } else if (word == "direct") {
      flags |= O_DIRECT;
    } else if (word == "sync") {
      flags |= O_SYNC;
    } else if (word == "noatime") {
      flags |= O_NOATIME;
    } else if (word == "create") {
      flags |= O_CREAT;
    } else {
      return std::nullopt;
    }
  }
  if (!mode) return std::nullopt;
  return std::pair{flags, meta.substr(colon + 1)};
}

class FileChannel final : public Channel {
 public:
  Detail write(Memory, const Block& to, const void* from) override {
    return all(to, [&](uint64_t done) {
      return pwrite(static_cast<int>(to.device), static_cast<const char*>(from) + done, to.length - done,
                    static_cast<off_t>(to.address + done));
    });
  }
  Detail read(Memory, const Block& from, void* to) override {
    return all(from, [&](uint64_t done) {
      return pread(static_cast<int>(from.device), static_cast<char*>(to) + done, from.length - done,
                   static_cast<off_t>(from.address + done));
    });
  }
  Detail notify(const std::string&, const std::string&) override { return Detail::not_supported; }
  bool alive() override { return true; }
  bool direct() const override { return true; }

 private:
  template <typename Move>
  static Detail all(const Block& block, Move move) {
    for (uint64_t done = 0; done < block.length;) {
      const ssize_t moved = move(done);
      if (moved < 0 && errno == EINTR) continue;
      if (moved <= 0) return Detail::backend;  // also for a file that is too short
      done += static_cast<uint64_t>(moved);
    }
    return Detail::ok;
  }
};

}  // namespace

std::unique_ptr<Channel> channel_to_files() { return std::make_unique<FileChannel>(); }

Files::~Files() {
  for (const auto& [device, file] : open_) {
    if (file.owned) ::close(file.fd);
  }
}

bool Files::add(uint64_t device, const std::string& meta) {
  const auto parsed = parse_meta(meta);
  const auto known = open_.find(device);
  if (known != open_.end()) {
    if (parsed.has_value() || known->second.owned) return false;  // the number belongs to another file
    known->second.registrations += 1;
    return true;
  }
  int fd = static_cast<int>(device);
  if (parsed.has_value()) {
    fd = open(parsed->second.c_str(), parsed->first, 0644);
    if (fd < 0) return false;
  }
  open_.emplace(device, Open{fd, parsed.has_value(), 1});
  return true;
}

void Files::remove(uint64_t device) {
  const auto known = open_.find(device);
  if (known == open_.end() || --known->second.registrations > 0) return;
  if (known->second.owned) ::close(known->second.fd);
  open_.erase(known);
}

int Files::descriptor(uint64_t device) const {
  const auto known = open_.find(device);
  return known == open_.end() ? -1 : known->second.fd;
}

std::optional<std::map<std::string, std::string>> describe_file(const std::string& path) {
  struct stat info;
  if (path.empty() || stat(path.c_str(), &info) != 0) return std::nullopt;
  return std::map<std::string, std::string>{{"size", std::to_string(info.st_size)},
                                            {"mode", std::to_string(info.st_mode)},
                                            {"mtime", std::to_string(info.st_mtime)}};
}

}  // namespace dynamo::nixl::mocked
