// Which entry of a fat binary a device takes, and a fat binary that holds only that one.
#include <tuple>

#include "image/bytes.h"
#include "image/format.h"
#include "image/image.h"

namespace vgpu::image {
namespace {

// Whether device code for `entry` runs on `capability` (90 is 9.0).
bool elf_fits(const Entry& entry, int capability) {
  if (entry.variant == 'a') return entry.architecture == capability;
  return entry.architecture / 10 == capability / 10 && entry.architecture <= capability;
}

bool ptx_fits(const Entry& entry, int capability) {
  if (entry.variant == 'a') return entry.architecture == capability;
  if (entry.variant == 'f' && entry.architecture / 10 != capability / 10) return false;
  return entry.architecture <= capability;
}

// The most specific variant of an architecture wins: it was compiled for exactly this device.
int specificity(const Entry& entry) {
  return entry.variant == 'a' ? 2 : entry.variant == 'f' ? 1 : 0;
}

// The entry with the greatest key among those that `fits`; the first of equals.
template <typename Fits, typename Key>
const Entry* best(std::span<const Entry> entries, EntryKind kind, Fits fits, Key key) {
  const Entry* found = nullptr;
  for (const Entry& entry : entries) {
    if (entry.kind != kind || !fits(entry)) continue;
    if (found == nullptr || key(entry) > key(*found)) found = &entry;
  }
  return found;
}

std::tuple<int, int> newest(const Entry& entry) { return {entry.architecture, specificity(entry)}; }

const Entry* choose_device_elf(std::span<const Entry> entries, int capability) {
  return best(
      entries, EntryKind::kElf, [&](const Entry& entry) { return elf_fits(entry, capability); },
      newest);
}

const Entry* choose_device(std::span<const Entry> entries, int capability) {
  if (const Entry* elf = choose_device_elf(entries, capability)) return elf;
  return best(
      entries, EntryKind::kPtx, [&](const Entry& entry) { return ptx_fits(entry, capability); },
      newest);
}

// An interpreter executes PTX of any target. What the device would take comes first; then what is
// nearest above it; code for one architecture only is likely to use what an interpreter lacks, so
// it comes last.
const Entry* choose_any_ptx(std::span<const Entry> entries, int capability) {
  const auto any = [](const Entry&) { return true; };
  return best(entries, EntryKind::kPtx, any, [&](const Entry& entry) {
    const bool below = entry.architecture <= capability;
    return std::tuple{-specificity(entry), below, below ? entry.architecture : -entry.architecture};
  });
}

const Entry* choose_any(std::span<const Entry> entries, int capability) {
  if (const Entry* ptx = choose_any_ptx(entries, capability)) return ptx;
  if (const Entry* elf = choose_device_elf(entries, capability)) return elf;
  return best(entries, EntryKind::kElf, [](const Entry&) { return true; }, newest);
}

}  // namespace

const Entry* choose(std::span<const Entry> entries, int capability, Preference preference) {
  switch (preference) {
    case Preference::kDevice:
      return choose_device(entries, capability);
    case Preference::kPtxOnly:
      return choose_any_ptx(entries, capability);
    case Preference::kAnyElf:
      return choose_any(entries, capability);
  }
  return nullptr;
}

std::optional<std::vector<std::byte>> slim(std::span<const std::byte> fatbin, int capability,
                                           Preference preference, std::string& error) {
  const auto all = entries(fatbin, error);
  if (!all) return std::nullopt;
  const Entry* entry = choose(*all, capability, preference);
  if (entry == nullptr) {
    error = "fat binary: no entry fits compute capability " + std::to_string(capability / 10) +
            "." + std::to_string(capability % 10);
    return std::nullopt;
  }
  FatbinHeader header = load<FatbinHeader>(fatbin, 0);
  header.header_size = sizeof(header);
  header.payload_size = entry->header.size() + entry->payload.size();
  const auto raw = std::as_bytes(std::span(&header, 1));
  std::vector<std::byte> result;
  result.reserve(sizeof(header) + header.payload_size);
  result.insert(result.end(), raw.begin(), raw.end());
  result.insert(result.end(), entry->header.begin(), entry->header.end());
  result.insert(result.end(), entry->payload.begin(), entry->payload.end());
  return result;
}

}  // namespace vgpu::image
