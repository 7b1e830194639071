"""ld and st in every space, type, vector shape, with every qualifier (PTX ISA 9.7.9.8 to 17)."""

import numpy as np
import pytest

from harness import driver as d
from softgpu.isa import device
from softgpu.isa.device import Refused
from softgpu.isa.instruction import Instruction, check
from softgpu.isa.values import WIDTHS

TYPES = ["b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64",
         "f64", "b128"]  # fmt: skip
SHAPES = [(kind, count) for kind in TYPES for count in (1, 2, 4, 8) if WIDTHS[kind] * count <= 256]
SPACES = ("global", "shared", "local", "generic")

HEAD = ".version 9.0\n.target sm_120\n.address_size 64\n"

#: Through a place of this thread in a space: in -> registers -> place -> registers -> out.
COPY = """.visible .entry {name}(.param .u64 from, .param .u64 to)
{{
.reg .{register} %v<{count}>; .reg .b64 %rd<6>; .reg .b32 %r<2>;
.shared .align 32 .b8 tile[1024]; .local .align 32 .b8 own[64];
ld.param.u64 %rd1, [from]; ld.param.u64 %rd2, [to];
mov.u32 %r1, %tid.x;
mad.wide.u32 %rd1, %r1, {size}, %rd1; mad.wide.u32 %rd2, %r1, {size}, %rd2;
{place}
ld.global{vector}.{kind} {values}, [%rd1];
st.{where}{vector}.{kind} [%rd3+{offset}], {values};
{clear}
ld.{where}{vector}.{kind} {values}, [%rd3+{offset}];
st.global{vector}.{kind} [%rd2], {values};
ret;
}}
"""
PLACES = {
    "global": "mov.u64 %rd3, %rd2;",
    "shared": "mov.u64 %rd3, tile; mad.wide.u32 %rd3, %r1, 32, %rd3;",
    "local": "mov.u64 %rd3, own;",
    "generic": "mov.u64 %rd3, tile; cvta.shared.u64 %rd3, %rd3; mad.wide.u32 %rd3, %r1, 32, %rd3;",
}


def copy_kernel(space: str, kind: str, count: int) -> str:
    size = WIDTHS[kind] * count // 8
    values = ", ".join(f"%v{i}" for i in range(count))
    register = f"b{max(16, WIDTHS[kind])}"
    wide = register if register != "b128" else "b64"
    clear = " ".join(f"mov.{wide} %v{i}, 0;" for i in range(count)) if register != "b128" else ""
    return COPY.format(
        name=f"copy_{kind}_{count}", kind=kind, count=count, size=size, register=register,
        vector=f".v{count}" if count > 1 else "",
        values=f"{{{values}}}" if count > 1 else values,
        place=PLACES[space], clear=clear,
        where=space if space != "generic" else "weak",
        offset=size if space == "local" else 0,
    )  # fmt: skip


@pytest.mark.parametrize("space", SPACES)
def test_every_type_and_vector(space):
    ptx = HEAD + "".join(copy_kernel(space, kind, count) for kind, count in SHAPES)
    generator = np.random.default_rng(2)
    for kind, count in SHAPES:
        size = WIDTHS[kind] * count // 8
        data = generator.integers(0, 256, 32 * size, np.uint8)
        for variant in device.VARIANTS:
            got = device.variant(variant).run(
                ptx, f"copy_{kind}_{count}", data, np.zeros_like(data)
            )
            assert np.array_equal(got[1], data), (space, kind, count)


@pytest.mark.parametrize("kind", ["u8", "s8", "u16", "s16", "u32", "s32", "b8", "b16"])
def test_values_extend_into_wider_registers(kind):
    """PTX ISA 9.4.1: a load may fill a register wider than its type, a store take a part of one."""
    for register in ("b16", "b32", "b64"):
        if WIDTHS[register] < WIDTHS[kind]:
            continue
        check(
            Instruction(f"ld.global.{kind} {{d}}, [%at_a];", d=register, a=kind), lambda a: a,
            count=32,
        )  # fmt: skip
        check(
            Instruction(
                f"st.global.b64 [%at_d], 0; st.global.{kind} [%at_d], {{a}};"
                " ld.global.b64 {d}, [%at_d];", d="b64", a=register,
            ),
            lambda a: a & ((1 << WIDTHS[kind]) - 1),
            count=32,
        )  # fmt: skip


