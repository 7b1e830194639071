"""Virtual memory management: what is reserved, created, mapped, and who may use it."""

import ctypes
import struct

import pytest

from conformance.test_pools import Access, Location
from harness import driver as d
from harness import kernels, probes

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
NONE, READ, READWRITE = 0, 1, 3
ref = ctypes.byref


class Properties(ctypes.Structure):
    """CUmemAllocationProp of cuda.h."""

    _fields_ = [
        ("type", ctypes.c_int), ("handles", ctypes.c_int), ("location", Location),
        ("security", HANDLE), ("compression", ctypes.c_ubyte), ("rdma", ctypes.c_ubyte),
        ("usage", ctypes.c_ushort), ("reserved", ctypes.c_ubyte * 4),
    ]  # fmt: skip


def properties(device=0):
    return Properties(type=1, location=Location(1, device))


def unit(cuda, device=0):
    return cuda.out("cuMemGetAllocationGranularity", ctypes.c_size_t, ref(properties(device)), 0)


def reserve(cuda, size):
    return cuda.out("cuMemAddressReserve", U64, size, 0, 0, 0)


def create(cuda, size, device=0):
    return cuda.out("cuMemCreate", U64, size, ref(properties(device)), 0)


def grant(cuda, address, size, flags, device=0):
    return cuda.code("cuMemSetAccess", address, size, ref(Access(Location(1, device), flags)), 1)


def access(cuda, address, device=0):
    flags = U64(99)
    cuda.cuMemGetAccess(ref(flags), ref(Location(1, device)), address)
    return flags.value


def mapped(cuda, size, flags=READWRITE):
    """Memory of that many bytes, mapped, with access for device 0; address and handle."""
    address, handle = reserve(cuda, size), create(cuda, size)
    cuda.cuMemMap(address, size, 0, handle, 0)
    assert grant(cuda, address, size, flags) == 0
    return address, handle


def free(cuda):
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda.cuMemGetInfo_v2(ref(free), ref(total))
    return free.value


def run(cuda, name, *arguments):
    function = cuda.function(cuda.module(probes.ACCESS), name)
    assert cuda.launch(function, ONE, ONE, *arguments) == 0
    return cuda.code("cuCtxSynchronize")


