"""Thread block clusters: shared memory of other blocks, cluster barriers, bulk copies."""

import ctypes
import struct

import numpy as np
import pytest

from harness import driver as d

HEADER = ".version 8.6\n.target sm_90\n.address_size 64\n"
CLUSTER_DIMENSION = 4
INVALID_CLUSTER_SIZE = 912

#: Each block writes its index to its neighbour's shared memory, then out what it was given:
#: out[block * 8] = neighbour's value, rank, blocks, clusters, cluster index, x and y in the
#: cluster, rank of the mapped address.
NEIGHBOURS = """
.visible .entry neighbours(.param .u64 out) {DIRECTIVES}
{
  .reg .pred %p<2>; .reg .b32 %r<32>; .reg .b64 %d<8>;
  .shared .align 8 .b32 given[4];
  mov.u32 %r1, %cluster_ctarank;
  mov.u32 %r2, %cluster_nctarank;
  mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ctaid.y; mov.u32 %r5, %nctaid.x;
  mad.lo.u32 %r6, %r4, %r5, %r3;
  add.u32 %r7, %r1, 1;
  rem.u32 %r7, %r7, %r2;
  mov.u64 %d1, given;
  cvta.shared.u64 %d1, %d1;
  mapa.u64 %d2, %d1, %r7;
  mov.u32 %r8, given;
  mapa.shared::cluster.u32 %r9, %r8, %r7;
  barrier.cluster.arrive.relaxed;
  barrier.cluster.wait;
  st.u32 [%d2], %r6;
  st.shared::cluster.u32 [%r9+4], %r6;
  atom.add.u32 %r10, [%d2+8], 5;
  barrier.cluster.arrive;
  barrier.cluster.wait;
  ld.shared.u32 %r11, [given];
  ld.shared.u32 %r12, [given+4];
  setp.ne.u32 %p1, %r11, %r12;
  @%p1 trap;
  getctarank.u64 %r13, %d2;
  setp.ne.u32 %p1, %r13, %r7;
  @%p1 trap;
  getctarank.shared::cluster.u32 %r13, %r9;
  mov.u32 %r14, %nclusterid.x; mov.u32 %r15, %clusterid.x;
  mov.u32 %r16, %cluster_ctaid.x; mov.u32 %r17, %cluster_ctaid.y;
  ld.param.u64 %d3, [out];
  mul.wide.u32 %d4, %r6, 32;
  add.u64 %d3, %d3, %d4;
  st.global.v4.u32 [%d3], {%r11, %r1, %r2, %r14};
  st.global.v4.u32 [%d3+16], {%r15, %r16, %r17, %r13};
  ret;
}
"""

#: One block reads a value that another writes after many threads came and exited early.
EARLY_EXIT = """
.visible .entry early(.param .u64 out)
{
  .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %d<4>;
  .shared .align 4 .b32 value;
  mov.u32 %r1, %cluster_ctarank;
  mov.u32 %r2, %tid.x;
  setp.gt.u32 %p1, %r2, 0;
  @%p1 exit;
  st.shared.u32 [value], 77;
  barrier.cluster.arrive;
  barrier.cluster.wait;
  xor.b32 %r3, %r1, 1;
  mov.u32 %r4, value;
  mapa.shared::cluster.u32 %r4, %r4, %r3;
  ld.shared::cluster.u32 %r5, [%r4];
  barrier.cluster.arrive;
  barrier.cluster.wait;
  ld.param.u64 %d1, [out];
  atom.global.add.u32 %r6, [%d1], %r5;
  ret;
}
"""


class Attribute(ctypes.Structure):
    """CUlaunchAttribute with a cluster dimension."""

    _fields_ = (("id", ctypes.c_int), ("pad", ctypes.c_int), ("value", ctypes.c_uint * 16))


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint),
    )  # fmt: skip