LOADS = [
    "ld.global.ca", "ld.global.cg", "ld.global.cs", "ld.global.lu", "ld.global.cv", "ldu.global",
    "ld.global.nc", "ld.global.nc.L1::no_allocate", "ld.global.L1::evict_last",
    "ld.global.nc.L1::evict_first.L2::128B", "ld.global.L2::64B", "ld.global.L2::256B",
    "ld.weak.global", "ld.volatile.global", "ld.relaxed.cta.global", "ld.relaxed.gpu.global",
    "ld.acquire.sys.global", "ld.acquire.cluster.global", "ld.mmio.relaxed.sys.global", "ld",
    "ld.volatile", "ld.relaxed.sys", "ld.global.relaxed.gpu",
]  # fmt: skip
STORES = [
    "st.global.wb", "st.global.cg", "st.global.cs", "st.global.wt", "st.weak.global",
    "st.volatile.global", "st.relaxed.cta.global", "st.relaxed.sys.global", "st.release.gpu.global",
    "st.release.cluster.global", "st.mmio.relaxed.sys.global", "st.global.L1::no_allocate", "st",
    "st.global.L1::evict_unchanged", "st.volatile",
]  # fmt: skip


def test_qualifiers_of_loads_and_stores():
    values = {"d": "b32", "a": "b32"}
    for load in LOADS:
        check(Instruction(f"{load}.b32 {{d}}, [%at_a];", **values), lambda a: a, count=1)
    for store in STORES:
        check(
            Instruction(f"{store}.b32 [%at_d], {{a}}; ld.global.b32 {{d}}, [%at_d];", **values),
            lambda a: a, count=1,
        )  # fmt: skip
    policy = (
        "createpolicy.fractional.L2::evict_last.b64 %policy, 1.0;"
        " createpolicy.range.global.L2::evict_last.L2::evict_first.b64 %policy, [%at_a], 64, 128;"
        " createpolicy.cvt.L2.b64 %policy, %policy;"
    )
    check(
        Instruction(
            f"{policy} ld.global.L2::cache_hint.b32 {{d}}, [%at_a], %policy;"
            " st.global.L2::cache_hint.b32 [%at_d], {d}, %policy;"
            " red.global.add.L2::cache_hint.u32 [%at_d], 1, %policy;"
            " atom.global.add.L2::cache_hint.u32 {d}, [%at_d], 1, %policy;",
            setup=".reg .b64 %policy;", **values,
        ),
        lambda a: a + 1, count=1,
    )  # fmt: skip


def test_hints_change_nothing():
    for hint in (
        "prefetch.global.L1 [%at_a];", "prefetch.global.L2 [%at_a];", "prefetchu.L1 [%at_a];",
        "prefetch.global.L2::evict_last [%at_a];", "prefetch.global.L2::evict_normal [%at_a];",
        "applypriority.global.L2::evict_normal [%at_a], 128;", "prefetch.L1 [%at_a];",
        "membar.cta;", "membar.gl;", "membar.sys;", "fence.sc.cta;", "fence.acq_rel.gpu;",
        "fence.sc.sys;", "fence.acq_rel.cluster;", "fence.proxy.alias;", "fence.proxy.async;",
        "fence.proxy.async.shared::cta;", "fence.mbarrier_init.release.cluster;",
        "fence.acquire.sync_restrict::shared::cluster.cluster;", "nanosleep.u32 1;", "pmevent 3;",
        "griddepcontrol.wait;", "griddepcontrol.launch_dependents;",
        "setmaxnreg.inc.sync.aligned.u32 64;", "setmaxnreg.dec.sync.aligned.u32 64;",
        "cp.async.commit_group;", "cp.async.wait_group 0;", "cp.async.wait_all;",
    ):  # fmt: skip
        check(Instruction(f"{hint} mov.b32 {{d}}, {{a}};", d="b32", a="b32"), lambda a: a, count=1)


