#include "softgpu/driver/config.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace vgpu::softgpu {
namespace {

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Reader {
  std::string& error;

  bool fail(const char* name, const std::string& value, const char* allowed) {
    error = std::string(name) + "=" + value + " is not allowed: use " + allowed;
    return false;
  }
  static std::optional<std::string> text(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  }
  template <typename T>
  bool integer(const char* name, T low, T high, const char* allowed, T& out) {
    const auto value = text(name);
    if (!value) return true;
    const auto parsed = number<T>(*value);
    if (!parsed || *parsed < low || *parsed > high) return fail(name, *value, allowed);
    out = *parsed;
    return true;
  }
  bool flag(const char* name, bool& out) {
    const auto value = text(name);
    if (!value) return true;
    if (*value != "0" && *value != "1") return fail(name, *value, "0 or 1");
    out = *value == "1";
    return true;
  }
  bool quantity(const char* name, uint64_t& out) {
    const auto value = text(name);
    if (!value) return true;
    const auto parsed = parse_quantity(*value);
    if (!parsed || *parsed < (uint64_t{1} << 20) || *parsed > (uint64_t{1} << 42)) {
      return fail(name, *value, "a quantity from 1Mi to 4Ti, such as 512Mi or 8Gi");
    }
    out = *parsed / 512 * 512;
    return true;
  }
  bool capability(const char* name, Config& config) {
    const auto value = text(name);
    if (!value) return true;
    const size_t dot = value->find('.');
    const auto major = number<int>(std::string_view(*value).substr(0, dot));
    const auto minor = dot == std::string::npos
                           ? std::optional<int>(0)
                           : number<int>(std::string_view(*value).substr(dot + 1));
    if (!major || !minor || *major < 5 || *major > 99 || *minor < 0 || *minor > 9) {
      return fail(name, *value, "MAJOR.MINOR, such as 13.0 or 11.0");
    }
    config.capability_major = *major;
    config.capability_minor = *minor;
    return true;
  }
};

}  // namespace

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
  Reader reader{error};
  config.name = Reader::text("VGPU_SOFT_NAME").value_or(config.name);
  config.launch_blocking = Reader::text("CUDA_LAUNCH_BLOCKING").value_or("0") != "0";
  config.eager_loading = Reader::text("CUDA_MODULE_LOADING").value_or("LAZY") == "EAGER";
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) config.visible = visible;
  return reader.integer("VGPU_SOFT_DEVICES", 0, 64, "0 to 64", config.devices) &&
         reader.quantity("VGPU_SOFT_MEMORY", config.memory) &&
         reader.capability("VGPU_SOFT_CC", config) &&
         reader.integer("VGPU_SOFT_SMS", 1, 1024, "1 to 1024", config.sms) &&
         reader.integer("VGPU_SOFT_THREADS", 0u, 1024u, "0 (one per core) to 1024",
                        config.threads) &&
         reader.flag("VGPU_SOFT_DETERMINISTIC", config.deterministic) &&
         reader.integer("VGPU_SOFT_KERNEL_TIME_US", uint64_t{0}, uint64_t{60000000},
                        "microseconds from 0 to 60000000", config.kernel_time_us) &&
         reader.flag("VGPU_SOFT_SKIP_SASS", config.skip_sass);
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
