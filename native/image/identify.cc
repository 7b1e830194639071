// What a pointer or a file holds, and where it ends.
#include <algorithm>

#include "image/bytes.h"
#include "image/elf_sections.h"
#include "image/format.h"
#include "image/image.h"
#include "image/readable.h"

namespace vgpu::image {
namespace {

constexpr uint64_t kUnbounded = UINT64_MAX;
constexpr uint64_t kPage = 4096;
// No driver loads more from a pointer.
constexpr uint64_t kMaxImage = uint64_t{4} << 30;
// More than any driver links; stops a list that lost its end.
constexpr size_t kMaxPrelinked = 1024;
// Bounds the walk over a file whose section count lives outside its header.
constexpr uint64_t kMaxSections = 1 << 24;
// Leading comments and blank lines that a PTX text may have before its .version.
constexpr uint64_t kMaxPtxPreamble = 1 << 20;

// Bytes at a pointer whose end is known (`limit`) or not (kUnbounded). Reads no byte before a test
// of the ones in front of it said that there are more.
struct Source {
  const std::byte* data;
  uint64_t limit;
  mutable uint64_t probed = 0;  // unbounded: readable so far

  [[nodiscard]] bool has(uint64_t offset, uint64_t size) const {
    if (limit == kUnbounded) return has_unbounded(offset, size);
    return offset <= limit && size <= limit - offset;
  }
  [[nodiscard]] bool has_unbounded(uint64_t offset, uint64_t size) const {
    if (offset > kMaxImage || size > kMaxImage - offset) return false;
    const uint64_t end = offset + size;
    if (end <= probed) return true;
    if (!readable(data + probed, end - probed)) return false;
    const uint64_t address = reinterpret_cast<uint64_t>(data + end);
    probed = end + (kPage - address % kPage) % kPage;  // the rest of its page, too
    return true;
  }
  template <typename T>
  [[nodiscard]] T at(uint64_t offset) const {
    T value;
    std::memcpy(&value, data + offset, sizeof(T));
    return value;
  }
  [[nodiscard]] char text(uint64_t offset) const {
    // A text ends itself, wherever that is.
    if (limit == kUnbounded) return static_cast<char>(data[offset]);
    return has(offset, 1) ? static_cast<char>(data[offset]) : '\0';
  }
  // Byte by byte: a PTX text of two characters is not followed by two more readable bytes.
  [[nodiscard]] bool starts_with(uint32_t magic) const {
    for (int i = 0; i < 4; ++i) {
      if (!has(i, 1) || static_cast<uint8_t>(data[i]) != uint8_t(magic >> (8 * i))) return false;
    }
    return true;
  }
};

uint64_t skip_comment(const Source& source, uint64_t at) {
  if (source.text(at + 1) == '/') {
    while (source.text(at) != '\0' && source.text(at) != '\n') ++at;
    return at;
  }
  at += 2;
  while (source.text(at) != '\0') {
    if (source.text(at) == '*' && source.text(at + 1) == '/') return at + 2;
    ++at;
  }
  return at;
}

bool is_ptx(const Source& source) {
  static constexpr std::string_view kVersion = ".version";
  uint64_t at = 0;
  while (at < kMaxPtxPreamble) {
    const char c = source.text(at);
    if (c == '/' && (source.text(at + 1) == '/' || source.text(at + 1) == '*')) {
      at = skip_comment(source, at);
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v') {
      ++at;
    } else {
      break;
    }
  }
  for (const char expected : kVersion) {
    if (source.text(at++) != expected) return false;
  }
  return true;
}

uint64_t ptx_size(const Source& source) {
  if (source.limit == kUnbounded) return std::strlen(reinterpret_cast<const char*>(source.data));
  const void* end = std::memchr(source.data, 0, source.limit);
  return end ? static_cast<uint64_t>(static_cast<const std::byte*>(end) - source.data)
             : source.limit;
}

// The end of an ELF file is the furthest byte that its headers name. Zero if a range wraps around
// or leaves the limit.
uint64_t elf_size(const Source& source) {
  if (!source.has(0, sizeof(ElfHeader))) return 0;
  const auto header = source.at<ElfHeader>(0);
  if (header.ident[4] != 2 || header.ident[5] != 1 || header.machine != kMachineCuda) return 0;
  uint64_t end = sizeof(ElfHeader);
  const auto extend = [&](uint64_t offset, uint64_t size) {
    uint64_t last = 0;
    if (__builtin_add_overflow(offset, size, &last) || !source.has(offset, size)) return false;
    end = std::max(end, last);
    return true;
  };
  const auto sections = section_table(header, [&](uint64_t offset) -> std::optional<ElfSection> {
    if (!source.has(offset, sizeof(ElfSection))) return std::nullopt;
    return source.at<ElfSection>(offset);
  });
  if (!sections || sections->count > kMaxSections) return 0;
  if (!extend(sections->offset, sections->count * sizeof(ElfSection))) return 0;
  if (header.program_count != 0) {
    if (header.program_entry_size != sizeof(ElfProgram)) return 0;
    if (!extend(header.program_offset, uint64_t{header.program_count} * sizeof(ElfProgram))) {
      return 0;
    }
  }
  for (uint64_t i = 0; i < sections->count; ++i) {
    const auto section = source.at<ElfSection>(sections->offset + i * sizeof(ElfSection));
    if (section.type != kSectionNoBits && !extend(section.offset, section.size)) return 0;
  }
  for (uint16_t i = 0; i < header.program_count; ++i) {
    const auto program = source.at<ElfProgram>(header.program_offset + i * sizeof(ElfProgram));
    if (!extend(program.offset, program.file_size)) return 0;
  }
  return end;
}

uint64_t fatbin_size(const Source& source) {
  if (!source.has(0, sizeof(FatbinHeader))) return 0;
  const auto header = source.at<FatbinHeader>(0);
  uint64_t end = 0;
  if (header.version != 1 || header.header_size < sizeof(FatbinHeader)) return 0;
  if (__builtin_add_overflow(uint64_t{header.header_size}, header.payload_size, &end)) return 0;
  return source.has(0, end) ? end : 0;
}

// Kinds that need no pointers of this process.
Image identify_flat(const Source& source) {
  Image image;
  uint64_t size = 0;
  if (source.starts_with(kFatbinMagic)) {
    image.kind = Kind::kFatbin;
    size = fatbin_size(source);
  } else if (source.starts_with(kElfMagic)) {
    image.kind = Kind::kElf;
    size = elf_size(source);
  } else if (is_ptx(source)) {
    image.kind = Kind::kPtx;
    size = ptx_size(source);
  }
  if (size == 0) return {};
  image.bytes = {source.data, static_cast<size_t>(size)};
  return image;
}

std::span<const std::byte> fatbin_at(const void* pointer) {
  if (pointer == nullptr) return {};
  const auto* data = static_cast<const std::byte*>(pointer);
  if (!readable(data, 1)) return {};
  const Image image = identify_flat({data, kUnbounded});
  return image.kind == Kind::kFatbin ? image.bytes : std::span<const std::byte>{};
}

Image identify_wrapper(const void* pointer) {
  WrapperHeader wrapper;
  if (!readable(static_cast<const std::byte*>(pointer), sizeof(wrapper))) return {};
  std::memcpy(&wrapper, pointer, sizeof(wrapper));
  Image image;
  image.bytes = fatbin_at(reinterpret_cast<const void*>(wrapper.fatbin));
  if (image.bytes.empty()) return {};
  image.kind = Kind::kWrapper;
  if (wrapper.version == 2 && wrapper.extra != 0) {
    const auto* list = reinterpret_cast<const void* const*>(wrapper.extra);
    for (size_t i = 0; i < kMaxPrelinked; ++i) {
      if (!readable(reinterpret_cast<const std::byte*>(list + i), sizeof(list[i]))) return {};
      if (list[i] == nullptr) break;
      const auto bytes = fatbin_at(list[i]);
      if (bytes.empty()) return {};
      image.prelinked.push_back(bytes);
    }
  }
  return image;
}

}  // namespace

Image identify(const void* pointer) {
  if (pointer == nullptr) return {};
  const Source source{static_cast<const std::byte*>(pointer), kUnbounded};
  if (!readable(source.data, 1)) return {};
  return source.starts_with(kWrapperMagic) ? identify_wrapper(pointer) : identify_flat(source);
}

std::optional<Image> identify(std::span<const std::byte> bytes, std::string& error) {
  const Source source{bytes.data(), bytes.size()};
  if (source.starts_with(kWrapperMagic)) {
    error = "a fat binary wrapper holds addresses and cannot be loaded from a file";
    return std::nullopt;
  }
  Image image = identify_flat(source);
  if (image.kind != Kind::kUnknown) return image;
  if (source.starts_with(kFatbinMagic)) {
    error = "fat binary: its header is damaged or names more bytes than there are";
  } else if (source.starts_with(kElfMagic)) {
    error = "ELF: not a CUDA cubin, or its headers name more bytes than there are";
  } else {
    error = "not PTX, a cubin or a fat binary";
  }
  return std::nullopt;
}

}  // namespace vgpu::image
