// An mbarrier object: ours, since PTX leaves it opaque (PTX ISA section 9.7.13.15). A phase is
// complete when no arrival and no transaction is pending. A cluster runs on one host thread, so
// plain accesses do.
#pragma once

#include <cstdint>

namespace vgpu::softgpu::ptx {

struct Barrier64 {
  uint64_t pending : 20;
  uint64_t expected : 20;
  uint64_t phase : 1;
  int64_t transactions : 23;
};
static_assert(sizeof(Barrier64) == 8);

[[gnu::always_inline]] inline void settle(Barrier64& b) {
  if (b.pending != 0 || b.transactions != 0) return;
  b.phase ^= 1;
  b.pending = b.expected;
}

}  // namespace vgpu::softgpu::ptx
