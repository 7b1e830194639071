#include "stub/settings.h"

#include <cstdlib>
#include <cstring>
#include <fstream>

namespace vgpu::stub {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

constexpr const char* kDriverVariables[] = {
    "CUDA_FORCE_PTX_JIT",
    "CUDA_DISABLE_PTX_JIT",
    "CUDA_FORCE_JIT",
    "CUDA_DISABLE_JIT",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_DEVICE_MAX_COPY_CONNECTIONS",
    "CUDA_SCALE_LAUNCH_QUEUES",
    "CUDA_DEVICE_WAITS_ON_EXCEPTION",
    "CUDA_DEVICE_DEFAULT_PERSISTING_L2_CACHE_PERCENTAGE_LIMIT"};

// Splits `name value`, `name = value` and `name = "value"`; Z85 text itself may hold '=' and '#'.
bool split(const std::string& line, std::string& name, std::string& value) {
  const size_t blank = line.find_first_of(" \t");
  if (line.empty() || line[0] == '#' || blank == std::string::npos) return false;
  name = line.substr(0, blank);
  size_t at = line.find_first_not_of(" \t", blank);
  if (at == std::string::npos) return false;
  if (line[at] == '=' && at + 1 < line.size() && (line[at + 1] == ' ' || line[at + 1] == '\t')) {
    at = line.find_first_not_of(" \t", at + 1);
    if (at == std::string::npos) return false;
  }
  value = line.substr(at);
  while (!value.empty() && std::strchr(" \t\r", value.back()) != nullptr) value.pop_back();
  if (value.size() == 42 && value.front() == '"' && value.back() == '"') {
    value = value.substr(1, 40);
  }
  for (auto& letter : name) {
    if (letter == '_') letter = '-';
  }
  return true;
}

}  // namespace

Settings read_settings() {
  Settings settings;
  settings.worker = variable("VGPU_WORKER");
  settings.keys = variable("VGPU_KEYS");
  settings.statistics = variable("VGPU_STATS");
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) settings.visible_devices = visible;
  settings.launch_blocking = variable("CUDA_LAUNCH_BLOCKING") == "1";
  settings.eager_loading = variable("CUDA_MODULE_LOADING") == "EAGER";
  for (const char* name : kDriverVariables) {
    if (const char* value = std::getenv(name))
      settings.driver_environment.emplace_back(name, value);
  }
  return settings;
}

bool read_keys(const std::string& path, transport::CurveKeys& keys, std::string& error) {
  std::ifstream file(path);
  if (!file) {
    error = "cannot read the key file VGPU_KEYS=" + path + " (" + std::strerror(errno) + ")";
    return false;
  }
  std::string line, name, value;
  while (std::getline(file, line)) {
    if (!split(line, name, value)) continue;
    if (name == "public" || name == "client-public") keys.public_key = value;
    if (name == "secret" || name == "client-secret") keys.secret_key = value;
    if (name == "server-public") keys.server_public = value;
  }
  if (keys.public_key.size() != 40 || keys.secret_key.size() != 40 ||
      keys.server_public.size() != 40) {
    error =
        "the key file " + path +
        " lacks public, secret or server-public (40 characters each): make one with `vgpu keys`";
    return false;
  }
  return true;
}

}  // namespace vgpu::stub
