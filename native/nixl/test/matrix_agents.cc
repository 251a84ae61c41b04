// Agents, backends, registration and metadata.
#include <sys/mman.h>
#include <unistd.h>

#include "matrix.h"

namespace dynamo::nixl::test {

void agents_and_backends() {
  row("create agent without a name", Agent("").created, {BACKEND});
  Agent bare("bare", {.backends = {}});
  std::string blob;
  row("get_local_md before any backend", bare.metadata(blob), {INVALID});
  NotificationsRef map = nullptr;
  call->create_notif_map(&map);
  row("get_notifs before any backend", call->get_notifs(bare.ref, map, nullptr), {BACKEND});
  call->destroy_notif_map(map);
  const Buffer buffer(PAGE, 1);
  row("register before any backend", bare.enroll(Memory::dram, {buffer.piece()}), {NOT_FOUND});
  row("deregister before any backend", bare.withdraw(Memory::dram, {buffer.piece()}), {NOT_FOUND});
  row("create the same agent twice in a process", Agent("bare", {.backends = {}}).created, {OK});

  Agent agent("backends");
  row("create_backend a second time", agent.add("UCX"), {BACKEND});
  row("create_backend unknown", agent.add("NOPE"), {BACKEND});
  row("create_backend unloadable", agent.add("GDS"), {BACKEND});
  BackendRef made = nullptr;
  row("create_backend without parameters", call->create_backend(agent.ref, "POSIX", nullptr, &made), {INVALID});
  MemoryListRef memories = nullptr;
  ParamsRef params = nullptr;
  row("get_plugin_params unknown", call->get_plugin_params(agent.ref, "NOPE", &memories, &params), {BACKEND});
  row("get_plugin_params unloadable", call->get_plugin_params(agent.ref, "GDS", &memories, &params), {BACKEND});
  row("get_plugin_params UCX", call->get_plugin_params(agent.ref, "UCX", &memories, &params), {OK});
  bool empty = true;
  call->params_is_empty(params, &empty);
  row("UCX has parameters", !empty);
  ParamsIteratorRef iterator = nullptr;
  call->params_create_iterator(params, &iterator);
  std::string mode;
  for (bool more = !empty; more;) {
    const char* key = nullptr;
    const char* value = nullptr;
    call->params_iterator_next(iterator, &key, &value, &more);
    if (std::string(key) == "ucx_error_handling_mode") mode = value;
  }
  row("UCX's error handling is by peer by default", mode == "peer");
  call->params_destroy_iterator(iterator);
  call->destroy_params(params);
  size_t count = 0;
  Memory first = Memory::unknown;
  call->mem_list_size(memories, &count);
  call->mem_list_get(memories, 0, &first);
  row("UCX's memories", static_cast<long>(count), {2});
  row("index beyond UCX's memories", call->mem_list_get(memories, count, &first), {INVALID});
  call->destroy_mem_list(memories);

  StringListRef plugins = nullptr;
  call->get_available_plugins(agent.ref, &plugins);
  call->string_list_size(plugins, &count);
  bool ucx = false;
  bool gds = false;
  for (size_t i = 0; i < count; ++i) {
    const char* text = nullptr;
    call->string_list_get(plugins, i, &text);
    ucx = ucx || std::string(text) == "UCX";
    gds = gds || std::string(text) == "GDS";
  }
  call->destroy_string_list(plugins);
  row("available plugins name UCX", ucx);
  row("available plugins name what cannot be loaded", gds);
}

// Options return the values that were set.
void options() {
  Options options;
  bool flag = true;
  row("options have no notification", call->opt_args_get_has_notif(options.ref, &flag) == Status::ok && !flag);
  options.notify("note");
  row("but the one that is set", call->opt_args_get_has_notif(options.ref, &flag) == Status::ok && flag);
  call->opt_args_set_skip_desc_merge(options.ref, true);
  row("and what descriptors become", call->opt_args_get_skip_desc_merge(options.ref, &flag) == Status::ok && flag);
  const std::string custom = "worker_id=0";
  row("set a custom parameter", call->opt_args_set_custom_param(options.ref, custom.data(), custom.size()), {OK});
  const auto text_of = [](Status status, void* data, size_t length) {
    std::string text = status == Status::ok ? std::string(static_cast<char*>(data), length) : "";
    std::free(data);
    return text;
  };
  void* data = nullptr;
  size_t length = 0;
  Status status = call->opt_args_get_custom_param(options.ref, &data, &length);
  row("the custom parameter", text_of(status, data, length) == custom);
  data = nullptr;
  status = call->opt_args_get_notif_msg(options.ref, &data, &length);
  row("the notification", text_of(status, data, length) == "note");
}

void registration() {
  Agent agent("registration");
  const Buffer buffer(8 * PAGE, 1);
  row("register memory that no backend serves", agent.enroll(Memory::block, {buffer.piece()}), {NOT_FOUND});
  row("register an empty list", agent.enroll(Memory::dram, {}), {BACKEND});
  row("register length 0", agent.enroll(Memory::dram, {{address_of(buffer.data), 0}}), {OK});
  row("register", agent.enroll(Memory::dram, {buffer.piece(0, 2 * PAGE)}), {OK});
  row("register the same range twice", agent.enroll(Memory::dram, {buffer.piece(0, 2 * PAGE)}), {OK});
  row("register an overlapping range", agent.enroll(Memory::dram, {buffer.piece(PAGE, 2 * PAGE)}), {OK});
  row("deregister a part", agent.withdraw(Memory::dram, {buffer.piece(0, PAGE)}), {NOT_FOUND});
  row("deregister", agent.withdraw(Memory::dram, {buffer.piece(0, 2 * PAGE)}), {OK});
  row("deregister the second of two", agent.withdraw(Memory::dram, {buffer.piece(0, 2 * PAGE)}), {OK});
  row("deregister once more", agent.withdraw(Memory::dram, {buffer.piece(0, 2 * PAGE)}), {NOT_FOUND});
  void* gone = mmap(nullptr, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(gone, PAGE);
  row("register an address where nothing is", agent.enroll(Memory::dram, {{address_of(gone), PAGE}}), {OK});
  row("deregister it", agent.withdraw(Memory::dram, {{address_of(gone), PAGE}}), {OK});
  std::vector<Piece> many;
  for (size_t i = 0; i < 1000; ++i) many.push_back(buffer.piece(i * 8, 8));
  row("register 1000 in one list", agent.enroll(Memory::dram, many), {OK});
  row("deregister 1000 in one list", agent.withdraw(Memory::dram, many), {OK});
}

void metadata() {
  Agent one("md-one");
  Agent two("md-two");
  const Buffer buffer(4 * PAGE, 1);
  two.enroll(Memory::dram, {buffer.piece(0, PAGE)});
  const std::string blob = two.metadata();
  row("load_remote_md", one.load(blob), {OK});
  row("load_remote_md again", one.load(blob), {OK});
  row("load one's own", two.load(blob), {INVALID});
  row("load garbage", one.load("no metadata at all"), {BACKEND});
  row("load nothing", one.load(""), {INVALID});
  for (const size_t part : {size_t{1}, blob.size() / 4, blob.size() / 2, blob.size() - 1}) {
    Agent other("md-truncated");
    row("damage is seen in the first part of " + std::to_string(part * 100 / blob.size()) + "%",
        !backend->inspect_metadata(blob.substr(0, part)).damage.empty());
    row("load the first part of " + std::to_string(part * 100 / blob.size()) + "%", other.load(blob.substr(0, part)),
        {BACKEND, NOT_FOUND});
  }
  size_t unseen = 0;
  for (size_t part = 1; part < blob.size(); ++part) {
    if (backend->inspect_metadata(blob.substr(0, part)).damage.empty()) unseen += 1;
  }
  row("first parts that pass for whole", static_cast<long>(unseen), {0});
  const MetadataView view = backend->inspect_metadata(blob);
  row("no damage is seen in a whole one", view.damage.empty() && view.name == "md-two" && !view.connection.empty());
  row("load a sealed one", one.load(seal(blob)), {OK});
  Agent both("md-both", {.backends = {"UCX", "POSIX"}});
  both.enroll(Memory::dram, {buffer.piece(0, PAGE)});
  const int fd = memfd_create("md-both", 0);
  both.enroll(Memory::file, {{0, PAGE, static_cast<uint64_t>(fd)}});
  row("no damage is seen in that of two backends", backend->inspect_metadata(both.metadata()).damage.empty());
  row("load that of two backends", one.load(both.metadata()), {OK});
  close(fd);
  row("check known", one.check("md-two"), {OK});
  row("check unknown", one.check("unknown"), {NOT_FOUND});
  row("check own name without memory", one.check("md-one"), {NOT_FOUND});
  row("check own name with memory", two.check("md-two"), {OK});
  row("check a range of one's own", two.check("md-two", {buffer.piece(0, PAGE)}), {NOT_FOUND});
  row("check a registered range", one.check("md-two", {buffer.piece(0, PAGE)}), {OK});
  row("check within one", one.check("md-two", {buffer.piece(100, 100)}), {OK});
  row("check outside of any", one.check("md-two", {buffer.piece(PAGE, PAGE)}), {NOT_FOUND});
  row("connect known", call->agent_make_connection(one.ref, "md-two", nullptr), {OK});
  row("connect unknown", call->agent_make_connection(one.ref, "unknown", nullptr), {NOT_FOUND});

  row("partial metadata of memory of which there is none",
      [&] {
        std::string none;
        return two.partial(Memory::vram, {buffer.piece()}, none);
      }(),
      {OK});
  row("a region taken back, before a reload", two.withdraw(Memory::dram, {buffer.piece(0, PAGE)}), {OK});
  row("is still known", one.check("md-two", {buffer.piece(0, PAGE)}), {OK});
  two.enroll(Memory::dram, {buffer.piece(2 * PAGE, PAGE)});
  row("a reload", one.load(two.metadata()), {OK});
  row("only adds", one.check("md-two", {buffer.piece(0, PAGE)}), {OK});
  two.enroll(Memory::dram, {buffer.piece(0, PAGE)});

  two.enroll(Memory::dram, {buffer.piece(PAGE, PAGE)});
  row("a later region before a reload", one.check("md-two", {buffer.piece(PAGE, PAGE)}), {NOT_FOUND});
  row("reload", one.load(two.metadata()), {OK});
  row("a later region after a reload", one.check("md-two", {buffer.piece(PAGE, PAGE)}), {OK});

  row("invalidate own name", one.forget("md-one"), {INVALID});
  row("invalidate", one.forget("md-two"), {OK});
  row("check after invalidate", one.check("md-two"), {NOT_FOUND});
  row("invalidate again", one.forget("md-two"), {NOT_FOUND});

  std::string part;
  row("partial metadata of a range", two.partial(Memory::dram, {buffer.piece(0, PAGE)}, part), {OK});
  row("load it without the connection", one.load(part), {NOT_FOUND});
  std::string connection;
  row("partial metadata of nothing", two.partial(Memory::dram, {}, connection), {OK});
  row("a part without the connection is not damaged", backend->inspect_metadata(part).damage.empty());
  row("and has none", backend->inspect_metadata(part).connection.empty());
  row("the connection alone is not damaged", backend->inspect_metadata(connection).damage.empty());
  row("load the connection alone", one.load(connection), {OK});
  row("check a range with the connection alone", one.check("md-two", {buffer.piece(0, PAGE)}), {NOT_FOUND});
  row("load the range", one.load(part), {OK});
  row("check it", one.check("md-two", {buffer.piece(0, PAGE)}), {OK});
  row("check what was not in it", one.check("md-two", {buffer.piece(PAGE, PAGE)}), {NOT_FOUND});
  row("partial metadata of an unregistered range", two.partial(Memory::dram, {buffer.piece(3 * PAGE, PAGE)}, part),
      {NOT_FOUND});

  two.destroy();
  Agent again("md-two");
  again.enroll(Memory::dram, {buffer.piece(0, PAGE)});
  row("load of a peer that was restarted", one.load(again.metadata()), {BACKEND});
  one.forget("md-two");
  row("load after invalidate", one.load(again.metadata()), {OK});

  const std::string whole = again.metadata();
  row("a region of 1000 bytes takes less than 200 of metadata",
      again.enroll(Memory::dram, {buffer.piece(0, 1000)}) == Status::ok &&
          again.metadata().size() < whole.size() + 200);
}

}  // namespace dynamo::nixl::test
