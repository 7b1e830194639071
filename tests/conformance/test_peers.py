"""Two devices: copies between them, and kernels that use each other's memory when allowed."""

import ctypes
import struct

import pytest

from harness import driver as d
from harness import probes

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
ref = ctypes.byref
SLOW_WRITE = """.version 8.0
.target sm_80
.address_size 64
.visible .entry slow_write(.param .u64 target, .param .u32 rounds)
{
  .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %d;
  ld.param.u64 %d, [target]; ld.param.u32 %r1, [rounds]; mov.u32 %r2, 0;
LOOP: add.u32 %r2, %r2, 1; setp.lt.u32 %p, %r2, %r1; @%p bra LOOP;
  mov.u32 %r3, 7; st.global.u32 [%d], %r3;
  ret;
}
"""


@pytest.fixture
def pair():
    """The primary contexts of two devices; the first is current."""

    def start(cuda):
        cuda.cuInit(0)
        if cuda.out("cuDeviceGetCount", ctypes.c_int) < 2:
            pytest.skip("one device only: set VGPU_SOFT_DEVICES=2 or use a host with two GPUs")
        second = cuda.start(1)
        return cuda.start(0), second

    return start


def peek(cuda, address):
    """What a kernel of the current context reads; None when it faults."""
    function = cuda.function(cuda.module(probes.ACCESS), "peek")
    out = cuda.alloc(4)
    assert cuda.launch(function, ONE, ONE, U64(out), U64(address)) == 0
    if cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS:
        return None
    return int.from_bytes(cuda.download(out, 4), "little")


def test_copy_between_devices(cuda, pair):
    first, second = pair(cuda)
    data = bytes(range(256)) * 300
    source = cuda.upload(data)
    cuda.cuCtxSetCurrent(second)
    target = cuda.alloc(len(data))
    cuda.cuMemcpyPeer(target, second, source, first, len(data))
    assert cuda.download(target, len(data)) == data
    stream = cuda.stream()
    again = cuda.alloc(len(data))
    cuda.cuMemcpyPeerAsync(again, second, source, first, len(data), stream)
    cuda.cuStreamSynchronize(stream)
    assert cuda.download(again, len(data)) == data
    assert cuda.code("cuMemcpyPeer", target, None, source, first, 16) == d.INVALID_CONTEXT
    assert cuda.code("cuMemcpyPeer", 0, second, source, first, 16) == d.INVALID_VALUE


def test_plain_copies_cross_devices(cuda, pair):
    _, second = pair(cuda)
    source = cuda.upload(b"across")
    cuda.cuCtxSetCurrent(second)
    target = cuda.alloc(6)
    cuda.cuMemcpy(target, source, 6)
    assert cuda.download(target, 6) == b"across"


class Box(ctypes.Structure):
    """CUDA_MEMCPY3D_PEER of cuda.h."""

    _fields_ = [
        *[(f"src{n}", ctypes.c_size_t) for n in ("XInBytes", "Y", "Z", "LOD")],
        ("srcMemoryType", ctypes.c_int), ("srcHost", HANDLE), ("srcDevice", U64),
        ("srcArray", HANDLE), ("srcContext", HANDLE),
        ("srcPitch", ctypes.c_size_t), ("srcHeight", ctypes.c_size_t),
        *[(f"dst{n}", ctypes.c_size_t) for n in ("XInBytes", "Y", "Z", "LOD")],
        ("dstMemoryType", ctypes.c_int), ("dstHost", HANDLE), ("dstDevice", U64),
        ("dstArray", HANDLE), ("dstContext", HANDLE),
        ("dstPitch", ctypes.c_size_t), ("dstHeight", ctypes.c_size_t),
        ("WidthInBytes", ctypes.c_size_t), ("Height", ctypes.c_size_t), ("Depth", ctypes.c_size_t),
    ]  # fmt: skip


def slow_write(cuda, target):
    """Launches a kernel of the current context that writes 7 to a word after a long loop."""
    function = cuda.function(cuda.module(SLOW_WRITE), "slow_write")
    assert cuda.launch(function, ONE, ONE, U64(target), U32(3_000_000)) == 0


def test_a_copy_on_a_legacy_stream_waits_for_both_devices(cuda, pair):
    first, second = pair(cuda)
    source = cuda.upload(bytes(4))
    slow_write(cuda, source)
    cuda.cuCtxSetCurrent(second)
    target = cuda.upload(bytes(4))
    cuda.cuMemcpyDtoDAsync_v2(target, source, 4, None)
    assert cuda.download(target, 4) == struct.pack("<I", 7)
    cuda.cuMemsetD8_v2(target, 0, 4)
    cuda.cuCtxSetCurrent(first)
    cuda.cuMemsetD8_v2(source, 0, 4)
    slow_write(cuda, source)
    cuda.cuMemcpyPeer(target, second, source, first, 4)
    assert cuda.download(target, 4) == struct.pack("<I", 7)


