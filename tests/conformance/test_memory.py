import ctypes
import os

import pytest

from harness import driver as d


def info(cuda):
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    return free.value, total.value


@pytest.mark.parametrize("size", [1, 511, 4096, 65536, 65537, (1 << 20) + 3, 5 << 20])
def test_round_trip(cuda, size):
    cuda.start()
    data = os.urandom(size)
    address = cuda.upload(data)
    assert cuda.download(address, size) == data
    cuda.cuMemFree_v2(address)


def test_alloc_refuses_nothing_and_too_much(cuda):
    cuda.start()
    out = ctypes.c_uint64()
    assert cuda.code("cuMemAlloc_v2", ctypes.byref(out), 0) == d.INVALID_VALUE
    assert cuda.code("cuMemAlloc_v2", None, 16) == d.INVALID_VALUE
    assert cuda.code("cuMemAlloc_v2", ctypes.byref(out), 1 << 50) == d.OUT_OF_MEMORY
    cuda.alloc(1 << 20)  # and it still works


def test_free_gives_memory_back(cuda):
    cuda.start()
    before = info(cuda)
    address = cuda.alloc(32 << 20)
    during = info(cuda)
    assert before[0] - during[0] >= 32 << 20
    cuda.cuMemFree_v2(address)
    assert info(cuda) == before


def test_free_of_a_stranger(cuda):
    cuda.start()
    address = cuda.alloc(4096)
    assert cuda.code("cuMemFree_v2", address + 512) == d.INVALID_VALUE
    cuda.cuMemFree_v2(address)
    assert cuda.code("cuMemFree_v2", address) == d.INVALID_VALUE
    cuda.cuMemFree_v2(0)


def test_copy_inside_an_allocation(cuda):
    cuda.start()
    address = cuda.upload(bytes(1000))
    cuda.cuMemcpyHtoD_v2(address + 100, b"middle", 6)
    assert cuda.download(address + 98, 10) == b"\0\0middle\0\0"


def test_copy_between_allocations(cuda):
    cuda.start()
    data = os.urandom(300_000)
    source, target = cuda.upload(data), cuda.alloc(300_000)
    cuda.cuMemcpyDtoD_v2(target, source, 300_000)
    assert cuda.download(target, 300_000) == data


def test_unified_copy_finds_its_direction(cuda):
    cuda.start()
    data = os.urandom(5000)
    source = ctypes.create_string_buffer(data, 5000)
    back = ctypes.create_string_buffer(5000)
    first, second = cuda.alloc(5000), cuda.alloc(5000)
    cuda.cuMemcpy(first, ctypes.addressof(source), 5000)
    cuda.cuMemcpy(second, first, 5000)
    cuda.cuMemcpy(ctypes.addressof(back), second, 5000)
    assert back.raw == data


@pytest.mark.parametrize(
    ("name", "width", "value"), [("D8", 1, 0xA5), ("D16", 2, 0xBEEF), ("D32", 4, 0xDEADBEEF)]
)
def test_memset(cuda, name, width, value):
    cuda.start()
    address = cuda.upload(bytes(400))
    getattr(cuda, f"cuMemset{name}_v2")(address + 8, value, 50)
    want = bytes(8) + value.to_bytes(width, "little") * 50
    assert cuda.download(address, 400) == want.ljust(400, b"\0")


def test_memset_2d(cuda):
    cuda.start()
    address = cuda.upload(bytes(64))
    cuda.cuMemsetD2D8_v2(address, 16, 0x11, 3, 4)
    assert cuda.download(address, 64) == (b"\x11" * 3 + bytes(13)) * 4


