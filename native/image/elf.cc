// Kernels, their parameter layout and the global variables of a cubin, from its symbol table and
// .nv.info sections. Looks at no code.
#include <algorithm>
#include <unordered_map>

#include "image/elf_sections.h"
#include "image/image.h"

namespace vgpu::image {
namespace {

constexpr uint8_t kFormatValue = 3;  // the value is in the 16 bits that otherwise hold a size
constexpr uint8_t kFormatSized = 4;
constexpr uint8_t kAttributeParameter = 0x17;       // KPARAM_INFO
constexpr uint8_t kAttributeParameterBytes = 0x19;  // CBANK_PARAM_SIZE
constexpr uint8_t kAttributeParameterWide = 0x45;   // KPARAM_INFO of kernels with > 4 KiB
constexpr uint32_t kParameterInfoSize = 12;
constexpr uint32_t kSectionExtendedIndices = 18;

struct ParameterRecord {
  uint16_t ordinal;
  Parameter parameter;
};

class Reader {
 public:
  // Names and info sections of a damaged file may overlap, which would make a small file cost
  // quadratic time and memory; a sound file reads each byte about once.
  explicit Reader(Bytes elf) : elf_(elf), budget_(16 * elf.size() + (1 << 20)) {}

  std::optional<Directory> run(std::string& error);

 private:
  bool read_sections();
  bool read_symbols(const ElfSection& table, Directory& directory);
  bool add_symbol(const ElfSymbol& symbol, uint64_t section, uint64_t names, Directory& directory);
  bool read_parameters(Bytes info, KernelInfo& kernel);
  bool contents(const ElfSection& section, Bytes& bytes) const;
  bool name_at(uint64_t names, uint64_t offset, std::string_view& name);
  bool spend(uint64_t amount);

  Bytes elf_;
  uint64_t budget_;
  std::vector<ElfSection> sections_;
  std::vector<std::string_view> section_names_;
  std::unordered_map<std::string_view, uint64_t> info_sections_;  // kernel name -> section
  Bytes extended_indices_;
};

bool Reader::spend(uint64_t amount) {
  if (amount > budget_) return false;
  budget_ -= amount;
  return true;
}

bool Reader::contents(const ElfSection& section, Bytes& bytes) const {
  if (section.type == kSectionNoBits || !holds(elf_, section.offset, section.size)) return false;
  bytes = elf_.subspan(section.offset, section.size);
  return true;
}

bool Reader::name_at(uint64_t names, uint64_t offset, std::string_view& name) {
  Bytes strings;
  if (names >= sections_.size() || !contents(sections_[names], strings)) return false;
  if (offset >= strings.size()) return false;
  const std::string_view rest = text(strings.subspan(offset));
  const size_t end = rest.find('\0');
  if (end == std::string_view::npos) return false;
  name = rest.substr(0, end);
  return spend(end + 1);
}

bool Reader::read_sections() {
  static constexpr std::string_view kInfoPrefix = ".nv.info.";
  const auto header = load<ElfHeader>(elf_, 0);
  const auto table = section_table(header, [&](uint64_t offset) -> std::optional<ElfSection> {
    if (!holds(elf_, offset, sizeof(ElfSection))) return std::nullopt;
    return load<ElfSection>(elf_, offset);
  });
  if (!table || table->count > elf_.size() / sizeof(ElfSection) ||
      !holds(elf_, table->offset, table->count * sizeof(ElfSection))) {
    return false;
  }
  for (uint64_t i = 0; i < table->count; ++i) {
    sections_.push_back(load<ElfSection>(elf_, table->offset + i * sizeof(ElfSection)));
  }
  for (uint64_t i = 0; i < sections_.size(); ++i) {
    std::string_view name;
    if (!name_at(table->names, sections_[i].name, name)) return false;
    section_names_.push_back(name);
    if (name.starts_with(kInfoPrefix)) {
      info_sections_.emplace(name.substr(kInfoPrefix.size()), i);
    }
    if (sections_[i].type == kSectionExtendedIndices &&
        !contents(sections_[i], extended_indices_)) {
      return false;
    }
  }
  return true;
}

// Parameters arrive in any order; the directory lists them by ordinal without gaps.
bool Reader::read_parameters(Bytes info, KernelInfo& kernel) {
  if (!spend(info.size())) return false;
  std::vector<ParameterRecord> records;
  for (uint64_t at = 0; at < info.size();) {
    if (!holds(info, at, 4)) return false;
    const auto format = load<uint8_t>(info, at), attribute = load<uint8_t>(info, at + 1);
    const auto value = load<uint16_t>(info, at + 2);
    at += 4;
    if (format == kFormatValue && attribute == kAttributeParameterBytes) {
      kernel.parameter_bytes = value;
    }
    if (format != kFormatSized) continue;
    if (!holds(info, at, value)) return false;
    const bool narrow = attribute == kAttributeParameter,
               wide = attribute == kAttributeParameterWide;
    if ((narrow || wide) && value >= kParameterInfoSize) {
      const auto bits = load<uint32_t>(info, at + 8);
      records.push_back({load<uint16_t>(info, at + 4),
                         {load<uint16_t>(info, at + 6), narrow ? bits >> 18 : bits & 0xFFFF}});
    }
    at += value;
  }
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.ordinal < b.ordinal; });
  for (size_t i = 0; i < records.size(); ++i) {
    if (records[i].ordinal != i) return false;
    kernel.parameters.push_back(records[i].parameter);
  }
  return true;
}

