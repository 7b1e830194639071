#include "softgpu/driver/config.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>

#include "softgpu/driver/toml.h"

namespace vgpu::softgpu {
namespace {

constexpr size_t kMostDevices = 64;

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
bool within(const std::string& text, T low, T high, T& out) {
  const auto value = number<T>(text);
  if (!value || *value < low || *value > high) return false;
  out = *value;
  return true;
}

bool flag(const std::string& text, bool& out) {
  if (text != "0" && text != "1") return false;
  out = text == "1";
  return true;
}

bool set_memory(const std::string& text, DeviceConfig& device) {
  const auto bytes = parse_quantity(text);
  if (!bytes || *bytes < (uint64_t{1} << 20) || *bytes > (uint64_t{1} << 42)) return false;
  device.memory = *bytes / 512 * 512;
  return true;
}

bool set_capability(const std::string& text, DeviceConfig& device) {
  const size_t dot = text.find('.');
  const auto major = number<int>(std::string_view(text).substr(0, dot));
  const auto minor = dot == std::string::npos ? std::optional<int>(0)
                                              : number<int>(std::string_view(text).substr(dot + 1));
  if (!major || !minor || *major < 5 || *major > 99 || *minor < 0 || *minor > 9) return false;
  device.capability_major = *major;
  device.capability_minor = *minor;
  return true;
}

bool set_checks(const std::string& text, Config& config) {
  config.check_uninitialised = config.check_races = false;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view name = std::string_view(text).substr(at, comma - at);
    if (name == "uninitialised") {
      config.check_uninitialised = true;
    } else if (name == "races") {
      config.check_races = true;
    } else if (!name.empty()) {
      return false;
    }
    at = comma + 1;
  }
  return true;
}

bool set_quarantine(const std::string& text, Config& config) {
  const auto bytes = parse_quantity(text);
  if (!bytes || *bytes > (uint64_t{1} << 42)) return false;
  config.quarantine = *bytes;
  return true;
}

bool set_summary(const std::string& text, Config& config) {
  config.summary.reset();
  if (text != "0") config.summary = text == "1" ? "" : text;
  return true;
}

// What a value may be in the file.
enum Kinds : unsigned { kText = 1, kWhole = 2, kReal = 4, kBoolean = 8, kTexts = 16 };

struct Setting {
  const char* key;  // in the file; in the environment VGPU_SOFT_ and the same in capitals
  unsigned kinds;
  const char* allowed;
  bool (*set)(const std::string& text, Config& config);
  bool (*set_device)(const std::string& text, DeviceConfig& device) = nullptr;
};

constexpr Setting kSettings[] = {
    {"devices", kWhole, "0 to 64",
     [](const std::string& text, Config& config) {
       size_t count = 0;
       if (!within(text, size_t{0}, kMostDevices, count)) return false;
       config.devices.resize(count, config.devices.empty() ? DeviceConfig{} : config.devices[0]);
       return true;
     }},
    {"memory", kText | kWhole, "a quantity from 1Mi to 4Ti, such as 512Mi or 8Gi", nullptr,
     set_memory},
    {"name", kText, "a text", nullptr,
     [](const std::string& text, DeviceConfig& device) {
       device.name = text;
       return !text.empty();
     }},
    {"cc", kText | kReal | kWhole, "MAJOR.MINOR, such as 13.0 or 11.0", nullptr, set_capability},
    {"sms", kWhole, "1 to 1024", nullptr,
     [](const std::string& text, DeviceConfig& device) {
       return within(text, 1, 1024, device.sms);
     }},
    {"threads", kWhole, "0 (one per core) to 1024",
     [](const std::string& text, Config& config) {
       return within(text, 0u, 1024u, config.threads);
     }},
    {"deterministic", kBoolean, "0 or 1",
     [](const std::string& text, Config& config) { return flag(text, config.deterministic); }},
    {"kernel_time_us", kWhole, "microseconds from 0 to 60000000",
     [](const std::string& text, Config& config) {
       return within(text, uint64_t{0}, uint64_t{60000000}, config.kernel_time_us);
     }},
    {"skip_sass", kBoolean, "0 or 1",
     [](const std::string& text, Config& config) { return flag(text, config.skip_sass); }},
    {"check", kText | kTexts, "uninitialised, races, or both with a comma", set_checks},
    {"quarantine", kText | kWhole, "a quantity from 0 to 4Ti, such as 64Mi", set_quarantine},
    {"summary", kText | kBoolean, "1, 0, or the path of a file", set_summary},
};

bool apply(const Setting& setting, const std::string& text, Config& config) {
  if (setting.set_device == nullptr) return setting.set(text, config);
  return std::all_of(config.devices.begin(), config.devices.end(),
                     [&](DeviceConfig& device) { return setting.set_device(text, device); });
}

std::string variable_of(const Setting& setting) {
  std::string name = "VGPU_SOFT_";
  for (const char* c = setting.key; *c != 0; ++c) {
    name += *c >= 'a' && *c <= 'z' ? static_cast<char>(*c - 'a' + 'A') : *c;
  }
  return name;
}

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

class File {
 public:
  File(const std::string& name, Config& config, std::string& error)
      : name_(name), config_(config), error_(error) {}

