// Device code inside host files that a linker takes: object files, and archives of them. The
// compiler puts it into sections of its own, as fat binaries one behind the other.
#include <algorithm>
#include <charconv>

#include "image/bytes.h"
#include "image/elf_sections.h"
#include "image/format.h"
#include "image/image.h"

namespace vgpu::image {
namespace {

// The common archive format (ar(5)): members are padded to even offsets, names ending in a slash
// alone are the archive's own tables.
constexpr std::string_view kArchiveMagic = "!<arch>\n";
constexpr size_t kMemberHeader = 60;
constexpr size_t kSizeField = 48, kSizeDigits = 10;

constexpr std::string_view kRelocatable = "__nv_relfatbin";  // compiled with -rdc=true
constexpr std::string_view kComplete = ".nv_fatbin";

bool add_fatbins(Bytes section, std::vector<Bytes>& found, std::string& error) {
  while (holds(section, 0, sizeof(FatbinHeader))) {
    if (load<uint32_t>(section, 0) != kFatbinMagic) {  // padding
      section = section.subspan(std::min<size_t>(8, section.size()));
      continue;
    }
    const auto image = identify(section, error);
    if (!image) return false;
    found.push_back(image->bytes);
    const size_t end = align_up(image->bytes.size(), 8);
    section = section.subspan(std::min(end, section.size()));
  }
  return true;
}

std::optional<ElfSection> section_at(Bytes file, uint64_t offset) {
  if (!holds(file, offset, sizeof(ElfSection))) return std::nullopt;
  return load<ElfSection>(file, offset);
}

bool add_object(Bytes file, std::vector<Bytes>& found, std::string& error) {
  const auto damaged = [&] {
    error = "host object: its section headers are damaged";
    return false;
  };
  if (!holds(file, 0, sizeof(ElfHeader))) return damaged();
  const auto header = load<ElfHeader>(file, 0);
  const auto table =
      section_table(header, [&](uint64_t offset) { return section_at(file, offset); });
  if (!table || table->count > file.size() / sizeof(ElfSection)) return damaged();
  const auto names = section_at(file, table->offset + table->names * sizeof(ElfSection));
  if (table->count != 0 && (!names || !holds(file, names->offset, names->size))) return damaged();
  for (uint64_t i = 0; i < table->count; ++i) {
    const auto section = section_at(file, table->offset + i * sizeof(ElfSection));
    if (!section || section->name >= names->size) return damaged();
    const std::string_view rest =
        text(file.subspan(names->offset, names->size)).substr(section->name);
    const std::string_view name = rest.substr(0, rest.find('\0'));
    if (name != kRelocatable && name != kComplete) continue;
    if (section->type == kSectionNoBits || !holds(file, section->offset, section->size)) {
      return damaged();
    }
    if (!add_fatbins(file.subspan(section->offset, section->size), found, error)) return false;
  }
  return true;
}

bool is_elf(Bytes file) {
  return holds(file, 0, sizeof(uint32_t)) && load<uint32_t>(file, 0) == kElfMagic;
}

bool add_archive(Bytes file, std::vector<Bytes>& found, std::string& error) {
  size_t at = kArchiveMagic.size();
  while (holds(file, at, kMemberHeader)) {
    const std::string_view digits = text(file.subspan(at + kSizeField, kSizeDigits));
    uint64_t size = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
    at += kMemberHeader;
    if (status != std::errc() || !holds(file, at, size)) {
      error = "archive: a member's size is damaged or names more bytes than there are";
      return false;
    }
    const Bytes member = file.subspan(at, size);
    if (is_elf(member) && !add_object(member, found, error)) return false;
    at += size + size % 2;
  }
  return true;
}

}  // namespace

std::optional<std::vector<std::span<const std::byte>>> library_fatbins(
    std::span<const std::byte> file, std::string& error) {
  std::vector<Bytes> found;
  if (text(file).starts_with(kArchiveMagic)) {
    if (!add_archive(file, found, error)) return std::nullopt;
  } else if (is_elf(file)) {
    if (!add_object(file, found, error)) return std::nullopt;
  } else {
    error = "neither an archive nor an object file";
    return std::nullopt;
  }
  return found;
}

}  // namespace vgpu::image
