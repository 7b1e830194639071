// Code images made here, for tests and as seeds of the fuzzers: a fat binary with entries of every
// kind and compression, a cubin, a PTX text.
#pragma once

#include <array>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "image/bytes.h"
#include "image/format.h"
#include "image/image.h"
#include "image_vectors.h"

namespace samples {

using namespace vgpu::image;
using Buffer = std::vector<std::byte>;

inline Buffer buffer(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}
inline std::string string(const Buffer& bytes) { return std::string(text(bytes)); }

inline Buffer from_hex(const char* digits) {
  Buffer bytes;
  for (; *digits != 0; digits += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(digits, 2), nullptr, 16)));
  }
  return bytes;
}

template <typename T>
[[gnu::noinline]] inline void put(Buffer& to, const T& value) {
  to.resize(to.size() + sizeof(T));
  std::memcpy(to.data() + to.size() - sizeof(T), &value, sizeof(T));
}
inline void pad(Buffer& to, size_t alignment) { to.resize(align_up(to.size(), alignment)); }

struct Part {
  EntryKind kind;
  uint32_t architecture;
  Buffer content;
  uint64_t flags = 0;
  Buffer compressed = {};
  uint32_t header_size = 64;
};

inline Buffer make_fatbin(const std::vector<Part>& parts) {
  Buffer payload;
  for (const Part& part : parts) {
    Buffer stored = part.compressed.empty() ? part.content : part.compressed;
    EntryHeader header{};
    header.kind = static_cast<uint16_t>(part.kind);
    header.version = 0x101;
    header.header_size = part.header_size;
    header.compressed_size = static_cast<uint32_t>(part.compressed.size());
    header.architecture = part.architecture;
    header.flags = part.flags | 0x11;
    header.uncompressed_size = part.compressed.empty() ? 0 : part.content.size();
    pad(stored, 8);
    header.stored_size = stored.size();
    put(payload, header);
    payload.resize(payload.size() + part.header_size - sizeof(header), std::byte{0x48});
    payload.insert(payload.end(), stored.begin(), stored.end());
  }
  Buffer fatbin;
  put(fatbin, FatbinHeader{kFatbinMagic, 1, 16, payload.size()});
  fatbin.insert(fatbin.end(), payload.begin(), payload.end());
  return fatbin;
}

inline constexpr const char* kPtx = R"(
// a comment with { and .entry not_a_kernel(
.version 8.8
.target sm_90a
.address_size 64
	.file	1 "x.cu", 1, 2
.extern .func  (.param .b32 func_retval0) vprintf (.param .b64 .ptr .global a, .param .b64 b);
.extern .global .align 4 .b8 elsewhere[];
.extern .shared .align 16 .b8 pool[];
.visible .global .align 4 .b8 table[40] = {1, 2, 3};
.global .u32 a = 5, b;
.const .align 8 .f64 weights[] = {0d3FF0000000000000, 0d0000000000000000, 0d0000000000000000};
.visible .const .v4 .f32 vec[2][0x3];
.global .attribute(.managed) .u64 managed_one = generic(table);
/* .global .u32 hidden; */
.func helper(.param .b64 x) { .reg .b32 %r<2>; { ret; } }
.visible .entry first(
  .param .u64 .ptr .global .align 16 p,
  .param .u8 c,
  .param .align 16 .b8 big[20],
  .param .f64 d
)
.maxntid 128, 1, 1
.pragma "nounroll";
{
  // }
  .pragma "a } in a string";
  mov.u32 %r1, 1;
  { ret; }
}
.entry declared(.param .u32 x);
.weak .entry empty() { ret; }
.entry bare { ret; }
)";

// A cubin with sections: names, strings, symbols, globals, constants, text, info.
struct CubinBuilder {
  Buffer names{1}, strings{1}, symbols = Buffer(sizeof(ElfSymbol));
  std::vector<ElfSection> sections{ElfSection{}};
  Buffer body;

