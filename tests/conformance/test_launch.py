import ctypes
import struct

from harness import driver as d
from harness import kernels

U32, U64 = ctypes.c_uint32, ctypes.c_uint64


def function(cuda, name):
    return cuda.function(cuda.module(kernels.ALL), name)


def test_every_thread_runs(cuda):
    cuda.start()
    increment = function(cuda, "increment")
    counter = cuda.upload(bytes(4))
    assert cuda.launch(increment, (3, 2, 2), (7, 3, 2), U64(counter)) == 0
    cuda.cuCtxSynchronize()
    assert int.from_bytes(cuda.download(counter, 4), "little") == 12 * 42


def test_parameters_of_several_sizes(cuda):
    cuda.start()
    mixed = function(cuda, "mixed")
    out = cuda.alloc(32)
    code = cuda.launch(
        mixed, (1, 1, 1), (1, 1, 1), ctypes.c_uint8(200), U64(1 << 40 | 5), ctypes.c_uint16(60_000),
        ctypes.c_double(-2.5), U64(out),
    )  # fmt: skip
    assert code == 0
    assert struct.unpack("<QQQd", cuda.download(out, 32)) == (200, 1 << 40 | 5, 60_000, -2.5)


def test_parameters_in_one_buffer(cuda):
    cuda.start()
    mixed = function(cuda, "mixed")
    out = cuda.alloc(32)
    packed = ctypes.create_string_buffer(struct.pack("<B7xQH6xdQ", 7, 8, 9, 10.0, out), 40)
    size = ctypes.c_size_t(40)
    extra = (ctypes.c_void_p * 5)(1, ctypes.addressof(packed), 2, ctypes.addressof(size), 0)
    cuda.cuLaunchKernel(mixed, 1, 1, 1, 1, 1, 1, 0, 0, None, extra)
    assert struct.unpack("<QQQd", cuda.download(out, 32)) == (7, 8, 9, 10.0)


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig of cuda.h."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint),
    ]  # fmt: skip


def test_launch_ex(cuda):
    cuda.start()
    increment = function(cuda, "increment")
    counter = U64(cuda.upload(bytes(4)))
    config = LaunchConfig(grid=(2, 1, 1), block=(33, 1, 1), stream=cuda.stream())
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(counter))
    cuda.cuLaunchKernelEx(ctypes.byref(config), increment, pointers, None)
    cuda.cuCtxSynchronize()
    assert int.from_bytes(cuda.download(counter.value, 4), "little") == 66


def test_shared_memory_and_barrier(cuda):
    cuda.start()
    reverse = function(cuda, "reverse")
    data = cuda.upload(struct.pack("<64I", *range(64)))
    assert cuda.launch(reverse, (1, 1, 1), (64, 1, 1), U64(data)) == 0
    assert struct.unpack("<64I", cuda.download(data, 256)) == tuple(reversed(range(64)))


def test_pointers_nested_in_memory(cuda):
    cuda.start()
    chase = function(cuda, "chase")
    nodes = [cuda.alloc(512) for _ in range(5)]
    for node, following in zip(nodes, [*nodes[1:], 0], strict=True):
        cuda.cuMemcpyHtoD_v2(node, struct.pack("<Q", following), 8)
    out = cuda.alloc(4)
    assert cuda.launch(chase, (1, 1, 1), (1, 1, 1), U64(out), U64(nodes[0])) == 0
    assert int.from_bytes(cuda.download(out, 4), "little") == 5


def test_invalid_launches_fail_at_the_call(cuda):
    cuda.start()
    increment = function(cuda, "increment")
    counter = U64(cuda.upload(bytes(4)))
    one = (1, 1, 1)
    assert cuda.launch(increment, (0, 1, 1), one, counter) == d.INVALID_VALUE
    assert cuda.launch(increment, one, (0, 1, 1), counter) == d.INVALID_VALUE
    assert cuda.launch(increment, one, (1025, 1, 1), counter) == d.INVALID_VALUE
    assert cuda.launch(increment, one, (1, 1, 65), counter) == d.INVALID_VALUE
    assert cuda.launch(increment, (1, 65536, 1), one, counter) == d.INVALID_VALUE
    assert cuda.launch(increment, one, one, counter, shared=1 << 20) == d.INVALID_VALUE
    assert cuda.launch(0, one, one, counter) == d.INVALID_HANDLE
    cuda.cuCtxSynchronize()
    assert cuda.download(counter.value, 4) == bytes(4)


def test_function_attributes(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    reverse = cuda.function(module, "reverse")
    value = ctypes.c_int()
    cuda.cuFuncGetAttribute(ctypes.byref(value), 1, reverse)  # SHARED_SIZE_BYTES
    assert value.value == 256
    cuda.cuFuncGetAttribute(ctypes.byref(value), 0, reverse)  # MAX_THREADS_PER_BLOCK
    assert 64 <= value.value <= 1024
    cuda.cuFuncSetAttribute(reverse, 8, 60 << 10)  # MAX_DYNAMIC_SHARED_SIZE_BYTES
    cuda.cuFuncGetAttribute(ctypes.byref(value), 8, reverse)
    assert value.value == 60 << 10
    assert cuda.code("cuFuncGetAttribute", ctypes.byref(value), 999, reverse) == d.INVALID_VALUE


def test_parameter_layout(cuda):
    cuda.start()
    mixed = function(cuda, "mixed")
    layout = []
    offset, size = ctypes.c_size_t(), ctypes.c_size_t()
    outs = ctypes.byref(offset), ctypes.byref(size)
    while cuda.code("cuFuncGetParamInfo", mixed, len(layout), *outs) == 0:
        layout.append((offset.value, size.value))
    assert layout == [(0, 1), (8, 8), (16, 2), (24, 8), (32, 8)]


def test_occupancy(cuda):
    cuda.start()
    increment = function(cuda, "increment")
    blocks = ctypes.c_int()
    cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(ctypes.byref(blocks), increment, 1024, 0)
    assert 1 <= blocks.value <= 4
    grid, block = ctypes.c_int(), ctypes.c_int()
    cuda.cuOccupancyMaxPotentialBlockSize(
        ctypes.byref(grid), ctypes.byref(block), increment, None, 0, 0
    )
    assert grid.value >= 1
    assert block.value % 32 == 0


def test_a_fault_is_sticky(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    wild = cuda.function(module, "wild")
    address = cuda.alloc(64)
    assert cuda.launch(wild, (1, 1, 1), (1, 1, 1)) == 0
    assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS
    assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS
    assert cuda.code("cuMemcpyHtoD_v2", address, b"x", 1) == d.ILLEGAL_ADDRESS
    assert cuda.code("cuMemAlloc_v2", ctypes.byref(U64()), 64) == d.ILLEGAL_ADDRESS


def test_a_fault_shows_at_a_download(cuda):
    cuda.start()
    wild = function(cuda, "wild")
    address = cuda.alloc(64)
    cuda.launch(wild, (1, 1, 1), (1, 1, 1))
    buffer = ctypes.create_string_buffer(64)
    assert cuda.code("cuMemcpyDtoH_v2", buffer, address, 64) == d.ILLEGAL_ADDRESS
