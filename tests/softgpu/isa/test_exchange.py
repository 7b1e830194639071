"""Exchanges within a warp (PTX ISA 9.7.9.6, 9.7.13): shfl, vote, match, redux, elect."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from softgpu.isa import device
from softgpu.isa.instruction import POISON, Instruction, execute
from softgpu.isa.values import WIDTHS, array_of, edges_of, integers_of, random_values, wrap

WARPS = 12
#: Lanes that take part: all, a scattered set, one, and the upper half.
GROUPS = (0xFFFFFFFF, 0x5A3C9E07, 0x00000400, 0xFFFF0000)


def compare_warps(
    make: Callable[[int], Instruction],
    model: Callable[..., Sequence[Any]],
    domains: dict[str, Sequence[int]] | None = None,
) -> None:
    """Runs an instruction on warps of drawn operands, by all lanes and by part of them.

    ``make`` builds it for a member mask. ``model`` gets the lanes that take part and, per operand,
    a list of 32 values; it returns the results of each lane, None where PTX leaves one open.
    """
    for group in GROUPS:
        instruction = make(group)
        columns = []
        for i, (name, kind) in enumerate(instruction.operands.items()):
            domain = [wrap(kind, v) for v in (domains or {}).get(name, edges_of(kind))]
            columns.append(array_of(kind, random_values(kind, domain, group + i, 32 * WARPS)))
        lists = [
            integers_of(k, c) for k, c in zip(instruction.operands.values(), columns, strict=True)
        ]
        active = [lane for lane in range(32) if group >> lane & 1]
        wanted = []
        for warp in range(WARPS if columns else 1):
            rows = [column[32 * warp : 32 * warp + 32] for column in lists]
            answers = model(active, *rows)
            for lane in range(32):
                answer = answers[lane] if isinstance(answers[lane], tuple) else (answers[lane],)
                wanted.append(answer if lane in active else None)
        for variant in device.VARIANTS:
            got = execute(instruction, columns, variant, lanes=group)
            for k, kind in enumerate(instruction.results.values()):
                kept = 0 if kind == "pred" else wrap(kind, POISON)
                for at, seen in enumerate(integers_of(kind, got[k])):
                    want = kept if wanted[at] is None else wanted[at][k]
                    if want is not None:
                        place = (instruction.text, variant, at // 32, at % 32)
                        assert seen == wrap(kind, int(want)), place


@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
def test_shfl(mode):
    def model(active, a, b, c):
        results = []
        for lane in range(32):
            amount, clamp, segment = b[lane] & 31, c[lane] & 31, c[lane] >> 8 & 31
            least = lane & segment
            most = least | (clamp & ~segment)
            source = {
                "up": lane - amount,
                "down": lane + amount,
                "bfly": lane ^ amount,
                "idx": least | (amount & ~segment),
            }[mode]
            good = source >= most if mode == "up" else source <= most
            if not good:
                source = lane
            results.append((a[source] if source in active else None, good))
        return results

    compare_warps(
        lambda group: Instruction(
            f"shfl.sync.{mode}.b32 {{d}}|{{e}}, {{a}}, {{b}}, {{c}}, {group:#x};",
            d="b32", e="pred", a="b32", b="b32", c="b32",
        ),
        model,
        # Widths of 32, 16, 8 and 1 as compilers write them, and others.
        {"b": [0, 1, 2, 16, 31, 33, 255],
         "c": [0x1F, 0, 0x100F, 0x181F, 0x1F1F, 0x1800, 0x1C1F, 0x0A15, -1]},
    )  # fmt: skip
    compare_warps(  # without a predicate, in place
        lambda group: Instruction(
            "{{ mov.b32 {d}, {a}; "
            f"shfl.sync.{mode}.b32 {{d}}, {{d}}, {{b}}, 0x1f, {group:#x}; }}}}",
            d="b32", a="b32", b="b32",
        ),
        lambda active, a, b: [r[0] for r in model(active, a, b, [0x1F] * 32)],
    )  # fmt: skip


def test_vote():
    def model(active, p):
        votes = [bool(p[lane]) for lane in active]
        return [(all(votes), any(votes), all(votes) or not any(votes))] * 32

    compare_warps(
        lambda group: Instruction(
            f"vote.sync.all.pred {{d}}, {{a}}, {group:#x};"
            f" vote.sync.any.pred {{e}}, {{a}}, {group:#x};"
            f" vote.sync.uni.pred {{f}}, {{a}}, {group:#x};",
            d="pred", e="pred", f="pred", a="pred",
        ),
        model,
    )  # fmt: skip
    compare_warps(
        lambda group: Instruction(
            f"vote.sync.ballot.b32 {{d}}, {{a}}, {group:#x};"
            f" vote.sync.ballot.b32 {{e}}, !{{a}}, {group:#x};",
            d="b32", e="b32", a="pred",
        ),
        lambda active, p: [
            (sum(1 << i for i in active if p[i]), sum(1 << i for i in active if not p[i]))
        ] * 32,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["b32", "b64"])
def test_match(kind):
    few = [0, 1, 1 << (WIDTHS[kind] - 1)]

    def alike(active, values, lane):
        return sum(1 << i for i in active if values[i] == values[lane])

    compare_warps(
        lambda group: Instruction(
            f"and.b{WIDTHS[kind]} {{a}}, {{a}}, 3; match.any.sync.{kind} {{d}}, {{a}}, {group:#x};",
            d="b32", a=kind,
        ),
        lambda active, a: [alike(active, [v & 3 for v in a], lane) for lane in range(32)],
        {"a": few},
    )  # fmt: skip

    def everyone(active, a, b):
        values = [0 if v % 4 else 7 for v in b]
        whole = sum(1 << i for i in active)
        same = len({values[i] for i in active}) == 1
        return [(whole if same else 0, same)] * 32

    compare_warps(
        lambda group: Instruction(
            "{{ .reg .pred %t; and.b32 {b}, {b}, 3; setp.eq.u32 %t, {b}, 0;"
            f" selp.{kind} {{a}}, 7, 0, %t;"
            f" match.all.sync.{kind} {{d}}|{{e}}, {{a}}, {group:#x}; }}}}",
            d="b32", e="pred", a=kind, b="b32",
        ),
        everyone,
        {"b": [4, 8]},
    )  # fmt: skip


REDUCTIONS = {
    "add": lambda x, y: x + y, "min": min, "max": max,
    "and": lambda x, y: x & y, "or": lambda x, y: x | y, "xor": lambda x, y: x ^ y,
}  # fmt: skip


@pytest.mark.parametrize("op", REDUCTIONS)
def test_redux(op):
    kinds = ["u32", "s32"] if op in ("add", "min", "max") else ["b32"]
    for kind in kinds:

        def model(active, a):
            total = a[active[0]]
            for lane in active[1:]:
                total = REDUCTIONS[op](total, a[lane])
            return [total] * 32

        compare_warps(
            lambda group, kind=kind: Instruction(
                f"redux.sync.{op}.{kind} {{d}}, {{a}}, {group:#x};", d=kind, a=kind
            ),
            model,
        )


def float_order(bits: int) -> tuple[float, int]:
    return float(np.uint32(bits).view(np.float32)), -(bits >> 31)  # -0 is below +0


@pytest.mark.parametrize("op", ["min", "max"])
@pytest.mark.parametrize("absolute", ["", ".abs"])
@pytest.mark.parametrize("nan", ["", ".NaN"])
def test_redux_of_floats(op, absolute, nan):
    def model(active, a):
        values = [a[lane] & 0x7FFFFFFF if absolute else a[lane] for lane in active]
        numbers = [v for v in values if v & 0x7FFFFFFF <= 0x7F800000]
        if not numbers or (nan and len(numbers) < len(values)):
            return [0x7FFFFFFF] * 32  # the canonical NaN
        return [(min if op == "min" else max)(numbers, key=float_order)] * 32

    for domain in ([0, 0x80000000, 1, 0x80000001], edges_of("f32"), [0x7FC00001, 0x7F800001]):
        compare_warps(
            lambda group: Instruction(
                f"redux.sync.{op}{absolute}{nan}.f32 {{d}}, {{a}}, {group:#x};", d="f32", a="f32"
            ),
            model,
            {"a": domain},
        )


def test_elect_and_activemask():
    def leader(active):
        return [(active[0], lane == active[0]) for lane in range(32)]

    compare_warps(
        lambda group: Instruction(f"elect.sync {{d}}|{{e}}, {group:#x};", d="b32", e="pred"),
        leader,
    )
    compare_warps(
        lambda group: Instruction("activemask.b32 {d};", d="b32"),
        lambda active: [sum(1 << i for i in active)] * 32,
    )


def test_groups_of_one_warp_do_not_mix():
    """Lanes with other member masks meet at the same instruction without waiting for each other."""
    ptx = """.version 8.0
.target sm_80
.address_size 64
.visible .entry test(.param .u64 out)
{
.reg .b32 %r<8>; .reg .b64 %rd<4>; .reg .pred %p;
mov.u32 %r1, %laneid;
and.b32 %r2, %r1, 3;
mov.u32 %r3, 0x11111111;
shl.b32 %r3, %r3, %r2;
redux.sync.add.u32 %r4, %r1, %r3;
ld.param.u64 %rd1, [out];
mul.wide.u32 %rd2, %r1, 4;
add.u64 %rd3, %rd1, %rd2;
st.global.u32 [%rd3], %r4;
ret;
}"""
    for variant in device.VARIANTS:
        (got,) = device.variant(variant).run(ptx, "test", np.zeros(32, np.uint32))
        assert got.tolist() == [sum(range(lane % 4, 32, 4)) for lane in range(32)]
