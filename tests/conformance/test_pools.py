"""Stream-ordered allocation: pools, their attributes, reuse, limits and access."""

import ctypes

import pytest

from harness import driver as d
from harness import kernels, probes

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
FOLLOW, OPPORTUNISTIC, INTERNAL, THRESHOLD = 1, 2, 3, 4
RESERVED, RESERVED_HIGH, USED, USED_HIGH = 5, 6, 7, 8
READWRITE = 3
MIB = 1 << 20
ref = ctypes.byref


class Location(ctypes.Structure):
    """CUmemLocation of cuda.h."""

    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class Access(ctypes.Structure):
    """CUmemAccessDesc of cuda.h."""

    _fields_ = [("location", Location), ("flags", ctypes.c_int)]


class PoolProps(ctypes.Structure):
    """CUmemPoolProps of cuda.h."""

    _fields_ = [
        ("type", ctypes.c_int), ("handles", ctypes.c_int), ("location", Location),
        ("security", HANDLE), ("max_size", ctypes.c_size_t), ("usage", ctypes.c_ushort),
        ("reserved", ctypes.c_ubyte * 54),
    ]  # fmt: skip


def create(cuda, device=0, max_size=0):
    props = PoolProps(type=1, location=Location(1, device), max_size=max_size)
    return cuda.out("cuMemPoolCreate", HANDLE, ref(props))


def attribute(cuda, pool, which):
    value = ctypes.c_int(-1) if which <= INTERNAL else U64(1 << 63)
    cuda.cuMemPoolGetAttribute(pool, which, ref(value))
    return value.value


def set_attribute(cuda, pool, which, value):
    kind = ctypes.c_int if which <= INTERNAL else U64
    return cuda.code("cuMemPoolSetAttribute", pool, which, ref(kind(value)))


def allocate(cuda, size, stream, pool=None):
    if pool is None:
        return cuda.out("cuMemAllocAsync", U64, size, stream)
    return cuda.out("cuMemAllocFromPoolAsync", U64, size, pool, stream)


def test_policies_and_threshold(cuda):
    cuda.start()
    pool = create(cuda)
    for policy in (FOLLOW, OPPORTUNISTIC, INTERNAL):
        assert attribute(cuda, pool, policy) == 1
        assert set_attribute(cuda, pool, policy, 0) == 0
        assert attribute(cuda, pool, policy) == 0
    assert attribute(cuda, pool, THRESHOLD) == 0
    assert set_attribute(cuda, pool, THRESHOLD, (1 << 64) - 1) == 0
    assert attribute(cuda, pool, THRESHOLD) == (1 << 64) - 1
    cuda.cuMemPoolDestroy(pool)


def test_what_is_used_and_reserved(cuda):
    cuda.start()
    pool, stream = create(cuda), cuda.stream()
    assert [attribute(cuda, pool, a) for a in (RESERVED, USED, RESERVED_HIGH, USED_HIGH)] == [0] * 4
    first = allocate(cuda, 3 * MIB, stream, pool)
    second = allocate(cuda, 2 * MIB, stream, pool)
    cuda.cuStreamSynchronize(stream)
    assert attribute(cuda, pool, USED) == 5 * MIB
    assert attribute(cuda, pool, RESERVED) >= 5 * MIB
    cuda.cuMemFreeAsync(first, stream)
    cuda.cuStreamSynchronize(stream)
    assert attribute(cuda, pool, USED) == 2 * MIB
    assert attribute(cuda, pool, USED_HIGH) == 5 * MIB
    assert attribute(cuda, pool, RESERVED_HIGH) >= 5 * MIB
    cuda.cuMemFreeAsync(second, stream)
    cuda.cuStreamSynchronize(stream)
    assert attribute(cuda, pool, USED) == 0
    assert attribute(cuda, pool, RESERVED) == 0  # the threshold is 0
    assert set_attribute(cuda, pool, USED_HIGH, 0) == 0
    assert set_attribute(cuda, pool, RESERVED_HIGH, 0) == 0
    assert attribute(cuda, pool, USED_HIGH) == 0
    assert attribute(cuda, pool, RESERVED_HIGH) == 0
    cuda.cuMemPoolDestroy(pool)


