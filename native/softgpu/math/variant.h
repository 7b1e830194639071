// Files that include these headers are compiled for several instruction sets into one library. The
// inline namespace gives each set its own copy of every function; without it the linker would keep
// one of them, perhaps the one that this processor cannot run.
#pragma once

#if defined(__AVX512F__)
#define VGPU_MATH_VARIANT avx512
#elif defined(__AVX2__)
#define VGPU_MATH_VARIANT avx2
#else
#define VGPU_MATH_VARIANT portable
#endif
