#include "executor/describe.h"

#include <cstdio>
#include <string_view>

#include "generated/executor_api.h"
#include "generated/opcode.h"

namespace vgpu::executor {
namespace {

wire::Value describe_device(const DeviceDescription& device) {
  wire::Value value;
  value.set("ordinal", device.ordinal);
  value.set("name", device.name);
  value.set("uuid", wire::Value::binary(std::as_bytes(std::span(device.uuid))));
  value.set("total_memory", device.total_memory);
  wire::Value::Map attributes;
  for (const auto& [key, number] : device.attributes) attributes.emplace_back(key, number);
  value.set("attributes", std::move(attributes));
  value.set("pci", wire::Value::array({device.pci[0], device.pci[1], device.pci[2]}));
  return value;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", c);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string device_json(const DeviceDescription& device) {
  std::string uuid;
  for (const uint8_t byte : device.uuid) {
    char hex[3];
    std::snprintf(hex, sizeof(hex), "%02x", byte);
    uuid += hex;
  }
  std::string out = "{\"ordinal\": " + std::to_string(device.ordinal) +
                    ", \"name\": " + quoted(device.name) + ", \"uuid\": " + quoted(uuid) +
                    ", \"total_memory\": " + std::to_string(device.total_memory) + ", \"pci\": [" +
                    std::to_string(device.pci[0]) + ", " + std::to_string(device.pci[1]) + ", " +
                    std::to_string(device.pci[2]) + "], \"attributes\": {";
  const char* separator = "";
  for (const auto& [key, number] : device.attributes) {
    out += separator;
    out += "\"" + std::to_string(key) + "\": " + std::to_string(number);
    separator = ", ";
  }
  return out + "}}";
}

bool served(const Driver& driver, const CallInfo& call) {
  return call.on_wire && find_handler(call.opcode) != nullptr && driver.has(call.name);
}

}  // namespace

wire::Value describe(const Driver& driver) {
  wire::Value value;
  value.set("driver_version", driver.version());
  value.set("driver", driver.kind());
  value.set("images", driver.images());
  wire::Value::Array devices;
  for (const auto& device : driver.devices()) devices.push_back(describe_device(device));
  value.set("devices", std::move(devices));
  wire::Value::Array opcodes;
  for (const CallInfo& call : kCalls) {
    if (served(driver, call)) opcodes.emplace_back(static_cast<unsigned>(call.opcode));
  }
  value.set("opcodes", std::move(opcodes));
  return value;
}

std::string describe_json(const Driver& driver) {
  std::string out = "{\"path\": " + quoted(driver.path()) +
                    ", \"driver_version\": " + std::to_string(driver.version()) +
                    ", \"driver\": " + quoted(driver.kind()) +
                    ", \"images\": " + quoted(driver.images()) + ", \"devices\": [";
  const char* separator = "";
  for (const auto& device : driver.devices()) {
    out += separator + device_json(device);
    separator = ", ";
  }
  out += "], \"opcodes\": [";
  separator = "";
  for (const CallInfo& call : kCalls) {
    if (!served(driver, call)) continue;
    out += separator + std::to_string(static_cast<unsigned>(call.opcode));
    separator = ", ";
  }
  return out + "]}";
}

std::string error_json(const std::string& code, const std::string& message) {
  return "{\"error\": {\"code\": " + quoted(code) + ", \"message\": " + quoted(message) + "}}";
}

}  // namespace vgpu::executor
