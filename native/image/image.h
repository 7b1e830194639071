// Code images as the driver API receives them: PTX text, cubin ELF, fat binary, fat binary wrapper.
// Formats: measured, see docs; PTX: the public ISA. Nothing here disassembles device code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vgpu::image {

enum class Kind : uint8_t { kUnknown, kPtx, kElf, kFatbin, kWrapper };

// No length travels with the pointers of cuModuleLoadData and its kin: it is derived from the
// content. Never reads past what the headers claim, and claims beyond readable memory are refused.
struct Image {
  Kind kind = Kind::kUnknown;
  std::span<const std::byte> bytes;                   // for kWrapper: the first fat binary
  std::vector<std::span<const std::byte>> prelinked;  // wrapper version 2: further fat binaries
};
Image identify(const void* pointer);
// The same for bytes of a known length (a file, or what came over the wire): bounded.
std::optional<Image> identify(std::span<const std::byte> bytes, std::string& error);

enum class EntryKind : uint16_t { kPtx = 1, kElf = 2 };
struct Entry {
  EntryKind kind{};
  int architecture = 0;  // 75, 90, 120
  char variant = 0;      // 'a' or 'f' for architecture- and family-specific code, else 0
  uint64_t flags = 0;
  uint64_t uncompressed_size = 0;      // of a stored entry: its size with padding
  std::span<const std::byte> header;   // as stored
  std::span<const std::byte> payload;  // as stored, perhaps compressed, with padding
};
// All entries of one fat binary. Nullopt with `error` when a length lies.
std::optional<std::vector<Entry>> entries(std::span<const std::byte> fatbin, std::string& error);
// Uncompressed content (LZ4 block, Zstandard or stored): exactly `uncompressed_size` bytes, and
// refused above 1 GiB. PTX may end in zero bytes (padding of a stored entry, or its terminator).
std::optional<std::vector<std::byte>> content(const Entry& entry, std::string& error);

// What the device would choose: the newest ELF with the same major and a minor not above the
// device's, else the newest PTX not above it. 'a' code runs on exactly its architecture, 'f' code
// on its family. `capability` is 90 for 9.0.
enum class Preference : uint8_t {
  kDevice,   // a real GPU: ELF first, then PTX
  kPtxOnly,  // the software GPU: PTX of any target (it may execute what is newer than it reports)
  kAnyElf,   // SASS-skip mode: PTX if there is one, else the ELF CUDA would choose, else the newest
};
const Entry* choose(std::span<const Entry> entries, int capability, Preference preference);
// A fat binary that holds only the chosen entry, its header and its compressed bytes as they were.
// Nullopt if none fits.
std::optional<std::vector<std::byte>> slim(std::span<const std::byte> fatbin, int capability,
                                           Preference preference, std::string& error);

// The fat binaries in the device code sections of a host object file or of an archive's members, in
// file order; none where the file has no device code. Nullopt with `error` when a length lies.
std::optional<std::vector<std::span<const std::byte>>> library_fatbins(
    std::span<const std::byte> file, std::string& error);

struct Parameter {
  uint32_t offset = 0;
  uint32_t size = 0;
};
struct KernelInfo {
  std::string name;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;
};
struct GlobalInfo {
  std::string name;
  uint64_t size = 0;
};
// The names and layouts in one ELF or PTX image: every kernel, parameters by ordinal; every .global
// and .const variable that is defined in it, static ones included. Texts end at a zero byte.
struct Directory {
  std::vector<KernelInfo> kernels;
  std::vector<GlobalInfo> globals;
};
std::optional<Directory> elf_directory(std::span<const std::byte> elf, std::string& error);
std::optional<Directory> ptx_directory(std::string_view ptx, std::string& error);

// SHA-256 as 64 lower-case hexadecimal digits, for addressing images by content.
std::string content_hash(std::span<const std::byte> bytes);

}  // namespace vgpu::image