def test_what_follows_a_copy_on_a_legacy_stream_waits_for_it(cuda, pair):
    first, second = pair(cuda)
    source = cuda.upload(struct.pack("<I", 1))
    cuda.cuCtxSetCurrent(second)
    target = cuda.upload(bytes(4))
    slow_write(cuda, target)  # the copy has to wait for it
    cuda.cuMemcpyDtoDAsync_v2(target, source, 4, None)
    cuda.cuCtxSetCurrent(first)
    cuda.cuMemsetD32Async(source, 2, 1, None)
    cuda.cuCtxSynchronize()
    cuda.cuCtxSetCurrent(second)
    assert cuda.download(target, 4) == struct.pack("<I", 1)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_boxes_between_devices(cuda, pair, asynchronous):
    first, second = pair(cuda)
    source = cuda.upload(bytes(range(4 * 3 * 8)))  # 3 slices of 4 rows of 8 bytes
    cuda.cuCtxSetCurrent(second)
    target = cuda.upload(bytes(96))
    box = Box(
        srcMemoryType=2, srcDevice=source, srcContext=first, srcPitch=8, srcHeight=4,
        srcXInBytes=2, srcY=1, srcZ=1,
        dstMemoryType=2, dstDevice=target, dstContext=second, dstPitch=16, dstHeight=3,
        WidthInBytes=5, Height=2, Depth=2,
    )  # fmt: skip
    if asynchronous:
        stream = cuda.stream()
        cuda.cuMemcpy3DPeerAsync(ref(box), stream)
        cuda.cuStreamSynchronize(stream)
    else:
        cuda.cuMemcpy3DPeer(ref(box))
    want = bytearray(96)
    for z in range(2):
        for y in range(2):
            begin = (z + 1) * 32 + (y + 1) * 8 + 2
            at = z * 48 + y * 16
            want[at : at + 5] = bytes(range(begin, begin + 5))
    assert cuda.download(target, 96) == bytes(want)
    box.srcContext = None
    assert cuda.code("cuMemcpy3DPeer", ref(box)) == d.INVALID_CONTEXT
    assert cuda.code("cuMemcpy3DPeer", None) == d.INVALID_VALUE


def test_a_box_from_the_host_to_a_peer(cuda, pair):
    first, second = pair(cuda)
    host = ctypes.create_string_buffer(bytes(range(64)), 64)
    cuda.cuCtxSetCurrent(second)
    target = cuda.upload(bytes(64))
    box = Box(
        srcMemoryType=1, srcHost=ctypes.addressof(host), srcContext=first, srcPitch=8, srcHeight=8,
        dstMemoryType=2, dstDevice=target, dstContext=second, dstPitch=8, dstHeight=8,
        WidthInBytes=4, Height=8, Depth=1,
    )  # fmt: skip
    cuda.cuMemcpy3DPeer(ref(box))
    rows = [bytes(range(8 * y, 8 * y + 4)) + bytes(4) for y in range(8)]
    assert cuda.download(target, 64) == b"".join(rows)


def test_kernels_reach_a_peer_only_when_it_is_enabled(cuda, pair):
    first, second = pair(cuda)
    address = cuda.upload(struct.pack("<I", 1234))
    cuda.cuCtxSetCurrent(second)
    cuda.cuCtxEnablePeerAccess(first, 0)
    assert peek(cuda, address) == 1234
    cuda.cuCtxSetCurrent(first)
    later = cuda.upload(struct.pack("<I", 77))  # allocated after access was enabled
    cuda.cuCtxSetCurrent(second)
    assert peek(cuda, later) == 77
    cuda.cuCtxDisablePeerAccess(first)
    assert peek(cuda, address) is None


def test_access_is_in_one_direction(cuda, pair):
    _first, second = pair(cuda)
    cuda.cuCtxEnablePeerAccess(second, 0)
    address = cuda.upload(struct.pack("<I", 1))
    cuda.cuCtxSetCurrent(second)
    assert peek(cuda, address) is None


def test_enabling_and_disabling(cuda, pair):
    first, second = pair(cuda)
    enable, disable = "cuCtxEnablePeerAccess", "cuCtxDisablePeerAccess"
    assert cuda.code(disable, second) == d.PEER_ACCESS_NOT_ENABLED
    assert cuda.code(enable, second, 1) == d.INVALID_VALUE
    assert cuda.code(enable, first, 0) == d.INVALID_CONTEXT
    assert cuda.code(enable, None, 0) == d.INVALID_CONTEXT
    assert cuda.code(enable, second, 0) == 0
    assert cuda.code(enable, second, 0) == d.PEER_ACCESS_ALREADY_ENABLED
    assert cuda.code(disable, second) == 0
    assert cuda.code(disable, second) == d.PEER_ACCESS_NOT_ENABLED
    sibling = cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    cuda.cuCtxSetCurrent(first)
    assert cuda.code(enable, sibling, 0) == d.INVALID_DEVICE  # the same device


def test_what_devices_can_do_with_each_other(cuda, pair):
    pair(cuda)
    can = ctypes.c_int(99)
    cuda.cuDeviceCanAccessPeer(ref(can), 0, 1)
    assert can.value in (0, 1)
    cuda.cuDeviceCanAccessPeer(ref(can), 0, 0)
    assert can.value == 0
    value = ctypes.c_int(99)
    for attribute in (1, 2, 3, 4):
        cuda.cuDeviceGetP2PAttribute(ref(value), attribute, 0, 1)
        assert value.value >= 0
    code = "cuDeviceGetP2PAttribute"
    assert cuda.code(code, ref(value), 2, 0, 0) == d.INVALID_DEVICE
    assert cuda.code(code, ref(value), 2, 0, 99) == d.INVALID_DEVICE
    assert cuda.code(code, ref(value), 99, 0, 1) == d.INVALID_VALUE
    assert cuda.code(code, None, 2, 0, 1) == d.INVALID_VALUE