def test_constant_and_parameter_spaces():
    ptx = (
        HEAD
        + """
.const .align 8 .b64 bank[4] = {11, 22, 33, 0x8000000000000044};
.visible .entry test(.param .align 16 .b8 block[32], .param .u64 out)
{
.reg .b64 %rd<8>; .reg .b32 %r<4>; .reg .b16 %h<2>; .reg .b128 %q;
ld.param.u64 %rd1, [out];
mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 3;
mov.u64 %rd2, bank; mad.wide.u32 %rd2, %r2, 8, %rd2;
ld.const.b64 %rd3, [%rd2];
ld.param.v2.b32 {%r2, %r3}, [block+8];
ld.param.s16 %r3, [block+6];
ld.param.b128 %q, [block+16];
mov.b128 {%rd4, %rd5}, %q;
cvta.const.u64 %rd6, %rd2;
ld.b64 %rd6, [%rd6];
mad.wide.u32 %rd1, %r1, 48, %rd1;
st.global.v2.b64 [%rd1], {%rd3, %rd6};
st.global.v2.b64 [%rd1+16], {%rd4, %rd5};
st.global.v2.b32 [%rd1+32], {%r2, %r3};
ret;
}
"""
    )
    block = np.arange(0xE0, 0x100, dtype=np.uint8)
    for variant in device.VARIANTS:
        # A structure by value: NumPy scalars of any width are passed as their bytes.
        value = np.array([tuple(block)], np.dtype([(f"b{i}", "u1") for i in range(32)]))[0]
        (got,) = device.variant(variant).run(ptx, "test", value, np.zeros((32, 48), np.uint8))
        words = got.view(np.uint64)
        bank = [11, 22, 33, 0x8000000000000044]
        assert words[:, 0].tolist() == words[:, 1].tolist() == bank * 8
        assert got[0, 16:32].tolist() == block[16:32].tolist()
        assert got[0, 32:36].tolist() == block[8:12].tolist()
        assert got[0, 36:40].tolist() == [0xE6, 0xE7, 0xFF, 0xFF]


def test_spaces_of_generic_addresses():
    """isspacep sees through cvta; cvta.to undoes it (PTX ISA 9.7.9.18 to 9.7.9.20)."""
    ptx = (
        HEAD
        + """
.const .b32 fixed[4]; .global .b32 wide[4];
.visible .entry test(.param .u64 out)
{
.reg .b64 %rd<8>; .reg .pred %p<6>; .reg .b32 %r<8>;
.shared .b32 tile[4]; .local .b32 own[4];
ld.param.u64 %rd1, [out];
mov.u64 %rd2, fixed; cvta.const.u64 %rd2, %rd2;
mov.u64 %rd3, wide; cvta.global.u64 %rd3, %rd3;
mov.u64 %rd4, tile; cvta.shared.u64 %rd4, %rd4;
mov.u64 %rd5, own; cvta.local.u64 %rd5, %rd5;
mov.b64 %rd6, out; cvta.param.u64 %rd6, %rd6;
"""
        + "".join(
            f"isspacep.{space} %p1, %rd{i}; selp.u32 %r1, 1, 0, %p1;"
            f" st.global.u32 [%rd1+{4 * at}], %r1;\n"
            for at, (i, space) in enumerate(
                (i, space)
                for i in range(2, 7)
                for space in ("const", "global", "shared", "local", "param::entry")
            )
        )
        + """
cvta.to.shared.u64 %rd7, %rd4; mov.u64 %rd2, tile; sub.u64 %rd7, %rd7, %rd2;
st.global.u64 [%rd1+104], %rd7;
cvta.to.local.u64 %rd7, %rd5; mov.u64 %rd2, own; sub.u64 %rd7, %rd7, %rd2;
st.global.u64 [%rd1+112], %rd7;
ld.u64 %rd7, [%rd6]; sub.u64 %rd7, %rd7, %rd1;
st.global.u64 [%rd1+120], %rd7;
ret;
}
"""
    )
    # The window of kernel parameters lies in the global one.
    table = np.eye(5, dtype=np.uint32)
    table[4, 1] = 1
    for variant in device.VARIANTS:
        (got,) = device.variant(variant).run(ptx, "test", np.full(32, 7, np.uint32), block=1)
        assert got[:25].reshape(5, 5).tolist() == table.tolist()
        assert not got[26:].any()


@pytest.mark.parametrize(
    ("access", "code"),
    [("ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%rd1+4];", 716),
     ("st.global.b64 [%rd1+4], %rd1;", 716),
     ("ld.shared.b32 %r1, [tile+32];", d.ILLEGAL_ADDRESS),
     ("ld.global.b32 %r1, [%rd1+65536];", d.ILLEGAL_ADDRESS),
     ("atom.global.add.u32 %r1, [%rd1+2], 1;", 716)],
)  # fmt: skip
def test_bad_addresses_are_faults(access, code):
    ptx = (
        HEAD
        + f""".visible .entry test(.param .u64 out) {{
.reg .b64 %rd<2>; .reg .b32 %r<5>; .shared .align 8 .b8 tile[32];
ld.param.u64 %rd1, [out];
{access}
ret;
}}"""
    )
    with pytest.raises(Refused) as refused:
        device.variant("avx2").run(ptx, "test", np.zeros(16, np.uint32), block=1)
    assert refused.value.code == code
