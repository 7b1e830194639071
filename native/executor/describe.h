// A driver and its devices in words: for the worker (msgpack) and for --probe (JSON).
#pragma once

#include <string>

#include "executor/driver.h"
#include "wire/msgpack.h"

namespace vgpu::executor {

// driver_version, driver, images, devices, opcodes: the same keys in `ready` and `attached`.
wire::Value describe(const Driver& driver);
// The same as one JSON object; uuid in hex, keys of attributes as text.
std::string describe_json(const Driver& driver);
// {"error": {"code": code, "message": message}}
std::string error_json(const std::string& code, const std::string& message);

}  // namespace vgpu::executor
