// Section headers of an ELF file, including files with so many sections that their number does not
// fit the file header (a cubin has several per kernel).
#pragma once

#include <optional>

#include "image/bytes.h"
#include "image/format.h"

namespace vgpu::image {

inline constexpr uint16_t kExtendedIndex = 0xFFFF;

struct SectionTable {
  uint64_t offset = 0;
  uint64_t count = 0;
  uint64_t names = 0;  // index of the section with the section names
};

// `load_section(offset)` gives a header or nullopt where none can be read.
template <typename LoadSection>
std::optional<SectionTable> section_table(const ElfHeader& header, LoadSection load_section) {
  if (header.section_offset == 0) return SectionTable{};
  if (header.section_entry_size != sizeof(ElfSection)) return std::nullopt;
  SectionTable table{header.section_offset, header.section_count, header.names_section};
  if (table.count == 0 || table.names == kExtendedIndex) {
    const std::optional<ElfSection> first = load_section(header.section_offset);
    if (!first) return std::nullopt;
    if (table.count == 0) table.count = first->size;
    if (table.names == kExtendedIndex) table.names = first->link;
  }
  return table;
}

}  // namespace vgpu::image
