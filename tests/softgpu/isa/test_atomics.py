"""atom and red (PTX ISA 9.7.13.5 to 9.7.13.7): one operation against a model, then contention."""

import numpy as np
import pytest

from softgpu.isa import device
from softgpu.isa.instruction import Instruction, check
from softgpu.isa.values import WIDTHS

INTEGER = {
    "add": (lambda old, b: old + b, ["u32", "s32", "u64", "s64"]),
    "min": (min, ["u32", "s32", "u64", "s64"]),
    "max": (max, ["u32", "s32", "u64", "s64"]),
    "inc": (lambda old, b: 0 if old >= b else old + 1, ["u32"]),
    "dec": (lambda old, b: b if old == 0 or old > b else old - 1, ["u32"]),
    "exch": (lambda old, b: b, ["b32", "b64", "b128"]),
    "and": (lambda old, b: old & b, ["b32", "b64"]),
    "or": (lambda old, b: old | b, ["b32", "b64"]),
    "xor": (lambda old, b: old ^ b, ["b32", "b64"]),
}
#: Each space with the instructions that point %cell at this thread's place in it.
SPACES = {
    "global": "mov.u64 %cell, %at_e;",
    "shared": "mov.u64 %cell, cells; mad.wide.u32 %cell, %slot, 16, %cell;",
    "": "mov.u64 %cell, cells; mad.wide.u32 %cell, %slot, 16, %cell; cvta.shared.u64 %cell, %cell;",
}
DECLARE = ".shared .align 16 .b8 cells[2048];"


def cell(space: str, kind: str, operation: str, **registers: str) -> Instruction:
    """d = what ``operation`` on [%cell], which holds a, returns; e = what it left there."""
    where = f".{space}" if space else ""
    wide = {"b128": "b128"}.get(kind, f"b{WIDTHS[kind]}")
    return Instruction(
        f"{SPACES[space]} st{where}.{wide} [%cell], {{a}}; {operation}"
        f" ld{where}.{wide} {{e}}, [%cell];",
        declare=DECLARE,
        setup=".reg .b64 %cell; .reg .b32 %slot; mov.u32 %slot, %tid.x;",
        **registers,
    )


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("op", INTEGER)
def test_integer_operations(op, space):
    model, kinds = INTEGER[op]
    where = f".{space}" if space else ""
    for kind in kinds:
        registers = {"d": kind, "e": kind, "a": kind, "b": kind}
        check(
            cell(space, kind, f"atom{where}.{op}.{kind} {{d}}, [%cell], {{b}};", **registers),
            lambda a, b: (a, model(a, b)),
            count=64,
        )
        if op != "exch":
            scope = {"u32": ".relaxed.cta", "s32": ".release.gpu"}.get(kind, ".relaxed.sys")
            check(
                cell(space, kind, f"red{scope}{where}.{op}.{kind} [%cell], {{b}};",
                     e=kind, a=kind, b=kind),
                model,
                count=64,
            )  # fmt: skip


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", ["b16", "b32", "b64", "b128"])
def test_compare_and_swap(kind, space):
    where = f".{space}" if space else ""
    registers = {"d": kind, "e": kind, "a": kind, "b": kind, "c": kind}
    few = [0, 1, -1, 1 << (WIDTHS[kind] - 1)]
    check(
        cell(space, kind, f"atom.acq_rel.gpu{where}.cas.{kind} {{d}}, [%cell], {{b}}, {{c}};",
             **registers),
        lambda a, b, c: (a, c if a == b else a),
        edges=dict.fromkeys("abc", few), count=64,
    )  # fmt: skip


def flushed(bits: np.ndarray) -> np.ndarray:
    return np.where(bits & 0x7F800000 == 0, bits & 0x80000000, bits).astype(np.uint32)


