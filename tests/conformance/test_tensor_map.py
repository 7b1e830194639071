"""Bulk tensor copies in tile mode against NumPy slices."""

import ctypes

import numpy as np
import pytest

from conformance.test_cluster import HEADER, run
from harness import driver as d

UINT8, UINT16, UINT32, INT32, _, _, FLOAT16, FLOAT32, FLOAT64, _, FLOAT32_FTZ = range(11)
TILE = 8192  # bytes of shared memory for a box

#: One block loads the box at (x, y, z) and copies shared memory to `out` as it lies there.
LOAD = """
.visible .entry load(.param .align 64 .b8 map[128], .param .u64 out, .param .u32 bytes,
                     .param .u32 x, .param .u32 y, .param .u32 z)
{
  .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %d<8>;
  .shared .align 1024 .b8 tile[8192];
  .shared .align 8 .b64 ready;
  mov.u32 %r1, %tid.x; setp.ne.u32 %p1, %r1, 0;
  mov.u32 %r2, tile; mov.u32 %r3, ready;
  ld.param.u64 %d2, [out]; ld.param.u32 %r4, [bytes];
  ld.param.u32 %r5, [x]; ld.param.u32 %r6, [y]; ld.param.u32 %r7, [z];
  mov.b64 %d1, map; cvta.param.u64 %d1, %d1;
  @%p1 bra wait;
  mbarrier.init.shared::cta.b64 [%r3], 1;
  mbarrier.arrive.expect_tx.shared::cta.b64 %d3, [%r3], %r4;
  cp.async.bulk.tensor.{RANK}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes
    [%r2], [%d1, {COORDINATES}], [%r3];
wait:
  bar.sync 0;
  mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r3], 0;
  @!%p2 trap;
  shl.b32 %r8, %r1, 2;
  add.u32 %r9, %r2, %r8;
  cvt.u64.u32 %d4, %r8; add.u64 %d2, %d2, %d4;
more:
  setp.ge.u32 %p3, %r8, %r4;
  @%p3 ret;
  ld.shared.u32 %r10, [%r9];
  st.global.u32 [%d2], %r10;
  add.u32 %r8, %r8, 128; add.u32 %r9, %r9, 128; add.u64 %d2, %d2, 128;
  bra more;
}
"""
#: One block reads shared memory from `in` as it shall lie there and stores the box.
STORE = """
.visible .entry store(.param .align 64 .b8 map[128], .param .u64 in, .param .u32 bytes,
                      .param .u32 x, .param .u32 y, .param .u32 z)
{
  .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %d<8>;
  .shared .align 1024 .b8 tile[8192];
  mov.u32 %r2, tile;
  ld.param.u64 %d2, [in]; ld.param.u32 %r4, [bytes];
  ld.param.u32 %r5, [x]; ld.param.u32 %r6, [y]; ld.param.u32 %r7, [z];
  mov.b64 %d1, map; cvta.param.u64 %d1, %d1;
  mov.u32 %r8, 0; mov.u32 %r9, %r2;
more:
  ld.global.u32 %r10, [%d2];
  st.shared.u32 [%r9], %r10;
  add.u32 %r8, %r8, 4; add.u32 %r9, %r9, 4; add.u64 %d2, %d2, 4;
  setp.lt.u32 %p3, %r8, %r4;
  @%p3 bra more;
  fence.proxy.async.shared::cta;
  {COPY}.tensor.{RANK}d.global.shared::cta{OP}.tile.bulk_group [%d1, {COORDINATES}], [%r2];
  cp.async.bulk.commit_group;
  cp.async.bulk.wait_group 0;
  ret;
}
"""
COORDINATES = {1: "{%r5}", 2: "{%r5, %r6}", 3: "{%r5, %r6, %r7}"}
TYPES = {"uint8": UINT8, "uint16": UINT16, "int32": INT32, "float16": FLOAT16,
         "float32": FLOAT32, "float64": FLOAT64}  # fmt: skip


