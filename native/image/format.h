// Layouts of fat binaries, their wrappers and ELF cubins, as measured on CUDA 11.8 to 13.0
// binaries.
#pragma once

#include <cstdint>

namespace vgpu::image {

inline constexpr uint32_t kWrapperMagic = 0x466243B1;
inline constexpr uint32_t kFatbinMagic = 0xBA55ED50;
inline constexpr uint32_t kElfMagic = 0x464C457F;

// __fatBinC_Wrapper_t: what the compiler registers with the runtime.
struct WrapperHeader {
  uint32_t magic;
  uint32_t version;  // 1, or 2 if `extra` lists prelinked fat binaries
  uint64_t fatbin;   // address
  uint64_t extra;    // v1: null or a file name; v2: null-terminated array of addresses
};
static_assert(sizeof(WrapperHeader) == 24);

struct FatbinHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t header_size;
  uint64_t payload_size;  // bytes after this header
};
static_assert(sizeof(FatbinHeader) == 16);

struct EntryHeader {
  uint16_t kind;
  uint16_t version;
  uint32_t header_size;      // 64 or more; the payload follows
  uint64_t stored_size;      // payload with its padding
  uint32_t compressed_size;  // exact; 0 when stored plainly
  uint32_t options_offset;
  uint16_t minor;
  uint16_t major;
  uint32_t architecture;
  uint32_t name_offset;
  uint32_t name_length;
  uint64_t flags;
  uint64_t reserved;
  uint64_t uncompressed_size;  // 0 when stored plainly
};
static_assert(sizeof(EntryHeader) == 64);

inline constexpr uint64_t kFlagLz4 = 0x2000;
inline constexpr uint64_t kFlagZstd = 0x8000;
inline constexpr uint64_t kFlagArchitectureSpecific = 0x100000;  // sm_90a
inline constexpr uint64_t kFlagFamilySpecific = 0x200000;        // sm_100f

struct ElfHeader {
  unsigned char ident[16];
  uint16_t type;
  uint16_t machine;
  uint32_t version;
  uint64_t entry;
  uint64_t program_offset;
  uint64_t section_offset;
  uint32_t flags;
  uint16_t header_size;
  uint16_t program_entry_size;
  uint16_t program_count;
  uint16_t section_entry_size;
  uint16_t section_count;
  uint16_t names_section;
};
static_assert(sizeof(ElfHeader) == 64);

struct ElfSection {
  uint32_t name;
  uint32_t type;
  uint64_t flags;
  uint64_t address;
  uint64_t offset;
  uint64_t size;
  uint32_t link;
  uint32_t info;
  uint64_t alignment;
  uint64_t entry_size;
};
static_assert(sizeof(ElfSection) == 64);

struct ElfProgram {
  uint32_t type;
  uint32_t flags;
  uint64_t offset;
  uint64_t virtual_address;
  uint64_t physical_address;
  uint64_t file_size;
  uint64_t memory_size;
  uint64_t alignment;
};
static_assert(sizeof(ElfProgram) == 56);

struct ElfSymbol {
  uint32_t name;
  uint8_t info;
  uint8_t other;
  uint16_t section;
  uint64_t value;
  uint64_t size;
};
static_assert(sizeof(ElfSymbol) == 24);

inline constexpr uint16_t kMachineCuda = 190;
inline constexpr uint32_t kSectionNoBits = 8;
inline constexpr uint32_t kSectionSymbols = 2;
inline constexpr uint8_t kSymbolObject = 1;
inline constexpr uint8_t kSymbolFunction = 2;
inline constexpr uint8_t kOtherKernel = 0x10;  // st_other: a __global__ function

}  // namespace vgpu::image
