// Who could have written a file that is about to be loaded as code.
#pragma once

#include <string>

namespace dynamo::nixl {

// Returns why a file must not be loaded as code, or an empty text. It names the file or folder. Each of the file, the
// folders above it, and the libraries that are loaded with it must belong to root or to the user of this process, and
// must not be writable by others. `path` has no links: `realpath` returned it.
std::string why_untrusted(const std::string& path);

}  // namespace dynamo::nixl
