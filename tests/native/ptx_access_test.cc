// Loads and stores of every width against a model, for the shapes of addresses that the
// interpreter treats apart: all equal, one after the other, scattered; with and without lanes that
// do not run.
#include <random>

#include "check.h"
#include "ptx_harness.h"

using ptx_harness::Program;
using ptx_harness::with_header;
using vgpu::softgpu::ptx::FaultKind;

namespace {

constexpr uint32_t kBytes = 4096;

struct Form {
  std::string space;
  uint32_t width = 4, count = 1;  // bytes of an element, elements
  [[nodiscard]] uint32_t size() const { return width * count; }
};

std::string repeat(uint32_t count, const std::string& separator, auto&& text) {
  std::string all;
  for (uint32_t k = 0; k < count; ++k) all += (k != 0 ? separator : "") + text(k);
  return all;
}

// Loads (or stores) one vector per lane of `lanes` at data + offsets[lane]. A shared or local copy
// of the data is made first and copied back last; results of loads go to out, 8 bytes each.
std::string kernel(const Form& form, bool store) {
  const bool global = form.space == "global";
  const std::string bits = std::to_string(8 * form.width), letter = form.width == 8 ? "d" : "h";
  const std::string reg = form.width == 8 ? "%d" : form.width == 4 ? "%r" : "%h";
  const std::string registers =
      repeat(form.count, ",", [&](uint32_t k) { return reg + std::to_string(20 + k); });
  const std::string vector = form.count == 1 ? registers : "{" + registers + "}";
  const std::string type = (form.count > 1 ? ".v" + std::to_string(form.count) : "") + ".b" + bits;
  std::string text = R"(
.visible .entry k(.param .u64 offsets, .param .u64 data, .param .u64 out, .param .u32 lanes) {
  .reg .b32 %r<64>; .reg .b64 %d<64>; .reg .pred %p<4>; .reg .b16 %h<64>;
)";
  if (!global) text += "  ." + form.space + " .align 64 .b8 mine[4096];\n";
  text += R"(
  ld.param.u64 %d1, [offsets]; ld.param.u64 %d2, [data]; ld.param.u64 %d3, [out];
  ld.param.u32 %r1, [lanes];
  mov.u32 %r2, %tid.x; shr.u32 %r3, %r1, %r2; and.b32 %r3, %r3, 1; setp.ne.u32 %p1, %r3, 0;
  mul.wide.u32 %d4, %r2, 4; add.s64 %d1, %d1, %d4; ld.global.u32 %d5, [%d1];
  mov.u64 %d6, %d2;
)";
  const auto copy = [&](const std::string& label, const std::string& move) {
    return "  mov.u32 %r4, 0;\n" + label + ": cvt.u64.u32 %d8, %r4; add.s64 %d9, %d2, %d8; " +
           "add.s64 %d10, %d6, %d8; " + move + " add.u32 %r4, %r4, 4; " +
           "setp.lt.u32 %p2, %r4, 4096; @%p2 bra " + label + ";\n";
  };
  if (!global) {
    text += "  mov.u64 %d6, mine;\n" +
            copy("$IN", "ld.global.u32 %r5, [%d9]; st." + form.space + ".u32 [%d10], %r5;");
    text += "  bar.sync 0;\n";
  }
  text += "  add.s64 %d7, %d6, %d5;\n";
  if (!store) {
    text += "  @%p1 ld." + form.space + type + " " + vector + ", [%d7];\n";
    text += "  mul.wide.u32 %d11, %r2, 64; add.s64 %d3, %d3, %d11;\n";
    for (uint32_t k = 0; k < form.count; ++k) {
      const std::string value = reg + std::to_string(20 + k);
      if (form.width < 8) {
        text += "  cvt.u64.u" + std::string(form.width == 4 ? "32" : "16") + " %d12, " + value +
                "; @%p1 st.global.u64 [%d3+" + std::to_string(8 * k) + "], %d12;\n";
      } else {
        text += "  @%p1 st.global.u64 [%d3+" + std::to_string(8 * k) + "], " + value + ";\n";
      }
    }
    return with_header(text + "  ret;\n}");
  }
  for (uint32_t k = 0; k < form.count; ++k) {
    text += "  mad.lo.u32 %r6, %r2, 8, " + std::to_string(k + 1) + "; ";
    const std::string value = reg + std::to_string(20 + k);
    text += form.width == 8   ? "cvt.u64.u32 " + value + ", %r6;\n"
            : form.width == 4 ? "mov.u32 " + value + ", %r6;\n"
                              : "cvt.u16.u32 " + value + ", %r6;\n";
  }
  text += "  @%p1 st." + form.space + type + " [%d7], " + vector + ";\n";
  if (!global) {
    text += "  bar.sync 0;\n" +
            copy("$OUT", "ld." + form.space + ".u32 %r5, [%d10]; st.global.u32 [%d9], %r5;");
  }
  return with_header(text + "  ret;\n}");
}

using Offsets = std::vector<uint32_t>;

std::vector<std::pair<const char*, Offsets>> shapes(uint32_t size) {
  std::mt19937 random(7);
  std::vector<std::pair<const char*, Offsets>> all{
      {"equal", Offsets(32)},  {"in order", Offsets(32)},   {"backwards", Offsets(32)},
      {"random", Offsets(32)}, {"two groups", Offsets(32)}, {"almost in order", Offsets(32)}};
  for (uint32_t i = 0; i < 32; ++i) {
    all[0].second[i] = 5 * size;
    all[1].second[i] = (i + 3) * size;
    all[2].second[i] = (40 - i) * size;
    all[3].second[i] = random() % (kBytes / size) * size;
    all[4].second[i] = (i / 16 + i % 16) * size;
    all[5].second[i] = (i == 7 ? 9 : i) * size;
  }
  return all;
}

