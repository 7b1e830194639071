// Code images: decoders against the reference implementations' output, directories against images
// built here, and every decoder against truncated and damaged input.
#include "image/image.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "check.h"
#include "image/bytes.h"
#include "image/decompress.h"
#include "image/elf_sections.h"
#include "image/format.h"
#include "image/zstd_entropy.h"
#include "image_samples.h"

namespace {

using namespace samples;

std::string describe(const Directory& directory) {
  std::ostringstream out;
  for (const auto& kernel : directory.kernels) {
    out << kernel.name << "(";
    for (const auto& one : kernel.parameters) out << one.offset << "+" << one.size << " ";
    out << ")" << kernel.parameter_bytes << " ";
  }
  for (const auto& global : directory.globals) out << global.name << ":" << global.size << " ";
  return out.str();
}

// Everything that reads untrusted bytes, one after the other.
void exercise(std::span<const std::byte> bytes) {
  std::string error;
  const auto image = identify(bytes, error);
  elf_directory(bytes, error);
  ptx_directory(text(bytes), error);
  if (const auto all = entries(bytes, error)) {
    for (const auto& entry : *all) {
      const auto inner = content(entry, error);
      if (!inner) continue;
      CHECK(inner->size() == entry.uncompressed_size);
      elf_directory(*inner, error);
      ptx_directory(text(*inner), error);
    }
  }
  slim(bytes, 90, Preference::kAnyElf, error);
  if (const auto fatbins = library_fatbins(bytes, error)) {
    for (const auto& fatbin : *fatbins)
      CHECK(holds(bytes, fatbin.data() - bytes.data(), fatbin.size()));
  }
}

// A copy on the heap, so that a sanitizer sees a read behind the end.
void exercise_copy(std::span<const std::byte> bytes) {
  const Buffer copy(bytes.begin(), bytes.end());
  exercise(copy);
}

void exercise_damaged(const Buffer& good, uint64_t seed, int rounds) {
  for (size_t size = 0; size < good.size(); ++size) exercise_copy(std::span(good).first(size));
  for (int round = 0; round < rounds; ++round) {
    Buffer bad = good;
    const int changes = 1 + static_cast<int>((next_random(seed) >> 33) % 4);
    for (int i = 0; i < changes; ++i) {
      const size_t at = (next_random(seed) >> 20) % bad.size();
      const uint64_t random = next_random(seed) >> 40;
      bad[at] = random % 3 == 0 ? std::byte{0xff} : static_cast<std::byte>(random >> 4);
    }
    exercise_copy(bad);
  }
}

TEST(zstd_matches_reference) {
  for (const Vector& vector : kZstdVectors) {
    std::string error;
    const auto content = decompress_zstd(from_hex(vector.compressed), vector.content.size(), error);
    CHECK_EQ(error, "");
    if (content) CHECK(string(*content) == vector.content);
    if (!content) std::fprintf(stderr, "vector: %s\n", vector.name);
  }
}

TEST(zstd_reads_frames_one_after_another) {
  Buffer both = zstd_text();
  put(both, uint32_t{0x184D2A53});
  put(both, uint32_t{3});
  both.resize(both.size() + 3);
  const Buffer more = from_hex(kZstdVectors[1].compressed);
  both.insert(both.end(), more.begin(), more.end());
  const std::string expected = kZstdVectors[2].content + kZstdVectors[1].content;
  std::string error;
  const auto content = decompress_zstd(both, expected.size(), error);
  CHECK(content && string(*content) == expected);
}

TEST(zstd_refuses_a_wrong_size_or_checksum) {
  std::string error;
  Buffer bytes = zstd_text();
  CHECK(!decompress_zstd(bytes, kZstdVectors[2].content.size() - 1, error));
  CHECK(!decompress_zstd(bytes, kZstdVectors[2].content.size() + 1, error));
  CHECK_EQ(error, "Zstandard: the frame is damaged");
  bytes.back() ^= std::byte{1};
  CHECK(!decompress_zstd(bytes, kZstdVectors[2].content.size(), error));
}

TEST(zstd_never_outgrows_the_expected_size) {
  // 300000 equal bytes from 30: a size that lies must not make them all.
  std::string error;
  CHECK(!decompress_zstd(from_hex(kZstdVectors[8].compressed), 1000, error));
}

TEST(zstd_survives_damage) {
  for (const Vector& vector : kZstdVectors) {
    const Buffer good = from_hex(vector.compressed);
    std::string error;
    for (size_t size = 0; size < good.size(); ++size) {
      const Buffer part(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
      const auto content = decompress_zstd(part, vector.content.size(), error);
      CHECK(!content || (size == 0 && vector.content.empty()));
    }
    uint64_t seed = 1;
    for (int round = 0; round < 3000; ++round) {
      Buffer bad = good;
      bad[(next_random(seed) >> 20) % bad.size()] = static_cast<std::byte>(next_random(seed) >> 40);
      decompress_zstd(bad, vector.content.size(), error);
    }
  }
}

TEST(xxhash64_known_answers) {
  const auto hash = [](std::string_view text) {
    return zstd::xxhash64({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  CHECK_EQ(hash(""), 0xEF46DB3751D8E999u);
  CHECK_EQ(hash("a"), 0xD24EC4F1A98C6E5Bu);
  CHECK_EQ(hash("abc"), 0x44BC2CF5AD770999u);
}

TEST(lz4_matches_reference) {
  for (const Vector& vector : kLz4Vectors) {
    std::string error;
    const auto content = decompress_lz4(from_hex(vector.compressed), vector.content.size(), error);
    CHECK(content && string(*content) == vector.content);
  }
}

TEST(lz4_survives_damage) {
  const Buffer good = from_hex(kLz4Vectors[0].compressed);
  const size_t size = kLz4Vectors[0].content.size();
  std::string error;
  for (size_t part = 0; part < good.size(); ++part) {
    const Buffer prefix(good.begin(), good.begin() + static_cast<ptrdiff_t>(part));
    CHECK(!decompress_lz4(prefix, size, error));
  }
  uint64_t seed = 2;
  for (int round = 0; round < 3000; ++round) {
    Buffer bad = good;
    bad[(next_random(seed) >> 20) % bad.size()] = static_cast<std::byte>(next_random(seed) >> 40);
    decompress_lz4(bad, size, error);
  }
  CHECK(!decompress_lz4(good, uint64_t{1} << 40, error));
}

TEST(sha256_known_answers) {
  CHECK_EQ(content_hash({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQ(content_hash(buffer("abc")),
           "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQ(content_hash(buffer("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQ(content_hash(buffer(std::string(1000000, 'a'))),
           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(identify_finds_kind_and_end) {
  std::string error;
  const auto kind_of = [&](const Buffer& bytes) {
    const auto image = identify(bytes, error);
    return image ? image->kind : Kind::kUnknown;
  };
  Buffer fatbin = make_rich_fatbin();
  const size_t size = fatbin.size();
  CHECK(kind_of(fatbin) == Kind::kFatbin);
  fatbin.resize(size + 100);
  CHECK_EQ(identify(fatbin, error)->bytes.size(), size);
  CHECK_EQ(identify(fatbin.data()).bytes.size(), size);
  fatbin.resize(size - 1);
  CHECK(kind_of(fatbin) == Kind::kUnknown);

  Buffer cubin = make_cubin();
  const size_t elf_size = cubin.size();
  CHECK(kind_of(cubin) == Kind::kElf);
  cubin.resize(elf_size + 64);
  CHECK_EQ(identify(cubin, error)->bytes.size(), elf_size);
  CHECK_EQ(identify(cubin.data()).bytes.size(), elf_size);

  CHECK(identify(static_cast<const void*>(kPtx)).kind == Kind::kPtx);
  CHECK_EQ(identify(static_cast<const void*>(kPtx)).bytes.size(), std::strlen(kPtx));
  CHECK(kind_of(buffer("/* x */\n\n  .version 5.2\n")) == Kind::kPtx);
  CHECK_EQ(identify(buffer(std::string(".version 5.2\0\0\0", 15)), error)->bytes.size(), 12u);
  CHECK(identify(static_cast<const void*>("")).kind == Kind::kUnknown);
  CHECK(identify(static_cast<const void*>("x")).kind == Kind::kUnknown);
  CHECK(identify(nullptr).kind == Kind::kUnknown);
  CHECK(kind_of(buffer("hello")) == Kind::kUnknown);
  CHECK_EQ(error, "not PTX, a cubin or a fat binary");
}

TEST(identify_follows_wrappers) {
  const Buffer first = make_rich_fatbin(),
               second = make_fatbin({{EntryKind::kPtx, 80, buffer(kPtx)}});
  const void* list[] = {second.data(), first.data(), nullptr};
  WrapperHeader wrapper{kWrapperMagic, 1, reinterpret_cast<uint64_t>(first.data()),
                        reinterpret_cast<uint64_t>("file.cu")};
  const Image one = identify(&wrapper);
  CHECK(one.kind == Kind::kWrapper && one.prelinked.empty());
  CHECK_EQ(one.bytes.size(), first.size());
  wrapper.version = 2;
  wrapper.extra = reinterpret_cast<uint64_t>(list);
  const Image two = identify(&wrapper);
  CHECK_EQ(two.prelinked.size(), 2u);
  CHECK_EQ(two.prelinked.at(0).size(), second.size());
  std::string error;
  CHECK(!identify(std::as_bytes(std::span(&wrapper, 1)), error));
}

TEST(entries_and_their_content) {
  const Buffer fatbin = make_rich_fatbin();
  std::string error;
  const auto all = entries(fatbin, error);
  CHECK_EQ(all->size(), 5u);
  const auto content_of = [&](size_t i) { return string(content(all->at(i), error).value()); };
  CHECK(all->at(0).kind == EntryKind::kElf && all->at(0).architecture == 80);
  CHECK_EQ(all->at(1).variant, 'a');
  CHECK_EQ(all->at(1).header.size(), 112u);
  CHECK(content_of(0).starts_with(string(make_cubin())));
  CHECK(content_of(2) == kZstdVectors[2].content);
  CHECK(content_of(3) == kLz4Vectors[0].content);
  CHECK(content_of(4).starts_with(kPtx));
}

TEST(entries_refuse_lies) {
  std::string error;
  Buffer fatbin = make_rich_fatbin();
  EntryHeader header;
  std::memcpy(&header, fatbin.data() + 16, sizeof(header));
  const auto refused = [&](EntryHeader changed) {
    Buffer bad = fatbin;
    std::memcpy(bad.data() + 16, &changed, sizeof(changed));
    return !entries(bad, error);
  };
  EntryHeader bad = header;
  bad.stored_size = UINT64_MAX - 50;
  CHECK(refused(bad));
  bad = header;
  bad.header_size = 8;
  CHECK(refused(bad));
  bad = header;
  bad.header_size = UINT32_MAX;
  CHECK(refused(bad));
  Entry entry = entries(fatbin, error)->at(2);
  entry.uncompressed_size = uint64_t{2} << 30;
  CHECK(!content(entry, error));
  CHECK_EQ(error, "fat binary: an entry claims more than 1 GiB of content");
}

TEST(choose_as_the_driver_does) {
  const auto make = [](EntryKind kind, int architecture, char variant = 0) {
    Entry entry;
    entry.kind = kind;
    entry.architecture = architecture;
    entry.variant = variant;
    return entry;
  };
  constexpr auto kElf = EntryKind::kElf, kPtxKind = EntryKind::kPtx;
  const std::vector<Entry> all = {make(kElf, 80),      make(kElf, 86),          make(kElf, 90),
                                  make(kElf, 90, 'a'), make(kElf, 100, 'f'),    make(kPtxKind, 75),
                                  make(kPtxKind, 90),  make(kPtxKind, 100, 'a')};
  const auto chosen = [&](int capability, Preference preference) {
    const Entry* entry = choose(all, capability, preference);
    return entry == nullptr ? -1 : static_cast<int>(entry - all.data());
  };
  CHECK_EQ(chosen(80, Preference::kDevice), 0);
  CHECK_EQ(chosen(87, Preference::kDevice), 1);
  CHECK_EQ(chosen(89, Preference::kDevice), 1);
  CHECK_EQ(chosen(90, Preference::kDevice), 3);
  CHECK_EQ(chosen(103, Preference::kDevice), 4);
  CHECK_EQ(chosen(120, Preference::kDevice), 6);
  CHECK_EQ(chosen(75, Preference::kDevice), 5);
  CHECK_EQ(chosen(70, Preference::kDevice), -1);
  CHECK_EQ(chosen(130, Preference::kPtxOnly), 6);
  CHECK_EQ(chosen(80, Preference::kPtxOnly), 5);
  CHECK_EQ(chosen(70, Preference::kPtxOnly), 5);
  CHECK_EQ(chosen(130, Preference::kAnyElf), 6);
  const std::vector<Entry> elves(all.begin(), all.begin() + 5);
  CHECK_EQ(choose(elves, 86, Preference::kAnyElf) - elves.data(), 1);
  CHECK_EQ(choose(elves, 130, Preference::kAnyElf) - elves.data(), 4);
  CHECK(choose(elves, 130, Preference::kPtxOnly) == nullptr);
  CHECK(choose({}, 130, Preference::kAnyElf) == nullptr);
}

TEST(slim_keeps_one_entry_as_it_was) {
  const Buffer fatbin = make_rich_fatbin();
  std::string error;
  const auto small = slim(fatbin, 90, Preference::kDevice, error);
  const auto before = entries(fatbin, error), after = entries(small.value(), error);
  CHECK_EQ(after->size(), 1u);
  CHECK(text(after->at(0).header) == text(before->at(1).header));
  CHECK(text(after->at(0).payload) == text(before->at(1).payload));
  CHECK_EQ(identify(*small, error)->bytes.size(), small->size());
  CHECK(!slim(make_fatbin({{EntryKind::kElf, 80, make_cubin()}}), 90, Preference::kDevice, error));
  CHECK_EQ(error, "fat binary: no entry fits compute capability 9.0");
}

TEST(elf_directory_lists_kernels_and_globals) {
  std::string error;
  const auto directory = elf_directory(make_cubin(), error);
  CHECK_EQ(error, "");
  CHECK_EQ(describe(directory.value()), "k(0+8 8+12 )20 g:40 c:24 ");
  CHECK(!elf_directory(buffer("\x7f"
                              "ELF"),
                       error));
}

TEST(library_fatbins_finds_device_code) {
  std::string error;
  for (const Buffer& file : {make_host_object(), make_archive()}) {
    const auto fatbins = library_fatbins(file, error);
    CHECK(fatbins && fatbins->size() == 2);
    if (!fatbins || fatbins->size() != 2) continue;
    CHECK(entries((*fatbins)[0], error)->at(0).kind == EntryKind::kPtx);
    CHECK(entries((*fatbins)[1], error)->at(0).kind == EntryKind::kElf);
  }
  CHECK(library_fatbins(make_cubin(), error)->empty());
  CHECK(!library_fatbins(buffer("plain text"), error));
  Buffer cut = make_archive();
  cut.resize(cut.size() / 2);
  CHECK(!library_fatbins(cut, error));
  CHECK(error.find("more bytes than there are") != std::string::npos);
}

TEST(ptx_directory_lists_kernels_and_globals) {
  std::string error;
  const auto directory = ptx_directory(kPtx, error);
  CHECK_EQ(error, "");
  CHECK_EQ(describe(directory.value()),
           "first(0+8 8+1 16+20 40+8 )48 empty()0 bare()0 "
           "table:40 a:4 b:4 weights:24 vec:96 managed_one:8 ");
  CHECK(!ptx_directory("no PTX", error));
  CHECK(!ptx_directory(".version 8.8\n.entry x(.param .u99 y) {}", error));
}

TEST(ptx_directory_is_fast) {
  std::string large = kPtx;
  while (large.size() < (32u << 20))
    large += ".visible .entry k" + std::to_string(large.size()) + "(.param .u64 p)\n{\n" +
             std::string(100000, 'x') + "\n}\n";
  std::string error;
  CHECK(ptx_directory(large, error)->kernels.size() > 300);
}

TEST(damaged_images_do_no_harm) {
  exercise_damaged(make_rich_fatbin(), 3, 3000);
  exercise_damaged(make_cubin(), 4, 6000);
  exercise_damaged(make_archive(), 6, 3000);
  exercise_damaged(buffer(kPtx), 5, 3000);
}

// A cubin with a hundred thousand sections keeps their number and the index of their names in the
// first section header, and the sections of its symbols in a table of their own.
TEST(elf_with_many_sections) {
  Buffer elf = make_cubin();
  ElfHeader header;
  std::memcpy(&header, elf.data(), sizeof(header));
  ElfSection first{};
  first.size = header.section_count;
  first.link = header.names_section;
  header.section_count = 0;
  header.names_section = kExtendedIndex;
  std::memcpy(elf.data(), &header, sizeof(header));
  std::memcpy(elf.data() + header.section_offset, &first, sizeof(first));
  std::string error;
  CHECK_EQ(describe(elf_directory(elf, error).value()), "k(0+8 8+12 )20 g:40 c:24 ");
  CHECK_EQ(identify(elf, error)->bytes.size(), elf.size());
  CHECK_EQ(identify(elf.data()).bytes.size(), elf.size());

  CubinBuilder builder;
  const auto text = builder.section(".text.k", 1, Buffer(32));
  Buffer indices;
  put(indices, uint32_t{0});
  put(indices, uint32_t{text});
  builder.section(".symtab_shndx", 18, indices);
  builder.symbol("k", kSymbolFunction, kOtherKernel, kExtendedIndex, 32);
  CHECK_EQ(describe(elf_directory(builder.finish(), error).value()), "k()0 ");
}

// A damaged file may give every symbol the same long name: that must not multiply its size.
TEST(shared_names_cost_little) {
  CubinBuilder builder;
  const auto text = builder.section(".text.k", 1, Buffer(32));
  const uint32_t name = builder.add_string(builder.strings, std::string(1 << 20, 'n'));
  for (int i = 0; i < 20000; ++i) {
    put(builder.symbols, ElfSymbol{name, kSymbolFunction, kOtherKernel, text, 0, 0});
  }
  std::string error;
  CHECK(!elf_directory(builder.finish(), error));
  CHECK_EQ(error, "ELF: the symbols or kernel descriptions are damaged");
}

void check_library(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string raw{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(raw));
  std::string error;
  size_t found = 0;
  for (size_t at = 0; at + 16 <= bytes.size();) {
    const bool magic = load<uint64_t>(bytes, at) == (uint64_t{0x00100001} << 32 | kFatbinMagic);
    const auto image = magic ? identify(bytes.subspan(at), error) : std::nullopt;
    const auto all = image ? entries(image->bytes, error) : std::nullopt;
    if (!all) {
      at += 8;
      continue;
    }
    for (const auto& entry : *all) {
      error.clear();
      const auto inner = content(entry, error);
      if (!inner) check::fail(__FILE__, __LINE__, std::string(path) + ": " + error);
      if (!inner) continue;
      ++found;
      const bool elf = entry.kind == EntryKind::kElf;
      CHECK(elf ? elf_directory(*inner, error) : ptx_directory(text(*inner), error));
      if (!error.empty()) check::fail(__FILE__, __LINE__, std::string(path) + ": " + error);
    }
    at += align_up(image->bytes.size(), 8);
  }
  std::printf("       %s: %zu entries\n", path, found);
}

TEST(real_libraries) {
  const char* list = std::getenv("VGPU_TEST_LIBRARIES");
  if (list == nullptr) {
    std::printf(
        "       skipped: set VGPU_TEST_LIBRARIES to shared objects with device code, "
        "separated by colons\n");
    return;
  }
  std::istringstream paths(list);
  for (std::string path; std::getline(paths, path, ':');) check_library(path.c_str());
}

}  // namespace