def encode(cuda, address, tensor, box, *, steps=None, swizzle=0, fill=0, kind=None):
    """(code, map); sides in the order of the tensor's axes, slowest first."""
    rank = tensor.ndim
    space = ctypes.create_string_buffer(128 + 128)
    place = (ctypes.addressof(space) + 127) // 128 * 128
    wide = ctypes.c_uint64 * rank
    narrow = ctypes.c_uint32 * rank
    code = cuda.code(
        "cuTensorMapEncodeTiled", place, TYPES[tensor.dtype.name] if kind is None else kind, rank,
        address, wide(*tensor.shape[::-1]), wide(*tensor.strides[-2::-1]), narrow(*box[::-1]),
        narrow(*(steps or (1,) * rank)[::-1]), 0, swizzle, 0, fill,
    )  # fmt: skip
    return code, (ctypes.c_ubyte * 128).from_buffer_copy(ctypes.string_at(place, 128))


def swizzled(size, bits):
    """Where each byte of a tile lies: chunks of 16 change places by the address above them."""
    at = np.arange(size)
    return at ^ ((at >> 7 & (1 << bits) - 1) << 4)


def box_of(tensor, corner, box, steps, outside):
    """What a load of a box gives, as bytes in the order of its elements."""
    axes = []
    for size, first, count, step in zip(tensor.shape, corner, box, steps, strict=True):
        axes.append(first + np.arange(0, count, step))
        del size
    grid = np.meshgrid(*axes, indexing="ij")
    inside = np.ones(grid[0].shape, bool)
    for axis, size in zip(grid, tensor.shape, strict=True):
        inside &= (axis >= 0) & (axis < size)
    clipped = [np.clip(axis, 0, size - 1) for axis, size in zip(grid, tensor.shape, strict=True)]
    return np.where(inside, tensor[tuple(clipped)], outside), inside, clipped


def given(map_bytes, address, size, corner):
    x, y, z = (*corner[::-1], 0, 0)[:3]
    words = (ctypes.c_int32(value) for value in (size, x, y, z))
    return (map_bytes, ctypes.c_uint64(address), *words)


@pytest.mark.parametrize(
    ("shape", "box", "steps", "swizzle", "dtype"),
    [
        ((100,), (64,), None, 0, "float32"),
        ((20, 64), (8, 16), None, 0, "float32"),
        ((20, 64), (16, 32), None, 3, "float32"),
        ((20, 64), (16, 32), None, 2, "uint16"),
        ((20, 64), (16, 16), None, 1, "float16"),
        ((6, 10, 32), (3, 4, 16), (2, 3, 1), 0, "int32"),
        ((6, 10, 32), (3, 4, 16), None, 3, "float64"),
        ((20, 64), (16, 64), None, 2, "uint8"),
    ],
)
def test_loads(cuda, shape, box, steps, swizzle, dtype):
    cuda.start()
    tensor = np.arange(1, np.prod(shape) + 1).astype(dtype).reshape(shape)
    source = cuda.upload(tensor.tobytes())
    code, described = encode(cuda, source, tensor, box, steps=steps, swizzle=swizzle)
    assert code == 0
    rank = len(shape)
    text = HEADER + LOAD.replace("{RANK}", str(rank)).replace("{COORDINATES}", COORDINATES[rank])
    function = cuda.function(cuda.module(text), "load")
    for corner in ((0,) * rank, (1,) * rank, (-2,) * rank, tuple(s - 3 for s in shape)):
        wanted, _, _ = box_of(tensor, corner, box, steps or (1,) * rank, tensor.dtype.type(0))
        out = cuda.alloc(TILE)
        parameters = given(described, out, wanted.nbytes, corner)
        assert run(cuda, function, (1, 1, 1), (32, 1, 1), None, *parameters) == 0
        lies = np.frombuffer(cuda.download(out, wanted.nbytes), np.uint8)
        got = lies[swizzled(wanted.nbytes, swizzle)].view(dtype)
        np.testing.assert_array_equal(got, wanted.ravel())


