#include "stub/visible.h"

#include <cstdio>
#include <cstdlib>

namespace vgpu::stub {
namespace {

constexpr int kInvalid = -1;

int index_of_uuid(const std::vector<std::string>& uuids, const std::string& entry) {
  int found = kInvalid;
  for (size_t i = 0; i < uuids.size(); ++i) {
    if (!uuids[i].starts_with(entry)) continue;
    if (found != kInvalid) return kInvalid;  // ambiguous
    found = static_cast<int>(i);
  }
  return found;
}

int index_of(const std::vector<std::string>& uuids, const std::string& entry) {
  if (entry.starts_with("GPU-") || entry.starts_with("MIG-")) return index_of_uuid(uuids, entry);
  char* end = nullptr;
  const long index = std::strtol(entry.c_str(), &end, 10);
  const bool number = end != entry.c_str() && *end == '\0';
  return number && index >= 0 && index < static_cast<long>(uuids.size()) ? static_cast<int>(index)
                                                                         : kInvalid;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

}  // namespace

std::string uuid_text(const std::array<uint8_t, 16>& uuid) {
  std::string text = "GPU-";
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", uuid[i]);
    text += pair;
  }
  return text;
}

std::vector<std::unique_ptr<Device>> visible_devices(std::vector<std::unique_ptr<Device>> all,
                                                     const std::optional<std::string>& list) {
  if (!list) return all;
  std::vector<std::string> uuids;
  for (const auto& device : all) uuids.push_back(uuid_text(device->uuid));
  std::vector<std::unique_ptr<Device>> visible;
  size_t at = 0;
  while (at <= list->size()) {
    const size_t comma = std::min(list->find(',', at), list->size());
    const int index = index_of(uuids, trimmed(list->substr(at, comma - at)));
    if (index == kInvalid) break;
    // A device named twice hides everything, as CUDA has it.
    if (all[index] == nullptr) return {};
    visible.push_back(std::move(all[index]));
    at = comma + 1;
  }
  return visible;
}

}  // namespace vgpu::stub
