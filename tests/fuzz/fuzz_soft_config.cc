// The software GPU's configuration file: a mistake has a line and a sentence, whatever it is.
#include <algorithm>

#include "fuzz.h"
#include "softgpu/driver/config.h"
#include "softgpu/driver/toml.h"

using namespace vgpu::softgpu;

std::vector<fuzz::Input> fuzz::seeds() {
  std::vector<Input> all;
  for (const char* text :
       {"devices = 2\nmemory = \"1Gi\" # comment\ncc = 13.0\n",
        "threads = 1_000\r\ndeterministic = true\nname = 'literal'\nsummary = \"a\\\"\\\\\\n\"\n",
        "check = [\"races\",\n  'uninitialised', # both\n]\nquarantine = 4096\n",
        "sms = +7\n[[devices]]\n\"name\" = \"one\"\n[[devices]]\nmemory = 1048576\ncc = \"11.0\"\n",
        "kernel_time_us = 1e3\n[table]\nx = [[1, 2.5], [-3]]\n"}) {
    all.push_back(input_of(std::string_view(text)));
  }
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = 1 + std::count(text.begin(), text.end(), '\n');
  toml::Error problem;
  const auto tables = toml::parse(text, problem);
  fuzz::require(tables ? !tables->empty()
                       : problem.line >= 1 && problem.line <= lines && !problem.message.empty());
  Config config;
  std::string error;
  if (!apply_file(text, "soft.toml", config, error)) {
    fuzz::require(error.starts_with("soft.toml:"));
    return 0;
  }
  fuzz::require(tables && config.devices.size() <= 64);
  for (const DeviceConfig& device : config.devices) {
    fuzz::require(device.memory >= 1 << 20 && device.sms >= 1 && device.capability_major >= 5);
  }
  return 0;
}