def launch(cuda, function, grid, block, cluster, *arguments, shared=0):
    """cuLaunchKernelEx with a cluster (None: without)."""
    attribute = Attribute(CLUSTER_DIMENSION, 0, (ctypes.c_uint * 16)(*(cluster or ())))
    config = Config(
        (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), shared, None,
        ctypes.addressof(attribute), 0 if cluster is None else 1,
    )  # fmt: skip
    pointers = (ctypes.c_void_p * len(arguments))(*[ctypes.addressof(a) for a in arguments])
    return cuda.code("cuLaunchKernelEx", ctypes.byref(config), function, pointers, None)


def run(cuda, *arguments, **options):
    """The code of the launch, or of its end."""
    return launch(cuda, *arguments, **options) or cuda.code("cuCtxSynchronize")


def neighbours(cuda, directives=""):
    text = HEADER + NEIGHBOURS.replace("{DIRECTIVES}", directives)
    return cuda.function(cuda.module(text), "neighbours")


def check_neighbours(cuda, function, grid, cluster, given):
    blocks = grid[0] * grid[1]
    out = cuda.alloc(32 * blocks)
    assert run(cuda, function, (*grid, 1), (1, 1, 1), given, ctypes.c_uint64(out)) == 0
    got = np.frombuffer(cuda.download(out, 32 * blocks), np.uint32).reshape(-1, 8)
    for y in range(grid[1]):
        for x in range(grid[0]):
            cx, cy = x % cluster[0], y % cluster[1]
            size = cluster[0] * cluster[1]
            rank = cy * cluster[0] + cx
            before = (rank - 1) % size
            sender_x = x - cx + before % cluster[0]
            sender_y = y - cy + before // cluster[0]
            wanted = (
                sender_y * grid[0] + sender_x, rank, size, grid[0] // cluster[0],
                x // cluster[0], cx, cy, (rank + 1) % size,
            )  # fmt: skip
            assert tuple(got[y * grid[0] + x]) == wanted


@pytest.mark.parametrize("cluster", [(2, 1), (1, 1), (4, 2), (2, 4)])
def test_blocks_reach_each_other(cuda, cluster):
    cuda.start()
    check_neighbours(cuda, neighbours(cuda), (8, 4), cluster, (*cluster, 1))


def test_dimensions_of_the_kernel(cuda):
    cuda.start()
    function = neighbours(cuda, ".explicitcluster .reqnctapercluster 2, 2, 1")
    check_neighbours(cuda, function, (4, 2), (2, 2), None)
    out = ctypes.c_uint64(cuda.alloc(32 * 8))
    code = launch(cuda, function, (4, 2, 1), (1, 1, 1), (4, 1, 1), out)
    assert code == INVALID_CLUSTER_SIZE
    assert launch(cuda, function, (3, 2, 1), (1, 1, 1), None, out) == INVALID_CLUSTER_SIZE


def test_clusters_that_do_not_fit(cuda):
    cuda.start()
    out = ctypes.c_uint64(cuda.alloc(4096))
    function = neighbours(cuda)
    for grid, cluster in (((3, 1, 1), (2, 1, 1)), ((16, 1, 1), (16, 1, 1))):
        assert launch(cuda, function, grid, (1, 1, 1), cluster, out) == INVALID_CLUSTER_SIZE


def test_exited_threads_count_as_arrived(cuda):
    cuda.start()
    function = cuda.function(cuda.module(HEADER + EARLY_EXIT), "early")
    out = cuda.upload(bytes(4))
    assert run(cuda, function, (6, 1, 1), (96, 1, 1), (2, 1, 1), ctypes.c_uint64(out)) == 0
    assert cuda.download(out, 4) == struct.pack("<I", 6 * 77)


def test_a_block_that_is_not_there(cuda):
    cuda.start()
    text = (
        HEADER
        + """
.visible .entry far()
{
  .reg .b32 %r<4>; .shared .align 4 .b32 value;
  mov.u32 %r1, value;
  mapa.shared::cluster.u32 %r2, %r1, 2;
  ld.shared::cluster.u32 %r3, [%r2];
  st.shared.u32 [value], %r3;
  ret;
}
"""
    )
    function = cuda.function(cuda.module(text), "far")
    assert run(cuda, function, (2, 1, 1), (1, 1, 1), (2, 1, 1)) == d.ILLEGAL_ADDRESS