def test_map_use_unmap(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    size, before = unit(cuda), free(cuda)
    address, handle = mapped(cuda, size)
    assert before - free(cuda) >= size
    arguments = U64(address), U32(3), U32(size // 4)
    assert cuda.launch(fill, (size // 1024, 1, 1), (256, 1, 1), *arguments) == 0
    assert cuda.download(address, size) == struct.pack("<I", 3) * (size // 4)
    cuda.cuMemUnmap(address, size)
    assert before - free(cuda) >= size  # the handle still holds it
    cuda.cuMemRelease(handle)
    assert before == free(cuda)
    cuda.cuMemAddressFree(address, size)


def test_a_handle_may_go_before_its_mapping(cuda):
    cuda.start()
    size, before = unit(cuda), free(cuda)
    address, handle = mapped(cuda, size)
    cuda.cuMemRelease(handle)
    assert cuda.code("cuMemRelease", handle) == d.INVALID_VALUE
    assert before - free(cuda) >= size
    cuda.cuMemcpyHtoD_v2(address, b"still there", 11)
    assert cuda.download(address, 11) == b"still there"
    cuda.cuMemUnmap(address, size)
    assert free(cuda) == before


def test_handles_side_by_side_are_one_range(cuda):
    cuda.start()
    size = unit(cuda)
    address = reserve(cuda, 4 * size)
    handles = [create(cuda, size), create(cuda, 2 * size)]
    cuda.cuMemMap(address + size, size, 0, handles[0], 0)
    cuda.cuMemMap(address + 2 * size, 2 * size, 0, handles[1], 0)
    assert grant(cuda, address + size, 3 * size, READWRITE) == 0
    data = bytes(range(256)) * (2 * size // 256)
    cuda.cuMemcpyHtoD_v2(address + size + 64, data, len(data))  # across the seam
    assert cuda.download(address + size + 64, len(data)) == data
    cuda.cuMemUnmap(address + size, 3 * size)
    cuda.cuMemAddressFree(address, 4 * size)


def test_one_handle_in_two_places(cuda):
    cuda.start()
    size = unit(cuda)
    first, handle = mapped(cuda, size)
    second = reserve(cuda, size)
    cuda.cuMemMap(second, size, 0, handle, 0)
    assert grant(cuda, second, size, READWRITE) == 0
    assert first != second
    assert run(cuda, "poke", U64(first + 16), U32(0xABCD)) == 0
    out = cuda.alloc(4)
    assert run(cuda, "peek", U64(out), U64(second + 16)) == 0
    assert cuda.download(out, 4) == struct.pack("<I", 0xABCD)
    cuda.cuMemUnmap(first, size)
    assert cuda.download(second + 16, 4) == struct.pack("<I", 0xABCD)


def test_memory_moves_to_another_address(cuda):
    cuda.start()
    size = unit(cuda)
    first, handle = mapped(cuda, size)
    cuda.cuMemcpyHtoD_v2(first, b"content", 7)
    cuda.cuMemUnmap(first, size)
    second = reserve(cuda, 2 * size)
    cuda.cuMemMap(second + size, size, 0, handle, 0)
    assert grant(cuda, second + size, size, READWRITE) == 0
    assert cuda.download(second + size, 7) == b"content"


def test_access_flags(cuda):
    cuda.start()
    size = unit(cuda)
    address, handle = reserve(cuda, size), create(cuda, size)
    cuda.cuMemMap(address, size, 0, handle, 0)
    assert access(cuda, address) == NONE
    assert grant(cuda, address, size, READWRITE) == 0
    assert access(cuda, address + size - 1) == READWRITE
    assert grant(cuda, address, size, NONE) == 0
    assert access(cuda, address) == NONE


def test_without_access_a_kernel_faults(cuda):
    cuda.start()
    size = unit(cuda)
    address, handle = reserve(cuda, size), create(cuda, size)
    cuda.cuMemMap(address, size, 0, handle, 0)
    assert run(cuda, "poke", U64(address), U32(1)) == d.ILLEGAL_ADDRESS


def test_access_that_was_taken_away(cuda):
    cuda.start()
    size = unit(cuda)
    address, _ = mapped(cuda, size)
    assert run(cuda, "poke", U64(address), U32(1)) == 0
    assert grant(cuda, address, size, NONE) == 0
    assert run(cuda, "poke", U64(address), U32(1)) == d.ILLEGAL_ADDRESS


def test_unmapped_memory_faults(cuda):
    cuda.start()
    size = unit(cuda)
    address, _ = mapped(cuda, size)
    cuda.cuMemUnmap(address, size)
    assert run(cuda, "poke", U64(address), U32(1)) == d.ILLEGAL_ADDRESS


def test_copies_need_access(cuda):
    cuda.start()
    size = unit(cuda)
    address, handle = reserve(cuda, size), create(cuda, size)
    cuda.cuMemMap(address, size, 0, handle, 0)
    assert cuda.code("cuMemcpyHtoD_v2", address, b"x", 1) == d.INVALID_VALUE
    assert cuda.code("cuMemsetD8_v2", address, 1, 16) == d.INVALID_VALUE
    assert grant(cuda, address, size, READWRITE) == 0
    cuda.cuMemcpyHtoD_v2(address, b"x", 1)


def test_retained_handle(cuda):
    cuda.start()
    size, before = unit(cuda), free(cuda)
    address, handle = mapped(cuda, size)
    out = U64()
    cuda.cuMemRetainAllocationHandle(ref(out), address + 4096)
    assert out.value == handle
    cuda.cuMemRelease(handle)
    cuda.cuMemRelease(handle)
    cuda.cuMemRetainAllocationHandle(ref(out), address)  # from the mapping alone
    assert out.value == handle
    cuda.cuMemUnmap(address, size)
    assert before - free(cuda) >= size
    cuda.cuMemRelease(handle)
    assert free(cuda) == before
    assert cuda.code("cuMemRetainAllocationHandle", ref(out), address) == d.INVALID_VALUE


def test_properties_of_a_handle(cuda):
    cuda.start()
    handle, seen = create(cuda, unit(cuda)), Properties()
    cuda.cuMemGetAllocationPropertiesFromHandle(ref(seen), handle)
    assert (seen.type, seen.location.type, seen.location.id) == (1, 1, 0)
    cuda.cuMemRelease(handle)
    code = cuda.code("cuMemGetAllocationPropertiesFromHandle", ref(seen), handle)
    assert code == d.INVALID_VALUE


def test_pointer_attributes(cuda):
    cuda.start()
    size = unit(cuda)
    address, _ = mapped(cuda, size)
    kind, owner, start = ctypes.c_uint(), HANDLE(1), U64()
    cuda.cuPointerGetAttribute(ref(kind), 2, address + 8)  # MEMORY_TYPE
    cuda.cuPointerGetAttribute(ref(owner), 1, address + 8)  # CONTEXT: none
    cuda.cuPointerGetAttribute(ref(start), 11, address + 8)  # RANGE_START_ADDR
    assert (kind.value, owner.value, start.value) == (2, None, address)


def test_misuse(cuda):
    cuda.start()
    size, value = unit(cuda), d.INVALID_VALUE
    address, handle, out = reserve(cuda, 2 * size), create(cuda, size), U64()
    assert cuda.code("cuMemCreate", ref(out), size - 1, ref(properties()), 0) == value
    assert cuda.code("cuMemCreate", ref(out), 0, ref(properties()), 0) == value
    assert cuda.code("cuMemCreate", ref(out), size, None, 0) == value
    assert cuda.code("cuMemAddressReserve", ref(out), 0, 0, 0, 0) == value
    assert cuda.code("cuMemAddressReserve", ref(out), size + 1, 0, 0, 0) == value
    assert cuda.code("cuMemAddressReserve", None, size, 0, 0, 0) == value
    assert cuda.code("cuMemMap", address + 4096, size, 0, handle, 0) == value
    assert cuda.code("cuMemMap", address, 2 * size, 0, handle, 0) == value  # beyond the memory
    assert cuda.code("cuMemMap", address + 2 * size, size, 0, handle, 0) == value
    assert grant(cuda, address, size, READWRITE) == value  # nothing is mapped
    cuda.cuMemMap(address, size, 0, handle, 0)
    assert cuda.code("cuMemMap", address, size, 0, handle, 0) == value  # taken
    assert grant(cuda, address, 2 * size, READWRITE) == value
    assert cuda.code("cuMemAddressFree", address, 2 * size) == value  # still mapped
    assert cuda.code("cuMemUnmap", address, 2 * size) == value
    cuda.cuMemUnmap(address, size)
    assert cuda.code("cuMemUnmap", address, size) == value
    assert cuda.code("cuMemAddressFree", address, size) == value  # half of it
    cuda.cuMemAddressFree(address, 2 * size)


def test_memory_of_one_device_for_another(cuda):
    cuda.cuInit(0)
    if cuda.out("cuDeviceGetCount", ctypes.c_int) < 2:
        pytest.skip("one device only: set VGPU_SOFT_DEVICES=2 or use a host with two GPUs")
    cuda.start(0)
    size = unit(cuda)
    address, _ = mapped(cuda, size)
    private, _ = mapped(cuda, size)
    assert run(cuda, "poke", U64(address), U32(11)) == 0
    assert grant(cuda, address, size, READWRITE, device=1) == 0
    assert access(cuda, address, 1) == READWRITE
    assert access(cuda, address, 0) == READWRITE
    assert access(cuda, private, 1) == NONE
    cuda.start(1)
    out = cuda.alloc(4)
    assert run(cuda, "peek", U64(out), U64(address)) == 0
    assert cuda.download(out, 4) == struct.pack("<I", 11)
    # Access is granted by range: what lies beside it stays closed.
    assert run(cuda, "peek", U64(out), U64(private)) == d.ILLEGAL_ADDRESS
