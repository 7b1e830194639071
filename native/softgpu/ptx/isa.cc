#include "softgpu/ptx/lanes/isa.h"

#include <cstdlib>
#include <string_view>

namespace vgpu::softgpu::ptx {

namespace portable {
extern const Isa kTable;
}
#if defined(VGPU_HAVE_AVX2)
namespace avx2 {
extern const Isa kTable;
}
#endif

const Isa& isa() {
  static const Isa& chosen = []() -> const Isa& {
#if defined(VGPU_HAVE_AVX2)
    const char* wanted = std::getenv("VGPU_SOFT_ISA");  // a test compares the two
    const bool portable_wanted = wanted != nullptr && std::string_view(wanted) == "portable";
    if (!portable_wanted && __builtin_cpu_supports("avx2") != 0 &&
        __builtin_cpu_supports("fma") != 0 && __builtin_cpu_supports("f16c") != 0) {
      return avx2::kTable;
    }
#endif
    return portable::kTable;
  }();
  return chosen;
}

}  // namespace vgpu::softgpu::ptx
