"""Memory is counted exactly: what fits, what does not, and what comes back."""

import ctypes

import pytest

from harness import driver as d
from softgpu import child

MIB = 1 << 20


def free(cuda):
    free_bytes, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda.cuMemGetInfo_v2(ctypes.byref(free_bytes), ctypes.byref(total))
    assert total.value == 64 * MIB
    return free_bytes.value


def run(body, **environment):
    child.run(body, VGPU_SOFT_MEMORY="64Mi", **environment)


def test_everything_in_one_piece_and_not_one_byte_more():
    def body(cuda):
        cuda.start()
        out = ctypes.c_uint64()
        assert cuda.code("cuMemAlloc_v2", ctypes.byref(out), 64 * MIB + 1) == d.OUT_OF_MEMORY
        whole = cuda.alloc(64 * MIB)
        assert free(cuda) == 0
        assert cuda.code("cuMemAlloc_v2", ctypes.byref(out), 1) == d.OUT_OF_MEMORY
        cuda.cuMemFree_v2(whole)
        assert free(cuda) == 64 * MIB

    run(body)


def test_requests_count_rounded_up_to_512():
    def body(cuda):
        cuda.start()
        for size, counted in ((1, 512), (512, 512), (513, 1024)):
            before = free(cuda)
            address = cuda.alloc(size)
            assert address % 512 == 0
            assert before - free(cuda) == counted
            cuda.cuMemFree_v2(address)

    run(body)


def test_fragmentation_does_not_cost_memory():
    def body(cuda):
        cuda.start()
        pieces = [cuda.alloc(MIB) for _ in range(64)]
        for piece in pieces[::2]:
            cuda.cuMemFree_v2(piece)
        cuda.cuMemFree_v2(cuda.alloc(32 * MIB))

    run(body)


def test_context_reset_gives_back_what_it_held():
    def body(cuda):
        cuda.start()
        cuda.alloc(40 * MIB)
        cuda.cuDevicePrimaryCtxReset_v2(0)
        cuda.start()
        assert free(cuda) == 64 * MIB

    run(body)


def test_pools_share_the_budget():
    def body(cuda):
        cuda.start()
        stream = cuda.stream()
        first = cuda.out("cuMemAllocAsync", ctypes.c_uint64, 40 * MIB, stream)
        out = ctypes.c_uint64()
        assert cuda.code("cuMemAllocAsync", ctypes.byref(out), 40 * MIB, stream) == d.OUT_OF_MEMORY
        cuda.cuMemFreeAsync(first, stream)
        # Waits for the queued free instead of failing.
        second = cuda.out("cuMemAllocAsync", ctypes.c_uint64, 60 * MIB, stream)
        cuda.cuMemFreeAsync(second, stream)
        cuda.cuStreamSynchronize(stream)
        assert free(cuda) == 64 * MIB

    run(body)


class Location(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class Properties(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("meta", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    )


class Access(ctypes.Structure):
    _fields_ = (("location", Location), ("flags", ctypes.c_int))


DEVICE = Properties(1, 0, Location(1, 0))


def test_mapped_memory_across_two_physical_pieces():
    def body(cuda):
        cuda.start()
        size = cuda.out("cuMemGetAllocationGranularity", ctypes.c_size_t, ctypes.byref(DEVICE), 0)
        assert size == 2 * MIB
        base = cuda.out("cuMemAddressReserve", ctypes.c_uint64, 2 * size, 0, 0, 0)
        pieces = [
            cuda.out("cuMemCreate", ctypes.c_longlong, size, ctypes.byref(DEVICE), 0)
            for _ in range(2)
        ]
        assert free(cuda) == 64 * MIB - 2 * size
        for i, piece in enumerate(pieces):
            cuda.cuMemMap(base + i * size, size, 0, piece, 0)
        data = bytes(range(256)) * 32
        middle = base + size - 4096
        assert cuda.code("cuMemcpyHtoD_v2", middle, data, len(data)) == d.INVALID_VALUE
        access = Access(Location(1, 0), 3)
        cuda.cuMemSetAccess(base, 2 * size, ctypes.byref(access), 1)
        assert cuda.download(cuda.upload(data, middle), len(data)) == data
        assert cuda.code("cuMemAddressFree", base, 2 * size) == d.INVALID_VALUE
        cuda.cuMemUnmap(base, 2 * size)
        for piece in pieces:
            cuda.cuMemRelease(piece)
        cuda.cuMemAddressFree(base, 2 * size)
        assert free(cuda) == 64 * MIB

    run(body)


def test_reservation_takes_a_free_hint():
    def body(cuda):
        cuda.start()
        hint = 0x4000_0000_0000
        base = cuda.out("cuMemAddressReserve", ctypes.c_uint64, 1 << 40, 0, hint, 0)
        assert base == hint
        again = cuda.out("cuMemAddressReserve", ctypes.c_uint64, 4 * MIB, 0, hint, 0)
        assert again != hint

    run(body)


@pytest.mark.parametrize("bad", [(MIB, 0), (2 * MIB, 1)])
def test_bad_physical_requests(bad):
    size, flags = bad

    def body(cuda):
        cuda.start()
        out = ctypes.c_longlong()
        code = cuda.code("cuMemCreate", ctypes.byref(out), size, ctypes.byref(DEVICE), flags)
        assert code == d.INVALID_VALUE

    run(body)