  bool apply(std::string_view text) {
    toml::Error problem;
    const auto tables = toml::parse(text, problem);
    if (!tables) return fail(problem.line, problem.message);
    for (const toml::Entry& entry : tables->front().entries) {
      if (!take(entry, nullptr)) return false;
      if (entry.key == "devices") counted_ = true;
    }
    const DeviceConfig common = config_.devices.empty() ? DeviceConfig{} : config_.devices[0];
    size_t listed = 0;
    for (const toml::Table& table : std::span(*tables).subspan(1)) {
      if (table.name != "devices" || !table.of_array) {
        return fail(table.line, "the only table is [[devices]], not '" + table.name + "'");
      }
      if (counted_) {
        return fail(table.line, "either `devices = N` or [[devices]], not both");
      }
      if (++listed > kMostDevices) return fail(table.line, "more than 64 devices");
      config_.devices.resize(listed, common);
      for (const toml::Entry& entry : table.entries) {
        if (!take(entry, &config_.devices.back())) return false;
      }
    }
    return true;
  }

 private:
  bool fail(int line, const std::string& message) {
    error_ = name_ + ":" + std::to_string(line) + ": " + message;
    return false;
  }

  bool take(const toml::Entry& entry, DeviceConfig* device) {
    const auto* setting = std::find_if(std::begin(kSettings), std::end(kSettings),
                                       [&](const Setting& s) { return entry.key == s.key; });
    if (setting == std::end(kSettings) || (device != nullptr && setting->set_device == nullptr)) {
      std::string known;
      for (const Setting& one : kSettings) {
        if (device != nullptr && one.set_device == nullptr) continue;
        known += (known.empty() ? "" : ", ") + std::string(one.key);
      }
      return fail(entry.line, "unknown key '" + entry.key + "': there are " + known);
    }
    std::string text;
    if (!as_text(entry.value, setting->kinds, text)) {
      return fail(entry.line, entry.key + " has a value of the wrong kind: use " +
                                  kinds_of(setting->kinds) + " (" + setting->allowed + ")");
    }
    const bool good = device != nullptr ? setting->set_device(text, *device)
                                        : softgpu::apply(*setting, text, config_);
    return good ||
           fail(entry.line, entry.key + " = " + text + " is not allowed: use " + setting->allowed);
  }

  static bool as_text(const toml::Value& value, unsigned kinds, std::string& text) {
    text = value.text;
    switch (value.kind) {
      case toml::Kind::kString:
        return (kinds & kText) != 0;
      case toml::Kind::kInteger:
        return (kinds & kWhole) != 0;
      case toml::Kind::kFloat:
        return (kinds & kReal) != 0;
      case toml::Kind::kBoolean:
        text = value.text == "true" ? "1" : "0";
        return (kinds & kBoolean) != 0;
      case toml::Kind::kArray:
        for (const toml::Value& element : value.elements) {
          if (element.kind != toml::Kind::kString) return false;
          text += (text.empty() ? "" : ",") + element.text;
        }
        return (kinds & kTexts) != 0;
    }
    return false;
  }

