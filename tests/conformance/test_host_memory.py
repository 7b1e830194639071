"""Pinned, registered and mapped host memory."""

import ctypes
import os

import pytest

from harness import driver as d
from harness import kernels, probes

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
PORTABLE, DEVICEMAP, WRITECOMBINED = 1, 2, 4
PAGE = os.sysconf("SC_PAGESIZE")
ref = ctypes.byref


def allocate(cuda, size, flags=0):
    return cuda.out("cuMemHostAlloc", HANDLE, size, flags)


def device_pointer(cuda, host):
    return cuda.out("cuMemHostGetDevicePointer_v2", U64, host, 0)


def pages(count):
    """Page-aligned memory of the program's own: its keeper and its address."""
    keeper = ctypes.create_string_buffer((count + 1) * PAGE)
    return keeper, (ctypes.addressof(keeper) + PAGE - 1) // PAGE * PAGE


@pytest.mark.parametrize("flags", [0, PORTABLE, DEVICEMAP, WRITECOMBINED, 7])
def test_flags_are_remembered(cuda, flags):
    cuda.start()
    host = allocate(cuda, 4096, flags)
    got = ctypes.c_uint(99)
    cuda.cuMemHostGetFlags(ref(got), host)
    assert got.value & flags == flags
    cuda.cuMemFreeHost(host)


def test_misuse(cuda):
    cuda.start()
    out, flags, value = HANDLE(), ctypes.c_uint(), d.INVALID_VALUE
    assert cuda.code("cuMemHostAlloc", ref(out), 0, 0) == value
    assert cuda.code("cuMemHostAlloc", None, 64, 0) == value
    assert cuda.code("cuMemHostAlloc", ref(out), 64, 64) == value
    host = allocate(cuda, 4096)
    assert cuda.code("cuMemFreeHost", host + 64) == value
    assert cuda.code("cuMemHostGetFlags", None, host) == value
    stranger = ctypes.create_string_buffer(64)
    assert cuda.code("cuMemHostGetFlags", ref(flags), stranger) == value
    assert cuda.code("cuMemHostGetDevicePointer_v2", ref(U64()), stranger, 0) == value
    assert cuda.code("cuMemHostGetDevicePointer_v2", ref(U64()), host, 1) == value
    assert cuda.code("cuMemHostGetDevicePointer_v2", None, host, 0) == value
    assert cuda.code("cuMemHostRegister_v2", None, PAGE, 0) == value
    assert cuda.code("cuMemHostRegister_v2", stranger, 0, 0) == value


def test_registering_twice(cuda):
    cuda.start()
    keeper, start = pages(4)
    cuda.cuMemHostRegister_v2(start + PAGE, PAGE, PORTABLE)
    again = d.HOST_MEMORY_ALREADY_REGISTERED
    assert cuda.code("cuMemHostRegister_v2", start + PAGE, PAGE, 0) == again
    assert cuda.code("cuMemHostRegister_v2", start, 3 * PAGE, 0) == again  # around it
    assert cuda.code("cuMemHostUnregister", start) == d.HOST_MEMORY_NOT_REGISTERED
    cuda.cuMemHostUnregister(start + PAGE)
    assert cuda.code("cuMemHostUnregister", start + PAGE) == d.HOST_MEMORY_NOT_REGISTERED
    cuda.cuMemHostRegister_v2(start, 3 * PAGE, 0)
    cuda.cuMemHostUnregister(start)
    del keeper


def exchange(cuda, host):
    """The kernel reads what the host wrote, and the host reads what the kernel wrote."""
    words = (U32 * 16).from_address(host)
    mapped = device_pointer(cuda, host)
    module = cuda.module(probes.ACCESS)
    peek, poke = cuda.function(module, "peek"), cuda.function(module, "poke")
    out = cuda.alloc(4)
    for value in (5, 1 << 31):
        words[3] = value
        assert cuda.launch(peek, ONE, ONE, U64(out), U64(mapped + 12)) == 0
        assert int.from_bytes(cuda.download(out, 4), "little") == value
        assert cuda.launch(poke, ONE, ONE, U64(mapped + 20), U32(value ^ 77)) == 0
        cuda.cuCtxSynchronize()
        assert (words[3], words[5]) == (value, value ^ 77)


def test_kernels_use_mapped_memory(cuda):
    cuda.start()
    host = allocate(cuda, 4096, DEVICEMAP)
    exchange(cuda, host)
    cuda.cuMemFreeHost(host)


def test_kernels_use_registered_memory(cuda):
    cuda.start()
    keeper, start = pages(1)
    cuda.cuMemHostRegister_v2(start, PAGE, DEVICEMAP)
    exchange(cuda, start)
    cuda.cuMemHostUnregister(start)
    assert cuda.code("cuMemHostGetDevicePointer_v2", ref(U64()), start, 0) == d.INVALID_VALUE
    del keeper


def test_mapped_memory_is_seen_after_a_stream_is_waited_for(cuda):
    cuda.start()
    host = allocate(cuda, 4096, DEVICEMAP)
    words = (U32 * 16).from_address(host)
    mapped, stream, event = device_pointer(cuda, host), cuda.stream(), cuda.event(2)
    poke = cuda.function(cuda.module(probes.ACCESS), "poke")
    assert cuda.launch(poke, ONE, ONE, U64(mapped), U32(41), stream=stream) == 0
    cuda.cuStreamSynchronize(stream)
    assert words[0] == 41
    assert cuda.launch(poke, ONE, ONE, U64(mapped + 4), U32(42), stream=stream) == 0
    cuda.cuEventRecord(event, stream)
    cuda.cuEventSynchronize(event)
    assert words[1] == 42


