// Metadata blobs looked at before the library sees them. It trusts what it is given: a blob that is cut leaves a peer
// that can never be loaded again, one with damaged bytes can end the process.
#pragma once

#include <string>
#include <string_view>

namespace dynamo::nixl {

// What a blob says of itself.
struct MetadataView {
  std::string damage;      // why it must not be loaded; empty where nothing is known against it
  std::string name;        // of the agent
  std::string connection;  // how it is reached, differing between two agents of one name; empty in a part without it
};

// The damage of a blob whose agent failed to register memory and then told of it all the same: what it registered
// otherwise can be had in parts.
inline constexpr const char* POISONED =
    "its agent once failed to register memory, and the library lists it all the same";

// The blob of the real library: a magic, then fields of a tag, a length (u64, little-endian), that many bytes and a
// bar.
MetadataView inspect_library_metadata(std::string_view blob);

// Appends a checksum, which other programs and the library do not read: they stop where the blob ends.
std::string seal(std::string_view blob);

// Takes a checksum off again, if there is one (blobs of other programs have none); false where it does not fit.
bool unseal(std::string_view& blob);

}  // namespace dynamo::nixl