// Memory that begins at a multiple of 64, as the widest vectors need it.
struct alignas(64) Line {
  uint8_t bytes[64];
  bool operator==(const Line&) const = default;
};

std::vector<Line> numbers() {
  std::vector<Line> lines(kBytes / sizeof(Line));
  std::mt19937 random(11);
  for (Line& line : lines) {
    for (uint8_t& byte : line.bytes) byte = static_cast<uint8_t>(random());
  }
  return lines;
}

uint8_t* byte_at(std::vector<Line>& lines, uint32_t at) { return lines[0].bytes + at; }

void check_load(const Form& form, const std::string& what, const Offsets& where, uint32_t lanes,
                uint32_t threads) {
  Program program(kernel(form, false));
  std::vector<Line> data = numbers();
  Offsets offsets = where;
  std::vector<uint64_t> out(256, 77), expected(256, 77);
  const auto fault = program.run("k", {1, 1, 1}, {threads, 1, 1}, program.buffer(offsets),
                                 program.buffer(data), program.buffer(out), lanes);
  CHECK_EQ(fault.message, std::string());
  for (uint32_t i = 0; i < threads; ++i) {
    if ((lanes >> i & 1) == 0) continue;
    for (uint32_t k = 0; k < form.count; ++k) {
      expected[i * 8 + k] = 0;
      std::memcpy(&expected[i * 8 + k], byte_at(data, where[i] + k * form.width), form.width);
    }
  }
  if (out != expected) check::fail(__FILE__, __LINE__, "load " + what);
}

void check_store(const Form& form, const std::string& what, const Offsets& where, uint32_t lanes,
                 uint32_t threads) {
  Program program(kernel(form, true));
  std::vector<Line> data = numbers(), expected = data;
  Offsets offsets = where;
  std::vector<uint64_t> out(1);
  const auto fault = program.run("k", {1, 1, 1}, {threads, 1, 1}, program.buffer(offsets),
                                 program.buffer(data), program.buffer(out), lanes);
  CHECK_EQ(fault.message, std::string());
  for (uint32_t i = 0; i < threads; ++i) {
    if ((lanes >> i & 1) == 0) continue;
    for (uint32_t k = 0; k < form.count; ++k) {
      const uint64_t value = i * 8 + k + 1;
      std::memcpy(byte_at(expected, where[i] + k * form.width), &value, form.width);
    }
  }
  if (data != expected) check::fail(__FILE__, __LINE__, "store " + what);
}

void check_forms(const std::string& space, auto&& check_one) {
  for (const uint32_t width : {1u, 2u, 4u, 8u}) {
    for (const uint32_t count : {1u, 2u, 4u, 8u}) {
      const Form form{space, width, count};
      if (form.size() > 32) continue;
      for (const auto& [name, offsets] : shapes(form.size())) {
        const std::string what = space + " b" + std::to_string(8 * width) + " v" +
                                 std::to_string(count) + ", addresses " + name;
        check_one(form, what, offsets, ~0u, 32);
        check_one(form, what + ", some lanes", offsets, 0x5a3f00f0u, 32);
        check_one(form, what + ", part of a warp", offsets, ~0u, 21);
      }
    }
  }
}

}  // namespace

TEST(loads_from_global_memory) { check_forms("global", check_load); }
TEST(loads_from_shared_memory) { check_forms("shared", check_load); }
TEST(loads_from_local_memory) { check_forms("local", check_load); }
TEST(stores_to_global_memory) { check_forms("global", check_store); }
TEST(stores_to_shared_memory) { check_forms("shared", check_store); }

// The last lane of a row of addresses may lie outside, or all of them may be misaligned.
TEST(shapes_do_not_hide_faults) {
  for (const char* space : {"global", "shared"}) {
    for (const bool store : {false, true}) {
      for (const uint32_t start : {kBytes - 31 * 4, 2u, kBytes}) {
        for (const uint32_t step : {4u, 0u}) {
          if (step == 0 && start == kBytes - 31 * 4) continue;
          Program program(kernel({space, 4, 1}, store));
          std::vector<Line> data = numbers();
          Offsets offsets(32);
          for (uint32_t i = 0; i < 32; ++i) offsets[i] = start + i * step;
          std::vector<uint64_t> out(256);
          const auto fault = program.run("k", {1, 1, 1}, {32, 1, 1}, program.buffer(offsets),
                                         program.buffer(data), program.buffer(out), ~0u);
          CHECK(fault.kind ==
                (start == 2 ? FaultKind::kMisalignedAddress : FaultKind::kIllegalAddress));
          const char* thread = start == kBytes - 31 * 4 ? "thread (31,0,0)" : "thread (0,0,0)";
          CHECK(fault.message.find(thread) != std::string::npos);
        }
      }
    }
  }
}

// A null pointer to bytes: the process must not read it either.
TEST(a_byte_at_address_zero_is_a_fault) {
  for (const char* access : {"ld.u8 %h, [%d]", "ld.global.u8 %h, [%d]", "st.u8 [%d], %h"}) {
    Program program(with_header(std::string(".visible .entry k() { .reg .b16 %h; .reg .b64 %d; "
                                            "mov.u64 %d, 0; mov.u16 %h, 0; ") +
                                access + "; ret; }"));
    CHECK(program.run("k", {}, {32, 1, 1}).kind == FaultKind::kIllegalAddress);
  }
}
