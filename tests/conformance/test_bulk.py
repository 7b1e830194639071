"""Bulk copies between global and shared memory, completed by mbarriers or groups."""

import ctypes

import numpy as np
import pytest

from conformance.test_cluster import HEADER, run
from harness import driver as d

MISALIGNED_ADDRESS = 716

#: Thread 0 copies `bytes` from `in` to shared memory; all wait; every word is doubled; thread 0
#: copies it to `out`.
DOUBLE = """
.visible .entry double_all(.param .u64 in, .param .u64 out, .param .u32 bytes)
{
  .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %d<8>;
  .shared .align 16 .b8 tile[4096];
  .shared .align 8 .b64 ready;
  mov.u32 %r1, %tid.x;
  setp.ne.u32 %p1, %r1, 0;
  mov.u32 %r2, tile;
  mov.u32 %r3, ready;
  ld.param.u64 %d1, [in];
  ld.param.u64 %d2, [out];
  ld.param.u32 %r4, [bytes];
  @%p1 bra set;
  mbarrier.init.shared::cta.b64 [%r3], 1;
  fence.proxy.async.shared::cta;
set:
  bar.sync 0;
  @%p1 bra wait;
  mbarrier.arrive.expect_tx.shared::cta.b64 %d3, [%r3], %r4;
  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%d1], %r4, [%r3];
wait:
  mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r3], 0;
  @!%p2 bra wait;
  shl.b32 %r5, %r1, 2;
  add.u32 %r6, %r2, %r5;
more:
  setp.ge.u32 %p3, %r5, %r4;
  @%p3 bra done;
  ld.shared.u32 %r7, [%r6];
  add.u32 %r7, %r7, %r7;
  st.shared.u32 [%r6], %r7;
  add.u32 %r5, %r5, 128;
  add.u32 %r6, %r6, 128;
  bra more;
done:
  fence.proxy.async.shared::cta;
  bar.sync 0;
  @%p1 ret;
  cp.async.bulk.global.shared::cta.bulk_group [%d2], [%r2], %r4;
  cp.async.bulk.commit_group;
  cp.async.bulk.wait_group 0;
  ret;
}
"""

#: The first block of a cluster sends one tile to every block; each adds it to `out`.
SPREAD = """
.visible .entry spread(.param .u64 in, .param .u64 out)
{
  .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %d<8>; .reg .b16 %h<2>;
  .shared .align 16 .b8 tile[256];
  .shared .align 8 .b64 ready;
  mov.u32 %r1, tile; mov.u32 %r2, ready;
  ld.param.u64 %d1, [in]; ld.param.u64 %d2, [out];
  mbarrier.init.shared::cta.b64 [%r2], 1;
  fence.mbarrier_init.release.cluster;
  mbarrier.arrive.expect_tx.shared::cta.b64 %d3, [%r2], 256;
  barrier.cluster.arrive; barrier.cluster.wait;
  mov.u32 %r3, %cluster_ctarank;
  setp.ne.u32 %p1, %r3, 0;
  mov.u16 %h1, 15;
  @!%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster
    [%r1], [%d1], 256, [%r2], %h1;
wait:
  mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
  @!%p2 bra wait;
  cp.reduce.async.bulk.global.shared::cta.bulk_group.{OP} [%d2], [%r1], 256;
  cp.async.bulk.commit_group;
  cp.async.bulk.wait_group.read 0;
  ret;
}
"""
PARAMETERS = (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32)


def test_there_and_back(cuda):
    cuda.start()
    function = cuda.function(cuda.module(HEADER + DOUBLE), "double_all")
    data = np.arange(1024, dtype=np.uint32) * 12345
    source, out = cuda.upload(data.tobytes()), cuda.upload(bytes(4096))
    for size in (16, 1008, 4096):
        given = [kind(v) for kind, v in zip(PARAMETERS, (source, out, size), strict=True)]
        assert run(cuda, function, (1, 1, 1), (32, 1, 1), None, *given) == 0
        got = np.frombuffer(cuda.download(out, 4096), np.uint32)
        np.testing.assert_array_equal(got[: size // 4], data[: size // 4] * 2)
        assert size == 4096 or got[size // 4] == 0


@pytest.mark.parametrize(("size", "offset"), [(20, 0), (64, 4)])
def test_what_is_not_aligned_faults(cuda, size, offset):
    cuda.start()
    function = cuda.function(cuda.module(HEADER + DOUBLE), "double_all")
    source, out = cuda.upload(bytes(4096)), cuda.upload(bytes(4096))
    given = [kind(v) for kind, v in zip(PARAMETERS, (source + offset, out, size), strict=True)]
    code = run(cuda, function, (1, 1, 1), (32, 1, 1), None, *given)
    assert code == MISALIGNED_ADDRESS


def test_a_copy_beyond_the_source_faults(cuda):
    cuda.start()
    function = cuda.function(cuda.module(HEADER + DOUBLE), "double_all")
    source, out = cuda.upload(bytes(4096)), cuda.upload(bytes(4096))
    given = [ctypes.c_uint64(source), ctypes.c_uint64(out), ctypes.c_uint32(8192)]
    assert run(cuda, function, (1, 1, 1), (32, 1, 1), None, *given) == d.ILLEGAL_ADDRESS


@pytest.mark.parametrize(
    ("op", "dtype", "combine"),
    [
        ("add.u32", np.uint32, lambda old, tile: old + 8 * tile),
        ("min.s32", np.int32, np.minimum),
        ("max.u64", np.uint64, np.maximum),
        ("xor.b32", np.uint32, lambda old, tile: old),
        ("or.b64", np.uint64, np.bitwise_or),
        ("add.f32", np.float32, lambda old, tile: old + 8 * tile),
        ("add.noftz.f16", np.float16, lambda old, tile: old + 8 * tile),
        ("max.f16", np.float16, np.maximum),
    ],
)
def test_multicast_and_reduction(cuda, op, dtype, combine):
    cuda.start()
    text = HEADER + SPREAD.replace("{OP}", op)
    function = cuda.function(cuda.module(text), "spread")
    count = 256 // np.dtype(dtype).itemsize
    rng = np.random.default_rng(5)
    # Small whole numbers: sums in any order are exact in every type.
    tile = rng.integers(0, 100, count).astype(dtype)
    old = rng.integers(0, 100, count).astype(dtype)
    source, out = cuda.upload(tile.tobytes()), cuda.upload(old.tobytes())
    given = [ctypes.c_uint64(source), ctypes.c_uint64(out)]
    assert run(cuda, function, (8, 1, 1), (1, 1, 1), (4, 1, 1), *given) == 0
    got = np.frombuffer(cuda.download(out, 256), dtype)
    np.testing.assert_array_equal(got, combine(old, tile))
