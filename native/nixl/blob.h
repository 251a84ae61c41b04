// Checks metadata blobs before the library loads them. The library does not check them: after a truncated blob, the
// peer can never be loaded again. A blob with damaged bytes can crash the process.
#pragma once

#include <string>
#include <string_view>

namespace dynamo::nixl {

// The content of a blob.
struct MetadataView {
  std::string damage;      // why it must not be loaded; empty if no damage is found
  std::string name;        // of the agent
  std::string connection;  // differs between two agents of one name; empty in partial metadata without it
  size_t regions_at = 0;   // where its regions begin, if no damage is found
};

// The damage of a blob that lists memory whose registration has failed. The other regions of its agent are available
// through partial metadata.
inline constexpr const char* POISONED =
    "its agent failed to register some memory, and the library lists it nevertheless";

// The blob of the real library: a magic, then fields. A field is a tag, a length (u64, little-endian), that many bytes
// and a bar.
MetadataView inspect_library_metadata(std::string_view blob);

// The blob of an agent with the connection of one of its blobs and the regions of another. The library makes each blob
// with one of them only, and refuses regions of an agent without a connection. Empty if one of the blobs is damaged.
std::string join_library_metadata(std::string_view connection, std::string_view regions);

// Appends a checksum. The library and other programs ignore it: they stop at the end of the blob.
std::string seal(std::string_view blob);

// Removes the checksum, if there is one: blobs of other programs have none. False if it does not match.
bool unseal(std::string_view& blob);

}  // namespace dynamo::nixl
