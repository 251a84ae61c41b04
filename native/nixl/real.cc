#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <sys/stat.h>

#include <climits>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "backend.h"
#include "trust.h"

namespace dynamo::nixl {
namespace {

constexpr const char* SONAME = "libnixl_capi.so";

// Begins the reason of a file that was found but must not be loaded. lib/nixl/library.ts looks for it.
const std::string UNTRUSTED = "not trusted: ";

std::mutex lock;
Backend* loaded = nullptr;
void* library = nullptr;

std::string error_of_dl() {
  const char* text = dlerror();
  return text == nullptr ? "unknown error of the dynamic linker" : text;
}

std::string real_path(const std::string& path) {
  char resolved[PATH_MAX];
  return realpath(path.c_str(), resolved) == nullptr ? path : resolved;
}

bool exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

void add_matches(std::vector<std::string>& paths, const std::string& pattern) {
  glob_t found;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
  }
  globfree(&found);
}

// The places of the library below an installation: build folders and the folder of its wheel.
void add_installation(std::vector<std::string>& paths, const std::string& folder) {
  for (const char* pattern : {"", "lib/*-linux-gnu/", "lib64/", "lib/", ".nixl_cu1[0-9].mesonpy.libs/"}) {
    add_matches(paths, folder + "/" + pattern + SONAME);
  }
}

// The inner pointers of the C API's objects (its wrapper.cpp): both structs begin with the C++ object.
struct Wrapper {
  void* inner;
};
Detail (*transfer_status)(const void* agent, void* request) = nullptr;

Detail transfer_detail(AgentRef agent, RequestRef request) {
  if (agent == nullptr || request == nullptr) return Detail::invalid_param;
  const auto* outer = reinterpret_cast<const Wrapper*>(agent);
  const auto* posted = reinterpret_cast<const Wrapper*>(request);
  if (posted->inner == nullptr) return Detail::not_posted;
  return transfer_status(outer->inner, posted->inner);
}

Feature& feature_named(std::vector<Feature>& features, const std::string& name) {
  for (auto& feature : features) {
    if (feature.name == name) return feature;
  }
  return features.emplace_back(Feature{name, true, {}});
}

void fill(void* handle, Backend& backend) {
#define DYNAMO_NIXL_SYMBOL(feature, name, parameters)                                                     \
  {                                                                                                       \
    auto& group = feature_named(backend.features, #feature);                                              \
    backend.call.name = reinterpret_cast<decltype(backend.call.name)>(dlsym(handle, "nixl_capi_" #name)); \
    if (backend.call.name != nullptr) {                                                                   \
      backend.functions += 1;                                                                             \
    } else {                                                                                              \
      group.available = false;                                                                            \
      group.missing.emplace_back("nixl_capi_" #name);                                                     \
    }                                                                                                     \
  }
  DYNAMO_NIXL_FUNCTIONS(DYNAMO_NIXL_SYMBOL)
#undef DYNAMO_NIXL_SYMBOL

  constexpr const char* status = "_ZNK9nixlAgent13getXferStatusEP12nixlXferReqH";
  auto& detailed = feature_named(backend.features, "detailedStatus");
  transfer_status = reinterpret_cast<decltype(transfer_status)>(dlsym(handle, status));
  // The layout of its arguments is only known for versions with memory views.
  if (transfer_status != nullptr && backend.supports("memView")) {
    backend.transfer_detail = transfer_detail;
  } else {
    detailed.available = false;
    detailed.missing.emplace_back(status);
  }
}

// UCX's CUDA modules need the CUDA runtime. A machine with only a driver lacks it, so the wheel's is loaded. After that
// the dynamic linker finds it by its soname.
void preload_cuda_runtime(const std::vector<std::string>& site_packages) {
  if (!cuda_driver().available()) return;
  for (const char* version : {"12", "13"}) {
    const std::string soname = std::string("libcudart.so.") + version;
    if (dlopen(soname.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) continue;
    for (const auto& folder : site_packages) {
      std::vector<std::string> paths;
      add_matches(paths, folder + "/nvidia/cuda_runtime/lib/" + soname);
      add_matches(paths, folder + "/nvidia/cu" + version + "/lib/" + soname);
      if (paths.empty()) continue;
      const std::string path = real_path(paths.front());
      if (why_untrusted(path).empty() && dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) break;
    }
  }
}

// Returns an empty string if the library was loaded, else the reason. `place` is a file, or SONAME for the places of
// the dynamic linker that only root can change.
std::string try_load(const std::string& place, bool deep_bind) {
  // The resolved path is examined and loaded, so that no link can change in between.
  const std::string path = place == SONAME ? place : real_path(place);
  if (path != SONAME) {
    if (auto why = why_untrusted(path); !why.empty()) return UNTRUSTED + why;
  }
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | (deep_bind ? RTLD_DEEPBIND : 0));
  if (handle == nullptr) return error_of_dl();

  // A refused library is not unloaded: its constructors and those of its dependencies have run.
  const auto is_stub = reinterpret_cast<bool (*)()>(dlsym(handle, "nixl_capi_is_stub"));
  if (is_stub == nullptr) return "not NIXL's C API: it has no nixl_capi_is_stub";
  if (is_stub()) return "a stub of NIXL's C API that only forwards";

  auto backend = std::make_unique<Backend>();
  fill(handle, *backend);
  const auto& core = feature_named(backend->features, "core");
  if (!core.available) {
    return "lacks " + std::to_string(core.missing.size()) + " functions of NIXL 1.0's C API, the first is " +
           core.missing.front();
  }

  Dl_info info;
  const bool known = dladdr(reinterpret_cast<void*>(backend->call.create_configured_agent), &info) != 0;
  backend->path = real_path(known && info.dli_fname != nullptr ? info.dli_fname : path);
  backend->cuda = &cuda_driver();
  backend->inspect_metadata = inspect_library_metadata;
  backend->join_metadata = join_library_metadata;
  library = handle;
  loaded = backend.release();
  return {};
}

// The folders of LD_LIBRARY_PATH and of the system, as the dynamic linker knows them.
std::vector<std::string> linker_folders() {
  std::vector<std::string> folders;
  void* program = dlopen(nullptr, RTLD_NOW | RTLD_LOCAL);
  Dl_serinfo head;
  if (program == nullptr || dlinfo(program, RTLD_DI_SERINFOSIZE, &head) != 0) return folders;
  std::vector<std::max_align_t> memory(head.dls_size / sizeof(std::max_align_t) + 1);
  auto* all = reinterpret_cast<Dl_serinfo*>(memory.data());
  *all = head;
  if (dlinfo(program, RTLD_DI_SERINFOSIZE, all) != 0 || dlinfo(program, RTLD_DI_SERINFO, all) != 0) return folders;
  for (unsigned i = 0; i < all->dls_cnt; ++i) folders.emplace_back(all->dls_serpath[i].dls_name);
  return folders;
}

// The places where the dynamic linker would find the library by its name. The linker itself is only asked if none of
// them has the file: it would load a file that must be refused, or one of the working folder.
void add_linker_places(std::vector<Tried>& places) {
  bool found = false;
  for (const auto& folder : linker_folders()) {
    const std::string path = (folder.empty() ? "." : folder) + "/" + SONAME;
    if (!exists(path)) continue;
    found = true;
    const bool absolute = path[0] == '/';
    places.push_back({path, absolute ? ""
                                     : UNTRUSTED + "LD_LIBRARY_PATH names the folder '" + folder +
                                           "', which depends on the working folder"});
  }
  if (!found) places.push_back({SONAME, ""});
}

// The places to search, in order. A place without a library already has its reason.
std::vector<Tried> candidates(const LoadOptions& options) {
  if (!options.path.empty()) return {{options.path, exists(options.path) ? "" : "no such file"}};

  std::vector<Tried> places;
  const auto look = [&](const std::string& what, auto search) {
    std::vector<std::string> paths;
    search(paths);
    for (auto& path : paths) places.push_back({std::move(path), ""});
    if (paths.empty()) places.push_back({what, std::string("no ") + SONAME + " there"});
  };
  if (!options.home.empty()) look(options.home, [&](auto& paths) { add_installation(paths, options.home); });
  if (options.system) add_linker_places(places);
  for (const auto& folder : options.site_packages) {
    look(folder, [&](auto& paths) { add_matches(paths, folder + "/.nixl_cu1[0-9].mesonpy.libs/" + SONAME); });
  }
  if (options.system) {
    for (const char* folder : {"/opt/nvidia/nvda_nixl", "/usr/local/nixl", "/usr/local", "/usr"}) {
      look(folder, [&](auto& paths) { add_installation(paths, folder); });
    }
  }
  return places;
}

}  // namespace

bool Backend::supports(std::string_view feature) const {
  for (const auto& known : features) {
    if (known.name == feature) return known.available;
  }
  return false;
}

void safe_environment(const std::string& log_level) {
  static std::once_flag once;
  std::call_once(once, [&] {
    setenv("UCX_DEBUG_SIGNO", "0", 0);
    setenv("UCX_HANDLE_ERRORS", "none", 0);
    // UCX tests its memory hooks with sbrk(+page) and sbrk(-page). If malloc on another thread grows the heap between
    // the two, the heap loses its last page. This crashed about one start in forty.
    setenv("UCX_MEM_MMAP_HOOK_MODE", "none", 0);
    if (!log_level.empty()) setenv("NIXL_LOG_LEVEL", log_level.c_str(), 1);
  });
}

LoadResult load(const LoadOptions& options) {
  std::lock_guard guard(lock);
  LoadResult result;
  if (loaded != nullptr) {
    if (options.path.empty() || real_path(options.path) == loaded->path) {
      result.backend = loaded;
    } else {
      result.tried.push_back({options.path, "this process has already loaded " + loaded->path +
                                                ", and two copies of UCX in one process corrupt each other"});
    }
    return result;
  }

  if (options.safe_environment) safe_environment(options.log_level);
  preload_cuda_runtime(options.site_packages);
  for (auto& place : candidates(options)) {
    if (place.reason.empty()) place.reason = try_load(place.path, options.deep_bind);
    if (place.reason.empty()) {
      result.backend = loaded;
      return result;
    }
    result.tried.push_back(std::move(place));
  }
  return result;
}

}  // namespace dynamo::nixl