def same_or_nan(kind: str):
    float_type = {"f32": np.float32, "f64": np.float64, "f16": np.float16}[kind]

    def accept(got: np.ndarray, want: np.ndarray) -> np.ndarray:
        both = np.isnan(got.view(float_type)) & np.isnan(want.view(float_type))
        return (got == want) | both

    return accept


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_float_add(kind, space):
    where = f".{space}" if space else ""
    real = np.dtype("f4") if kind == "f32" else np.dtype("f8")
    word = np.uint32 if kind == "f32" else np.uint64
    # Denormals are flushed in global memory and kept in shared memory, single precision only.
    flush = flushed if kind == "f32" and space == "global" else lambda bits: bits

    def model(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            total = flush(a).view(real) + flush(b).view(real)
        return a, flush(total.view(word))

    check(
        cell(space, kind, f"atom{where}.add.{kind} {{d}}, [%cell], {{b}};",
             d=kind, e=kind, a=kind, b=kind),
        model, vector=True, accept=same_or_nan(kind), count=64,
    )  # fmt: skip


@pytest.mark.parametrize("space", SPACES)
def test_half_add(space):
    op = "add.noftz"
    where = f".{space}" if space else ""

    def model(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            return a, (a.view(np.float16) + b.view(np.float16)).view(np.uint16)

    check(
        cell(space, "f16", f"atom{where}.{op}.f16 {{d}}, [%cell], {{b}};",
             d="f16", e="f16", a="f16", b="f16"),
        model, vector=True, accept=same_or_nan("f16"), count=64,
    )  # fmt: skip

    def packed(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            return a, (a.view(np.float16) + b.view(np.float16)).view(np.uint32)

    def accept(got: np.ndarray, want: np.ndarray) -> np.ndarray:
        halves = same_or_nan("f16")(got.view(np.uint16), want.view(np.uint16))
        return halves.reshape(-1, 2).all(axis=1)

    check(
        cell(space, "f16x2", f"atom{where}.{op}.f16x2 {{d}}, [%cell], {{b}};",
             d="f16x2", e="f16x2", a="f16x2", b="f16x2"),
        packed, vector=True, accept=accept, count=64,
    )  # fmt: skip


VECTOR = """.version 8.6
.target sm_100
.address_size 64
.visible .entry test(.param .u64 cells, .param .u64 old, .param .u64 more)
{{
.reg .b{bits} %v<{count}>, %w<{count}>; .reg .b64 %rd<8>; .reg .b32 %r<2>;
ld.param.u64 %rd1, [cells]; ld.param.u64 %rd2, [old]; ld.param.u64 %rd3, [more];
mov.u32 %r1, %tid.x;
mad.wide.u32 %rd1, %r1, {size}, %rd1; mad.wide.u32 %rd2, %r1, {size}, %rd2;
mad.wide.u32 %rd3, %r1, {size}, %rd3;
ld.global.v{count}.b{bits} {{{w}}}, [%rd3];
{operation}
{store}
ret;
}}"""


@pytest.mark.parametrize(
    ("kind", "count", "op"),
    [("f32", 2, "add"), ("f32", 4, "add"), ("f16", 2, "add.noftz"), ("f16", 4, "min.noftz"),
     ("f16", 8, "max.noftz"), ("f16x2", 2, "add.noftz"), ("f16x2", 4, "add.noftz")],
)  # fmt: skip
def test_vectors(kind, count, op):
    bits = WIDTHS[kind]
    v = ", ".join(f"%v{i}" for i in range(count))
    w = ", ".join(f"%w{i}" for i in range(count))
    generator = np.random.default_rng(1)
    real = np.float32 if kind == "f32" else np.float16
    numbers = 32 * count * bits // (32 if kind == "f32" else 16)
    cells, more = (generator.integers(-100, 100, numbers).astype(real) for _ in range(2))
    combine = {"add": np.add, "min": np.minimum, "max": np.maximum}[op[:3]]
    form = {"bits": bits, "count": count, "size": bits * count // 8, "w": w}
    store = f"st.global.v{count}.b{bits} [%rd2], {{{v}}};"
    atom = f"atom.global.{op}.v{count}.{kind} {{{v}}}, [%rd1], {{{w}}};"
    # In place: a result must not overwrite the operand of a later element.
    turned = ", ".join(f"%w{count - 1 - i}" for i in range(count))
    in_place = f"atom.global.{op}.v{count}.{kind} {{{turned}}}, [%rd1], {{{w}}};"
    red = f"red.global.{op}.v{count}.{kind} [%rd1], {{{w}}};"
    for variant in device.VARIANTS:
        run = device.variant(variant).run
        got = run(VECTOR.format(operation=atom, store=store, **form), "test", cells,
                  np.zeros_like(cells), more)  # fmt: skip
        assert np.array_equal(got[0], combine(cells, more))
        assert np.array_equal(got[1], cells)
        store_turned = f"st.global.v{count}.b{bits} [%rd2], {{{turned}}};"
        got = run(VECTOR.format(operation=in_place, store=store_turned, **form), "test", cells,
                  np.zeros_like(cells), more)  # fmt: skip
        assert np.array_equal(got[0], combine(cells, more))
        assert np.array_equal(got[1], cells)
        got = run(VECTOR.format(operation=red, store="", **form), "test", cells, cells, more)
        assert np.array_equal(got[0], combine(cells, more))


CONTENTION = """.version 8.0
.target sm_90
.address_size 64
.visible .entry test(.param .u64 cells)
{
.shared .align 8 .b8 near[64];
.reg .b32 %r<8>; .reg .b64 %rd<6>; .reg .f32 %f<3>; .reg .f64 %fd<3>; .reg .pred %p<3>;
ld.param.u64 %rd1, [cells];
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r6, %ntid.x;
mad.lo.u32 %r3, %r2, %r6, %r1;
setp.eq.u32 %p1, %r1, 0;
@%p1 st.shared.u32 [near], 0;
@%p1 st.shared.u32 [near+4], 0x80000000;
bar.sync 0;
atom.global.add.u32 %r4, [%rd1], 1;
red.global.inc.u32 [%rd1+4], 99;
red.global.max.s32 [%rd1+8], %r3;
red.global.add.f32 [%rd1+12], 0f3f800000;
mov.f64 %fd1, 0d3ff0000000000000;
atom.global.add.f64 %fd2, [%rd1+16], %fd1;
red.shared.add.u32 [near], 2;
atom.shared.max.s32 %r5, [near+4], %r1;
red.global.xor.b32 [%rd1+24], %r3;
red.global.min.u64 [%rd1+32], %rd1;
// a counter made of compare and swap
ld.global.u32 %r4, [%rd1+28];
AGAIN:
add.u32 %r5, %r4, 1;
atom.global.cas.b32 %r7, [%rd1+28], %r4, %r5;
setp.ne.u32 %p2, %r7, %r4;
mov.u32 %r4, %r7;
@%p2 bra AGAIN;
bar.sync 0;
ld.shared.u32 %r4, [near]; ld.shared.u32 %r5, [near+4];
@%p1 red.global.add.u32 [%rd1+40], %r4;
@%p1 red.global.add.u32 [%rd1+44], %r5;
ret;
}"""


def test_contention_totals():
    blocks, threads = 37, 96
    n = blocks * threads
    cells = np.zeros(12, np.uint32)
    cells[2] = 0x80000000
    cells[8] = cells[9] = 0xFFFFFFFF
    for variant in device.VARIANTS:
        (got,) = device.variant(variant).run(CONTENTION, "test", cells, grid=blocks, block=threads)
        assert got[0] == n
        assert got[1] == n % 100
        assert got[2] == n - 1
        assert got[3:4].view(np.float32)[0] == n
        assert got[4:6].view(np.float64)[0] == n
        assert got[6] == np.bitwise_xor.reduce(np.arange(n))
        assert got[7] == n
        assert got[8:10].view(np.uint64)[0] < 1 << 56
        assert got[10] == 2 * n
        assert got[11] == blocks * (threads - 1)
