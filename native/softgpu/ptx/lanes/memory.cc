// ld and st (PTX ISA sections 9.7.9.8 to 9.7.9.11), and uniform reads of kernel parameters.
#include "softgpu/ptx/lanes/access.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

template <class T>
VGPU_INLINE T read(uint64_t address) {
  T value;
  __builtin_memcpy(&value, reinterpret_cast<const void*>(address), sizeof(T));
  return value;
}

// T: what is in memory; R: the register row's element. Signed types are extended by a resize after.
template <Space space, class T, uint32_t count>
const Instr* load(Warp& w, const Instr* in) {
  using R = Row<T>;
  Access access;
  if (!resolve<space>(w, in, sizeof(T) * count, false, access)) return nullptr;
  note_access(w, in);
  if (count == 1) {
    R* d = w.row<R>(in->d);
    if (sizeof(R) == sizeof(T) && access.contiguous) {
      __builtin_memcpy(d, reinterpret_cast<const void*>(access.at[0]), sizeof(T) * kLanes);
    } else if (w.full) {
      for (int i = 0; i < kLanes; ++i) d[i] = read<T>(access.at[i]);
    } else {
      VGPU_EACH_LANE {
        const R r = read<T>(access.at[i]);
        d[i] = w.lanes[i] != 0 ? r : d[i];
      }
    }
    return in + 1;
  }
  // One wide read per lane, then a transpose that the compiler does with shuffles.
  alignas(64) T values[kLanes][count];
  for (int i = 0; i < kLanes; ++i) {
    __builtin_memcpy(values[i], reinterpret_cast<const void*>(access.at[i]), sizeof(values[i]));
  }
  for (uint32_t k = 0; k < count; ++k) {
    R* d = w.row<R>(in->list[k]);
    if (w.full) {
      VGPU_EACH_LANE d[i] = values[i][k];
    } else {
      VGPU_EACH_LANE {
        const R r = values[i][k];
        d[i] = w.lanes[i] != 0 ? r : d[i];
      }
    }
  }
  return in + 1;
}

template <Space space, class T, uint32_t count>
const Instr* store(Warp& w, const Instr* in) {
  using R = Row<T>;
  Access access;
  if (!resolve<space>(w, in, sizeof(T) * count, true, access)) return nullptr;
  note_access(w, in);
  if (count == 1) {
    const R* b = w.row<R>(in->b);
    if (sizeof(R) == sizeof(T) && access.contiguous) {
      __builtin_memcpy(reinterpret_cast<void*>(access.at[0]), b, sizeof(T) * kLanes);
      return in + 1;
    }
    for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
      const int i = __builtin_ctz(lanes);
      const T value = static_cast<T>(b[i]);
      __builtin_memcpy(reinterpret_cast<void*>(access.at[i]), &value, sizeof(T));
    }
    return in + 1;
  }
  const R* rows[count];
  for (uint32_t k = 0; k < count; ++k) rows[k] = w.row<R>(in->list[k]);
  for (uint32_t lanes = w.mask; lanes != 0; lanes &= lanes - 1) {
    const int i = __builtin_ctz(lanes);
    T values[count];
    for (uint32_t k = 0; k < count; ++k) values[k] = static_cast<T>(rows[k][i]);
    __builtin_memcpy(reinterpret_cast<void*>(access.at[i]), values, sizeof(values));
  }
  return in + 1;
}

template <class T>
const Instr* broadcast_parameter(Warp& w, const Instr* in) {
  Row<T>* d = w.row<Row<T>>(in->d);
  T value;
  __builtin_memcpy(&value, w.run->parameters.data() + in->imm, sizeof(T));
  const Row<T> r = value;
  if (w.full) {
    VGPU_EACH_LANE d[i] = r;
  } else {
    VGPU_EACH_LANE d[i] = w.lanes[i] != 0 ? r : d[i];
  }
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