def test_marks_are_reset_to_zero_only(cuda):
    cuda.start()
    pool = create(cuda)
    for which in (USED_HIGH, RESERVED_HIGH):
        assert set_attribute(cuda, pool, which, 5) == d.INVALID_VALUE
    for which in (USED, RESERVED, 99):
        assert set_attribute(cuda, pool, which, 0) == d.INVALID_VALUE
    cuda.cuMemPoolDestroy(pool)


def test_the_threshold_keeps_memory_until_it_is_trimmed(cuda):
    cuda.start()
    pool, stream = create(cuda), cuda.stream()
    set_attribute(cuda, pool, THRESHOLD, 1 << 40)
    addresses = [allocate(cuda, 2 * MIB, stream, pool) for _ in range(4)]
    for address in addresses:
        cuda.cuMemFreeAsync(address, stream)
    cuda.cuStreamSynchronize(stream)
    assert attribute(cuda, pool, USED) == 0
    kept = attribute(cuda, pool, RESERVED)
    assert kept >= 8 * MIB
    assert allocate(cuda, 2 * MIB, stream, pool) in addresses
    assert attribute(cuda, pool, RESERVED) == kept
    cuda.cuMemPoolTrimTo(pool, 1 << 40)
    assert attribute(cuda, pool, RESERVED) == kept
    cuda.cuMemPoolTrimTo(pool, 0)
    assert 2 * MIB <= attribute(cuda, pool, RESERVED) < kept or kept == 32 * MIB
    cuda.cuMemPoolDestroy(pool)


def test_a_lower_threshold_acts_at_the_next_synchronization(cuda):
    cuda.start()
    pool, stream = create(cuda), cuda.stream()
    set_attribute(cuda, pool, THRESHOLD, 1 << 40)
    cuda.cuMemFreeAsync(allocate(cuda, 4 * MIB, stream, pool), stream)
    cuda.cuStreamSynchronize(stream)
    assert attribute(cuda, pool, RESERVED) >= 4 * MIB
    set_attribute(cuda, pool, THRESHOLD, 0)
    cuda.cuMemFreeAsync(allocate(cuda, 4 * MIB, stream, pool), stream)
    cuda.cuStreamSynchronize(stream)
    assert attribute(cuda, pool, RESERVED) == 0
    cuda.cuMemPoolDestroy(pool)