  static std::string kinds_of(unsigned kinds) {
    std::string text;
    const auto add = [&](unsigned kind, const char* name) {
      if ((kinds & kind) != 0) text += (text.empty() ? "" : " or ") + std::string(name);
    };
    add(kText, "a string");
    add(kWhole, "an integer");
    add(kReal, "a float");
    add(kBoolean, "true or false");
    add(kTexts, "an array of strings");
    return text;
  }

  const std::string& name_;
  Config& config_;
  std::string& error_;
  bool counted_ = false;
};

bool read_file(const std::string& path, Config& config, std::string& error) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  if (file) text.assign(std::istreambuf_iterator<char>(file), {});
  if (!file && text.empty()) {
    error = "VGPU_SOFT_CONFIG=" + path + " cannot be read: " + std::strerror(errno);
    return false;
  }
  return apply_file(text, path, config, error);
}

}  // namespace

bool apply_file(std::string_view text, const std::string& name, Config& config,
                std::string& error) {
  return File(name, config, error).apply(text);
}

std::optional<uint64_t> parse_quantity(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto value = number<uint64_t>(text.substr(0, digits));
  if (!value) return std::nullopt;
  const std::string_view suffix = text.substr(digits);
  uint64_t factor = 0;
  if (suffix.empty()) factor = 1;
  if (suffix == "k") factor = 1000;
  if (suffix == "M") factor = 1000000;
  if (suffix == "G") factor = 1000000000;
  if (suffix == "T") factor = 1000000000000;
  if (suffix == "Ki") factor = uint64_t{1} << 10;
  if (suffix == "Mi") factor = uint64_t{1} << 20;
  if (suffix == "Gi") factor = uint64_t{1} << 30;
  if (suffix == "Ti") factor = uint64_t{1} << 40;
  if (factor == 0 || *value > UINT64_MAX / factor) return std::nullopt;
  return *value * factor;
}

bool read_config(Config& config, std::string& error) {
  config.launch_blocking = environment("CUDA_LAUNCH_BLOCKING").value_or("0") != "0";
  config.eager_loading = environment("CUDA_MODULE_LOADING").value_or("LAZY") == "EAGER";
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) config.visible = visible;
  if (const auto path = environment("VGPU_SOFT_CONFIG")) {
    if (!read_file(*path, config, error)) return false;
  }
  for (const Setting& setting : kSettings) {
    const std::string variable = variable_of(setting);
    const auto value = environment(variable);
    if (!value || apply(setting, *value, config)) continue;
    error = variable + "=" + *value + " is not allowed: use " + setting.allowed;
    return false;
  }
  return true;
}

std::vector<int> select_devices(const std::string& visible, const std::vector<std::string>& uuids) {
  std::vector<int> selected;
  size_t at = 0;
  while (at <= visible.size()) {
    const size_t comma = std::min(visible.find(',', at), visible.size());
    std::string entry = visible.substr(at, comma - at);
    entry.erase(0, entry.find_first_not_of(' '));
    entry.erase(entry.find_last_not_of(' ') + 1);
    int found = -1;
    if (const auto index = number<int>(entry)) {
      if (*index >= 0 && *index < static_cast<int>(uuids.size())) found = *index;
    } else if (entry.starts_with("GPU-")) {
      int matches = 0;
      for (size_t i = 0; i < uuids.size(); ++i) {
        if (uuids[i].starts_with(entry)) found = static_cast<int>(i), ++matches;
      }
      if (matches != 1) found = -1;
    }
    if (found < 0) break;
    if (std::find(selected.begin(), selected.end(), found) != selected.end()) return {};
    selected.push_back(found);
    at = comma + 1;
  }
  return selected;
}

}  // namespace vgpu::softgpu