@pytest.mark.parametrize(
    ("copy", "op", "dtype"),
    [
        ("cp.async.bulk", "", "float32"),
        ("cp.reduce.async.bulk", ".add", "float32"),
        ("cp.reduce.async.bulk", ".max", "int32"),
        ("cp.reduce.async.bulk", ".add", "float16"),
    ],
)
def test_stores(cuda, copy, op, dtype):
    cuda.start()
    tensor = np.arange(20 * 64).reshape(20, 64).astype(dtype) % 100
    tile = (np.arange(8 * 16).reshape(8, 16)[::-1] % 50 + 1).astype(dtype)
    text = STORE.replace("{RANK}", "2").replace("{COORDINATES}", COORDINATES[2])
    text = HEADER + text.replace("{COPY}", copy).replace("{OP}", op)
    function = cuda.function(cuda.module(text), "store")
    source = cuda.upload(tile.tobytes())
    for corner in ((2, 3), (-3, -4), (15, 60)):
        target = cuda.upload(tensor.tobytes())
        code, described = encode(cuda, target, tensor, tile.shape)
        assert code == 0
        parameters = given(described, source, tile.nbytes, corner)
        assert run(cuda, function, (1, 1, 1), (1, 1, 1), None, *parameters) == 0
        _, inside, place = box_of(tensor, corner, tile.shape, (1, 1), tensor.dtype.type(0))
        at = tuple(axis[inside] for axis in place)
        wanted = tensor.copy()
        new = tile[inside]
        wanted[at] = (
            new if not op else wanted[at] + new if op == ".add" else np.maximum(wanted[at], new)
        )
        got = np.frombuffer(cuda.download(target, tensor.nbytes), dtype).reshape(tensor.shape)
        np.testing.assert_array_equal(got, wanted)


def test_nan_outside(cuda):
    cuda.start()
    tensor = np.ones((4, 16), np.float32)
    source = cuda.upload(tensor.tobytes())
    code, described = encode(cuda, source, tensor, (4, 16), fill=1)
    assert code == 0
    text = HEADER + LOAD.replace("{RANK}", "2").replace("{COORDINATES}", COORDINATES[2])
    out = cuda.alloc(TILE)
    function = cuda.function(cuda.module(text), "load")
    parameters = given(described, out, 256, (2, 0))
    assert run(cuda, function, (1, 1, 1), (32, 1, 1), None, *parameters) == 0
    got = np.frombuffer(cuda.download(out, 256), np.float32).reshape(4, 16)
    assert (got[:2] == 1).all()
    assert np.isnan(got[2:]).all()


def test_what_cannot_be_described(cuda):
    cuda.start()
    tensor = np.ones((4, 16), np.float32)
    source = cuda.upload(tensor.tobytes())
    assert encode(cuda, source + 4, tensor, (4, 16))[0] == d.INVALID_VALUE  # alignment
    assert encode(cuda, source, tensor, (4, 3))[0] == d.INVALID_VALUE  # rows of 12 bytes
    assert encode(cuda, source, tensor, (4, 512))[0] == d.INVALID_VALUE
    assert encode(cuda, source, tensor, (4, 16), swizzle=1)[0] == d.INVALID_VALUE  # 64 > 32 bytes
    assert encode(cuda, source, tensor, (4, 16), steps=(9, 1))[0] == d.INVALID_VALUE
    assert encode(cuda, source, tensor, (4, 16), kind=FLOAT32_FTZ)[0] == d.NOT_SUPPORTED


def test_a_map_that_is_none_faults(cuda):
    cuda.start()
    text = HEADER + LOAD.replace("{RANK}", "2").replace("{COORDINATES}", COORDINATES[2])
    function = cuda.function(cuda.module(text), "load")
    parameters = given((ctypes.c_ubyte * 128)(), cuda.alloc(TILE), 256, (0, 0))
    code = run(cuda, function, (1, 1, 1), (32, 1, 1), None, *parameters)
    assert code == 715  # CUDA_ERROR_ILLEGAL_INSTRUCTION
