// The rows of the behaviour matrix, by subject.
#pragma once

#include "harness.h"
#include "peer.h"

namespace dynamo::nixl::test {

inline constexpr long OK = 0, PENDING = 1, INVALID = -1, BACKEND = -2, STATE = -3, NO_TELEMETRY = -5, NOT_FOUND = -6;
inline constexpr size_t PAGE = 4096;
// The begin of the note that is printed if no transfer is seen in flight.
inline constexpr const char* NO_ACTIVE = "no rows for active transfers";

void agents_and_backends();
void options();
void registration();
void metadata();
void create_requests();
void transfers();
void notifications();
void active_transfers();
void device_memory();
void files();
void sockets();
void peer_death();
void unreachable_store();

}  // namespace dynamo::nixl::test
