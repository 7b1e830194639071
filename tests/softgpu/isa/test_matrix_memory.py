"""wmma, ldmatrix, stmatrix and movmatrix against NumPy (PTX ISA 9.7.14.4, 9.7.14.5.15 to 17)."""

import itertools

import numpy as np
import pytest

from softgpu.isa.device import VARIANTS, Refused, variant

HEADER = ".version 9.0\n.target sm_120a\n.address_size 64\n"
SQUARE = [(16, 16, 16), (8, 32, 16), (32, 8, 16)]
STORAGE = {
    "f16": np.float16, "f32": np.float32, "tf32": np.float32, "f64": np.float64,
    "s8": np.int8, "u8": np.uint8, "s32": np.int32, "bf16": np.uint16,
}  # fmt: skip
COUNTS = {
    # Registers of A, B and of C or D; .f16 operands always have eight.
    "f16": lambda m, n, k: (8, 8), "bf16": lambda m, n, k: (m * k // 64, n * k // 64),
    "s8": lambda m, n, k: (m * k // 128, n * k // 128), "tf32": lambda m, n, k: (4, 4),
    "f64": lambda m, n, k: (1, 1), "s4": lambda m, n, k: (1, 1), "b1": lambda m, n, k: (1, 1),
}  # fmt: skip
COUNTS["u8"], COUNTS["u4"] = COUNTS["s8"], COUNTS["s4"]


def registers_c(kind, m, n):
    return {"f16": m * n // 64, "f64": 2}.get(kind, m * n // 32)


def names(letter, count):
    return "{" + ", ".join(f"%{letter}{i}" for i in range(count)) + "}"


def wmma(shape, types, layouts, strides, middle="", suffix="", space="global"):
    """load a, b, c; mma; store d. types: a, b, c, d; layouts and strides: a, b, c, d."""
    m, n, k = shape
    a, b, c, d = types
    where = f"m{m}n{n}k{k}"
    counts = dict(zip("ab", COUNTS[a](m, n, k), strict=True))
    counts |= {"c": registers_c(c, m, n), "d": registers_c(d, m, n)}
    width = 64 if a == "f64" else 32
    lines = []
    for letter, kind, layout, stride in zip("abcd", types, layouts, strides, strict=True):
        lines.append(f".reg .b{width} %{letter}<{counts[letter]}>; .reg .b64 %p{letter};")
        lines.append(f"ld.param.u64 %p{letter}, [p_{letter}];")
        if letter != "d":
            lines.append(
                f"wmma.load.{letter}.sync.aligned.{layout}.{where}.{space}.{kind} "
                f"{names(letter, counts[letter])}, [%p{letter}], {stride};"
            )
    # Types: d.c for halves, d.a.b.c for all others.
    kinds = f"{d}.{c}" if a == "f16" else f"{d}.{a}.{b}.{c}"
    operands = ", ".join(names(x, counts[x]) for x in "dabc")
    by = f"{layouts[0]}.{layouts[1]}"
    lines.append(f"wmma.mma{middle}.sync.aligned.{by}.{where}{suffix}.{kinds} {operands};")
    lines.append(
        f"wmma.store.d.sync.aligned.{layouts[3]}.{where}.{space}.{d} [%pd], "
        f"{names('d', counts['d'])}, {strides[3]};"
    )
    parameters = ", ".join(f".param .u64 p_{x}" for x in "abcd")
    return HEADER + f".visible .entry test({parameters})\n{{\n" + "\n".join(lines) + "\nret;\n}\n"


def stored(matrix, layout, stride, dtype):
    """A matrix in memory with its rows, or columns, ``stride`` apart; what lies between is 99."""
    lines = matrix if layout == "row" else matrix.T
    out = np.full((len(lines), stride), 99, dtype)
    out[:, : lines.shape[1]] = lines
    return out


def read_back(memory, layout, shape):
    lines = memory[:, : shape[1] if layout == "row" else shape[0]]
    return lines if layout == "row" else lines.T


def cut(values):
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


FORMS = [
    *((s, ("f16", "f16", c, d)) for s in SQUARE for c in ("f16", "f32") for d in ("f16", "f32")),
    *((s, ("bf16", "bf16", "f32", "f32")) for s in SQUARE),
    *((s, (t, t, "s32", "s32")) for s in SQUARE for t in ("s8", "u8")),
    ((16, 16, 8), ("tf32", "tf32", "f32", "f32")),
    ((8, 8, 4), ("f64",) * 4),
]
LAYOUTS = list(itertools.product(("row", "col"), repeat=4))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("shape", "types"), FORMS, ids=str)
def test_wmma(shape, types, name):
    m, n, k = shape
    generator = np.random.default_rng(m)
    low = 0 if types[0] == "u8" else -8
    a, b = generator.integers(low, 8, (m, k)), generator.integers(low, 8, (k, n))
    c = generator.integers(-40, 40, (m, n))
    padding = 16 if types[0] in ("s8", "u8") else 8
    for layouts in LAYOUTS[:: 1 if name == "avx2" else 5]:
        sizes = ((m, k), (k, n), (m, n), (m, n))
        strides = [
            (s[1] if layout == "row" else s[0]) + padding
            for s, layout in zip(sizes, layouts, strict=True)
        ]
        store = [
            stored(cut(x) if t == "bf16" else x, layout, stride, STORAGE[t])
            for x, t, layout, stride in zip((a, b, c), types, layouts, strides, strict=False)
        ]
        lines = m if layouts[3] == "row" else n
        out = np.full((lines, strides[3]), 77, STORAGE[types[3]])
        text = wmma(shape, types, layouts, strides)
        got = variant(name).run(text, "test", *store, out)[3]
        assert np.array_equal(read_back(got, layouts[3], (m, n)), a @ b + c), layouts
        inside = n if layouts[3] == "row" else m
        assert np.all(got[:, inside:] == 77), "wrote between the rows"


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("kind", ["s4", "u4"])
def test_wmma_of_nibbles(kind, name):
    generator = np.random.default_rng(4)
    low, high = (-8, 8) if kind == "s4" else (0, 16)
    a, b = generator.integers(low, high, (8, 32)), generator.integers(low, high, (32, 8))
    c = generator.integers(-1000, 1000, (8, 8)).astype(np.int32)

    def packed(rows):
        codes = (rows & 15).astype(np.uint8)
        return codes[:, ::2] | codes[:, 1::2] << 4

    text = wmma(
        (8, 8, 32), (kind, kind, "s32", "s32"), ("row", "col", "row", "row"), (32, 32, 8, 8)
    )
    out = np.zeros((8, 8), np.int32)
    got = variant(name).run(text, "test", packed(a), packed(b.T), c, out)[3]
    assert np.array_equal(got, a @ b + c)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("operation", ["xor", "and"])
def test_wmma_of_bits(operation, name):
    generator = np.random.default_rng(5)
    a, b = generator.integers(0, 2, (8, 128)), generator.integers(0, 2, (128, 8))
    c = generator.integers(-1000, 1000, (8, 8)).astype(np.int32)
    text = wmma(
        (8, 8, 128), ("b1", "b1", "s32", "s32"), ("row", "col", "row", "row"), (128, 128, 8, 8),
        middle=f".{operation}.popc",
    )  # fmt: skip

    def packed(rows):
        return np.packbits(rows.astype(np.uint8), axis=1, bitorder="little")

    got = variant(name).run(text, "test", packed(a), packed(b.T), c, np.zeros((8, 8), np.int32))[3]
    pairs = a[:, :, None] ^ b[None] if operation == "xor" else a[:, :, None] & b[None]
    assert np.array_equal(got, pairs.sum(axis=1) + c)


@pytest.mark.parametrize("mode", [".rn", ".rz", ".rm", ".rp"])
def test_wmma_of_doubles_rounds_as_told(mode):
    a, b = np.zeros((8, 4)), np.zeros((4, 8))
    a[:, 0], b[0] = 2.0**-30, -(2.0**-30)
    out = np.zeros((8, 8))
    text = wmma((8, 8, 4), ("f64",) * 4, ("row",) * 4, (4, 8, 8, 8), suffix=mode)
    got = variant("avx2").run(text, "test", a, b, np.ones((8, 8)), out)[3]
    below = 1 - 2.0**-53
    assert np.all(got == {".rn": 1, ".rz": below, ".rm": below, ".rp": 1}[mode])


def test_wmma_with_too_few_registers_is_refused():
    text = wmma((16, 16, 16), ("f16", "f16", "f32", "f32"), ("row",) * 4, (16,) * 4)
    text = text.replace("%a5, %a6, %a7}", "%a5}")
    with pytest.raises(Refused, match="wmma"):
        variant("avx2").run(text, "test", *[np.zeros(256, np.float32)] * 4)


# --- ldmatrix, stmatrix, movmatrix ---

ROWS = """.visible .entry test(.param .u64 p_memory, .param .u64 p_order, .param .u64 p_out)
{{
.shared .align 16 .b8 tile[1024];
.reg .b32 %r<8>; .reg .b32 %lane, %at, %place; .reg .b64 %p<4>, %wide;
ld.param.u64 %p0, [p_memory]; ld.param.u64 %p1, [p_order]; ld.param.u64 %p2, [p_out];
mov.u32 %lane, %laneid;
mad.wide.u32 %p1, %lane, 4, %p1;
ld.global.u32 %place, [%p1];
mov.u32 %at, tile;
mad.lo.u32 %place, %place, 16, %at;
{space}
mad.wide.u32 %p3, %lane, 32, %p0;
mad.lo.u32 %at, %lane, 32, %at;
ld.global.v4.b32 {{%r4, %r5, %r6, %r7}}, [%p3]; st.shared.v4.b32 [%at], {{%r4, %r5, %r6, %r7}};
ld.global.v4.b32 {{%r4, %r5, %r6, %r7}}, [%p3+16];
st.shared.v4.b32 [%at+16], {{%r4, %r5, %r6, %r7}};
bar.sync 0;
{body}
ret;
}}
"""
NUMBERS = {1: ".x1", 2: ".x2", 4: ".x4"}


def rows_kernel(body, generic):
    space = "cvt.u64.u32 %wide, %place; cvta.shared.u64 %wide, %wide;" if generic else ""
    return HEADER + ROWS.format(space=space, body=body)


def fragment(matrices):
    """What each lane holds: lane 4 * row + i, elements 2 i and 2 i + 1 of that row."""
    out = np.zeros((len(matrices), 32), np.uint32)
    for j, matrix in enumerate(matrices):
        for lane in range(32):
            row, column = lane // 4, lane % 4 * 2
            out[j, lane] = int(matrix[row, column]) | int(matrix[row, column + 1]) << 16
    return out


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("generic", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", NUMBERS)
def test_ldmatrix(count, transposed, generic, name):
    generator = np.random.default_rng(count)
    memory = generator.integers(0, 1 << 16, (64, 8)).astype(np.uint16)
    order = generator.permutation(64)[:32].astype(np.uint32)
    order[8 * count :] = 1 << 28  # addresses of lanes that name no row are not looked at
    registers = ", ".join(f"%r{j}" for j in range(count))
    body = (
        f"ldmatrix.sync.aligned.m8n8{NUMBERS[count]}{'.trans' if transposed else ''}"
        f"{'' if generic else '.shared'}.b16 {{{registers}}}, [{'%wide' if generic else '%place'}];"
        "mad.wide.u32 %p2, %lane, 4, %p2;"
        + "".join(f" st.global.b32 [%p2+{128 * j}], %r{j};" for j in range(count))
    )
    out = np.zeros((count, 32), np.uint32)
    got = variant(name).run(rows_kernel(body, generic), "test", memory, order, out)[2]
    matrices = memory[order[: 8 * count]].reshape(count, 8, 8)
    want = fragment(matrices.transpose(0, 2, 1) if transposed else matrices)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", NUMBERS)
def test_stmatrix(count, transposed, name):
    generator = np.random.default_rng(count)
    matrices = generator.integers(0, 1 << 16, (count, 8, 8)).astype(np.uint16)
    memory = generator.integers(0, 1 << 16, (64, 8)).astype(np.uint16)
    order = generator.permutation(64)[:32].astype(np.uint32)
    registers = ", ".join(f"%r{j}" for j in range(count))
    body = (
        "mad.wide.u32 %p3, %lane, 4, %p2;"
        + "".join(f" ld.global.b32 %r{j}, [%p3+{128 * j}];" for j in range(count))
        + f"stmatrix.sync.aligned.m8n8{NUMBERS[count]}{'.trans' if transposed else ''}.shared.b16 "
        f"[%place], {{{registers}}}; bar.sync 0;"
        "mad.wide.u32 %p3, %lane, 32, %p0;"
        "ld.shared.v4.b32 {%r4, %r5, %r6, %r7}, [%at];"
        " st.global.v4.b32 [%p3], {%r4, %r5, %r6, %r7};"
        "ld.shared.v4.b32 {%r4, %r5, %r6, %r7}, [%at+16];"
        " st.global.v4.b32 [%p3+16], {%r4, %r5, %r6, %r7};"
    )
    held = fragment(matrices.transpose(0, 2, 1) if transposed else matrices)
    got = variant(name).run(rows_kernel(body, False), "test", memory, order, held)[0]
    want = memory.copy()
    want[order[: 8 * count]] = matrices.reshape(-1, 8)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("name", VARIANTS)
def test_movmatrix(name):
    matrix = np.arange(64, dtype=np.uint16).reshape(1, 8, 8) * 257
    body = (
        "mad.wide.u32 %p2, %lane, 4, %p2; ld.global.b32 %r0, [%p2];"
        "movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r0; st.global.b32 [%p2], %r1;"
    )
    unused = np.zeros(1024, np.uint8), np.zeros(32, np.uint32)
    got = variant(name).run(rows_kernel(body, False), "test", *unused, fragment(matrix))[2]
    assert np.array_equal(got, fragment(matrix.transpose(0, 2, 1)))


def test_eight_bit_matrices_are_refused():
    body = "ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r0, %r1}, [%place];"
    with pytest.raises(Refused, match="ldmatrix"):
        variant("avx2").run(rows_kernel(body, False), "test", *[np.zeros(1024, np.uint8)] * 3)
