// GPUs, files, sockets and other processes.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "matrix.h"

namespace dynamo::nixl::test {

void device_memory() {
  if (backend->cuda->available()) {
    std::printf("# no rows for the absence of a GPU: there is one\n");
    return;
  }
  Agent one("vr-one");
  Agent two("vr-two");
  const Buffer buffer(4 * PAGE, 1);
  two.enroll(Memory::dram, {buffer.piece(0, PAGE)});
  row("register VRAM without a GPU", two.enroll(Memory::vram, {buffer.piece(PAGE, PAGE)}), {BACKEND});
  row("its metadata is seen to be poisoned", backend->inspect_metadata(two.metadata()).damage == POISONED);
  row("its metadata is poisoned", one.load(two.metadata()), {NOT_FOUND});
  std::string connection;
  std::string part;
  two.partial(Memory::dram, {}, connection);
  two.partial(Memory::dram, {buffer.piece(0, PAGE)}, part);
  row("the agent that loaded it no longer knows it", one.check("vr-two"), {NOT_FOUND});
  row("cannot load it again", one.load(two.metadata()), {INVALID});
  row("nor the connection alone", one.load(connection), {INVALID});
  row("nor take it back", one.forget("vr-two"), {NOT_FOUND});
  Agent three("vr-three");
  row("an agent that loads the connection alone", three.load(connection), {OK});
  row("and then the ranges", three.load(part), {OK});
  row("knows the ranges", three.check("vr-two", {buffer.piece(0, PAGE)}), {OK});
}

namespace {

std::vector<std::string> names_in(ParamsRef params) {
  std::vector<std::string> names;
  bool more = false;
  call->params_is_empty(params, &more);
  ParamsIteratorRef iterator = nullptr;
  call->params_create_iterator(params, &iterator);
  for (more = !more; more;) {
    const char* key = nullptr;
    const char* value = nullptr;
    call->params_iterator_next(iterator, &key, &value, &more);
    names.emplace_back(key);
  }
  call->params_destroy_iterator(iterator);
  std::sort(names.begin(), names.end());
  return names;
}

// The mode before a path selects how the file is opened.
void modes_of_files(Agent& agent, const std::string& path, const Buffer& memory) {
  const TransferList left(Memory::dram, {memory.piece(0, PAGE)});
  uint64_t number = 2000;
  const auto move = [&](const std::string& mode, Operation operation) {
    number += 1;
    row("POSIX register " + mode, agent.enroll(Memory::file, {{0, PAGE, number, mode + ":" + path}}), {OK});
    const TransferList right(Memory::file, {{0, PAGE, number}});
    Request request(agent, operation, left, right, "files");
    return request.run();
  };
  row("POSIX read what is open for it", move("ro", Operation::read), {OK});
  row("POSIX write what is open to be read", move("ro", Operation::write), {BACKEND});
  row("POSIX write with each of other modes", move("rw,sync,noatime", Operation::write), {OK});
  const int direct = open(path.c_str(), O_RDONLY | O_DIRECT);
  if (direct >= 0) {
    row("POSIX read past the page cache", move("ro,direct", Operation::read), {OK});
    close(direct);
  } else {
    std::printf("# no row for direct: the file system of %s has none\n", path.c_str());
  }
  const std::string fresh = path + "-new";
  row("POSIX register a file that is made", agent.enroll(Memory::file, {{0, PAGE, 3000, "rw,create:" + fresh}}), {OK});
  row("it is there", unlink(fresh.c_str()) == 0);
  row("POSIX register with what is no mode, which counts as nothing",
      agent.enroll(Memory::file, {{0, PAGE, 3001, "xx:" + path}}), {OK});
}

}  // namespace

void files() {
  char path[] = "/tmp/nixl-matrix-XXXXXX";
  const int fd = mkstemp(path);
  Agent agent("files", {.backends = {"POSIX"}});
  std::string blob;
  row("POSIX get_local_md", agent.metadata(blob), {INVALID});
  Buffer memory(4 * PAGE, 1);
  row("POSIX register memory", agent.enroll(Memory::dram, {memory.piece()}), {OK});
  row("POSIX register a descriptor", agent.enroll(Memory::file, {{0, 8 * PAGE, static_cast<uint64_t>(fd)}}), {OK});
  const TransferList left(Memory::dram, {memory.piece()});
  const TransferList right(Memory::file, {{PAGE, 4 * PAGE, static_cast<uint64_t>(fd)}});
  Request write(agent, Operation::write, left, right, "files");
  row("POSIX create", write.created, {OK});
  row("POSIX write", write.run(), {OK});
  memory.fill(2);
  Request read(agent, Operation::read, left, right, "files");
  row("POSIX read", read.run(), {OK});
  row("POSIX bytes", memory.is(1));
  const TransferList beyond(Memory::file, {{4 * PAGE, 4 * PAGE, static_cast<uint64_t>(fd)}});
  Request shorter(agent, Operation::read, left, beyond, "files");
  row("POSIX read beyond the end", shorter.run(), {BACKEND});
  Options notify;
  notify.notify("x");
  row("POSIX create with a notification", Request(agent, Operation::write, left, right, "files", notify.ref).created,
      {BACKEND});

  row("POSIX register by path", agent.enroll(Memory::file, {{0, 8 * PAGE, 1001, std::string("rw:") + path}}), {OK});
  row("POSIX register another with its number",
      agent.enroll(Memory::file, {{0, PAGE, 1001, std::string("rw:") + path}}), {BACKEND});
  row("POSIX register a path that is not there", agent.enroll(Memory::file, {{0, PAGE, 1002, "rw:/nonexistent/x"}}),
      {BACKEND});
  const TransferList by_path(Memory::file, {{PAGE, 4 * PAGE, 1001}});
  memory.fill(3);
  Request again(agent, Operation::read, left, by_path, "files");
  row("POSIX read by path", again.run(), {OK});
  row("POSIX bytes by path", memory.is(1));
  modes_of_files(agent, path, memory);

  const RegistrationList asked(Memory::file, {{0, 0, 0, path}, {0, 0, 0, "/nonexistent/x"}});
  QueryRef answers = nullptr;
  call->create_query_resp_list(&answers);
  row("query without a backend", call->query_mem(agent.ref, asked.ref, answers, nullptr), {INVALID});
  Options one;
  row("query with options that name none", call->query_mem(agent.ref, asked.ref, answers, one.ref), {INVALID});
  call->opt_args_add_backend(one.ref, agent.backends[0]);
  row("query", call->query_mem(agent.ref, asked.ref, answers, one.ref), {OK});
  size_t count = 0;
  call->query_resp_list_size(answers, &count);
  row("query's answers", static_cast<long>(count), {2});
  bool has[2] = {false, true};
  for (size_t i = 0; i < 2; ++i) call->query_resp_list_has_value(answers, i, &has[i]);
  row("a file that is there", has[0]);
  row("one that is not", !has[1]);
  ParamsRef params = nullptr;
  row("its parameters", call->query_resp_list_get_params(answers, 0, &params), {OK});
  row("their names", names_in(params) == std::vector<std::string>{"mode", "mtime", "size"});
  call->destroy_params(params);
  row("parameters of none", call->query_resp_list_get_params(answers, 1, &params), {INVALID});
  call->destroy_query_resp_list(answers);

  Agent ucx("query-ucx");
  Options other;
  call->opt_args_add_backend(other.ref, ucx.backends[0]);
  call->create_query_resp_list(&answers);
  row("query UCX", call->query_mem(ucx.ref, asked.ref, answers, other.ref), {BACKEND});
  call->destroy_query_resp_list(answers);

  close(fd);
  Status closed = write.post();
  if (closed == Status::in_progress) wait_for([&] { return (closed = write.status()) != Status::in_progress; });
  row("POSIX write to a closed descriptor", closed, {BACKEND});
  unlink(path);
}

void sockets() {
  const int port = free_port();
  Agent server("so-server", {.listen_port = port});
  Agent client("so-client", {.listen_port = free_port()});
  row("listen", server.created, {OK});
  row("listen on a port that is taken", Agent("so-taken", {.listen_port = port}).created, {BACKEND});
  const Buffer buffer(PAGE, 1);
  server.enroll(Memory::dram, {buffer.piece()});
  Options to;
  call->opt_args_set_ip_addr(to.ref, "127.0.0.1");
  call->opt_args_set_port(to.ref, static_cast<uint16_t>(port));
  row("fetch", call->fetch_remote_md(client.ref, "so-server", to.ref), {OK});
  row("it comes", wait_for([&] { return client.check("so-server") == Status::ok; }));
  row("with its regions", client.check("so-server", {buffer.piece()}), {OK});
  row("send", call->send_local_md(client.ref, to.ref), {OK});
  row("it arrives", wait_for([&] { return server.check("so-client") == Status::ok; }));
  row("withdraw", call->invalidate_local_md(client.ref, to.ref), {OK});
  row("it goes", wait_for([&] { return server.check("so-client") == Status::not_found; }));
  Options dead;
  call->opt_args_set_ip_addr(dead.ref, "127.0.0.1");
  call->opt_args_set_port(dead.ref, 1);
  row("send to a dead port", call->send_local_md(client.ref, dead.ref), {OK});
  row("fetch from a dead port", call->fetch_remote_md(client.ref, "unknown", dead.ref), {OK});
  Agent deaf("so-deaf");
  row("send without a listener", call->send_local_md(deaf.ref, to.ref), {OK});
  row("it arrives too", wait_for([&] { return server.check("so-deaf") == Status::ok; }));
  row("fetch without a listener", call->fetch_remote_md(deaf.ref, "so-server", to.ref), {OK});
  row("does not come", deaf.check("so-server"), {NOT_FOUND});
  row("send without address and store", call->send_local_md(client.ref, nullptr), {INVALID});
}

// Runs separately, because the store must be set before the library is loaded. The agent is never destroyed: the
// library may wait for the store.
void unreachable_store() {
  Agent& agent = *new Agent("us-agent");
  const Buffer buffer(PAGE, 1);
  agent.enroll(Memory::dram, {buffer.piece()});
  const auto returns_at_once = [](const std::string& name, const std::function<Status()>& ask) {
    const auto begin = std::chrono::steady_clock::now();
    row(name, ask(), {OK});
    row("at once", std::chrono::steady_clock::now() - begin < std::chrono::seconds(1));
  };
  returns_at_once("send to a store that is not there", [&] { return call->send_local_md(agent.ref, nullptr); });
  returns_at_once("fetch from it", [&] { return call->fetch_remote_md(agent.ref, "unknown", nullptr); });
  returns_at_once("withdraw from it", [&] { return call->invalidate_local_md(agent.ref, nullptr); });
  row("nothing comes", agent.check("unknown"), {NOT_FOUND});
}

void peer_death() {
  Peer peer("pd-peer");
  Agent one("pd-one");
  Buffer local(PAGE, 9);
  one.enroll(Memory::dram, {local.piece()});
  row("load a peer of another process", one.load(peer.blob), {OK});
  const TransferList left(Memory::dram, {local.piece()});
  const TransferList right(Memory::dram, {{peer.address, PAGE}});
  Request write(one, Operation::write, left, right, "pd-peer");
  Request read(one, Operation::read, left, right, "pd-peer");
  row("write to another process", write.run(), {OK});
  local.fill(8);
  row("read from another process", read.run(), {OK});
  row("the bytes between processes", local.is(9));
  row("notify another process", one.notify("pd-peer", "hello"), {OK});
  row("it answers", peer.expect("hello pd-one"));

  peer.kill();
  Status status = Status::ok;
  wait_for(
      [&] {
        if (status == Status::in_progress) {
          status = write.status();
        } else if (status == Status::ok) {
          status = write.post();
        }
        return static_cast<int>(status) < 0;
      },
      30);
  row("post or status once the peer is dead", status, {BACKEND});
  row("status stays", write.status(), {BACKEND});
  row("the other request", read.run(), {BACKEND});
  row("notify a dead peer", one.notify("pd-peer", "x"), {BACKEND});
  row("check a dead peer", one.check("pd-peer"), {OK});

  Peer again("pd-peer");
  row("load a peer restarted in another process", one.load(again.blob), {BACKEND});
  row("invalidate it", one.forget("pd-peer"), {OK});
  row("load it", one.load(again.blob), {OK});
  const TransferList fresh(Memory::dram, {{again.address, PAGE}});
  Request new_write(one, Operation::write, left, fresh, "pd-peer");
  row("write to it", new_write.run(), {OK});
  row("notify it", one.notify("pd-peer", "again"), {OK});
  row("it answers too", again.expect("again pd-one"));
}

}  // namespace dynamo::nixl::test