bool is_variable_section(std::string_view name) {
  return name.starts_with(".nv.global") || name == ".nv.constant3";
}

bool Reader::add_symbol(const ElfSymbol& symbol, uint64_t section, uint64_t names,
                        Directory& directory) {
  const uint8_t type = symbol.info & 15;
  const bool kernel = type == kSymbolFunction && (symbol.other & kOtherKernel) != 0;
  if (section == 0 || section >= sections_.size()) return true;  // declared, absolute, ...
  if (!kernel && !(type == kSymbolObject && is_variable_section(section_names_[section]))) {
    return true;
  }
  std::string_view name;
  if (!name_at(names, symbol.name, name)) return false;
  if (!kernel) {
    directory.globals.push_back({std::string(name), symbol.size});
    return true;
  }
  KernelInfo& info = directory.kernels.emplace_back();
  info.name = name;
  const auto found = info_sections_.find(name);
  if (found == info_sections_.end()) return true;
  Bytes bytes;
  return contents(sections_[found->second], bytes) && read_parameters(bytes, info);
}

bool Reader::read_symbols(const ElfSection& table, Directory& directory) {
  Bytes bytes;
  if (!contents(table, bytes) || !spend(bytes.size())) return false;
  const uint64_t count = bytes.size() / sizeof(ElfSymbol);
  for (uint64_t i = 0; i < count; ++i) {
    const auto symbol = load<ElfSymbol>(bytes, i * sizeof(ElfSymbol));
    uint64_t section = symbol.section;
    if (symbol.section == kExtendedIndex) {
      if (!holds(extended_indices_, i * 4, 4)) continue;
      section = load<uint32_t>(extended_indices_, i * 4);
    } else if (symbol.section >= 0xFF00) {
      continue;  // absolute or common
    }
    if (!add_symbol(symbol, section, table.link, directory)) return false;
  }
  return true;
}

std::optional<Directory> Reader::run(std::string& error) {
  if (!holds(elf_, 0, sizeof(ElfHeader)) || load<uint32_t>(elf_, 0) != kElfMagic ||
      load<ElfHeader>(elf_, 0).machine != kMachineCuda) {
    error = "ELF: not a CUDA cubin";
    return std::nullopt;
  }
  Directory directory;
  if (!read_sections()) {
    error = "ELF: the section table is damaged";
    return std::nullopt;
  }
  for (const ElfSection& section : sections_) {
    if (section.type != kSectionSymbols) continue;
    if (read_symbols(section, directory)) continue;
    error = "ELF: the symbols or kernel descriptions are damaged";
    return std::nullopt;
  }
  return directory;
}

}  // namespace

std::optional<Directory> elf_directory(std::span<const std::byte> elf, std::string& error) {
  return Reader(elf).run(error);
}

}  // namespace vgpu::image
