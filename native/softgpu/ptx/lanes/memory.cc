// ld and st (PTX ISA sections 9.7.9.8 to 9.7.9.11), and uniform reads of kernel parameters.
#include <type_traits>

#include "softgpu/ptx/lanes/access.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

template <class T>
VGPU_INLINE T read(uint64_t address) {
  T value;
  __builtin_memcpy(&value, reinterpret_cast<const void*>(address), sizeof(T));
  return value;
}

// Shared and global memory are quick; the rest shares one copy per space, for the size of the code.
template <Space space>
[[gnu::noinline]] bool resolve_apart(Warp& w, const Instr* in, uint32_t bytes, bool write,
                                     Access& out) {
  return resolve_at<space>(w, in, in->a, in->imm, (in->mods & kAddress32) != 0, bytes, write, out,
                           true);
}
template <Space space>
VGPU_INLINE bool resolve_shape(Warp& w, const Instr* in, uint32_t bytes, bool write, Access& out) {
  if constexpr (space == Space::kShared || space == Space::kGlobal) {
    return resolve_at<space>(w, in, in->a, in->imm, (in->mods & kAddress32) != 0, bytes, write, out,
                             true);
  } else {
    return resolve_apart<space>(w, in, bytes, write, out);
  }
}

// Scattered elements, in pieces of 8 or 4 bytes that are then taken apart.
template <class T, uint32_t count>
VGPU_INLINE void load_scattered(Warp& w, const uint32_t* operands, const Access& access) {
  using R = Row<T>;
  constexpr uint32_t kBytes = sizeof(T) * count;
  if constexpr (kBytes < 4) {
    for (uint32_t k = 0; k < count; ++k) {
      put_row<R>(w, operands[k], [&](int i) { return read<T>(access.at[i] + k * sizeof(T)); });
    }
  } else {
    using Piece = std::conditional_t<kBytes == 4, uint32_t, uint64_t>;
    constexpr uint32_t kParts = sizeof(Piece) / sizeof(T);
    alignas(64) Piece pieces[kLanes];
    for (uint32_t k = 0; k < count; k += kParts) {
      gather(access.at, k * sizeof(T), pieces);
      for (uint32_t part = 0; part < kParts; ++part) {
        put_row<R>(w, operands[k + part],
                   [&](int i) { return static_cast<T>(pieces[i] >> (part * sizeof(T) * 8)); });
      }
    }
  }
}

// Whether other host threads may see an access of this size in halves unless it is done at once.
template <Space space, class T, uint32_t count>
constexpr bool kCanTear =
    sizeof(T) * count == 16 && (space == Space::kGlobal || space == Space::kGeneric);

template <class T, uint32_t count>
[[gnu::noinline]] void load_whole(Warp& w, const uint32_t* operands, const Access& access) {
  alignas(64) T values[kLanes * count];
  for (int i = 0; i < kLanes; ++i) {
    const Whole value = read_whole(access.at[i]);
    __builtin_memcpy(values + static_cast<uint32_t>(i) * count, &value, sizeof(value));
  }
  for (uint32_t k = 0; k < count; ++k) {
    put_row<Row<T>>(w, operands[k],
                    [&](int i) { return values[static_cast<uint32_t>(i) * count + k]; });
  }
}

template <class T, uint32_t count>
[[gnu::noinline]] void store_whole(Warp& w, const uint32_t* operands, const Access& access) {
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    T values[count];
    for (uint32_t k = 0; k < count; ++k) {
      values[k] = static_cast<T>(w.row<Row<T>>(operands[k])[i]);
    }
    Whole value;
    __builtin_memcpy(&value, values, sizeof(value));
    write_whole(access.at[i], value);
  }
}

// Warps go over large arrays in turn, each a little further on, and so slowly that the processor's
// own prefetching does not see several such streams.
VGPU_INLINE void prefetch_behind(const void* from, uint32_t bytes) {
  constexpr uint32_t kAhead = 2048, kLine = 64;
  for (uint32_t k = 0; k < bytes; k += kLine) {
    __builtin_prefetch(static_cast<const char*>(from) + kAhead + k);
  }
}

// T: what is in memory; R: the register row's element. Signed types are extended by a resize after.
template <Space space, class T, uint32_t count>
const Instr* load(Warp& w, const Instr* in) {
  using R = Row<T>;
  const uint32_t* operands = count == 1 ? &in->d : in->list;
  Access access;
  if constexpr (kCanTear<space, T, count>) {
    if ((in->mods & kAccessWhole) != 0) {
      if (!resolve<space>(w, in, sizeof(T) * count, false, access)) return nullptr;
      note_access(w, in);
      load_whole<T, count>(w, operands, access);
      return in + 1;
    }
  }
  if (!resolve_shape<space>(w, in, sizeof(T) * count, false, access)) return nullptr;
  note_access(w, in);
  if (access.shape == Shape::kScattered) {
    load_scattered<T, count>(w, operands, access);
  } else if (access.shape == Shape::kUniform) {
    T values[count];
    __builtin_memcpy(values, reinterpret_cast<const void*>(access.at[0]), sizeof(values));
    for (uint32_t k = 0; k < count; ++k) {
      const R value = values[k];
      put_row<R>(w, operands[k], [&](int) { return value; });
    }
  } else {
    const T* from = reinterpret_cast<const T*>(access.at[0]);
    if constexpr (space == Space::kGlobal) prefetch_behind(from, sizeof(T) * count * kLanes);
    for (uint32_t k = 0; k < count; ++k) {
      R* d = w.row<R>(operands[k]);
      VGPU_EACH_LANE d[i] = from[static_cast<uint32_t>(i) * count + k];
    }
  }
  return in + 1;
}

