#include "backend.h"
#include "entries.h"
#include "library.h"
#include "pack.h"

namespace dynamo::nixl {
namespace {

std::vector<uint8_t> report(const Backend* backend, const std::vector<Tried>& tried) {
  Packer packer;
  packer.map(backend == nullptr ? 1 : 6);
  packer.text("tried").array(tried.size());
  for (const Tried& one : tried) packer.map(2).text("path").text(one.path).text("reason").text(one.reason);
  if (backend == nullptr) return packer.take();
  packer.text("kind").text(backend->kind == Backend::Kind::mock ? "mock" : "real");
  packer.text("path").text(backend->path);
  packer.text("functions").integer(static_cast<int64_t>(backend->functions));
  packer.text("features").array(backend->features.size());
  for (const Feature& feature : backend->features) {
    packer.map(3).text("name").text(feature.name).text("available").boolean(feature.available);
    packer.text("missing").array(feature.missing.size());
    for (const auto& symbol : feature.missing) packer.text(symbol);
  }
  const Cuda& cuda = *backend->cuda;
  packer.text("cuda").map(4).text("available").boolean(cuda.available()).text("reason").text(cuda.unavailable());
  packer.text("driverVersion").integer(cuda.driver_version());
  packer.text("devices").array(cuda.gpus().size());
  for (const Gpu& gpu : cuda.gpus()) {
    packer.map(2).text("name").text(gpu.name).text("totalBytes").integer(static_cast<int64_t>(gpu.total_bytes));
  }
  return packer.take();
}

Reply reply(const Backend* backend, const std::vector<Tried>& tried) {
  Reply reply = Reply::of_bytes(report(backend, tried));
  if (backend != nullptr) reply.objects.push_back(std::make_shared<Library>(*backend));
  return reply;
}

}  // namespace

Reply library_load(const Call& call) {
  const Options args(call.args);
  const LoadResult result = load({
      .path = args.text("path"),
      .home = args.text("home"),
      .site_packages = args.list("sitePackages"),
      .system = args.boolean("system", true),
      .deep_bind = args.boolean("deepBind"),
      .safe_environment = args.boolean("safeEnvironment", true),
      .log_level = args.text("logLevel"),
  });
  return reply(result.backend, result.tried);
}

Reply library_mock(const Call& call) {
  const Options args(call.args);
  MockKnobs knobs;
  const std::string completion = args.text("completion", "random");
  knobs.completion = completion == "immediate" ? MockKnobs::Completion::immediate
                     : completion == "delayed" ? MockKnobs::Completion::delayed
                                               : MockKnobs::Completion::random;
  knobs.seed = args.integer("seed", knobs.seed);
  knobs.polls = static_cast<uint32_t>(args.integer("polls", knobs.polls));
  knobs.latency_us = args.integer("latencyUs", knobs.latency_us);
  knobs.bytes_per_second = args.integer("bytesPerSecond", knobs.bytes_per_second);
  knobs.late_copy_us = args.integer("lateCopyUs", knobs.late_copy_us);
  knobs.fail_at = args.integer("failAt", knobs.fail_at);
  knobs.never_complete = args.boolean("neverComplete", knobs.never_complete);
  knobs.drop_peer = args.text("dropPeer");
  knobs.fake_gpus = static_cast<unsigned>(args.integer("fakeGpus", knobs.fake_gpus));
  return reply(mock(knobs), {});
}

}  // namespace dynamo::nixl