class Memcpy2D(ctypes.Structure):
    """CUDA_MEMCPY2D of cuda.h."""

    _fields_ = [
        ("srcXInBytes", ctypes.c_size_t), ("srcY", ctypes.c_size_t),
        ("srcMemoryType", ctypes.c_int), ("srcHost", ctypes.c_void_p),
        ("srcDevice", ctypes.c_uint64), ("srcArray", ctypes.c_void_p),
        ("srcPitch", ctypes.c_size_t),
        ("dstXInBytes", ctypes.c_size_t), ("dstY", ctypes.c_size_t),
        ("dstMemoryType", ctypes.c_int), ("dstHost", ctypes.c_void_p),
        ("dstDevice", ctypes.c_uint64), ("dstArray", ctypes.c_void_p),
        ("dstPitch", ctypes.c_size_t),
        ("WidthInBytes", ctypes.c_size_t), ("Height", ctypes.c_size_t),
    ]  # fmt: skip


def test_copy_2d_there_and_back(cuda):
    cuda.start()
    host, device = 1, 2
    source = bytes(range(256)) * 4  # 16 rows of 64
    there = ctypes.create_string_buffer(source, 1024)
    back = ctypes.create_string_buffer(1024)
    target = cuda.upload(bytes(4096))
    up = Memcpy2D(
        srcXInBytes=4, srcY=2, srcMemoryType=host, srcHost=ctypes.addressof(there), srcPitch=64,
        dstXInBytes=8, dstY=1, dstMemoryType=device, dstDevice=target, dstPitch=128,
        WidthInBytes=20, Height=5,
    )  # fmt: skip
    cuda.cuMemcpy2D_v2(ctypes.byref(up))
    for row in range(5):
        got = cuda.download(target + (1 + row) * 128 + 8, 20)
        assert got == source[(2 + row) * 64 + 4 :][:20]
    down = Memcpy2D(
        srcXInBytes=8, srcY=1, srcMemoryType=device, srcDevice=target, srcPitch=128,
        dstXInBytes=1, dstY=0, dstMemoryType=host, dstHost=ctypes.addressof(back), dstPitch=32,
        WidthInBytes=20, Height=5,
    )  # fmt: skip
    cuda.cuMemcpy2D_v2(ctypes.byref(down))
    for row in range(5):
        assert back.raw[row * 32 :][:32] == b"\0" + source[(2 + row) * 64 + 4 :][:20] + bytes(11)


def test_pitch_alloc(cuda):
    cuda.start()
    address, pitch = ctypes.c_uint64(), ctypes.c_size_t()
    cuda.cuMemAllocPitch_v2(ctypes.byref(address), ctypes.byref(pitch), 100, 10, 4)
    assert pitch.value >= 100
    assert pitch.value % 32 == 0
    cuda.cuMemFree_v2(address.value)


def test_address_range(cuda):
    cuda.start()
    address = cuda.alloc(10_000)
    base, size = ctypes.c_uint64(), ctypes.c_size_t()
    cuda.cuMemGetAddressRange_v2(ctypes.byref(base), ctypes.byref(size), address + 123)
    assert base.value == address
    assert size.value >= 10_000


def test_pinned_memory(cuda):
    cuda.start()
    pinned = cuda.out("cuMemHostAlloc", ctypes.c_void_p, 100_000, 0)
    data = os.urandom(100_000)
    ctypes.memmove(pinned, data, len(data))
    stream, address = cuda.stream(), cuda.alloc(100_000)
    cuda.cuMemcpyHtoDAsync_v2(address, pinned, 100_000, stream)
    ctypes_back = cuda.out("cuMemHostAlloc", ctypes.c_void_p, 100_000, 0)
    cuda.cuMemcpyDtoHAsync_v2(ctypes_back, address, 100_000, stream)
    cuda.cuStreamSynchronize(stream)
    assert ctypes.string_at(ctypes_back, 100_000) == data
    cuda.cuMemFreeHost(pinned)
    cuda.cuMemFreeHost(ctypes_back)
    assert cuda.code("cuMemFreeHost", pinned) == d.INVALID_VALUE


