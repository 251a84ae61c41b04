// A fuzz target for external input: metadata blobs, and descriptor lists with any numbers.
// libFuzzer drives it if it is available. Otherwise main() below generates random inputs: fuzz SECONDS [SEED].
#include <random>

#include "../mock/metadata.h"
#include "harness.h"

using namespace dynamo::nixl;
using namespace dynamo::nixl::test;

namespace {

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}
  bool any() const { return next_ != end_; }
  uint8_t byte() { return any() ? *next_++ : 0; }
  uint64_t number() {
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = (value << 8) | byte();
    return value;
  }
  std::string rest() const { return {reinterpret_cast<const char*>(next_), static_cast<size_t>(end_ - next_)}; }

 private:
  const uint8_t* next_;
  const uint8_t* end_;
};

[[noreturn]] void broken(const char* rule) {
  std::fprintf(stderr, "broken: %s\n", rule);
  std::abort();
}

// Blobs as they are, and blobs with a correct checksum, to reach the code after the check.
void blobs(Bytes& bytes) {
  const bool mend = bytes.byte() % 2 == 0;
  std::string blob = bytes.rest();
  if (mend) blob = mocked::with_checksum(blob);
  const auto metadata = mocked::parse(blob);
  if (metadata.has_value() && mocked::serialize(*metadata) != blob) broken("a blob that is read is written back alike");
  inspect_library_metadata(blob);
  backend->inspect_metadata(blob);
  join_library_metadata(blob, blob);
  backend->join_metadata(blob, blob);
  std::string_view sealed(blob);
  if (unseal(sealed) && sealed.size() > blob.size()) broken("a seal only adds");
  const std::string whole = seal(blob);
  std::string_view again(whole);
  if (!unseal(again) || again != blob) broken("a sealed blob is the blob");
  Agent agent("fuzz");
  const Status status = agent.load(blob);
  if (status == Status::ok && !metadata.has_value()) broken("only a whole blob is loaded");
}

// Numbers near the ends of the buffer, and any others.
uint64_t address(Bytes& bytes, const Buffer& buffer) {
  const uint8_t kind = bytes.byte();
  if (kind % 4 == 0) return bytes.number();
  return address_of(buffer.data) +
         (kind % 4 == 1   ? 0
          : kind % 4 == 2 ? buffer.length
                          : bytes.number() % 8192) -
         kind / 64;
}

uint64_t length(Bytes& bytes, const Buffer& buffer) {
  const uint8_t kind = bytes.byte();
  return kind % 4 == 0 ? bytes.number() : kind % 4 == 1 ? buffer.length : bytes.number() % (2 * buffer.length);
}

// For every list, bytes only move within registered memory. The sanitizer checks the ends of the buffer.
void lists(Bytes& bytes) {
  static const Buffer buffer(8192, 1);
  Agent agent("fuzz");
  agent.enroll(Memory::dram, {buffer.piece(0, 4096), buffer.piece(4096)});
  TransferListRef sides[2] = {};
  for (auto& side : sides) {
    call->create_xfer_dlist(static_cast<Memory>(bytes.byte() % 7 == 0 ? bytes.byte() : 0), &side);
    for (int i = bytes.byte() % 5; i > 0; --i) {
      call->xfer_dlist_add_desc(side, address(bytes, buffer), length(bytes, buffer),
                                bytes.byte() % 8 == 0 ? bytes.number() : 0);
    }
    if (bytes.byte() % 8 == 0) call->xfer_dlist_rem_desc(side, static_cast<int>(bytes.number()));
    if (bytes.byte() % 8 == 0) call->xfer_dlist_resize(side, bytes.number() % 64);
  }
  const auto operation = static_cast<Operation>(bytes.byte() % 2);
  RequestRef request = nullptr;
  if (bytes.byte() % 2 == 0) {
    call->create_xfer_req(agent.ref, operation, sides[0], sides[1], "fuzz", &request, nullptr);
  } else {
    PreparedListRef local = nullptr;
    PreparedListRef remote = nullptr;
    call->prep_xfer_dlist(agent.ref, "", sides[0], &local, nullptr);
    call->prep_xfer_dlist(agent.ref, "fuzz", sides[1], &remote, nullptr);
    int indices[2][4];
    for (auto& side : indices) {
      for (int& index : side) index = bytes.byte() % 4 == 0 ? static_cast<int>(bytes.number()) : bytes.byte() % 4;
    }
    call->make_xfer_req(agent.ref, operation, local, indices[0], bytes.byte() % 5, remote, indices[1], bytes.byte() % 5,
                        &request, nullptr);
    call->release_xfer_dlist_handle(agent.ref, local);
    call->release_xfer_dlist_handle(agent.ref, remote);
  }
  if (request != nullptr) {
    Request made(agent, request);
    if (made.run() != Status::ok) broken("what was accepted moves");
  }
  for (const auto side : sides) call->destroy_xfer_dlist(side);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (backend == nullptr) {
    backend = mock({.completion = MockKnobs::Completion::immediate});
    call = &backend->call;
  }
  Bytes bytes(data, size);
  if (bytes.byte() % 2 == 0) {
    blobs(bytes);
  } else {
    lists(bytes);
  }
  return 0;
}

#ifndef DYNAMO_LIBFUZZER
int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 5;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device()();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  std::mt19937_64 random(seed);
  backend = mock({.completion = MockKnobs::Completion::immediate});
  call = &backend->call;
  Agent agent("seed");
  const Buffer buffer(4096, 1);
  agent.enroll(Memory::dram, {buffer.piece()});
  std::string model = agent.metadata();
  uint64_t runs = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < end) {
    std::string input;
    if (random() % 2 == 0) {
      // A real blob with some bytes changed, removed or added. The checksum is removed if it will be corrected.
      const bool mend = random() % 2 == 0;
      input = std::string{'\0', mend ? '\0' : '\1'} + model.substr(0, model.size() - (mend ? 8 : 0));
      for (uint64_t i = random() % 4; i > 0; --i)
        input[2 + random() % (input.size() - 2)] = static_cast<char>(random());
      if (random() % 3 == 0) input.resize(2 + random() % input.size());
    } else {
      input = '\1';
      for (uint64_t i = random() % 200; i > 0; --i) input += static_cast<char>(random());
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    runs += 1;
  }
  std::printf("%llu runs\n", static_cast<unsigned long long>(runs));
  return runs > 0 ? 0 : 1;
}
#endif