def test_interior_of_mapped_memory(cuda):
    cuda.start()
    host = allocate(cuda, 4096, DEVICEMAP)
    assert device_pointer(cuda, host + 100) == device_pointer(cuda, host) + 100


def test_much_mapped_memory_is_refused_or_works(cuda, route):
    cuda.start()
    host = allocate(cuda, 4 << 20, DEVICEMAP)
    if route.name == "direct":
        exchange(cuda, host)
    else:  # through the stub mapped memory is copied at each launch: up to 1 MiB
        code = cuda.code("cuMemHostGetDevicePointer_v2", ref(U64()), host, 0)
        assert code == d.NOT_SUPPORTED
        ctypes.memset(host, 3, 64)  # it still is pinned memory
        assert cuda.download(cuda.upload(ctypes.string_at(host, 64)), 64) == b"\x03" * 64


def test_read_only_registration_follows_the_attribute(cuda):
    cuda.start()
    supported = cuda.out("cuDeviceGetAttribute", ctypes.c_int, 113, 0)
    keeper, start = pages(1)
    code = cuda.code("cuMemHostRegister_v2", start, PAGE, 8 | DEVICEMAP)  # READ_ONLY
    assert code == (0 if supported else d.NOT_SUPPORTED)
    if supported:
        ctypes.memmove(start, (9).to_bytes(4, "little"), 4)
        mapped, out = device_pointer(cuda, start), cuda.alloc(4)
        peek = cuda.function(cuda.module(probes.ACCESS), "peek")
        assert cuda.launch(peek, ONE, ONE, U64(out), U64(mapped)) == 0
        assert int.from_bytes(cuda.download(out, 4), "little") == 9
    del keeper


def describe(cuda, address):
    """(context, memory type, start, size, ordinal, managed, mapped) of an address."""
    numbers = (1, 2, 11, 12, 9, 8, 13)
    kinds = (
        HANDLE,
        ctypes.c_uint,
        U64,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
    )
    values = [kind() for kind in kinds]
    for number, value in zip(numbers, values, strict=True):
        cuda.cuPointerGetAttribute(ref(value), number, address)
    at_once = [kind() for kind in kinds]
    cuda.cuPointerGetAttributes(
        len(numbers),
        (ctypes.c_int * len(numbers))(*numbers),
        (HANDLE * len(numbers))(*[ctypes.addressof(v) for v in at_once]),
        address,
    )
    assert [v.value for v in at_once] == [v.value for v in values]
    return tuple(v.value for v in values)


def test_attributes_of_every_kind_of_pointer(cuda):
    context = cuda.start()
    on_host, on_device = 1, 2
    memory = cuda.alloc(10_000)
    assert describe(cuda, memory + 77) == (context, on_device, memory, 10_000, 0, 0, 1)
    stream = cuda.stream()
    pooled = cuda.out("cuMemAllocAsync", U64, 5_000, stream)
    assert describe(cuda, pooled) == (None, on_device, pooled, 5_000, 0, 0, 1)
    module, size = cuda.module(kernels.ALL), ctypes.c_size_t()
    table = U64()
    cuda.cuModuleGetGlobal_v2(ref(table), ref(size), module, b"table")
    assert describe(cuda, table.value)[1:5] == (on_device, table.value, 64, 0)
    host = allocate(cuda, 3_000)
    assert describe(cuda, host + 5)[:4] == (context, on_host, host, 3_000)
    keeper, start = pages(1)
    cuda.cuMemHostRegister_v2(start, PAGE, 0)
    assert describe(cuda, start + 5)[:4] == (context, on_host, start, PAGE)
    for address in (host, start):
        back = HANDLE()
        cuda.cuPointerGetAttribute(ref(back), 4, address + 5)  # HOST_POINTER
        assert back.value == address + 5
    code = cuda.code("cuPointerGetAttribute", ref(HANDLE()), 4, memory)
    assert code == d.INVALID_VALUE
    assert cuda.code("cuPointerGetAttribute", ref(HANDLE()), 999, memory) == d.INVALID_VALUE
    assert cuda.code("cuPointerGetAttribute", None, 2, memory) == d.INVALID_VALUE
    ids = []
    for address in (memory, pooled, host, start):
        identity = U64()
        cuda.cuPointerGetAttribute(ref(identity), 7, address)  # BUFFER_ID
        ids.append(identity.value)
    assert len(set(ids)) == 4
    del keeper


def test_a_buffer_gets_a_new_identity(cuda):
    cuda.start()
    seen = set()
    for _ in range(3):
        address, identity = cuda.alloc(4096), U64()
        cuda.cuPointerGetAttribute(ref(identity), 7, address)
        cuda.cuMemFree_v2(address)
        seen.add(identity.value)
    assert len(seen) == 3


def test_synchronous_operations_are_an_attribute_that_can_be_set(cuda):
    cuda.start()
    memory, value = cuda.alloc(4096), ctypes.c_uint(1)
    cuda.cuPointerSetAttribute(ref(value), 6, memory)  # SYNC_MEMOPS
    value.value = 99
    cuda.cuPointerGetAttribute(ref(value), 6, memory)
    assert value.value == 1
    assert cuda.code("cuPointerSetAttribute", ref(value), 2, memory) == d.INVALID_VALUE
    assert cuda.code("cuPointerSetAttribute", ref(value), 6, 4096) == d.INVALID_VALUE