def test_registered_memory(cuda):
    cuda.start()
    page = os.sysconf("SC_PAGESIZE")
    buffer = ctypes.create_string_buffer(3 * page)
    start = (ctypes.addressof(buffer) + page - 1) // page * page
    cuda.cuMemHostRegister_v2(start, page, 0)
    ctypes.memset(start, 0x5A, page)
    address = cuda.alloc(page)
    cuda.cuMemcpyHtoD_v2(address, start, page)
    assert cuda.download(address, page) == b"\x5a" * page
    cuda.cuMemHostUnregister(start)
    assert cuda.code("cuMemHostUnregister", start) != 0


def test_pageable_source_is_captured_at_the_call(cuda):
    cuda.start()
    source = ctypes.create_string_buffer(b"\x01" * 3_000_000, 3_000_000)
    stream, address = cuda.stream(), cuda.alloc(3_000_000)
    cuda.cuMemcpyHtoDAsync_v2(address, source, 3_000_000, stream)
    ctypes.memset(source, 0xFF, 3_000_000)
    cuda.cuStreamSynchronize(stream)
    assert cuda.download(address, 3_000_000) == b"\x01" * 3_000_000


def test_pointer_attributes(cuda):
    context = cuda.start()
    address = cuda.alloc(4096)
    kind = ctypes.c_uint()
    cuda.cuPointerGetAttribute(ctypes.byref(kind), 2, address + 8)  # MEMORY_TYPE
    assert kind.value == 2
    owner = ctypes.c_void_p()
    cuda.cuPointerGetAttribute(ctypes.byref(owner), 1, address)  # CONTEXT
    assert owner.value == context
    same = ctypes.c_uint64()
    cuda.cuPointerGetAttribute(ctypes.byref(same), 3, address + 8)  # DEVICE_POINTER
    assert same.value == address + 8
    stranger = ctypes.create_string_buffer(64)
    code = cuda.code("cuPointerGetAttribute", ctypes.byref(kind), 2, ctypes.addressof(stranger))
    assert code == d.INVALID_VALUE
    attributes = (ctypes.c_int * 2)(2, 9)
    ordinal = ctypes.c_int(7)
    values = (ctypes.c_void_p * 2)(ctypes.addressof(kind), ctypes.addressof(ordinal))
    cuda.cuPointerGetAttributes(2, attributes, values, ctypes.addressof(stranger))
    assert (kind.value, ordinal.value) == (0, -2)


def test_copies_out_of_bounds_are_refused(cuda):
    cuda.start()
    address = cuda.alloc(512)
    assert cuda.code("cuMemcpyHtoD_v2", address, bytes(1 << 22), 1 << 22) == d.INVALID_VALUE
    cuda.cuMemcpyHtoD_v2(address, b"x", 1)  # no sticky error


def test_stream_ordered_allocation(cuda):
    cuda.start()
    stream = cuda.stream()
    address = cuda.out("cuMemAllocAsync", ctypes.c_uint64, 100_000, stream)
    cuda.cuMemsetD8Async(address, 0x42, 100_000, stream)
    cuda.cuStreamSynchronize(stream)
    assert cuda.download(address, 100_000) == b"\x42" * 100_000
    cuda.cuMemFreeAsync(address, stream)
    cuda.cuStreamSynchronize(stream)


def test_memory_pool(cuda):
    cuda.start()
    pool = cuda.out("cuDeviceGetDefaultMemPool", ctypes.c_void_p, 0)
    assert pool == cuda.out("cuDeviceGetMemPool", ctypes.c_void_p, 0)
    threshold = ctypes.c_uint64(1 << 30)
    cuda.cuMemPoolSetAttribute(pool, 4, ctypes.byref(threshold))  # RELEASE_THRESHOLD
    seen = ctypes.c_uint64()
    cuda.cuMemPoolGetAttribute(pool, 4, ctypes.byref(seen))
    assert seen.value == 1 << 30
    cuda.cuMemPoolTrimTo(pool, 0)