def test_a_stream_reuses_at_once_what_it_has_freed(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    spin, fill = cuda.function(module, "spin"), cuda.function(module, "fill")
    pool, stream, other = create(cuda), cuda.stream(), cuda.stream()
    flag = cuda.upload(bytes(8))
    first = allocate(cuda, MIB, stream, pool)
    assert cuda.launch(spin, ONE, ONE, U64(flag), stream=stream) == 0
    words = MIB // 4
    grid = (words // 256, 1, 1)
    arguments = U64(first), U32(7), U32(words)
    assert cuda.launch(fill, grid, (256, 1, 1), *arguments, stream=stream) == 0
    cuda.cuMemFreeAsync(first, stream)
    second = allocate(cuda, MIB, stream, pool)
    assert second == first  # although the kernels before the free have not run
    assert attribute(cuda, pool, USED) == MIB
    cuda.cuMemsetD32Async(second, 9, words // 2, stream)
    cuda.cuMemsetD32Async(flag, 1, 1, other)
    cuda.cuStreamSynchronize(stream)
    want = (9).to_bytes(4, "little") * (words // 2) + (7).to_bytes(4, "little") * (words // 2)
    assert cuda.download(second, MIB) == want
    cuda.cuMemFreeAsync(second, stream)
    cuda.cuStreamSynchronize(stream)
    assert attribute(cuda, pool, USED) == 0
    cuda.cuMemPoolDestroy(pool)


def test_another_stream_does_not_get_what_is_still_in_use(cuda):
    cuda.start()
    spin = cuda.function(cuda.module(kernels.ALL), "spin")
    pool, stream, other = create(cuda), cuda.stream(), cuda.stream()
    flag = cuda.upload(bytes(8))
    set_attribute(cuda, pool, INTERNAL, 0)
    first = allocate(cuda, MIB, stream, pool)
    assert cuda.launch(spin, ONE, ONE, U64(flag), stream=stream) == 0
    cuda.cuMemsetD8Async(first, 1, MIB, stream)
    cuda.cuMemFreeAsync(first, stream)
    second = allocate(cuda, MIB, other, pool)
    assert second != first
    cuda.cuMemsetD8Async(second, 2, MIB, other)
    cuda.cuMemsetD32Async(flag, 1, 1, other)
    cuda.cuCtxSynchronize()
    assert cuda.download(second, MIB) == b"\x02" * MIB
    cuda.cuMemFree_v2(second)
    cuda.cuCtxSynchronize()
    assert attribute(cuda, pool, USED) == 0
    cuda.cuMemPoolDestroy(pool)


def test_a_largest_size(cuda):
    cuda.start()
    pool, stream, out = create(cuda, max_size=64 * MIB), cuda.stream(), U64()
    first = allocate(cuda, 40 * MIB, stream, pool)
    code = cuda.code("cuMemAllocFromPoolAsync", ref(out), 40 * MIB, pool, stream)
    assert code == d.OUT_OF_MEMORY
    cuda.cuMemFreeAsync(first, stream)
    cuda.cuStreamSynchronize(stream)
    assert allocate(cuda, 40 * MIB, stream, pool)
    cuda.cuMemPoolDestroy(pool)


def test_memory_that_pools_keep_is_there_for_others(cuda):
    cuda.start()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda.cuMemGetInfo_v2(ref(free), ref(total))
    if total.value > 8 << 30:
        pytest.skip("needs a small device: set VGPU_SOFT_MEMORY=1Gi")
    big = free.value // 4 * 3
    pool, stream = create(cuda), cuda.stream()
    set_attribute(cuda, pool, THRESHOLD, 1 << 40)
    cuda.cuMemFreeAsync(allocate(cuda, big, stream, pool), stream)
    cuda.cuStreamSynchronize(stream)
    assert cuda.alloc(big)
    cuda.cuMemPoolDestroy(pool)


def test_current_pool(cuda):
    cuda.start()
    default = cuda.out("cuDeviceGetDefaultMemPool", HANDLE, 0)
    pool, stream = create(cuda), cuda.stream()
    assert cuda.out("cuDeviceGetMemPool", HANDLE, 0) == default
    cuda.cuDeviceSetMemPool(0, pool)
    assert cuda.out("cuDeviceGetMemPool", HANDLE, 0) == pool
    assert cuda.out("cuDeviceGetDefaultMemPool", HANDLE, 0) == default
    address = allocate(cuda, MIB, stream)
    assert attribute(cuda, pool, USED) == MIB
    handle = HANDLE()
    cuda.cuPointerGetAttribute(ref(handle), 17, address)  # MEMPOOL_HANDLE
    assert handle.value == pool
    cuda.cuMemFreeAsync(address, stream)
    cuda.cuMemPoolDestroy(pool)  # the default one becomes current again
    assert cuda.out("cuDeviceGetMemPool", HANDLE, 0) == default
    assert allocate(cuda, MIB, stream)


def test_destroying_a_pool_leaves_its_allocations(cuda):
    cuda.start()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda.cuMemGetInfo_v2(ref(free), ref(total))
    before = free.value
    pool, stream = create(cuda), cuda.stream()
    address = allocate(cuda, 8 * MIB, stream, pool)
    cuda.cuMemPoolDestroy(pool)
    cuda.cuMemsetD8Async(address, 5, 8 * MIB, stream)
    cuda.cuStreamSynchronize(stream)
    assert cuda.download(address, 16) == b"\x05" * 16
    cuda.cuMemFreeAsync(address, stream)
    cuda.cuStreamSynchronize(stream)
    cuda.cuMemGetInfo_v2(ref(free), ref(total))
    assert free.value == before


def test_misuse(cuda):
    cuda.start()
    pool, stream, out = create(cuda), cuda.stream(), HANDLE()
    default = cuda.out("cuDeviceGetDefaultMemPool", HANDLE, 0)
    assert cuda.code("cuMemPoolDestroy", default) == d.INVALID_VALUE
    assert cuda.code("cuMemPoolDestroy", None) == d.INVALID_VALUE
    assert cuda.code("cuMemPoolCreate", ref(out), None) == d.INVALID_VALUE
    assert cuda.code("cuMemPoolCreate", None, ref(PoolProps())) == d.INVALID_VALUE
    assert cuda.code("cuDeviceGetMemPool", ref(out), 99) == d.INVALID_DEVICE
    assert cuda.code("cuMemAllocAsync", ref(U64()), 0, stream) == d.INVALID_VALUE
    assert cuda.code("cuMemAllocAsync", None, 64, stream) == d.INVALID_VALUE
    assert cuda.code("cuMemAllocFromPoolAsync", ref(U64()), 64, None, stream) in (
        d.INVALID_VALUE,
        d.INVALID_HANDLE,
    )
    address = allocate(cuda, 4096, stream, pool)
    assert cuda.code("cuMemFreeAsync", address + 512, stream) == d.INVALID_VALUE
    cuda.cuMemFreeAsync(address, stream)
    assert cuda.code("cuMemFreeAsync", address, stream) == d.INVALID_VALUE
    cuda.cuStreamSynchronize(stream)
    assert cuda.code("cuMemFree_v2", address) == d.INVALID_VALUE
    cuda.cuMemPoolDestroy(pool)


def test_kernels_of_a_peer_need_access(cuda):
    cuda.cuInit(0)
    if cuda.out("cuDeviceGetCount", ctypes.c_int) < 2:
        pytest.skip("one device only: set VGPU_SOFT_DEVICES=2 or use a host with two GPUs")
    cuda.start(0)
    pool, stream = create(cuda), cuda.stream()
    address = allocate(cuda, 4096, stream, pool)
    cuda.cuMemsetD32Async(address, 77, 4, stream)
    cuda.cuStreamSynchronize(stream)
    flags = ctypes.c_int(-1)
    cuda.cuMemPoolGetAccess(ref(flags), pool, ref(Location(1, 1)))
    assert flags.value == 0
    cuda.cuMemPoolGetAccess(ref(flags), pool, ref(Location(1, 0)))
    assert flags.value == READWRITE
    cuda.cuMemPoolSetAccess(pool, ref(Access(Location(1, 1), READWRITE)), 1)
    cuda.cuMemPoolGetAccess(ref(flags), pool, ref(Location(1, 1)))
    assert flags.value == READWRITE
    cuda.start(1)
    peek = cuda.function(cuda.module(probes.ACCESS), "peek")
    out = cuda.alloc(4)
    assert cuda.launch(peek, ONE, ONE, U64(out), U64(address)) == 0
    assert int.from_bytes(cuda.download(out, 4), "little") == 77
    cuda.cuMemPoolSetAccess(pool, ref(Access(Location(1, 1), 0)), 1)
    assert cuda.launch(peek, ONE, ONE, U64(out), U64(address)) == 0
    assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS


def test_a_use_after_the_free_is_not_served(cuda, route):
    """CUDA leaves it undefined; the software GPU reports it."""
    from harness import native

    cuda.start()
    if route.driver != native.softgpu():
        pytest.skip("undefined on a real GPU: run it on the software GPU")
    peek = cuda.function(cuda.module(probes.ACCESS), "peek")
    stream, out = cuda.stream(), cuda.alloc(4)
    address = allocate(cuda, 4096, stream)
    cuda.cuMemFreeAsync(address, stream)
    assert cuda.launch(peek, ONE, ONE, U64(out), U64(address), stream=stream) == 0
    assert cuda.code("cuStreamSynchronize", stream) == d.ILLEGAL_ADDRESS
