#include "softgpu/ptx/access.h"

#include <cstdio>
#include <string>

#include "softgpu/ptx/block.h"
#include "softgpu/ptx/cluster.h"
#include "softgpu/ptx/module.h"

namespace vgpu::softgpu::ptx {
namespace {

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

const char* name_of(Space space) {
  switch (space) {
    case Space::kShared:
      return "shared";
    case Space::kLocal:
      return "local";
    case Space::kParam:
      return "param";
    case Space::kConst:
      return "const";
    case Space::kGlobal:
      return "global";
    default:
      return "generic";
  }
}

// One lane's host pointer, or 0 when nothing valid is there.
uint64_t host_pointer(Warp& w, const Instr* in, Space space, int lane, uint64_t address,
                      uint32_t bytes, bool write) {
  uint64_t offset = address;
  uint64_t window = 0;
  if (space == Space::kShared) {
    window = kSharedWindow;
    // cvta is optional for shared addresses of the whole window.
    if ((address & kWindowMask) == kSharedWindow) offset = address & ~kWindowMask;
  } else if (space == Space::kLocal) {
    window = kLocalWindow;
  } else if (space == Space::kParam) {
    window = kParamWindow;
  } else if (space == Space::kGeneric) {
    window = address & kWindowMask;
    if (window != 0) offset = address & ~kWindowMask;
  }
  switch (window) {
    case kSharedWindow: {
      const uint32_t rank = rank_of(offset, w.block->rank);
      const auto& blocks = w.block->leader->cluster;
      const uint64_t own = offset & ~kRankMask;
      if (rank >= blocks.size() || own + bytes > w.run->shared_bytes || own + bytes < own) return 0;
      return reinterpret_cast<uint64_t>(blocks[rank]->shared) + own;
    }
    case kLocalWindow:
      if (offset + bytes > w.local_stride || offset + bytes < offset) return 0;
      return reinterpret_cast<uint64_t>(w.local) + static_cast<uint64_t>(lane) * w.local_stride +
             offset;
    case kParamWindow:
      if (write || offset + bytes > w.run->parameters.size() || offset + bytes < offset) return 0;
      return reinterpret_cast<uint64_t>(w.run->parameters.data()) + offset;
    default:
      break;
  }
  CachedRange& cached =
      w.thread->ranges[reinterpret_cast<uintptr_t>(in) / sizeof(Instr) % ThreadState::kRanges];
  const auto holds = [&] {
    return address >= cached.begin && cached.last >= bytes - 1 &&
           address - cached.begin <= cached.last - (bytes - 1) && (cached.writable || !write);
  };
  if (holds()) return address;
  const uint64_t in_workspace = address - reinterpret_cast<uint64_t>(w.run->workspace);
  if (in_workspace <= sizeof(w.run->workspace) - bytes) return address;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const Range* range = find_range(*w.thread->snapshot, address, bytes);
    if (range != nullptr && (range->writable || !write)) {
      if (w.run->watch == nullptr) {
        cached = {range->begin, range->end - range->begin - 1, range->writable};
      }
      return address;
    }
    // Memory may have been added since this thread looked last (device malloc, another stream).
    w.thread->refresh(*w.run->launch->memory);
  }
  return 0;
}

// Tells the optional checks of a valid access.
void watch(Warp& w, const Instr* in, Space space, int lane, uint64_t address, uint32_t bytes,
           bool write) {
  const uint64_t window = address & kWindowMask;
  if (space == Space::kShared || (space == Space::kGeneric && window == kSharedWindow)) {
    const uint64_t offset = address & ~kWindowMask & ~kRankMask;
    const uint32_t rank = rank_of(address, w.block->rank);
    if (rank == w.block->rank) {
      w.run->watch->shared(w, in, lane, offset, bytes, write);
    } else if (write) {  // of another block of the cluster: no race is looked for
      auto& there = w.block->leader->cluster[rank]->watch->bytes;
      for (uint32_t k = 0; k < bytes; ++k) there[offset + k].written = true;
    }
  } else if (window == 0 && (space == Space::kGlobal || space == Space::kGeneric)) {
    w.run->watch->global(w, in, lane, address, bytes, write);
  }
}

}  // namespace

