#include "softgpu/ptx/watch.h"

#include <algorithm>
#include <cstdio>

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/lanes/isa.h"
#include "softgpu/ptx/module.h"

namespace vgpu::softgpu::ptx {
namespace {

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

// Atomic operations, and accesses by which threads wait for each other (volatile, relaxed, acquire,
// release): what they order is not ours to know, so that they end what was unordered before.
bool synchronizes(const Instr* in) { return (in->mods & (kAccessAtomic | kAccessSync)) != 0; }
bool reads(const Instr* in, bool write) { return !write || (in->mods & kAccessAtomic) != 0; }

}  // namespace

void SharedWatch::restart() {
  std::fill(bytes.begin(), bytes.end(), Byte{});
  epoch = 1;
}

void Watch::global(Warp& w, const Instr* in, int lane, uint64_t address, uint32_t bytes,
                   bool write) {
  if (!launch_.check_uninitialised) return;
  if (reads(in, write) && !launch_.shadow->written(address, bytes) &&
      w.run->module->first_finding(in, nullptr)) {
    launch_.report({FaultKind::kNone,
                    w.at_place(in, lane,
                               "uninitialised read of " + std::to_string(bytes) +
                                   " bytes at global address " + hex(address)),
                    address, bytes, false});
  }
  if (write) launch_.shadow->write(address, bytes);
}

void Watch::shared(Warp& w, const Instr* in, int lane, uint64_t offset, uint32_t bytes,
                   bool write) {
  SharedWatch& block = *w.block->watch;
  const auto first = block.bytes.begin() + static_cast<std::ptrdiff_t>(offset);
  const auto last = first + bytes;
  if (launch_.check_uninitialised) {
    const bool blank = reads(in, write) &&
                       std::any_of(first, last, [](const auto& byte) { return !byte.written; });
    if (blank && w.run->module->first_finding(in, nullptr)) {
      launch_.report(
          {FaultKind::kNone, w.at_place(in, lane,
                                        "uninitialised read of " + std::to_string(bytes) +
                                            " bytes at shared address " + hex(offset))});
    }
  }
  for (auto byte = first; write && byte != last; ++byte) byte->written = true;
  if (!launch_.check_races) return;
  if (synchronizes(in)) {
    ++block.epoch;
    return;
  }
  const uint32_t thread = w.index * kLanes + static_cast<uint32_t>(lane);
  const auto conflicts = [&](const SharedWatch::Touch& touch) {
    return touch.epoch == block.epoch && touch.thread / kLanes != w.index;
  };
  for (auto byte = first; byte != last; ++byte) {
    const auto at = offset + static_cast<uint64_t>(byte - first);
    if (conflicts(byte->write)) report_race(w, in, lane, at, write, byte->write, true);
    if (write) {
      for (const auto& read : byte->reads) {
        if (conflicts(read)) report_race(w, in, lane, at, write, read, false);
      }
      byte->write = {in, thread, block.epoch};
    } else if (byte->reads[0].epoch != block.epoch || byte->reads[0].thread / kLanes == w.index) {
      byte->reads[0] = {in, thread, block.epoch};
    } else {
      byte->reads[1] = {in, thread, block.epoch};
    }
  }
}

void Watch::report_race(Warp& w, const Instr* in, int lane, uint64_t offset, bool write,
                        const SharedWatch::Touch& before, bool before_wrote) {
  if (!w.run->module->first_finding(in, before.at)) return;
  std::string other = "elsewhere";
  for (const Code* code : w.run->module->decoded()) {
    const auto at = before.at - code->instrs.data();
    if (at < 0 || static_cast<size_t>(at) >= code->instrs.size()) continue;
    other = place_of(*w.run->module, *code, static_cast<size_t>(at));
  }
  const Dim3& size = w.run->launch->block;
  char thread[96];
  std::snprintf(thread, sizeof(thread), "thread (%u,%u,%u)", before.thread % size.x,
                before.thread / size.x % size.y, before.thread / size.x / size.y);
  launch_.report({FaultKind::kNone, w.at_place(in, lane,
                                               std::string("race: ") + (write ? "write" : "read") +
                                                   " of shared address " + hex(offset) + " that " +
                                                   thread + (before_wrote ? " wrote" : " read") +
                                                   " at " + other + " with no barrier between")});
}

}  // namespace vgpu::softgpu::ptx
