#include "softgpu/ptx/lanes/isa.h"

#include <cstdlib>
#include <string_view>

#if defined(VGPU_HAVE_AVX2)
#include <cpuid.h>
#endif

namespace vgpu::softgpu::ptx {

namespace portable {
extern const Isa kTable;
}
#if defined(VGPU_HAVE_AVX2)
namespace avx2 {
extern const Isa kTable;
}
namespace avx512 {
extern const Isa kTable;
}
#endif

namespace {

// The best first.
const Isa* const kTables[] = {
#if defined(VGPU_HAVE_AVX2)
    &avx512::kTable, &avx2::kTable,
#endif
    &portable::kTable};

#if defined(VGPU_HAVE_AVX2)
// clang's __builtin_cpu_supports does not know this one.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

bool runs_here(const Isa& table) {
#if defined(VGPU_HAVE_AVX2)
  const std::string_view name = table.name;
  const bool avx2 =
      __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && has_f16c();
  if (name == "avx2") return avx2;
  if (name == "avx512") {
    return avx2 && __builtin_cpu_supports("avx512f") != 0 &&
           __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
           __builtin_cpu_supports("avx512vl") != 0;
  }
#endif
  return true;
}

const Isa& choose() {
  const char* variable = std::getenv("VGPU_SOFT_ISA");  // tests compare the variants
  const std::string_view wanted = variable == nullptr ? "" : variable;
  for (const Isa* table : kTables) {
    if (wanted == table->name && runs_here(*table)) return *table;
  }
  for (const Isa* table : kTables) {
    if (runs_here(*table)) return *table;
  }
  return portable::kTable;
}

}  // namespace

const Isa& isa() {
  static const Isa& chosen = choose();
  return chosen;
}

}  // namespace vgpu::softgpu::ptx