uint64_t checked_address(Warp& w, const Instr* in, Space space, int lane, uint64_t address,
                         uint32_t bytes, bool write) {
  const bool aligned = (address & (bytes - 1)) == 0;
  if (aligned) {
    const uint64_t place = host_pointer(w, in, space, lane, address, bytes, write);
    if (place != 0 && w.run->watch != nullptr) watch(w, in, space, lane, address, bytes, write);
    if (place != 0) return place;
  }
  Fault why{aligned ? FaultKind::kIllegalAddress : FaultKind::kMisalignedAddress,
            std::string(aligned ? "invalid " : "misaligned ") + (write ? "write" : "read") +
                " of " + std::to_string(bytes) + " bytes at " + name_of(space) + " address " +
                hex(address)};
  const uint64_t window = address & kWindowMask;
  if (!aligned) {
    why.message += ", which is no multiple of " + std::to_string(bytes);
  } else if (space == Space::kShared || window == kSharedWindow) {
    why.message +=
        " (the block has " + std::to_string(w.run->shared_bytes) + " bytes of shared memory)";
  } else if (space == Space::kLocal || window == kLocalWindow) {
    why.message += " (a thread has " + std::to_string(w.local_stride) + " bytes of local memory)";
  } else if (window == 0 && space != Space::kParam) {
    why.address = address;
    why.bytes = bytes;
    why.write = write;
  }
  w.fault(in, lane, std::move(why));
  return 0;
}

bool resolve_slowly(Warp& w, const Instr* in, Space space, uint64_t* at, uint32_t bytes,
                    bool write) {
  const int first = __builtin_ctz(w.mask);
  uint64_t spare = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const bool runs = (w.mask >> lane & 1) != 0;
      if (pass == 1) {
        if (!runs) at[lane] = spare;
        continue;
      }
      if (!runs) continue;
      at[lane] = checked_address(w, in, space, lane, at[lane], bytes, write);
      if (at[lane] == 0) return false;
      if (lane == first) spare = at[lane];
    }
  }
  return true;
}

std::string place_of(const ModuleText& module, const Code& code, size_t instruction) {
  const std::string_view text = module.text_of(*code.function);
  std::string place = "PTX line " + std::to_string(line_of(text, code.positions[instruction]));
  if (const Loc& loc = code.locs[instruction]; loc.line != 0) {
    place += " (" + source_file(text, loc.file) + ":" + std::to_string(loc.line) + ")";
  }
  return place;
}

std::string Warp::at_place(const Instr* in, int lane, const std::string& what) const {
  const Code& code = *frame->code;
  std::string message = std::string(run->code->function->signature.name) + ": " + what;
  const auto at = static_cast<size_t>(in - code.instrs.data());
  if (at < code.positions.size()) {
    message += ", " + place_of(*run->module, code, at);
    if (code.function != run->code->function) {
      message += " in " + std::string(code.function->signature.name);
    }
  }
  const Dim3& size = run->launch->block;
  const uint32_t thread = index * kLanes + static_cast<uint32_t>(lane);
  char place[160];
  std::snprintf(place, sizeof(place), ", block (%u,%u,%u), thread (%u,%u,%u)", block->index[0],
                block->index[1], block->index[2], thread % size.x, thread / size.x % size.y,
                thread / size.x / size.y);
  return message + place;
}

const Instr* Warp::fault(const Instr* in, FaultKind kind, int lane, const std::string& what) {
  return fault(in, lane, {kind, what});
}

const Instr* Warp::fault(const Instr* in, int lane, Fault why) {
  why.message = at_place(in, lane, why.message);
  run->fail(std::move(why));
  stop = Stop::kFault;
  return nullptr;
}

}  // namespace vgpu::softgpu::ptx
