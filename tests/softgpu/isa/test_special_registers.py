"""Special registers (PTX ISA 10)."""

import numpy as np
import pytest

from softgpu.isa import device

HEAD = ".version 9.0\n.target sm_120\n.address_size 64\n"


def read(name: str, bits: int = 32, **launch) -> np.ndarray:
    """The register's value in every thread, blocks one after the other."""
    ptx = (
        HEAD
        + f""".visible .entry test(.param .u64 out)
{{
.reg .b32 %r<12>; .reg .b64 %rd<4>; .reg .b{bits} %value;
.extern .shared .align 16 .b8 dynamic[];
ld.param.u64 %rd1, [out];
mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z;
mov.u32 %r4, %ntid.x; mov.u32 %r5, %ntid.y; mov.u32 %r6, %ntid.z;
mad.lo.u32 %r2, %r3, %r5, %r2; mad.lo.u32 %r1, %r2, %r4, %r1;
mul.lo.u32 %r4, %r4, %r5; mul.lo.u32 %r4, %r4, %r6;
mov.u32 %r7, %ctaid.x; mov.u32 %r8, %ctaid.y; mov.u32 %r9, %ctaid.z;
mov.u32 %r10, %nctaid.x; mov.u32 %r11, %nctaid.y;
mad.lo.u32 %r8, %r9, %r11, %r8; mad.lo.u32 %r7, %r8, %r10, %r7;
mad.lo.u32 %r1, %r7, %r4, %r1;
mov.u{bits} %value, {name};
mad.wide.u32 %rd1, %r1, {bits // 8}, %rd1;
st.global.u{bits} [%rd1], %value;
ret;
}}
"""
    )
    grid, block = launch.get("grid", (2, 1, 1)), launch.get("block", (64, 1, 1))
    count = int(np.prod(grid) * np.prod(block))
    got = device.variant("avx2").run(
        ptx.replace(".extern .shared .align 16 .b8 dynamic[];\n", ""),
        "test", np.zeros(count, f"u{bits // 8}"), grid=grid, block=block,
        shared=launch.get("shared", 0),
    )  # fmt: skip
    return got[0]


SHAPE = {"grid": (3, 2, 2), "block": (5, 3, 2)}


def test_places_in_the_grid():
    threads = np.arange(12 * 30)
    within, block = threads % 30, threads // 30
    for name, want in {
        "%tid.x": within % 5, "%tid.y": within // 5 % 3, "%tid.z": within // 15,
        "%ctaid.x": block % 3, "%ctaid.y": block // 3 % 2, "%ctaid.z": block // 6,
        "%laneid": within % 32,
    }.items():  # fmt: skip
        assert read(name, **SHAPE).tolist() == want.tolist(), name
    for name, value in {
        "%ntid.x": 5, "%ntid.y": 3, "%ntid.z": 2, "%nctaid.x": 3, "%nctaid.y": 2, "%nctaid.z": 2,
    }.items():  # fmt: skip
        assert (read(name, **SHAPE) == value).all(), name


def test_lanes_and_warps():
    lane = np.arange(128) % 64 % 32
    for name, want in {
        "%lanemask_eq": 1 << lane, "%lanemask_lt": (1 << lane) - 1,
        "%lanemask_le": (2 << lane) - 1, "%lanemask_gt": 0xFFFFFFFF & ~((2 << lane) - 1),
        "%lanemask_ge": 0xFFFFFFFF & ~((1 << lane) - 1), "%warpid": np.arange(128) % 64 // 32,
    }.items():  # fmt: skip
        assert read(name).tolist() == want.tolist(), name
    assert (read("%warpid") < read("%nwarpid")).all()
    assert (read("%smid") < read("%nsmid")).all()


def test_sizes_of_shared_memory():
    assert (read("%dynamic_smem_size", shared=1000) == 1000).all()
    assert (read("%total_smem_size", shared=1000) >= 1000).all()
    assert (read("%aggr_smem_size", shared=1000) >= 1000).all()


def test_grids_differ():
    grids = [set(read("%gridid", 64).tolist()) for _ in range(2)]
    assert all(len(ids) == 1 for ids in grids)
    assert grids[0] != grids[1]


@pytest.mark.parametrize("name", ["%clock64", "%globaltimer"])
def test_clocks_advance(name):
    ptx = (
        HEAD
        + f""".visible .entry test(.param .u64 out)
{{
.reg .b64 %rd<4>; .reg .b32 %r<3>; .reg .pred %p;
ld.param.u64 %rd1, [out];
mov.u64 %rd2, {name};
WAIT:
mov.u64 %rd3, {name};
setp.eq.u64 %p, %rd2, %rd3;
@%p bra WAIT;
st.global.v2.b64 [%rd1], {{%rd2, %rd3}};
mov.u32 %r1, %clock; mov.u32 %r2, %clock_hi; st.global.v2.b32 [%rd1+16], {{%r1, %r2}};
mov.u32 %r1, %globaltimer_lo; mov.u32 %r2, %globaltimer_hi;
st.global.v2.b32 [%rd1+24], {{%r1, %r2}};
ret;
}}"""
    )
    (got,) = device.variant("portable").run(ptx, "test", np.zeros(4, np.uint64), block=1)
    assert got[1] > got[0]
    now = got[3] if name == "%globaltimer" else got[2]
    assert 0 <= int(now) - int(got[1]) < 10**10


def test_cluster_of_one_block():
    for name, value in {
        "%cluster_ctarank": 0, "%cluster_nctarank": 1, "%cluster_ctaid.x": 0,
        "%cluster_nctaid.y": 1,
    }.items():  # fmt: skip
        assert (read(name) == value).all(), name
    assert read("%clusterid.x").tolist() == [0] * 64 + [1] * 64


def test_environment_registers_read_as_numbers():
    for i in (0, 5, 31):
        read(f"%envreg{i}")
