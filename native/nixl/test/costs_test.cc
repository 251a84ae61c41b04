// Which posts are expected to be short, and how long their end is looked for.
#include "../costs.h"

#include "harness.h"

namespace dynamo::nixl::test {
namespace {

using std::chrono::microseconds;

constexpr size_t KIB = 1024;
constexpr size_t MIB = 1024 * KIB;

Costs fresh() { return {Memory::dram, Memory::dram, ""}; }

void before_the_first_post() {
  const Costs costs = fresh();
  row("64 KiB are short before the first post", costs.is_post_short(64 * KIB));
  row("more is not", !costs.is_post_short(65 * KIB));
  row("16 runs count as more bytes", !costs.is_post_short(Costs::size_of(32 * KIB, 16)));
}

void transports() {
  Costs copying = fresh();
  copying.posted(64 * KIB, microseconds(6));
  row("8 times the size is in proportion", copying.is_post_short(512 * KIB));
  row("16 times the size is too long", !copying.is_post_short(MIB));
  copying.posted(MIB, microseconds(40));
  row("a measurement counts more than a proportion", copying.is_post_short(MIB));
  copying.posted(4 * MIB, microseconds(800));
  row("a larger size is an upper bound only", copying.is_post_short(256 * KIB));

  Costs slow = fresh();
  slow.posted(4 * KIB, microseconds(900));
  row("a slow transport is left to the agent's thread", !slow.is_post_short(4 * KIB));
  row("for larger posts too", !slow.is_post_short(8 * KIB));

  Costs card = fresh();
  for (size_t size = 64 * KIB; size <= 8 * MIB; size *= 2) {
    row("a network card's post of " + std::to_string(size / KIB) + " KiB is short", card.is_post_short(size));
    card.posted(size, microseconds(3));
  }
}

void changes() {
  Costs costs = fresh();
  for (int i = 0; i < 100; i++) costs.posted(4 * KIB, microseconds(1));
  costs.posted(4 * KIB, std::chrono::milliseconds(20));
  row("one late post changes nothing", costs.is_post_short(4 * KIB));
  int posts = 0;
  for (; costs.is_post_short(4 * KIB) && posts < 100; posts++) costs.posted(4 * KIB, microseconds(500));
  row("a transport that slows down is noticed after a few posts", posts > 1 && posts < 12);
  posts = 0;
  for (; !costs.is_post_short(4 * KIB) && posts < 100; posts++) costs.posted(4 * KIB, microseconds(5));
  row("and one that recovers", posts > 0 && posts < 40);
}

void looks() {
  Costs costs = fresh();
  row("the first look has the whole time", costs.look_for(4 * KIB) == Costs::MAX_LOOK);
  costs.ended(4 * KIB, microseconds(20));
  row("a look takes twice the usual time", costs.look_for(4 * KIB) == microseconds(40));
  row("and at most 60 us", (costs.ended(8 * KIB, microseconds(50)), costs.look_for(8 * KIB)) == Costs::MAX_LOOK);
  costs.ended(MIB, std::chrono::milliseconds(5));
  int looked = 0;
  for (int i = 0; i < 160; i++) looked += costs.look_for(MIB) > microseconds(0) ? 1 : 0;
  row("an end that is far is looked for now and then", looked, {10});
  costs.ended(MIB, microseconds(20));
  row("and always again after a look that saw it", costs.look_for(MIB) == microseconds(40));
}

}  // namespace
}  // namespace dynamo::nixl::test

int main() {
  using namespace dynamo::nixl::test;
  before_the_first_post();
  transports();
  changes();
  looks();
  std::printf("%d rows, %d failed\n", rows, failures);
  return failures == 0 ? 0 : 1;
}
