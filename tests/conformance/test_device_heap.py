"""malloc and free in kernels, and the limit of their heap."""

import ctypes
import itertools
import struct

from harness import driver as d
from harness import kernels

HEAP_SIZE = 2  # CU_LIMIT_MALLOC_HEAP_SIZE

TEXT = (
    kernels.HEADER
    + """
.extern .func (.param .b64 result) malloc (.param .b64 size);
.extern .func free (.param .b64 address);

.visible .entry take(.param .u64 out, .param .u64 size)
{
  .reg .pred %p<2>; .reg .b32 %r<4>; .reg .b64 %d<8>;
  mov.u32 %r1, %tid.x;
  ld.param.u64 %d1, [out]; ld.param.u64 %d2, [size];
  { .param .b64 given; .param .b64 got;
    st.param.b64 [given], %d2;
    call.uni (got), malloc, (given);
    ld.param.b64 %d3, [got]; }
  mul.wide.u32 %d4, %r1, 8;
  add.u64 %d1, %d1, %d4;
  st.global.u64 [%d1], %d3;
  setp.eq.u64 %p1, %d3, 0;
  @%p1 ret;
  st.u32 [%d3], %r1;
  ret;
}

.visible .entry give(.param .u64 pointers, .param .u64 out)
{
  .reg .b32 %r<4>; .reg .b64 %d<8>;
  mov.u32 %r1, %tid.x;
  ld.param.u64 %d1, [pointers]; ld.param.u64 %d2, [out];
  mul.wide.u32 %d4, %r1, 8;
  add.u64 %d1, %d1, %d4; add.u64 %d2, %d2, %d4;
  ld.global.u64 %d3, [%d1];
  ld.u32 %r2, [%d3];
  st.global.u32 [%d2], %r2;
  { .param .b64 given;
    st.param.b64 [given], %d3;
    call.uni free, (given); }
  ret;
}
"""
)


def launch(cuda, function, threads, *values):
    arguments = [ctypes.c_uint64(value) for value in values]
    assert cuda.launch(function, (1, 1, 1), (threads, 1, 1), *arguments) == 0
    cuda.cuCtxSynchronize()


def words(cuda, address, count):
    return struct.unpack(f"<{count}Q", cuda.download(address, 8 * count))


def test_memory_lives_from_kernel_to_kernel(cuda):
    cuda.start()
    module = cuda.module(TEXT)
    take, give = cuda.function(module, "take"), cuda.function(module, "give")
    pointers, out = cuda.upload(bytes(8 * 64)), cuda.upload(bytes(8 * 64))
    launch(cuda, take, 64, pointers, 48)
    given = sorted(words(cuda, pointers, 64))
    assert given[0] != 0
    assert all(b - a >= 48 for a, b in itertools.pairwise(given))
    assert all(address % 16 == 0 for address in given)
    launch(cuda, give, 64, pointers, out)
    assert words(cuda, out, 64) == tuple(range(64))


def test_a_full_heap_gives_null(cuda):
    cuda.start()
    cuda.cuCtxSetLimit(HEAP_SIZE, 1 << 20)
    module = cuda.module(TEXT)
    take, give = cuda.function(module, "take"), cuda.function(module, "give")
    pointers, out = cuda.upload(bytes(8 * 4)), cuda.upload(bytes(8 * 4))
    launch(cuda, take, 1, pointers, 2 << 20)
    assert words(cuda, pointers, 1) == (0,)
    launch(cuda, take, 4, pointers, 400 << 10)
    given = words(cuda, pointers, 4)
    assert sum(address != 0 for address in given) == 2
    first = next(address for address in given if address)
    cuda.upload(struct.pack("<Q", first), pointers)
    launch(cuda, give, 1, pointers, out)
    launch(cuda, take, 1, pointers, 400 << 10)
    assert words(cuda, pointers, 1) == (first,)


def test_the_limit_is_settled_by_the_first_use(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    counter = cuda.upload(bytes(8))
    launch(cuda, cuda.function(module, "increment"), 1, counter)  # no use of the heap
    cuda.cuCtxSetLimit(HEAP_SIZE, 4 << 20)
    assert cuda.out("cuCtxGetLimit", ctypes.c_size_t, HEAP_SIZE) == 4 << 20
    take = cuda.function(cuda.module(TEXT), "take")
    launch(cuda, take, 1, counter, 3 << 20)
    assert words(cuda, counter, 1) != (0,)
    assert cuda.code("cuCtxSetLimit", HEAP_SIZE, 8 << 20) == d.INVALID_VALUE
