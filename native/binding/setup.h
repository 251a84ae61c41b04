// The only place that includes napi.h. Its settings (NAPI_VERSION and exceptions) come from CMake.
#pragma once

#include <napi.h>

#include "dynamo_core.h"
