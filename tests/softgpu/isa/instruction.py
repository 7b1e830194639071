"""One instruction as a kernel, run over many operand tuples and compared with a model.

    check(Instruction("add.s32 {d}, {a}, {b};", d="s32", a="s32", b="s32"), lambda a, b: a + b)

The text names registers by placeholders; ``d``, ``e``, ``f`` and ``g`` are results, the others
operands; ``%at_d`` holds the address of this thread's element of ``d``. Each runs on both
implementations of the lanes, with all lanes and with some masked off: those must keep what was in
the result registers.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings

from softgpu.isa import device
from softgpu.isa.values import (
    WIDTHS,
    array_of,
    batches,
    dtype_of,
    edge_tuples,
    edges_of,
    integers_of,
    wrap,
)

RESULTS = "defg"
POISON = 0xA5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5
MASKS = (0xFFFFFFFF, 0x5A3C9E07)
THREADS = 128  # per block

#: Hypothesis without a clock or a database: the same examples on every machine.
DETERMINISTIC = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=2,
    suppress_health_check=list(HealthCheck),
)


class Instruction:
    """The text of one instruction (or a few), and the type of each register that it names."""

    def __init__(
        self,
        text: str,
        *,
        target: str = "sm_120a",
        version: str = "9.1",
        declare: str = "",
        setup: str = "",
        **registers: str,
    ) -> None:
        self.text = text
        self.target = target
        self.version = version
        self.declare = declare  # at module level
        self.setup = setup  # declarations and instructions before the operands are loaded
        self.results = {n: registers[n] for n in RESULTS if n in registers}
        self.operands = {n: t for n, t in registers.items() if n not in RESULTS}

    def ptx(self) -> str:
        """The module: ``test(out..., in..., u32 count, u32 lanes)``, one tuple per thread."""
        names = [*self.results, *self.operands]
        parameters = ", ".join(f".param .u64 p_{n}" for n in names)
        body = [self.setup]
        for name, kind in {**self.results, **self.operands}.items():
            body += _declare(name, kind)
        body += [f"ld.param.u64 %at_{n}, [p_{n}];" for n in names]
        for name, kind in {**self.results, **self.operands}.items():
            body.append(
                f"mul.wide.u32 %offset, %thread, {WIDTHS[kind] // 8};"
                f" add.u64 %at_{name}, %at_{name}, %offset;"
            )
        for name, kind in self.results.items():
            body += _poison(name, kind)
        for name, kind in self.operands.items():
            body += _load(name, kind)
        instruction = self.text.format(**{n: f"%{n}" for n in names})
        body.append(f"@!%on bra SKIP;\n{instruction}\nSKIP:")
        for name, kind in self.results.items():
            body += _store(name, kind)
        return _KERNEL.format(
            version=self.version,
            target=self.target,
            declare=self.declare,
            parameters=parameters,
            body="\n".join(body),
        )


_KERNEL = """.version {version}
.target {target}
.address_size 64
{declare}
.visible .entry test({parameters}, .param .u32 p_count, .param .u32 p_lanes)
{{
.reg .pred %outside, %on; .reg .b32 %thread, %block, %size, %count, %lane, %lanes;
.reg .b64 %offset, %word; .reg .b32 %bit;
mov.u32 %thread, %tid.x; mov.u32 %block, %ctaid.x; mov.u32 %size, %ntid.x;
mad.lo.u32 %thread, %block, %size, %thread;
ld.param.u32 %count, [p_count];
setp.ge.u32 %outside, %thread, %count;
@%outside bra END;
ld.param.u32 %lanes, [p_lanes];
mov.u32 %lane, %laneid;
shr.u32 %lanes, %lanes, %lane;
and.b32 %lanes, %lanes, 1;
setp.ne.u32 %on, %lanes, 0;
{body}
END:
ret;
}}
"""


def _register(kind: str) -> str:
    return ".pred" if kind == "pred" else f".b{max(16, WIDTHS[kind])}"


def _declare(name: str, kind: str) -> list[str]:
    lines = [f".reg .b64 %at_{name}; .reg {_register(kind)} %{name};"]
    if kind == "b128":
        lines.append(f".reg .b64 %low_{name}, %high_{name};")
    return lines


def _poison(name: str, kind: str) -> list[str]:
    if kind == "pred":
        return [f"setp.eq.u32 %{name}, %count, 0;"]
    if kind == "b128":
        return [f"mov.b64 %word, {POISON & (1 << 64) - 1:#x}; mov.b128 %{name}, {{%word, %word}};"]
    width = max(16, WIDTHS[kind])
    return [f"mov.b{width} %{name}, {POISON & (1 << width) - 1:#x};"]


def _load(name: str, kind: str) -> list[str]:
    if kind == "pred":
        return [f"ld.global.u32 %bit, [%at_{name}]; setp.ne.u32 %{name}, %bit, 0;"]
    if kind == "b128":
        return [
            f"ld.global.v2.b64 {{%low_{name}, %high_{name}}}, [%at_{name}];",
            f"mov.b128 %{name}, {{%low_{name}, %high_{name}}};",
        ]
    memory = kind if kind in ("s8", "u8") else f"b{WIDTHS[kind]}"
    return [f"ld.global.{memory} %{name}, [%at_{name}];"]


def _store(name: str, kind: str) -> list[str]:
    if kind == "pred":
        return [f"selp.u32 %bit, 1, 0, %{name}; st.global.u32 [%at_{name}], %bit;"]
    if kind == "b128":
        return [
            f"mov.b128 {{%low_{name}, %high_{name}}}, %{name};",
            f"st.global.v2.b64 [%at_{name}], {{%low_{name}, %high_{name}}};",
        ]
    return [f"st.global.b{WIDTHS[kind]} [%at_{name}], %{name};"]


def execute(
    instruction: Instruction, columns: Sequence[np.ndarray], variant: str, lanes: int = MASKS[0]
) -> list[np.ndarray]:
    """Runs an instruction over columns of operands; one array per result."""
    count = len(columns[0]) if columns else 32
    outputs = [
        np.zeros((count, 2) if kind == "b128" else count, dtype_of(kind).base)
        for kind in instruction.results.values()
    ]
    got = device.variant(variant).run(
        instruction.ptx(),
        "test",
        *outputs,
        *columns,
        np.uint32(count),
        np.uint32(lanes),
        grid=max(1, -(-count // THREADS)),
        block=THREADS,
    )
    return got[: len(outputs)]


def check(
    instruction: Instruction,
    model: Callable[..., Any],
    *,
    edges: Mapping[str, Sequence[int]] | None = None,
    vector: bool = False,
    accept: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    count: int = 128,
) -> None:
    """Compares an instruction with ``model`` over edge values and values that hypothesis draws.

    ``model`` gets one Python integer per operand (a bit pattern for floats) and returns the result,
    a tuple for several, each cut to its type; None where PTX leaves the result open. With
    ``vector`` it gets and returns arrays. ``accept(got, want)``, on arrays, replaces equality.
    ``edges`` gives an operand's edge values in place of its type's.
    """
    kinds = list(instruction.operands.values())
    given_edges = edges or {}
    domains = [
        [wrap(k, v) for v in given_edges.get(n, edges_of(k))]
        for n, k in instruction.operands.items()
    ]
    compare = _Comparison(instruction, model, vector, accept)
    if not kinds:
        compare([])
        return
    tuples = edge_tuples(domains)
    compare([list(column) for column in zip(*tuples, strict=True)])

    @DETERMINISTIC
    @given(batches(kinds, domains, count))
    def drawn(columns: list[list[int]]) -> None:
        compare(columns)

    drawn()


@dataclasses.dataclass
class _Comparison:
    instruction: Instruction
    model: Callable[..., Any]
    vector: bool
    accept: Callable[[np.ndarray, np.ndarray], np.ndarray] | None

    def __call__(self, columns: list[list[int]]) -> None:
        kinds = self.instruction.operands.values()
        arrays = [array_of(kind, column) for kind, column in zip(kinds, columns, strict=True)]
        wanted = self._model(arrays, columns)
        for variant in device.VARIANTS:
            for lanes in MASKS:
                got = execute(self.instruction, arrays, variant, lanes)
                for k, kind in enumerate(self.instruction.results.values()):
                    want, open_ = wanted[k]
                    self._compare(kind, k, got[k], want, open_, lanes, variant, columns)

    def _model(
        self, arrays: list[np.ndarray], columns: list[list[int]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per result: what is expected, and where anything is allowed."""
        kinds = list(self.instruction.results.values())
        if self.vector:
            answer = self.model(*arrays)
            values = answer if isinstance(answer, tuple) else (answer,)
            none = np.zeros(len(arrays[0]), bool)
            return [
                (np.ascontiguousarray(v).view(dtype_of(k).base), none)
                for k, v in zip(kinds, values, strict=True)
            ]
        rows = list(zip(*columns, strict=True)) if columns else [()] * 32
        answers = [self.model(*row) for row in rows]
        tuples = [a if isinstance(a, tuple) else (a,) * len(kinds) for a in answers]
        result = []
        for k, kind in enumerate(kinds):
            open_ = np.array([t[k] is None for t in tuples], bool)
            values = [0 if t[k] is None else int(t[k]) for t in tuples]
            result.append((array_of(kind, values), open_))
        return result

    def _compare(
        self,
        kind: str,
        k: int,
        got: np.ndarray,
        want: np.ndarray,
        open_: np.ndarray,
        lanes: int,
        variant: str,
        columns: list[list[int]],
    ) -> None:
        on = (lanes >> (np.arange(len(got)) & 31)) & 1 != 0
        if self.accept is None:
            same = got == want
            good = same.all(axis=1) if same.ndim > 1 else same
        else:
            good = self.accept(got, want)
        kept = array_of(kind, [0 if kind == "pred" else POISON])[0]
        same = got == kept
        untouched = same.all(axis=1) if same.ndim > 1 else same
        good = np.where(on, good | open_, untouched)
        if good.all():
            return
        at = int(np.flatnonzero(~good)[0])
        operands = ", ".join(
            f"{n} = {column[at]:#x}"
            for n, column in zip(self.instruction.operands, columns, strict=True)
        )
        name = list(self.instruction.results)[k]
        expected = integers_of(kind, want[at : at + 1])[0] if on[at] else "unchanged"
        shown = integers_of(kind, got[at : at + 1])[0]
        raise AssertionError(
            f"{self.instruction.text}  [{variant}, lanes {lanes:#x}]\n{operands}\n"
            f"{name} is {shown} ({shown:#x}), expected {expected}"
            + (f" ({expected:#x})" if isinstance(expected, int) else "")
            + f"\n{int((~good).sum())} of {len(good)} tuples differ"
        )