  uint32_t add_string(Buffer& table, std::string_view text) {
    const auto at = static_cast<uint32_t>(table.size());
    for (const char c : text) table.push_back(static_cast<std::byte>(c));
    table.push_back({});
    return at;
  }
  uint16_t section(std::string_view name, uint32_t type, const Buffer& bytes, uint32_t link = 0) {
    ElfSection section{};
    section.name = add_string(names, name);
    section.type = type;
    section.offset = sizeof(ElfHeader) + body.size();
    section.size = bytes.size();
    section.link = link;
    body.insert(body.end(), bytes.begin(), bytes.end());
    sections.push_back(section);
    return static_cast<uint16_t>(sections.size() - 1);
  }
  void symbol(std::string_view name, uint8_t type, uint8_t other, uint16_t section, uint64_t size) {
    put(symbols, ElfSymbol{add_string(strings, name), type, other, section, 0, size});
  }
  Buffer finish() {
    const auto string_section = section(".strtab", 3, strings);
    section(".symtab", 2, symbols, string_section);
    const auto names_section = static_cast<uint16_t>(sections.size());
    add_string(names, ".shstrtab");
    section("", 3, names);
    sections.back().size = names.size();
    body.resize(sections.back().offset - sizeof(ElfHeader));
    body.insert(body.end(), names.begin(), names.end());
    ElfHeader header{};
    std::memcpy(header.ident,
                "\x7f"
                "ELF\2\1\1",
                7);
    header.type = 2;
    header.machine = kMachineCuda;
    header.section_offset = sizeof(ElfHeader) + body.size();
    header.section_entry_size = sizeof(ElfSection);
    header.section_count = static_cast<uint16_t>(sections.size());
    header.names_section = names_section;
    Buffer elf;
    put(elf, header);
    elf.insert(elf.end(), body.begin(), body.end());
    for (const auto& one : sections) put(elf, one);
    return elf;
  }
};

inline void parameter(Buffer& info, uint16_t ordinal, uint16_t offset, uint32_t size) {
  put(info, std::array<uint8_t, 4>{4, 0x17, 12, 0});
  put(info, uint32_t{0});
  put(info, ordinal);
  put(info, offset);
  put(info, size << 18 | 0x1f000);
}

inline Buffer make_cubin() {
  CubinBuilder builder;
  const auto text = builder.section(".text.k", 1, Buffer(32));
  const auto globals = builder.section(".nv.global", kSectionNoBits, {});
  const auto constants = builder.section(".nv.constant3", 1, Buffer(24));
  const auto shared = builder.section(".nv.shared.k", kSectionNoBits, {});
  Buffer info;
  parameter(info, 1, 8, 12);
  parameter(info, 0, 0, 8);
  put(info, std::array<uint8_t, 4>{3, 0x19, 20, 0});
  put(info, std::array<uint8_t, 4>{1, 0x35, 0, 0});
  builder.section(".nv.info.k", 0x70000000, info);
  builder.symbol("k", kSymbolFunction, kOtherKernel, text, 32);
  builder.symbol("device_function", kSymbolFunction, 0, text, 32);
  builder.symbol("g", kSymbolObject, 0, globals, 40);
  builder.symbol("c", kSymbolObject, 0, constants, 24);
  builder.symbol("s", kSymbolObject, 0, shared, 128);
  builder.symbol("undefined", kSymbolObject, 0, 0, 4);
  return builder.finish();
}

// A host object with two fat binaries in its device code section, behind padding, in an archive
// with a table of symbols before it and a member of odd size after it.
inline Buffer make_host_object() {
  CubinBuilder builder;
  Buffer code = make_fatbin({{EntryKind::kPtx, 90, buffer(kPtx)}});
  pad(code, 8);
  code.resize(code.size() + 16);
  const Buffer second = make_fatbin({{EntryKind::kElf, 80, make_cubin()}});
  code.insert(code.end(), second.begin(), second.end());
  builder.section(".text", 1, Buffer(32));
  builder.section("__nv_relfatbin", 1, code);
  return builder.finish();
}
inline void add_member(Buffer& archive, std::string_view name, const Buffer& content) {
  char header[61];
  std::snprintf(header, sizeof(header), "%-16.*s%-12d%-6d%-6d%-8o%-10zu`\n",
                static_cast<int>(name.size()), name.data(), 0, 0, 0, 0644u, content.size());
  const Buffer bytes = buffer(header);
  archive.insert(archive.end(), bytes.begin(), bytes.end());
  archive.insert(archive.end(), content.begin(), content.end());
  pad(archive, 2);
}
inline Buffer make_archive() {
  Buffer archive = buffer("!<arch>\n");
  add_member(archive, "/", Buffer(12));
  add_member(archive, "code.o/", make_host_object());
  add_member(archive, "notes.txt/", buffer("odd"));
  return archive;
}

inline Buffer zstd_text() { return from_hex(kZstdVectors[2].compressed); }

inline Buffer make_rich_fatbin() {
  return make_fatbin(
      {{EntryKind::kElf, 80, make_cubin()},
       {EntryKind::kElf, 90, make_cubin(), kFlagArchitectureSpecific, {}, 112},
       {EntryKind::kPtx, 90, buffer(kZstdVectors[2].content), kFlagZstd, zstd_text()},
       {EntryKind::kPtx, 80, buffer(kLz4Vectors[0].content), kFlagLz4,
        from_hex(kLz4Vectors[0].compressed), 80},
       {EntryKind::kPtx, 75, buffer(kPtx)}});
}

}  // namespace samples
