"""Occupancy that agrees with the device's limits and with what launches accept."""

import ctypes
import struct

import pytest

from conformance.test_launch import LaunchConfig
from harness import driver as d
from harness import grid_barrier, kernels, probes

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
ref = ctypes.byref
SharedOf = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_int)


def attribute(cuda, which):
    return cuda.out("cuDeviceGetAttribute", ctypes.c_int, which, 0)


def resident(cuda, function, threads, shared=0):
    blocks = ctypes.c_int(-1)
    cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(ref(blocks), function, threads, shared)
    return blocks.value


def test_blocks_fit_the_multiprocessor(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    threads_per_sm, blocks_per_sm = attribute(cuda, 39), attribute(cuda, 106)
    before = 1 << 30
    for threads in (1, 32, 33, 64, 100, 256, 512, 768, 1024):
        blocks = resident(cuda, fill, threads)
        assert 1 <= blocks <= blocks_per_sm
        assert blocks * threads <= threads_per_sm
        assert blocks <= before
        before = blocks


def test_shared_memory_counts(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    per_sm, most = attribute(cuda, 81), attribute(cuda, 97)
    cuda.cuFuncSetAttribute(fill, 8, most)
    assert resident(cuda, fill, 32, most) == 1
    for shared in (1 << 10, 10_000, 48 << 10, 100_000):
        blocks = resident(cuda, fill, 32, shared)
        assert blocks * shared <= per_sm
        assert blocks >= min(2, per_sm // (shared + 2048))
    assert resident(cuda, fill, 32, most + 1) == 0


def test_what_cannot_be_launched_has_no_occupancy(cuda):
    cuda.start()
    small = cuda.function(cuda.module(probes.BOUNDED), "small")
    assert resident(cuda, small, 64) >= 1
    assert resident(cuda, small, 65) == 0
    name, blocks = "cuOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.c_int()
    assert cuda.code(name, ref(blocks), small, 0, 0) == d.INVALID_VALUE
    assert cuda.code(name, None, small, 64, 0) == d.INVALID_VALUE
    assert cuda.code(name, ref(blocks), None, 64, 0) == d.INVALID_HANDLE
    flags = "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags"
    assert cuda.code(flags, ref(blocks), small, 64, 0, 1) == 0
    assert blocks.value >= 1


@pytest.mark.parametrize("limit", [0, 1000, 96])
def test_potential_block_size(cuda, limit):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    grid, block = ctypes.c_int(), ctypes.c_int()
    name = "cuOccupancyMaxPotentialBlockSize"
    cuda.code(name, ref(grid), ref(block), fill, None, 0, limit)
    assert 1 <= block.value <= (limit or 1024)
    best = resident(cuda, fill, block.value)
    assert grid.value == best * attribute(cuda, 16)
    others = range(32, (limit or 1024) + 1, 32)
    assert best * block.value == max(resident(cuda, fill, t) * t for t in others)
    assert cuda.code(name, None, ref(block), fill, None, 0, 0) == d.INVALID_VALUE


def test_potential_block_size_with_shared_memory_per_thread(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    cuda.cuFuncSetAttribute(fill, 8, attribute(cuda, 97))
    asked = []

    def shared_of(threads):
        asked.append(threads)
        return threads * 256

    grid, block, callback = ctypes.c_int(), ctypes.c_int(), SharedOf(shared_of)
    cuda.cuOccupancyMaxPotentialBlockSize(
        ref(grid), ref(block), fill, ctypes.cast(callback, HANDLE), 0, 0
    )
    assert asked
    best = resident(cuda, fill, block.value, block.value * 256)
    assert best >= 1
    assert best * block.value * 256 <= attribute(cuda, 81)


def test_available_shared_memory(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    most = attribute(cuda, 97)
    cuda.cuFuncSetAttribute(fill, 8, most)
    for blocks in (1, 2, 4):
        available = ctypes.c_size_t()
        cuda.cuOccupancyAvailableDynamicSMemPerBlock(ref(available), fill, blocks, 128)
        assert 0 < available.value <= most
        assert resident(cuda, fill, 128, available.value) >= blocks
        assert cuda.launch(fill, ONE, (128, 1, 1), U64(0), U32(0), U32(0),
                           shared=available.value) == 0  # fmt: skip
    cuda.cuCtxSynchronize()


def gather(cuda, blocks, threads):
    """Runs a grid whose blocks wait for each other; what block 0 saw."""
    function = cuda.function(cuda.module(grid_barrier.GATHER), "gather")
    state = cuda.upload(bytes(4 * (2 + threads)))
    pointer = U64(state)
    parameters = (HANDLE * 1)(ctypes.addressof(pointer))
    code = cuda.code(
        "cuLaunchCooperativeKernel", function, blocks, 1, 1, threads, 1, 1, 0, None, parameters
    )
    if code:
        return code
    return struct.unpack(f"<{threads}I", cuda.download(state + 8, 4 * threads))


@pytest.mark.parametrize("threads", [64, 512])
def test_the_largest_cooperative_grid(cuda, threads):
    cuda.start()
    if not attribute(cuda, 95):
        pytest.skip("no cooperative launches: needs a device that offers them")
    function = cuda.function(cuda.module(grid_barrier.GATHER), "gather")
    blocks = resident(cuda, function, threads) * attribute(cuda, 16)
    assert gather(cuda, blocks, threads) == (blocks * threads,) * threads
    assert gather(cuda, blocks + 1, threads) == d.COOPERATIVE_LAUNCH_TOO_LARGE
    cuda.cuCtxSynchronize()


def test_cooperative_as_an_attribute(cuda):
    cuda.start()
    function = cuda.function(cuda.module(grid_barrier.GATHER), "gather")
    blocks = resident(cuda, function, 64) * attribute(cuda, 16)
    pointer = U64(cuda.upload(bytes(4 * 66)))
    parameters = (HANDLE * 1)(ctypes.addressof(pointer))
    cooperative = struct.pack("<iiI60x", 2, 0, 1)  # CU_LAUNCH_ATTRIBUTE_COOPERATIVE
    attributes = ctypes.create_string_buffer(cooperative, len(cooperative))
    for grid, want in ((blocks, 0), (blocks + 1, d.COOPERATIVE_LAUNCH_TOO_LARGE)):
        config = LaunchConfig(
            grid=(grid, 1, 1), block=(64, 1, 1), attributes=ctypes.addressof(attributes), count=1
        )
        assert cuda.code("cuLaunchKernelEx", ref(config), function, parameters, None) == want
    assert struct.unpack("<64I", cuda.download(pointer.value + 8, 256)) == (blocks * 64,) * 64


def test_misuse_of_a_cooperative_launch(cuda):
    cuda.start()
    for blocks, threads in ((0, 64), (1, 0), (1, 2048)):
        assert gather(cuda, blocks, threads) == d.INVALID_VALUE