// Lanes store in their order: of several that name one place the last wins.
template <Space space, class T, uint32_t count>
const Instr* store(Warp& w, const Instr* in) {
  using R = Row<T>;
  const uint32_t* operands = count == 1 ? &in->b : in->list;
  Access access;
  if constexpr (kCanTear<space, T, count>) {
    if ((in->mods & kAccessWhole) != 0) {
      if (!resolve<space>(w, in, sizeof(T) * count, true, access)) return nullptr;
      note_access(w, in);
      store_whole<T, count>(w, operands, access);
      return in + 1;
    }
  }
  if (!resolve_shape<space>(w, in, sizeof(T) * count, true, access)) return nullptr;
  note_access(w, in);
  const R* rows[count];
  for (uint32_t k = 0; k < count; ++k) rows[k] = w.row<R>(operands[k]);
  if (access.shape == Shape::kContiguous) {
    T* to = reinterpret_cast<T*>(access.at[0]);
    if constexpr (space == Space::kGlobal) prefetch_behind(to, sizeof(T) * count * kLanes);
    for (uint32_t k = 0; k < count; ++k) {
      VGPU_EACH_LANE to[static_cast<uint32_t>(i) * count + k] = static_cast<T>(rows[k][i]);
    }
    return in + 1;
  }
  const auto lane = [&](int i, uint64_t address) {
    T values[count];
    for (uint32_t k = 0; k < count; ++k) values[k] = static_cast<T>(rows[k][i]);
    __builtin_memcpy(reinterpret_cast<void*>(address), values, sizeof(values));
  };
  if (access.shape == Shape::kUniform) {
    lane(31 - __builtin_clz(w.mask), access.at[0]);
  } else if (w.mask == ~0u) {
    for (int i = 0; i < kLanes; ++i) lane(i, access.at[i]);
  } else {
    for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
      const int i = __builtin_ctz(lanes);
      lane(i, access.at[i]);
    }
  }
  return in + 1;
}

template <class T>
const Instr* broadcast_parameter(Warp& w, const Instr* in) {
  T value;
  __builtin_memcpy(&value, w.run->parameters.data() + in->imm, sizeof(T));
  const Row<T> r = value;
  put_row<Row<T>>(w, in->d, [&](int) { return r; });
  return in + 1;
}

template <bool is_store, Space space, class T>
Handler of_count(uint32_t count) {
  switch (count) {
    case 1:
      return is_store ? Handler{store<space, T, 1>} : Handler{load<space, T, 1>};
    case 2:
      return is_store ? Handler{store<space, T, 2>} : Handler{load<space, T, 2>};
    case 4:
      return is_store ? Handler{store<space, T, 4>} : Handler{load<space, T, 4>};
    case 8:
      return is_store ? Handler{store<space, T, 8>} : Handler{load<space, T, 8>};
    default:
      return nullptr;
  }
}

template <bool is_store, Space space>
Handler of_bytes(uint32_t bytes, uint32_t count) {
  switch (bytes) {
    case 1:
      return of_count<is_store, space, uint8_t>(count);
    case 2:
      return of_count<is_store, space, uint16_t>(count);
    case 4:
      return of_count<is_store, space, uint32_t>(count);
    case 8:
      return of_count<is_store, space, uint64_t>(count);
    default:
      return nullptr;
  }
}

template <bool is_store>
Handler of_space(Space space, uint32_t bytes, uint32_t count) {
  switch (space) {
    case Space::kGlobal:
    case Space::kConst:
      return of_bytes<is_store, Space::kGlobal>(bytes, count);
    case Space::kGeneric:
      return of_bytes<is_store, Space::kGeneric>(bytes, count);
    case Space::kShared:
      return of_bytes<is_store, Space::kShared>(bytes, count);
    case Space::kLocal:
      return of_bytes<is_store, Space::kLocal>(bytes, count);
    case Space::kParam:
      return of_bytes<is_store, Space::kParam>(bytes, count);
    default:
      return nullptr;
  }
}

}  // namespace

Handler load_from(Space space, uint32_t bytes, uint32_t count) {
  return of_space<false>(space, bytes, count);
}
Handler store_to(Space space, uint32_t bytes, uint32_t count) {
  return of_space<true>(space, bytes, count);
}
Handler broadcast(uint32_t bytes) {
  switch (bytes) {
    case 1:
      return broadcast_parameter<uint8_t>;
    case 2:
      return broadcast_parameter<uint16_t>;
    case 4:
      return broadcast_parameter<uint32_t>;
    case 8:
      return broadcast_parameter<uint64_t>;
    default:
      return nullptr;
  }
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES
