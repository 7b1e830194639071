// The stub's half of the control conversation (protocol/README.md).
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "stub/settings.h"
#include "transport/endpoints.h"
#include "wire/msgpack.h"

namespace vgpu::stub {

// Error codes of the worker's `error` message, plus "connection" for what never reached one.
struct Refusal {
  std::string code;
  std::string message;
};

// The bytes of a binary or a text.
std::string bytes_of(const wire::Value& value);

// `hello`. False with `refusal` set.
bool request_attach(const Settings& settings, wire::Value& attached, Refusal& refusal);

struct Bound {
  transport::ZmqEndpoints endpoints;
  std::string token;  // 16 bytes
};
bool request_bind(const Settings& settings, const std::string& session, Bound& bound,
                  std::string& error);

// `end`: why the session's executor ended; "" when the worker cannot say.
std::string request_end_reason(const Settings& settings, const std::string& session);

// libvgpu-embedded.so of this installation, opened once; null with `error` set.
void* embedded_library(std::string* error);
bool embedded_attach(const std::string& driver, wire::Value& attached, Refusal& refusal);

}  // namespace vgpu::stub
